# SPDX-License-Identifier: Apache-2.0
"""Steps of a migration that can be run again.

MariaDB and MySQL store each change of a table at once, so a migration that
was interrupted has left the first of its steps behind. Each of these looks
whether its work is done already; SQLite and PostgreSQL undo all of it by
themselves.
"""

from __future__ import annotations

from typing import Any

from alembic import op
import sqlalchemy as sa


def create_table(name: str, *columns: Any, **options: Any) -> None:
    """Create a table unless it is there."""
    if not sa.inspect(op.get_bind()).has_table(name):
        op.create_table(name, *columns, **options)


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column unless it is there."""
    found = sa.inspect(op.get_bind()).get_columns(table)
    if column.name not in {known['name'] for known in found}:
        op.add_column(table, column)


def create_index(name: str, table: str, columns: list[str]) -> None:
    """Create an index unless it is there."""
    if name not in _indexes(table):
        op.create_index(name, table, columns, unique=False)


def drop_index(name: str, table: str) -> None:
    """Drop an index if it is there."""
    if name in _indexes(table):
        op.drop_index(name, table_name=table)


def _indexes(table: str) -> set[str | None]:
    return {
        index['name'] for index in sa.inspect(op.get_bind()).get_indexes(table)
    }

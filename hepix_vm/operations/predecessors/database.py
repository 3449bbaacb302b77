# SPDX-License-Identifier: Apache-2.0
"""SQLite databases of predecessors, read without trusting them.

A database file can hold views, generated columns and more that runs inside
the reader: only plain tables are read, nothing is written, and a query that
does not end is ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
from pathlib import Path
import sqlite3
import urllib.parse

from hepix_vm import errors

_MAGIC = b'SQLite format 3\0'
#: Steps of SQLite's machine that reading may take: tens of seconds.
_STEP, _STEPS = 1_000_000, 2000
#: Bytes of one value, and rows of one query, at most.
_LONGEST, _ROWS = 64 * 1024, 1_000_000


@dataclasses.dataclass(frozen=True)
class Opened:
    """A database whose tables are those that were expected.

    :ivar columns: names of the columns, by table
    """

    path: Path
    columns: Mapping[str, frozenset[str]]
    connection: sqlite3.Connection

    def rows(self, statement: str) -> list[sqlite3.Row]:
        """All rows of a query.

        :raises errors.Misconfigured: there are too many
        """
        found = self.connection.execute(statement).fetchmany(_ROWS + 1)
        if len(found) > _ROWS:
            raise errors.Misconfigured(
                f'{self.path}: expected at most {_ROWS} rows of a kind, found '
                'more'
            )
        return found

    def text(self, table: str, row: sqlite3.Row, column: str) -> str:
        """A column's text; NULL counts as none.

        :raises errors.Misconfigured: it holds something else
        """
        found = row[column]
        if found is None:
            return ''
        if not isinstance(found, str):
            raise self.unexpected(table, row, column, 'text')
        return found.strip()

    def unexpected(
        self, table: str, row: sqlite3.Row, column: str, expected: str
    ) -> errors.Misconfigured:
        """The error of a column that holds something else."""
        return errors.Misconfigured(
            f'{self.path}, table {table}, row {row["id"]!r}, column '
            f'{column}: expected {expected}, found '
            f'{type(row[column]).__name__} {str(row[column])[:40]!r}'
        )


@contextlib.contextmanager
def opened(
    path: Path, tables: Mapping[str, Sequence[str]]
) -> Iterator[Opened]:
    """Open a database for reading.

    :param tables: columns that each table needs, by table
    :raises errors.Misconfigured: it is no SQLite database, lacks a table or
        column, or is damaged; from within the block, too
    """
    _require_sqlite(path)
    location = urllib.parse.quote(str(path.absolute()))
    try:
        with contextlib.closing(
            sqlite3.connect(f'file:{location}?mode=ro', uri=True)
        ) as connection:
            _restrain(connection)
            yield Opened(path, _columns(path, connection, tables), connection)
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise errors.Misconfigured(
            f'{path}: the database cannot be read: {str(exc)[:200]!r}; give a '
            'copy that sqlite3 finds whole (PRAGMA integrity_check)'
        ) from exc


def _require_sqlite(path: Path) -> None:
    try:
        with path.open('rb') as stream:
            beginning = stream.read(len(_MAGIC))
    except OSError as exc:
        raise errors.Misconfigured(
            f'{path}: expected a readable file, found: {exc.strerror}'
        ) from exc
    if beginning != _MAGIC:
        raise errors.Misconfigured(
            f'{path}: expected an SQLite database, found another file; of '
            'another database server copy the tables into one'
        )


def _restrain(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute('PRAGMA trusted_schema = OFF')
    connection.execute('PRAGMA query_only = ON')
    connection.execute('PRAGMA cell_size_check = ON')
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    left = [_STEPS]

    def step() -> int:
        left[0] -= 1
        return int(left[0] < 0)

    connection.set_progress_handler(step, _STEP)


def _columns(
    path: Path,
    connection: sqlite3.Connection,
    tables: Mapping[str, Sequence[str]],
) -> dict[str, frozenset[str]]:
    there = {
        row['name']: row['sql'] or ''
        for row in connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        )
    }
    found = {}
    for table, needed in tables.items():
        sql = there.get(table)
        has: frozenset[str] = frozenset()
        if sql is not None and not sql.upper().startswith('CREATE VIRTUAL'):
            # Hidden and generated columns have a number here.
            has = frozenset(
                row['name']
                for row in connection.execute(
                    'SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0',
                    (table,),
                )
            )
        missing = [name for name in needed if name not in has]
        if missing:
            raise errors.Misconfigured(
                f'{path}: expected table {table} with column '
                f'{", ".join(missing)}, found none; is it the database of '
                'another program?'
            )
        found[table] = has
    return found

# SPDX-License-Identifier: Apache-2.0
"""Servers that exist in Nova's databases and nowhere else.

They are copies of one that Nova made itself, row by row, with other UUIDs and
on a host that is not there, so that no nova-compute looks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import datetime
from typing import Any
import uuid

import pymysql.cursors

from tests.cloud import databases
from tests.cloud import site as sites

_HOST = 'compute-of-copies'
#: Database, table, and the column that names the server.
_TABLES = (
    ('nova', 'instances', 'uuid'),
    ('nova', 'instance_id_mappings', 'uuid'),
    ('nova', 'instance_extra', 'instance_uuid'),
    ('nova', 'instance_info_caches', 'instance_uuid'),
    ('nova', 'instance_system_metadata', 'instance_uuid'),
    ('nova_api', 'instance_mappings', 'instance_uuid'),
)


def copies(site: sites.Site, server: str, count: int) -> list[str]:
    """Have so many servers like this one; they changed just now.

    :param server: UUID of one that Nova made
    :returns: their UUIDs
    """
    names = [str(uuid.uuid4()) for _ in range(count)]
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    with contextlib.closing(databases.connect(site)) as connection:
        for database, table, column in _TABLES:
            changes: dict[str, Any] = {'updated_at': now}
            if table == 'instances':
                changes |= {'host': _HOST, 'node': _HOST}
            _copy(
                connection,
                f'`{database}`.`{table}`',
                column,
                server,
                names,
                changes,
            )
    return names


def _copy(
    connection: Any,
    table: str,
    column: str,
    server: str,
    names: Sequence[str],
    changes: Mapping[str, Any],
) -> None:
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(
            f'SELECT * FROM {table} WHERE `{column}` = %s',  # noqa: S608
            (server,),
        )
        rows = [
            {**row, **changes, column: name}
            for row in cursor.fetchall()
            for name in names
        ]
        if not rows:
            return
        columns = [one for one in rows[0] if one != 'id']
        names_ = ', '.join(f'`{one}`' for one in columns)
        values = ', '.join(['%s'] * len(columns))
        cursor.executemany(
            f'INSERT INTO {table} ({names_}) VALUES ({values})',  # noqa: S608
            [[row[one] for one in columns] for row in rows],
        )

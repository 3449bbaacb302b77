# SPDX-License-Identifier: Apache-2.0
"""The cloud's MariaDB, as its administrator sees it."""

from __future__ import annotations

from collections.abc import Iterable
import contextlib

import pymysql

from tests.cloud import site as sites


def accepts(site: sites.Site) -> bool:
    """Say whether the cloud's MariaDB accepts connections."""
    if not site.layout.socket.exists():
        return False
    try:
        connect(site).close()
    except pymysql.err.OperationalError:
        return False
    return True


def connect(
    site: sites.Site,
) -> pymysql.connections.Connection[pymysql.cursors.Cursor]:
    """Return a connection of the administrator, committing at once.

    :raises pymysql.err.OperationalError: when MariaDB does not accept it
    """
    return pymysql.connect(
        unix_socket=str(site.layout.socket),
        user='root',
        connect_timeout=30,
        autocommit=True,
    )


def create(site: sites.Site, names: Iterable[str]) -> None:
    """Create databases in the cloud's MariaDB, unless they exist.

    :raises ValueError: on a name that is not a plain word
    """
    with (
        contextlib.closing(connect(site)) as connection,
        connection.cursor() as cursor,
    ):
        for name in names:
            if not name.isidentifier():
                raise ValueError(f'not the name of a database: {name!r}')
            cursor.execute(f'CREATE DATABASE IF NOT EXISTS `{name}`')


def has_begun(site: sites.Site, binary: str) -> bool:
    """Say whether a process of nova has ever registered itself."""
    return _count(site, 'COUNT(*)', binary, 'nova') > 0


def _count(
    site: sites.Site, expression: str, binary: str, database: str
) -> int:
    query = (
        f'SELECT {expression} FROM `{database}`.services '  # noqa: S608
        'WHERE `binary` = %s'
    )
    with (
        contextlib.closing(connect(site)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query, (binary,))
        row = cursor.fetchone()
    return int(row[0] or 0) if row else 0


class Reported:
    """Says whether a process has reported itself since the first call.

    Nova and cinder write a report a few seconds after a process has begun to
    take messages (``services.report_count`` in their database).
    """

    def __init__(
        self, site: sites.Site, binary: str, database: str = 'nova'
    ) -> None:
        self._site = site
        self._binary = binary
        self._database = database
        self._before: int | None = None

    def __call__(self) -> bool:
        """Return true once the count of reports has grown."""
        count = _count(
            self._site, 'SUM(report_count)', self._binary, self._database
        )
        if self._before is None:
            self._before = count
        return count > self._before

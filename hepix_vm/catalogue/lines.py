# SPDX-License-Identifier: Apache-2.0
"""The history, read in pages.

Whatever the length of the history, one page of it is in memory, and each is
read by itself: on SQLite nobody writes while somebody reads.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema

#: Rows that are read at once (count).
PAGE = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of the history.

    :ivar row: its number, which rises
    :ivar at: UNIX seconds
    :ivar sha256: covers this line and the digest of the line before it
    """

    row: int
    at: int
    who: str
    event: str
    subject: str
    detail: str
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends: the digest to be noted elsewhere."""

    sha256: str
    length: int


def newest(
    connection: sa.Connection,
    subject: str | None = None,
    event: str | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int = 100,
) -> list[Line]:
    """The newest lines that fit, oldest of them first.

    A look by subject, event or time goes by the time that lines carry; a
    look at everything goes by their order. Each is one walk along an index.

    :param since: UNIX seconds; lines of this time and later
    :param until: UNIX seconds; lines of this time and earlier
    """
    table = schema.history
    conditions = []
    if subject is not None:
        conditions.append(table.c.subject == subject)
    if event is not None:
        conditions.append(table.c.event == event)
    if since is not None:
        conditions.append(table.c.at >= since)
    if until is not None:
        conditions.append(table.c.at <= until)
    order = [table.c.id.desc()]
    if conditions:
        order.insert(0, table.c.at.desc())
    rows = connection.execute(
        sa.select(table).where(*conditions).order_by(*order).limit(limit)
    ).all()
    return [_line(row) for row in reversed(rows)]


def lines(database_: database.Database, after: int = 0) -> Iterator[Line]:
    """All lines in their order, read a page at a time.

    Lines that others add meanwhile are among them.

    :param after: number of the line to begin behind
    """
    table = schema.history
    while True:
        with database_.reading() as connection:
            rows = connection.execute(
                sa.select(table)
                .where(table.c.id > after)
                .order_by(table.c.id)
                .limit(PAGE)
            ).all()
        if not rows:
            return
        for row in rows:
            yield _line(row)
        after = rows[-1].id


def head(connection: sa.Connection) -> Head:
    """What the catalogue says of the end of the chain."""
    table = schema.catalogue
    row = connection.execute(
        sa.select(table.c.history_sha256, table.c.history_length).where(
            table.c.id == 1
        )
    ).one()
    return Head(row.history_sha256, int(row.history_length))


def message(connection: sa.Connection, row: int) -> bytes:
    """The signed message of a row of ``list_seen``; empty when not kept."""
    table = schema.list_seen
    return bytes(
        connection.execute(
            sa.select(table.c.message).where(table.c.id == row)
        ).scalar()
        or b''
    )


def _line(row: Any) -> Line:
    return Line(
        row=int(row.id),
        at=int(row.at),
        who=row.who,
        event=row.event,
        subject=row.subject,
        detail=row.detail,
        sha256=row.sha256,
    )

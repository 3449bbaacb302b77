# SPDX-License-Identifier: Apache-2.0
"""Orders to end: when a compute host goes away, or one server has to.

An order only tells virtual machines, which finish their work by then; nobody
is shut down by it.
"""

from __future__ import annotations

import dataclasses
import enum

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema


class Kind(enum.StrEnum):
    """What an order is for."""

    HOST = 'host'
    SERVER = 'server'


@dataclasses.dataclass(frozen=True, slots=True)
class Drain:
    """An order; times in UNIX seconds.

    :ivar name: of the compute host as Nova has it, or the server's UUID
    :ivar at: when the host goes away, or the server has to be gone
    :ivar set_at: when it was ordered
    :ivar by: who ordered it
    :ivar forced: whether it leaves less time than servers were promised
    """

    kind: Kind
    name: str
    at: int
    set_at: int
    by: str
    forced: bool = False


def drains(connection: sa.Connection) -> tuple[Drain, ...]:
    """All orders, the next one first."""
    table = schema.context_drains
    rows = connection.execute(
        sa.select(table).order_by(table.c.at, table.c.kind, table.c.name)
    )
    return tuple(
        Drain(
            Kind(row.kind),
            row.name,
            int(row.at),
            int(row.set_at),
            row.by,
            bool(row.forced),
        )
        for row in rows
    )


def put(transaction: database.Transaction, drain: Drain) -> None:
    """Write an order, in place of one that there may be."""
    transaction.put(
        schema.context_drains,
        {'kind': drain.kind.value, 'name': drain.name},
        {
            'at': drain.at,
            'set_at': drain.set_at,
            'by': drain.by[:255],
            'forced': drain.forced,
        },
    )


def clear(transaction: database.Transaction, kind: Kind, name: str) -> bool:
    """Take an order back; returns whether there was one."""
    table = schema.context_drains
    done = transaction.execute(
        table.delete().where(table.c.kind == kind.value, table.c.name == name)
    )
    return bool(done.rowcount)

# SPDX-License-Identifier: Apache-2.0
"""Who of several daemons syncs: a row, and a number that only grows.

The holder raises ``beat`` every few seconds. A candidate takes over when it
has seen the same fence and beat for the lease time *by its own monotonic
clock*, so the clocks of two machines need not agree. Each take-over raises
``fence``; whatever the holder writes asks for its number in the same
transaction (:meth:`hepix_vm.catalogue.database.Database.fenced`), so one that
was paused or cut off and does not know yet that it was replaced writes
nothing.

A take-over raises the catalogue's revision as every writer does. That is what
makes it right on Galera: two nodes let each other's transactions pass unless
both change the same row, and a write of the former holder and the take-over
then do. A beat changes nothing that readers load, and so no revision.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

from oslo_db import api as db_api
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema

#: The lease of the sync, the only one there is.
SYNC = 'sync'


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease.

    :ivar holder: the name that it gave itself, host and process
    :ivar fence: its number; each take-over has a higher one
    :ivar at: when it was taken, UNIX seconds by the holder's clock
    :ivar beat: how often it has said since that it lives
    """

    holder: str
    fence: int
    at: int
    beat: int


def state(connection: sa.Connection, name: str = SYNC) -> Holder | None:
    """Who holds the lease and since when; None when nobody does.

    A holder that died without a word stays until somebody takes over: look
    twice and compare ``beat`` to tell.
    """
    found = look(connection, name)
    return found if found is not None and found.holder else None


def look(connection: sa.Connection, name: str = SYNC) -> Holder | None:
    """The row as it is: without a holder's name when it was given back."""
    table = schema.lease
    row = connection.execute(
        sa.select(table).where(table.c.name == name)
    ).first()
    if row is None:
        return None
    return Holder(row.holder, row.fence, row.at, row.beat)


def take(
    store: database.Database,
    holder: str,
    seen: Holder | None,
    at: int,
    name: str = SYNC,
) -> int | None:
    """Take the lease over as it was seen; returns the new fence number.

    None when it is no longer as it was seen: somebody was faster, or its
    holder lives.

    :param holder: our name
    :param at: UNIX seconds
    :raises SQLAlchemyError, DBError: when the database fails
    """
    table = schema.lease

    def work(transaction: database.Transaction) -> int | None:
        if seen is None:
            if look(transaction.connection, name) is not None:
                return None
            transaction.execute(
                table.insert().values(
                    name=name, holder=holder[:255], fence=1, beat=0, at=at
                )
            )
            return 1
        done = transaction.execute(
            table.update()
            .where(_is(name, seen.fence), table.c.beat == seen.beat)
            .values(holder=holder[:255], fence=seen.fence + 1, beat=0, at=at)
        )
        return seen.fence + 1 if done.rowcount == 1 else None

    return store.transact(work)


def beat(store: database.Database, fence: int, name: str = SYNC) -> bool:
    """Say that the holder lives; False when it no longer is the holder.

    :raises SQLAlchemyError, DBError: when the database fails
    """
    return _changed(
        store,
        schema.lease.update()
        .where(_is(name, fence), schema.lease.c.holder != '')
        .values(beat=schema.lease.c.beat + 1),
    )


def release(store: database.Database, fence: int, name: str = SYNC) -> bool:
    """Give the lease back, for the next one to take it at once.

    False when it was no longer ours.

    :raises SQLAlchemyError, DBError: when the database fails
    """
    return _changed(
        store,
        schema.lease.update()
        .where(_is(name, fence), schema.lease.c.holder != '')
        .values(holder='', beat=schema.lease.c.beat + 1),
    )


def _changed(store: database.Database, statement: sa.Update) -> bool:
    def change() -> bool:
        with store.engine().begin() as connection:
            return int(connection.execute(statement).rowcount) == 1

    # On Galera, who meets a take-over learns of it at the end of the
    # transaction.
    again: Callable[[Callable[[], bool]], Callable[[], bool]]
    again = db_api.wrap_db_retry(
        max_retries=3, retry_interval=0.05, retry_on_deadlock=True, jitter=True
    )
    return again(change)()


def _is(name: str, fence: int) -> sa.ColumnElement[bool]:
    table = schema.lease
    return sa.and_(table.c.name == name, table.c.fence == fence)


class Watch:
    """Tells how long a holder has been silent, by one's own clock.

    :param lease_time: seconds of silence that end a lease
    """

    def __init__(self, lease_time: float) -> None:
        self._lease_time = lease_time
        self._seen: tuple[int, int] | None = None
        self._since = 0.0

    def silent(self, row: Holder, asked: float, answered: float) -> bool:
        """Whether the holder has not beaten for the lease time.

        :param asked: monotonic seconds before the row was read
        :param answered: and after that
        """
        if (row.fence, row.beat) != self._seen:
            self._seen = (row.fence, row.beat)
            self._since = answered
            return False
        return asked - self._since >= self._lease_time

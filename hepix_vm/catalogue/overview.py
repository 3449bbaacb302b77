# SPDX-License-Identifier: Apache-2.0
"""The catalogue at a glance: counted by the database.

What an operator asks first has to be told at the scale of a federation, so
nothing here loads whole rows of subscriptions or images.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from hepix_vm.catalogue import condition
from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import history
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import model
from hepix_vm.catalogue import published
from hepix_vm.catalogue import schema

#: Failed attempts in a row from which on a subscription counts as failing.
FAILING = 3

#: Items of a kind that are named; all of them are counted.
NAMED = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Failing:
    """A subscription that cannot be fetched or is refused, again and again.

    :ivar code: of the last attempt
    :ivar next_attempt: UNIX seconds; None: at once
    """

    name: str
    failures: int
    code: str
    next_attempt: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """Images of a subscription whose withdrawal waits, and since when."""

    subscription: str
    images: int
    since: int


@dataclasses.dataclass(frozen=True, slots=True)
class Anyway:
    """Bytes that run although their endorsement has ended."""

    sha512: str
    until: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Overview:
    """What the database says; times in UNIX seconds.

    :ivar states: of every subscription that has a row, by name
    :ivar next_expiry: name and end of the list that expires first, among
        those that have not
    :ivar next_attempt: when the daemon tries a subscription next
    :ivar last_attempt: when any subscription was tried last
    :ivar last_codes: subscriptions by the code of their last attempt
    :ivar failing: how many, and the worst of them
    :ivar images: endorsed now; ``approved`` of them
    :ivar published: what became of it in the clouds
    :ivar context: who fetched the site's context
    """

    revision: int
    history: history.Head
    daemon: lease.Holder | None
    states: dict[str, condition.State]
    next_expiry: tuple[str, int] | None
    next_attempt: int | None
    last_attempt: int | None
    last_codes: dict[str, int]
    failing_count: int
    failing: tuple[Failing, ...]
    images: int
    approved: int
    waiting: tuple[Waiting, ...]
    anyway_count: int
    anyway: tuple[Anyway, ...]
    published: published.Published
    context: context_fetches.Counts


def look(connection: sa.Connection, now: int) -> Overview:
    """Look at the catalogue.

    :param now: UNIX seconds
    """
    table = schema.subscription
    mine = table.c.configured == sa.true()
    times = connection.execute(
        sa.select(
            sa.func.min(table.c.next_attempt),
            sa.func.max(table.c.last_attempt),
        ).where(mine)
    ).one()
    endorsed, approved, held = _images(connection)
    failing_count, failing = _failing(connection)
    anyway_count, anyway = _anyway(connection, now)
    return Overview(
        revision=int(
            connection.execute(
                sa.select(schema.catalogue.c.number)
            ).scalar_one()
        ),
        history=history.head(connection),
        daemon=lease.state(connection),
        states=states(connection, now),
        next_expiry=_next_expiry(connection, now),
        next_attempt=times[0],
        last_attempt=times[1],
        last_codes=_codes(connection),
        failing_count=failing_count,
        failing=failing,
        images=endorsed,
        approved=approved,
        waiting=_waiting(connection) if held else (),
        anyway_count=anyway_count,
        anyway=anyway,
        published=published.look(connection),
        context=context_fetches.counts(connection, now),
    )


def states(connection: sa.Connection, now: int) -> dict[str, condition.State]:
    """States by name, as :func:`condition.of` would find them.

    The configuration has no say here: who reads it knows which groups are
    broken, gone or were never synced.
    """
    table = schema.subscription
    rows = connection.execute(
        sa.select(table.c.name, _state(now)).order_by(table.c.name)
    )
    return {name: condition.State(state) for name, state in rows}


def _state(now: int) -> sa.ColumnElement[str]:
    """The conditions of :func:`condition.of`, in its order."""
    table = schema.subscription.c
    standing = table.standing
    State, Standing = condition.State, model.Standing
    return sa.case(
        (
            sa.or_(
                table.list_id.is_(None),
                table.expires.is_(None),
                table.verified_at.is_(None),
            ),
            State.NEVER.value,
        ),
        (table.configured == sa.false(), State.UNSUBSCRIBED.value),
        (standing == Standing.REVOKED.value, State.REVOKED.value),
        (standing == Standing.UNSUBSCRIBED.value, State.UNSUBSCRIBED.value),
        (standing != Standing.TRUSTED.value, State.DISTRUSTED.value),
        (table.verified_at > now + model.CLOCK_SKEW, State.STALE.value),
        (table.expires <= now, State.STALE.value),
        (now - table.verified_at > table.max_age, State.STALE.value),
        else_=State.FRESH.value,
    )


def _next_expiry(
    connection: sa.Connection, now: int
) -> tuple[str, int] | None:
    table = schema.subscription
    row = connection.execute(
        sa.select(table.c.name, table.c.expires)
        .where(
            table.c.configured == sa.true(),
            table.c.list_id.is_not(None),
            table.c.expires > now,
        )
        .order_by(table.c.expires, table.c.name)
        .limit(1)
    ).first()
    return None if row is None else (row.name, int(row.expires))


def _codes(connection: sa.Connection) -> dict[str, int]:
    table = schema.subscription
    rows = connection.execute(
        sa.select(table.c.last_code, sa.func.count())
        .where(table.c.configured == sa.true(), table.c.last_code.is_not(None))
        .group_by(table.c.last_code)
        .order_by(table.c.last_code)
    )
    return {code: int(count) for code, count in rows}


def _failing(connection: sa.Connection) -> tuple[int, tuple[Failing, ...]]:
    table = schema.subscription
    those = sa.and_(
        table.c.configured == sa.true(), table.c.failures >= FAILING
    )
    count = connection.execute(
        sa.select(sa.func.count()).select_from(table).where(those)
    ).scalar_one()
    rows = connection.execute(
        sa.select(
            table.c.name,
            table.c.failures,
            table.c.last_code,
            table.c.next_attempt,
        )
        .where(those)
        .order_by(table.c.failures.desc(), table.c.name)
        .limit(NAMED)
    )
    return int(count), tuple(
        Failing(
            row.name, int(row.failures), row.last_code or '', row.next_attempt
        )
        for row in rows
    )


def _images(connection: sa.Connection) -> tuple[int, int, int]:
    """Endorsed images, those approved and those whose withdrawal waits."""
    table = schema.endorsement
    row = connection.execute(
        sa.select(
            sa.func.count(),
            sa.func.sum(sa.cast(table.c.approved, sa.Integer)),
            sa.func.count(table.c.held_at),
        )
        .select_from(table)
        .where(table.c.withdrawn == sa.false())
    ).one()
    return int(row[0]), int(row[1] or 0), int(row[2])


def _waiting(connection: sa.Connection) -> tuple[Waiting, ...]:
    table = schema.endorsement
    rows = connection.execute(
        sa.select(
            table.c.subscription,
            sa.func.count(sa.distinct(table.c.identifier)),
            sa.func.min(table.c.held_at),
        )
        .where(table.c.held_at.is_not(None), table.c.withdrawn == sa.false())
        .group_by(table.c.subscription)
        .order_by(table.c.subscription)
    )
    return tuple(
        Waiting(name, int(images), int(since)) for name, images, since in rows
    )


def _anyway(
    connection: sa.Connection, now: int
) -> tuple[int, tuple[Anyway, ...]]:
    table = schema.run_anyway
    count = connection.execute(
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.until > now)
    ).scalar_one()
    rows = connection.execute(
        sa.select(table.c.sha512, table.c.until, table.c.reason)
        .where(table.c.until > now)
        .order_by(table.c.until, table.c.sha512)
        .limit(NAMED)
    )
    return int(count), tuple(
        Anyway(row.sha512, int(row.until), row.reason) for row in rows
    )

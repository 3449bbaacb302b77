# SPDX-License-Identifier: Apache-2.0
"""The ways in which others are told of notices, and how each fares.

One process at a time tells by a channel: it claims it for as long as it may
take at most. A claim is a write like any other, so a daemon that no longer
leads gets none, and what a process that died had claimed is free again when
that time is over. Clocks of several hosts that do not agree make a notice
late or tell it twice, which receivers have to bear with in any case.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any
import uuid

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema

#: Seconds that notices which were given up are remembered in the status.
GIVEN_UP_SHOWN = 7 * 86400

# Seconds before the second attempt; doubled each time, up to an hour.
_FIRST_PAUSE, _LONGEST_PAUSE = 60, 3600

# Characters of a cause that are kept.
_LONGEST_PROBLEM = 1000


class Channel(enum.StrEnum):
    """A way of telling."""

    HOOK = 'hook'
    MESSAGE = 'message'
    MAIL = 'mail'


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """How a channel fares; times in UNIX seconds.

    :ivar failures: in a row
    :ivar problem: what the last attempt failed with, or ''
    :ivar next_attempt: None: at once
    :ivar told_at: when it last told something; None: never
    :ivar given_up: notices that it never told, up to ``given_up_at``
    :ivar claimed_until: when the process that tells must have ended
    """

    failures: int = 0
    problem: str = ''
    next_attempt: int | None = None
    told_at: int | None = None
    given_up: int = 0
    given_up_at: int | None = None
    claimed_until: int | None = None


def states(connection: sa.Connection) -> dict[Channel, State]:
    """The state of every channel."""
    rows = {
        row.name: State(
            int(row.failures),
            str(row.problem),
            row.next_attempt,
            row.told_at,
            int(row.given_up),
            row.given_up_at,
            row.claimed_until if row.claim is not None else None,
        )
        for row in connection.execute(sa.select(schema.channel))
    }
    return {channel: rows.get(channel.value, State()) for channel in Channel}


def claim(
    transaction: database.Transaction, now: int, channel: Channel, until: int
) -> str | None:
    """Be the one that tells by a channel; None when somebody else does.

    :param until: UNIX seconds at which we have ended for certain
    :returns: a token for :func:`release`
    """
    row = _row(transaction, channel)
    if row.claim is not None and (row.claimed_until or 0) > now:
        return None
    token = str(uuid.uuid4())
    _update(transaction, channel, claim=token, claimed_until=until)
    return token


def release(
    transaction: database.Transaction, channel: Channel, token: str
) -> None:
    """Let another one tell by a channel; nothing if that is so already."""
    table = schema.channel
    transaction.execute(
        table.update()
        .where(table.c.name == channel.value, table.c.claim == token)
        .values(claim=None, claimed_until=None)
    )


def told(
    transaction: database.Transaction, now: int, channel: Channel
) -> None:
    """Note that a channel works."""
    _row(transaction, channel)
    _update(
        transaction,
        channel,
        failures=0,
        problem='',
        next_attempt=None,
        told_at=now,
    )


def failed(
    transaction: database.Transaction,
    now: int,
    channel: Channel,
    problem: str,
) -> int:
    """Note that a channel does not work.

    :returns: when to try it again: after a minute, then after twice as long
        each time, up to an hour
    """
    failures = int(_row(transaction, channel).failures) + 1
    again = now + pause(failures)
    _update(
        transaction,
        channel,
        failures=failures,
        problem=problem[:_LONGEST_PROBLEM],
        next_attempt=again,
    )
    return again


def pause(failures: int) -> int:
    """Seconds to wait after so many failures in a row."""
    doublings = min(failures - 1, 10)
    return min(_LONGEST_PAUSE, _FIRST_PAUSE << doublings)


def gave_up(
    transaction: database.Transaction, now: int, channel: Channel, count: int
) -> None:
    """Note how many notices nobody will be told of."""
    row = _row(transaction, channel)
    before = int(row.given_up)
    if (row.given_up_at or 0) <= now - GIVEN_UP_SHOWN:
        before = 0
    _update(transaction, channel, given_up=before + count, given_up_at=now)


def _row(transaction: database.Transaction, channel: Channel) -> sa.Row[Any]:
    table = schema.channel
    wanted = sa.select(table).where(table.c.name == channel.value)
    found = transaction.execute(wanted).first()
    if found is None:
        transaction.execute(
            table.insert().values(
                name=channel.value, failures=0, problem='', given_up=0
            )
        )
        found = transaction.execute(wanted).one()
    return found


def _update(
    transaction: database.Transaction, channel: Channel, **values: object
) -> None:
    table = schema.channel
    transaction.execute(
        table.update().where(table.c.name == channel.value).values(**values)
    )

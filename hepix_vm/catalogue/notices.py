# SPDX-License-Identifier: Apache-2.0
"""What others are to be told of.

A notice is written in the transaction of what it tells of, and told
afterwards, at least once by every channel, in the order in which notices were
written: a channel that fails loses nothing and holds up no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import datetime
import json
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema

#: Every kind; the reference on events says what each tells.
KINDS = (
    'image.adopted',
    'image.deleted',
    'image.publish-failed',
    'image.quarantine-failed',
    'image.quarantine-passed',
    'image.reactivated',
    'image.released',
    'image.retired',
    'image.withdrawn',
    'servers.on-withdrawn',
)

# In a channel's column: it was not to be told.
_PASSED_OVER = 0

_COLUMNS = {
    channel: schema.notice.c[f'{channel.value}_at']
    for channel in channels.Channel
}

#: Kinds that a channel tells, for each that is on; None: every kind.
Wanted = Mapping[channels.Channel, frozenset[str] | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """One event.

    :ivar at: UNIX seconds
    :ivar payload: JSON values; texts in it may come from a list
    """

    id: int
    at: int
    kind: str
    subject: str
    payload: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """What receivers get: see the reference on events."""
        moment = datetime.datetime.fromtimestamp(self.at, datetime.UTC)
        return {
            'format': 1,
            'id': self.id,
            'at': moment.strftime('%Y-%m-%dT%H:%M:%SZ'),
            'kind': self.kind,
            'subject': self.subject,
            'payload': dict(self.payload),
        }


def write(
    transaction: database.Transaction,
    now: int,
    kind: str,
    subject: str,
    payload: Mapping[str, Any],
) -> None:
    """Note one event.

    :param now: UNIX seconds
    :param kind: one of :data:`KINDS`
    :param subject: what it is about: a Glance image id, a subscription
    :param payload: JSON values; what a list says is data here, never text
        that somebody executes
    """
    transaction.execute(
        schema.notice.insert().values(
            at=now,
            kind=kind,
            subject=subject[:255],
            payload=json.dumps(dict(payload), sort_keys=True),
        )
    )


def superfluous(connection: sa.Connection, wanted: Wanted) -> bool:
    """Whether :func:`pass_over` has something to do."""
    return any(
        connection.execute(
            sa.select(schema.notice.c.id).where(condition).limit(1)
        ).first()
        for condition in _unwanted(wanted).values()
    )


def pass_over(transaction: database.Transaction, wanted: Wanted) -> None:
    """Strike off what a channel is not to tell, now and later.

    A channel that is switched on afterwards, or is given further kinds, so
    begins with what happens from then on.
    """
    for channel, condition in _unwanted(wanted).items():
        transaction.execute(
            schema.notice.update()
            .where(condition)
            .values({_COLUMNS[channel].name: _PASSED_OVER})
        )


def _unwanted(
    wanted: Wanted,
) -> dict[channels.Channel, sa.ColumnElement[bool]]:
    found = {}
    for channel, column in _COLUMNS.items():
        kinds = wanted.get(channel, frozenset())
        if kinds is not None:
            found[channel] = sa.and_(
                column.is_(None), schema.notice.c.kind.not_in(sorted(kinds))
            )
    return found


def pending(
    connection: sa.Connection, channel: channels.Channel, limit: int
) -> tuple[Notice, ...]:
    """What a channel has still to tell, the first of it first."""
    table = schema.notice
    rows = connection.execute(
        sa.select(table)
        .where(_COLUMNS[channel].is_(None))
        .order_by(table.c.id)
        .limit(limit)
    )
    return tuple(
        Notice(
            int(row.id),
            int(row.at),
            str(row.kind),
            str(row.subject),
            _payload(row.payload),
        )
        for row in rows
    )


def _payload(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    # What a damaged row says is lost; that there was something is not.
    return found if isinstance(found, dict) else {}


def count(connection: sa.Connection, channel: channels.Channel) -> int:
    """How many notices a channel has still to tell."""
    return int(
        connection.execute(
            sa.select(sa.func.count())
            .select_from(schema.notice)
            .where(_COLUMNS[channel].is_(None))
        ).scalar_one()
    )


def delivered(
    transaction: database.Transaction,
    now: int,
    channel: channels.Channel,
    ids: Iterable[int],
) -> None:
    """Note that a channel has told some."""
    column = _COLUMNS[channel]
    for some in _parts(sorted(ids), 500):
        transaction.execute(
            schema.notice.update()
            .where(schema.notice.c.id.in_(some))
            .values({column.name: now})
        )


def _parts(ids: list[int], size: int) -> Iterable[list[int]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))


def old(connection: sa.Connection, before: int) -> bool:
    """Whether :func:`prune` has something to do."""
    table = schema.notice
    return (
        connection.execute(
            sa.select(table.c.id).where(table.c.at < before).limit(1)
        ).first()
        is not None
    )


def prune(
    transaction: database.Transaction, before: int
) -> dict[channels.Channel, int]:
    """Delete the notices from before a time, in UNIX seconds.

    :returns: how many of them each channel had still to tell
    """
    table = schema.notice
    row = transaction.execute(
        sa.select(
            *(
                sa.func.sum(sa.case((column.is_(None), 1), else_=0)).label(
                    channel.value
                )
                for channel, column in _COLUMNS.items()
            )
        ).where(table.c.at < before)
    ).one()
    transaction.execute(table.delete().where(table.c.at < before))
    return {
        channel: int(untold)
        for channel, untold in zip(_COLUMNS, row, strict=True)
        if untold
    }

# SPDX-License-Identifier: Apache-2.0
"""What became of the catalogue in the clouds, at a glance.

Read from what runs of the sync and of publishing noted; no cloud is asked.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import runs
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import withdrawn_use

#: Items of a kind that are named; all of them are counted.
NAMED = 10

_WAITING, _FAILED = 'waiting', 'failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Unpublished:
    """An image whose newest version is not where it should be.

    :ivar at: since when, UNIX seconds
    """

    cloud: str
    subscription: str
    identifier: str
    version: str
    at: int
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Quarantined:
    """A Glance image that users do not see yet, or never will.

    :ivar failed: whether it did not boot as it should
    :ivar at: when it was made, UNIX seconds
    """

    image_id: str
    cloud: str
    identifier: str
    version: str
    failed: bool
    at: int
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """Servers of a project on a host that run from a withdrawn image.

    :ivar project_name: or '' where it is not known
    :ivar host: or '' for shelved ones
    """

    image_id: str
    project: str
    project_name: str
    host: str
    servers: int


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """All of it.

    :ivar unpublished_count: all of them; the eldest are named
    :ivar waiting: images in quarantine; ``failed``: that failed there
    :ivar quarantined: the eldest of both
    :ivar use: as a sync saw it last
    :ivar runs: the last of each job, by name
    :ivar channels: how each fares, and how many notices it has to tell
    """

    unpublished_count: int
    unpublished: tuple[Unpublished, ...]
    waiting: int
    failed: int
    quarantined: tuple[Quarantined, ...]
    use: tuple[Use, ...]
    runs: Mapping[str, runs.Run]
    channels: Mapping[channels.Channel, tuple[channels.State, int]]


def look(connection: sa.Connection) -> Published:
    """Look at it."""
    unpublished_count, unpublished = _unpublished(connection)
    waiting, failed, quarantined = _quarantined(connection)
    return Published(
        unpublished_count=unpublished_count,
        unpublished=unpublished,
        waiting=waiting,
        failed=failed,
        quarantined=quarantined,
        use=used(
            (image_id, server)
            for image_id, servers in withdrawn_use.last(connection).items()
            for server in servers
        ),
        runs=runs.last(connection),
        channels={
            channel: (state, notices.count(connection, channel))
            for channel, state in channels.states(connection).items()
        },
    )


def used(found: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Use, ...]:
    """Servers counted by where they are, the most first.

    :param found: image ids, and servers as notices have them
    """
    names: dict[str, str] = {}
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for image_id, server in found:
        project = str(server.get('project') or '')
        if name := server.get('project_name'):
            names[project] = str(name)
        counts[image_id, project, str(server.get('host') or '')] += 1
    return tuple(
        Use(image_id, project, names.get(project, ''), host, count)
        for (image_id, project, host), count in sorted(
            counts.items(), key=lambda item: (-item[1], item[0])
        )
    )


def _unpublished(
    connection: sa.Connection,
) -> tuple[int, tuple[Unpublished, ...]]:
    table = schema.publication_problem
    count = connection.execute(
        sa.select(sa.func.count()).select_from(table)
    ).scalar_one()
    rows = connection.execute(
        sa.select(table)
        .order_by(
            table.c.at, table.c.cloud, table.c.subscription, table.c.identifier
        )
        .limit(NAMED)
    )
    return int(count), tuple(
        Unpublished(
            row.cloud,
            row.subscription,
            row.identifier,
            row.version,
            int(row.at),
            row.detail,
        )
        for row in rows
    )


def _quarantined(
    connection: sa.Connection,
) -> tuple[int, int, tuple[Quarantined, ...]]:
    table = schema.publication
    those = sa.and_(
        table.c.quarantine.in_((_WAITING, _FAILED)),
        table.c.state.in_(('creating', 'quarantine')),
    )
    counts = {
        name: int(count)
        for name, count in connection.execute(
            sa.select(table.c.quarantine, sa.func.count())
            .where(those)
            .group_by(table.c.quarantine)
        )
    }
    rows = connection.execute(
        sa.select(table)
        .where(those)
        .order_by(table.c.at, table.c.image_id)
        .limit(NAMED)
    )
    return (
        counts.get(_WAITING, 0),
        counts.get(_FAILED, 0),
        tuple(
            Quarantined(
                row.image_id,
                row.cloud,
                row.identifier,
                row.version,
                row.quarantine == _FAILED,
                int(row.at),
                row.quarantine_detail or '',
            )
            for row in rows
        ),
    )

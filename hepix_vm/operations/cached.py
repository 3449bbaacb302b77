# SPDX-License-Identifier: Apache-2.0
"""Where images may lie in the caches of compute hosts.

Nova has no request for what a host has cached and none to remove it. A host
keeps the base of every server that it runs, and what it was asked to fetch
beforehand, and removes what nothing there uses a day later (``[image_cache]
remove_unused_original_minimum_age_seconds``).
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses

import sqlalchemy as sa

from hepix_vm.catalogue import schema
from hepix_vm.nova import servers as servers_


@dataclasses.dataclass(frozen=True, slots=True)
class Cached:
    """That hosts are likely to have an image.

    :ivar host: name; '' where :ivar:`aggregate` says it
    :ivar servers: count of those that run from it there
    :ivar asked_at: when Nova was last asked to fetch it, in UNIX seconds
    """

    image_id: str
    host: str = ''
    servers: int = 0
    aggregate: str = ''
    asked_at: int | None = None


def by_servers(servers: Iterable[servers_.Server]) -> Iterator[Cached]:
    """The hosts that have an image since a server of it runs there."""
    found: dict[tuple[str, str], int] = {}
    for server in servers:
        if server.image_id and server.host:
            key = (server.image_id, server.host)
            found[key] = found.get(key, 0) + 1
    for (image_id, host), count in sorted(found.items()):
        yield Cached(image_id, host, count)


def by_request(
    connection: sa.Connection, image_ids: Collection[str]
) -> tuple[Cached, ...]:
    """The aggregates whose hosts were asked to fetch an image."""
    table = schema.precached
    rows = connection.execute(
        sa.select(table)
        .where(table.c.image_id.in_(image_ids))
        .order_by(table.c.image_id, table.c.aggregate)
    )
    return tuple(
        Cached(row.image_id, aggregate=row.aggregate, asked_at=int(row.at))
        for row in rows
    )

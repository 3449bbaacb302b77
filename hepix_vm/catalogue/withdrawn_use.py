# SPDX-License-Identifier: Apache-2.0
"""What was last seen to run from withdrawn images, and telling a change.

A server that goes on running is not told again by each sync; one that comes,
goes or moves into sight is.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import json
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import described
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import schema

#: Servers that one notice names at most; it says how many there are.
NAMED = 200

#: A server as JSON: its id is ``server``.
Server = Mapping[str, Any]


def seen(
    database_: database.Database,
    cloud: str,
    found: Mapping[str, Sequence[Server]],
    codes: Mapping[str, str],
    now: int,
) -> None:
    """Note what runs from the withdrawn images of a cloud; tell changes.

    :param found: servers by image id, of all withdrawn images from which
        something runs in that cloud
    :param codes: reason by image id
    """
    with database_.reading() as connection:
        before = last(connection, cloud)
    changed = sorted(
        image_id
        for image_id in {*found, *before}
        if _ids(found.get(image_id, ())) != _ids(before.get(image_id, ()))
    )
    if not changed:
        return

    def work(transaction: database.Transaction) -> None:
        for image_id in changed:
            servers = found.get(image_id, ())
            _note(transaction, cloud, image_id, servers, now)
            notices.write(
                transaction,
                now,
                'servers.on-withdrawn',
                image_id,
                described.image(transaction.connection, image_id)
                | {
                    'cloud': cloud,
                    'code': codes.get(image_id, ''),
                    'detail': _detail(len(servers), image_id in codes),
                    'count': len(servers),
                    'servers': [dict(one) for one in servers[:NAMED]],
                },
            )

    database_.transact(work)


def forget(database_: database.Database, clouds: Iterable[str]) -> None:
    """Forget what ran in clouds that the site has no longer.

    :param clouds: names of those that it has
    """
    table = schema.withdrawn_use
    other = table.c.cloud.not_in(sorted(clouds))
    with database_.reading() as connection:
        left = connection.execute(sa.select(table.c.cloud).where(other))
        if left.first() is None:
            return
    database_.transact(lambda made: made.execute(table.delete().where(other)))


def last(
    connection: sa.Connection, cloud: str | None = None
) -> dict[str, tuple[Server, ...]]:
    """What was last seen to run, by image id.

    :param cloud: None means all clouds
    """
    table = schema.withdrawn_use
    statement = sa.select(table).order_by(table.c.image_id, table.c.cloud)
    if cloud is not None:
        statement = statement.where(table.c.cloud == cloud)
    found: dict[str, tuple[Server, ...]] = {}
    for row in connection.execute(statement):
        servers = tuple(json.loads(row.servers))
        found[row.image_id] = (*found.get(row.image_id, ()), *servers)
    return found


def _note(
    transaction: database.Transaction,
    cloud: str,
    image_id: str,
    servers: Sequence[Server],
    now: int,
) -> None:
    table = schema.withdrawn_use
    if servers:
        transaction.put(
            table,
            {'cloud': cloud, 'image_id': image_id},
            {
                'at': now,
                'servers': json.dumps([dict(one) for one in servers]),
            },
        )
        return
    transaction.execute(
        table.delete().where(
            table.c.cloud == cloud, table.c.image_id == image_id
        )
    )


def _ids(servers: Sequence[Server]) -> set[str]:
    return {str(one['server']) for one in servers}


def _detail(count: int, withdrawn: bool) -> str:
    if not withdrawn:
        return 'it is withdrawn no longer'
    if not count:
        return 'nothing runs from it any more'
    return f'{count} servers depend on it'

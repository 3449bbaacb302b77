# SPDX-License-Identifier: Apache-2.0
"""Which released images compute hosts are asked to fetch beforehand."""

from __future__ import annotations

from collections.abc import Iterator

from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.nova import precache

LOG = log.getLogger(__name__)


def precached(
    catalogue: database.Database,
    compute: precache.Compute,
    cloud: str,
    settings: precache.Settings,
    now: int,
) -> Iterator[precache.Asked]:
    """Ask a cloud's hosts for its released images, where that is due.

    What is withdrawn, retired or not yet released is never asked for, and
    what was asked for once is forgotten then, so that it is asked for at once
    when it comes back.

    :param compute: Nova, as an administrator
    """
    if not settings.aggregates:
        return
    with catalogue.reading() as connection:
        asked = _asked(connection, cloud)
        images = _released(connection, cloud, settings, now)
    left = {
        (name, image_id)
        for name, image_id in asked
        if name not in settings.aggregates or image_id not in images
    }
    if left:
        _forget(catalogue, cloud, left)

    def remember(aggregate: str, image_ids: tuple[str, ...]) -> None:
        def work(transaction: database.Transaction) -> None:
            for image_id in image_ids:
                key = {
                    'cloud': cloud,
                    'aggregate': aggregate,
                    'image_id': image_id,
                }
                transaction.put(schema.precached, key, {'at': now})

        catalogue.transact(work)

    for one in precache.ask(compute, images, asked, settings, now, remember):
        LOG.log(
            log.WARNING if one.problem else log.INFO,
            'verdict=%s image=%s cloud=%s aggregate=%s %s',
            'not-precached' if one.problem else 'precache-asked',
            one.image_id,
            cloud,
            one.aggregate,
            one.problem,
        )
        yield one


def _asked(
    connection: sa.Connection, cloud: str
) -> dict[tuple[str, str], int]:
    table = schema.precached
    return {
        (row.aggregate, row.image_id): int(row.at)
        for row in connection.execute(
            sa.select(table).where(table.c.cloud == cloud)
        )
    }


def _released(
    connection: sa.Connection,
    cloud: str,
    settings: precache.Settings,
    now: int,
) -> frozenset[str]:
    """Ids of images that users of a cloud have, and may boot now."""
    table = schema.publication
    rows = connection.execute(
        sa.select(table.c.image_id, table.c.subscription).where(
            table.c.cloud == cloud,
            table.c.state == 'active',
            table.c.published_at.is_not(None),
            table.c.retired_at.is_(None),
        )
    ).all()
    snapshot = loading.load(connection, None, now).snapshot
    return frozenset(
        row.image_id
        for row in rows
        if (
            settings.subscriptions is None
            or row.subscription in settings.subscriptions
        )
        and row.image_id not in snapshot.quarantined
        and model.decide_image(
            snapshot,
            model.ImageFacts(row.image_id, must_know_size=False),
            None,
            now,
            1,
        ).approved
    )


def _forget(
    catalogue: database.Database, cloud: str, left: set[tuple[str, str]]
) -> None:
    table = schema.precached

    def work(transaction: database.Transaction) -> None:
        for aggregate, image_id in sorted(left):
            transaction.execute(
                table.delete().where(
                    table.c.cloud == cloud,
                    table.c.aggregate == aggregate,
                    table.c.image_id == image_id,
                )
            )

    catalogue.transact(work)

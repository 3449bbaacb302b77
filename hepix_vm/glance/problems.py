# SPDX-License-Identifier: Apache-2.0
"""Why the newest version of an image is not where it should be."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.glance import publications


def problem(
    store_: database.Database,
    cloud: str,
    image: store.Image,
    detail: str,
    now: int,
    failed: bool = True,
) -> None:
    """Note why the newest version of an image is not where it should be.

    The first time that it fails so is told; the same again is not.

    :param failed: whether it failed, rather than does not belong there
    """
    table = schema.publication_problem
    key = {
        'cloud': cloud,
        'subscription': image.subscription,
        'identifier': image.identifier,
    }

    def work(transaction: database.Transaction) -> None:
        known = transaction.execute(
            sa.select(table.c.version, table.c.detail).where(
                *(table.c[name] == value for name, value in key.items())
            )
        ).first()
        if known is not None and known == (image.version, detail):
            return
        transaction.put(
            table,
            key,
            {'version': image.version, 'at': now, 'detail': detail},
        )
        if failed and (known is None or known.version != image.version):
            notices.write(
                transaction,
                now,
                'image.publish-failed',
                image.identifier,
                publications.payload(image, None, detail, 'failed', cloud),
            )

    store_.transact(work)


def problems(
    connection: sa.Connection, cloud: str
) -> dict[publications.Key, str]:
    """What is noted against images of a cloud."""
    table = schema.publication_problem
    rows = connection.execute(sa.select(table).where(table.c.cloud == cloud))
    return {(row.subscription, row.identifier): row.detail for row in rows}


def solved(
    store_: database.Database, cloud: str, keys: Iterable[publications.Key]
) -> None:
    """Nothing is wrong with these any more."""
    wanted = sorted(keys)
    if not wanted:
        return
    table = schema.publication_problem

    def work(transaction: database.Transaction) -> None:
        for subscription, identifier in wanted:
            transaction.execute(
                table.delete().where(
                    table.c.cloud == cloud,
                    table.c.subscription == subscription,
                    table.c.identifier == identifier,
                )
            )

    store_.transact(work)

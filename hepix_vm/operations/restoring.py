# SPDX-License-Identifier: Apache-2.0
"""A catalogue that was put back from a back-up."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import schema
from hepix_vm.operations import site as site_


def restored(site: site_.Site, now: int, who: str, reason: str) -> str:
    """Make the store another one, and have every list fetched anew.

    Readers begin afresh by themselves. What this adds: a line in the
    history; no daemon of before can write, also when the number of its lease
    comes round again; and no server can say "not modified" of a list that
    is no longer here.

    :param now: UNIX seconds
    :returns: the store's new identity
    :raises errors.LocalFault: when the catalogue cannot be used
    """

    def work(transaction: database.Transaction) -> str:
        table = schema.catalogue
        before = transaction.execute(sa.select(table.c.store)).scalar_one()
        identity = str(uuid.uuid4())
        transaction.execute(table.update().values(store=identity))
        transaction.execute(
            schema.subscription.update().values(
                etag=None,
                last_modified=None,
                next_attempt=None,
                revision=transaction.revision,
            )
        )
        _end_leases(transaction, now)
        transaction.remember(
            now,
            who,
            'store-restored',
            identity,
            f'store {before} is now {identity}: {reason}',
        )
        return identity

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def _end_leases(transaction: database.Transaction, now: int) -> None:
    """Raise the fence above every number that was given since the back-up.

    Each take-over adds one to it, so it never was as high as the seconds.
    """
    found = lease.look(transaction.connection)
    values = {'holder': '', 'beat': 0, 'at': now}
    if found is None:
        values |= {'name': lease.SYNC, 'fence': now}
        transaction.execute(schema.lease.insert().values(**values))
    else:
        values['fence'] = max(now, found.fence + 1)
        transaction.execute(
            schema.lease.update()
            .where(schema.lease.c.name == lease.SYNC)
            .values(**values)
        )

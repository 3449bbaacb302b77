# SPDX-License-Identifier: Apache-2.0
"""Withdrawals that wait: a list would have taken away too much at once."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.operations import site as site_


@dataclasses.dataclass(frozen=True, slots=True)
class Confirmed:
    """What a confirmation let go.

    :ivar images: that are withdrawn now
    :ivar withdrawals: Glance images whose records this withdrew
    """

    subscription: str
    images: tuple[store.Image, ...]
    withdrawals: tuple[settle.Withdrawal, ...]


def confirm(
    site: site_.Site, now: int, name: str, who: str, reason: str
) -> Confirmed:
    """Let the waiting withdrawals of a subscription act.

    :raises errors.Misconfigured: when none of it waits
    """

    def work(transaction: database.Transaction) -> Confirmed:
        images = tuple(
            image
            for image in store.images(transaction.connection, name)
            if image.held_at is not None
        )
        if not images:
            raise errors.Misconfigured(
                f'subscription {name}: expected one with withdrawals that '
                'wait, found none of that name; "hepix-vm subscription list" '
                'shows them'
            )
        table = schema.endorsement
        transaction.execute(
            table.update()
            .where(
                table.c.subscription == name,
                table.c.withdrawn == sa.false(),
                table.c.held_at.is_not(None),
            )
            .values(
                withdrawn=True, held_at=None, revision=transaction.revision
            )
        )
        gone = {image.identifier for image in images}
        transaction.remember(
            now,
            who,
            'withdrawals-confirmed',
            name,
            f'{len(gone)} images: {reason}',
        )
        return Confirmed(name, images, settle.records(transaction, now))

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)

# SPDX-License-Identifier: Apache-2.0
"""Images: what is endorsed, what the site decides, and why."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm.operations import site as site_


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """An endorsed image and what is decided of its bytes today."""

    image: store.Image
    decision: model.Decision


def images(
    site: site_.Site,
    now: int,
    subscription: str | None = None,
    with_withdrawn: bool = False,
) -> tuple[Judged, ...]:
    """Endorsed images with today's decision for any project."""
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        found = store.images(
            connection, subscription, with_withdrawn=with_withdrawn
        )
        snapshot = loading.load(connection, None, now).snapshot
    return tuple(judged(snapshot, image, None, now) for image in found)


def image(site: site_.Site, now: int, named: str) -> tuple[Judged, ...]:
    """All endorsements of an image identifier or SHA-512.

    :raises errors.Misconfigured: when there is none
    """
    named = named.lower()
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        found = store.images(connection, named=named, with_withdrawn=True)
        snapshot = loading.load(connection, None, now).snapshot
    if not found:
        raise unknown(named)
    return tuple(judged(snapshot, item, None, now) for item in found)


def approve(
    site: site_.Site,
    now: int,
    identifier: str,
    who: str,
    reason: str,
    subscription: str | None = None,
) -> store.Image:
    """Approve an image of a subscription whose rule is ``listed``.

    :raises errors.Misconfigured: when it is not listed, listed more than
        once, or its subscription decides by another rule
    """
    identifier = identifier.lower()

    def work(transaction: database.Transaction) -> store.Image:
        found = store.images(
            transaction.connection, subscription, named=identifier
        )
        names = sorted({item.subscription for item in found})
        if not found:
            raise unknown(identifier)
        if len(names) > 1:
            raise errors.Misconfigured(
                f'image {identifier} is listed by {", ".join(names)}; say '
                'which with --subscription'
            )
        configured = _configured(site, names[0])
        if configured.approval is not subscription_.Approval.LISTED:
            raise errors.Misconfigured(
                f'subscription {names[0]} approves '
                f'"{configured.approval}"; an image is approved by name only '
                'where its group says "approval = listed"'
            )
        chosen = max(found, key=lambda item: item.row)
        transaction.put(
            schema.approval,
            {'subscription': names[0], 'identifier': chosen.identifier},
            {
                'sha512': chosen.sha512,
                'at': now,
                'who': who,
                'reason': reason,
            },
        )
        settle.approvals(transaction, configured)
        transaction.remember(
            now, who, 'image-approved', chosen.identifier, reason
        )
        return chosen

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def block(
    site: site_.Site, now: int, named: str, who: str, reason: str
) -> tuple[settle.Withdrawal, ...]:
    """Refuse an image from now on, whoever endorses it.

    :param named: image identifier, SHA-512 or Glance image id
    :returns: the Glance images whose records this withdrew
    :raises errors.Misconfigured: when nothing of that name is known
    """

    def work(
        transaction: database.Transaction,
    ) -> tuple[settle.Withdrawal, ...]:
        target = block_target(transaction.connection, named.lower())
        _put_block(transaction, target, True, now, who, reason)
        transaction.remember(now, who, 'image-blocked', target, reason)
        return settle.records(transaction, now)

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def unblock(
    site: site_.Site, now: int, named: str, who: str, reason: str
) -> str:
    """Lift a block; Glance images withdrawn by it need a new import.

    :returns: what was blocked
    :raises errors.Misconfigured: when it is not blocked
    """

    def work(transaction: database.Transaction) -> str:
        blocked = store.blocks(transaction.connection)
        target = named.lower()
        if target not in blocked:
            target = block_target(transaction.connection, target)
        if target not in blocked:
            raise errors.Misconfigured(
                f'image {named}: expected a blocked one, found none of that '
                'name'
            )
        _put_block(transaction, target, False, now, who, reason)
        transaction.remember(now, who, 'image-unblocked', target, reason)
        return target

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def _put_block(
    transaction: database.Transaction,
    target: str,
    active: bool,
    now: int,
    who: str,
    reason: str,
) -> None:
    transaction.put(
        schema.block,
        {'target': target},
        {'active': active, 'at': now, 'who': who, 'reason': reason},
    )


def block_target(connection: sa.Connection, named: str) -> str:
    """What a block of that name holds on to: an identifier or a SHA-512."""
    if store.images(connection, named=named, with_withdrawn=True):
        return named
    records = store.records(connection, image_id=named)
    if records:
        return records[0].sha512
    if len(named) == 128 and set(named) <= set('0123456789abcdef'):
        return named
    raise unknown(named)


def _configured(site: site_.Site, name: str) -> subscription_.Subscription:
    found = site.subscriptions.get(name)
    if isinstance(found, subscription_.Subscription):
        return found
    raise errors.Misconfigured(
        f'subscription {name}: {found or "it is not configured any more"}'
    )


def judged(
    snapshot: model.Snapshot,
    item: store.Image,
    project: str | None,
    now: int,
) -> Judged:
    """What is decided of the bytes of an endorsed image."""
    # The old bytes of an image are judged as such, not by other lists.
    return Judged(
        item,
        model.decide_bytes(
            snapshot, item.sha512, item.size, project, now, 1, item.identifier
        ),
    )


def unknown(named: str) -> errors.Misconfigured:
    """The error for a name that nothing in the catalogue has."""
    return errors.Misconfigured(
        f'image {named[:128]}: expected an image identifier of a list, a '
        'SHA-512 or a Glance image id that the catalogue knows; "hepix-vm '
        'image list --all" shows the images'
    )

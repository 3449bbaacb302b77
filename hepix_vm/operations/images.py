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


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """Everything that speaks for and against one image.

    :ivar decision: of the Glance image when one was named, else of the
        bytes
    """

    decision: model.Decision
    endorsements: tuple[Judged, ...]
    subscriptions: tuple[store.SubscriptionState, ...]
    records: tuple[store.Record, ...]
    blocks: tuple[store.Event, ...]
    history: tuple[store.Event, ...]


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
    return tuple(_judged(snapshot, image, None, now) for image in found)


def image(site: site_.Site, now: int, named: str) -> tuple[Judged, ...]:
    """All endorsements of an image identifier or SHA-512.

    :raises errors.Misconfigured: when there is none
    """
    named = named.lower()
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        found = store.images(connection, named=named, with_withdrawn=True)
        snapshot = loading.load(connection, None, now).snapshot
    if not found:
        raise _unknown(named)
    return tuple(_judged(snapshot, item, None, now) for item in found)


def explain(
    site: site_.Site, now: int, named: str, project: str | None = None
) -> Explained:
    """Why an image is approved or refused.

    :param named: image identifier, SHA-512 or Glance image id
    :param project: project id; None asks in general
    :raises errors.Misconfigured: when nothing of that name is known
    """
    named = named.lower()
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        snapshot = loading.load(connection, None, now).snapshot
        records = store.records(connection, image_id=named)
        found = store.images(
            connection,
            named=records[0].sha512 if records else named,
            with_withdrawn=True,
        )
        contents = {item.sha512 for item in found}
        if not records:
            records = [
                record
                for sha512 in sorted(contents)
                for record in store.records(connection, sha512=sha512)
            ]
            if not found:
                raise _unknown(named)
            newest = max(found, key=lambda i: (not i.withdrawn, i.row))
            decision = model.decide_bytes(
                snapshot, newest.sha512, newest.size, project, now, 1
            )
        else:
            decision = model.decide_image(
                snapshot,
                model.ImageFacts(named, must_know_size=False),
                project,
                now,
                1,
            )
        states = store.subscription_states(connection)
        blocks = store.blocks(connection)
        subjects = [named, *sorted(contents)]
        subjects += [record.image_id for record in records]
        subjects += sorted({item.identifier for item in found})
        history = [
            event
            for subject in dict.fromkeys(subjects)
            for event in store.history(connection, subject)
        ]
    return Explained(
        decision=decision,
        endorsements=tuple(
            _judged(snapshot, item, project, now) for item in found
        ),
        subscriptions=tuple(
            states[name]
            for name in sorted({item.subscription for item in found})
            if name in states
        ),
        records=tuple(records),
        blocks=tuple(
            blocks[target]
            for target in dict.fromkeys(subjects)
            if target in blocks
        ),
        history=tuple(sorted(history, key=lambda event: event.at)),
    )


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
    with site_.usable(site) as catalogue, catalogue.writing() as transaction:
        found = store.images(
            transaction.connection, subscription, named=identifier
        )
        names = sorted({item.subscription for item in found})
        if not found:
            raise _unknown(identifier)
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


def block(
    site: site_.Site, now: int, named: str, who: str, reason: str
) -> tuple[settle.Withdrawal, ...]:
    """Refuse an image from now on, whoever endorses it.

    :param named: image identifier, SHA-512 or Glance image id
    :returns: the Glance images whose records this withdrew
    :raises errors.Misconfigured: when nothing of that name is known
    """
    with site_.usable(site) as catalogue, catalogue.writing() as transaction:
        target = _block_target(transaction.connection, named.lower())
        _put_block(transaction, target, True, now, who, reason)
        transaction.remember(now, who, 'image-blocked', target, reason)
        return settle.records(transaction, now)


def unblock(
    site: site_.Site, now: int, named: str, who: str, reason: str
) -> str:
    """Lift a block; Glance images withdrawn by it need a new import.

    :returns: what was blocked
    :raises errors.Misconfigured: when it is not blocked
    """
    with site_.usable(site) as catalogue, catalogue.writing() as transaction:
        blocked = store.blocks(transaction.connection)
        target = named.lower()
        if target not in blocked:
            target = _block_target(transaction.connection, target)
        if target not in blocked:
            raise errors.Misconfigured(
                f'image {named}: expected a blocked one, found none of that '
                'name'
            )
        _put_block(transaction, target, False, now, who, reason)
        transaction.remember(now, who, 'image-unblocked', target, reason)
    return target


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


def _block_target(connection: sa.Connection, named: str) -> str:
    """What a block of that name holds on to: an identifier or a SHA-512."""
    if store.images(connection, named=named, with_withdrawn=True):
        return named
    records = store.records(connection, image_id=named)
    if records:
        return records[0].sha512
    if len(named) == 128 and set(named) <= set('0123456789abcdef'):
        return named
    raise _unknown(named)


def _configured(site: site_.Site, name: str) -> subscription_.Subscription:
    found = site.subscriptions.get(name)
    if isinstance(found, subscription_.Subscription):
        return found
    raise errors.Misconfigured(
        f'subscription {name}: {found or "it is not configured any more"}'
    )


def _judged(
    snapshot: model.Snapshot,
    item: store.Image,
    project: str | None,
    now: int,
) -> Judged:
    # The old bytes of an image are judged as such, not by other lists.
    return Judged(
        item,
        model.decide_bytes(
            snapshot, item.sha512, item.size, project, now, 1, item.identifier
        ),
    )


def _unknown(named: str) -> errors.Misconfigured:
    return errors.Misconfigured(
        f'image {named[:128]}: expected an image identifier of a list, a '
        'SHA-512 or a Glance image id that the catalogue knows; "hepix-vm '
        'image list --all" shows the images'
    )

# SPDX-License-Identifier: Apache-2.0
"""What follows from a change: approvals of images, withdrawal of records."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import json

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_


def projects_text(
    subscription: subscription_.Subscription, vo: str | None
) -> str | None:
    """The projects that may use a list, as the store keeps them."""
    projects = subscription.projects_for(vo)
    return None if projects is None else json.dumps(sorted(projects))


def approvals(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
) -> int:
    """Set ``approved`` of each endorsement by the site's rule.

    :returns: how many endorsements changed
    """
    chosen = store.approvals(transaction.connection, subscription.name)
    table = schema.endorsement
    rows = transaction.execute(
        sa.select(
            table.c.id,
            table.c.identifier,
            table.c.sha512,
            table.c.approved,
            table.c.proven,
        ).where(table.c.subscription == subscription.name)
    ).all()
    changed = 0
    for approved in (True, False):
        ids = [
            row.id
            for row in rows
            if bool(row.approved) is not approved
            and (
                approves(subscription, chosen, row.identifier, row.sha512)
                and (row.proven or subscription.image_signature is None)
            )
            is approved
        ]
        changed += len(ids)
        for start in range(0, len(ids), 500):
            transaction.execute(
                table.update()
                .where(table.c.id.in_(ids[start : start + 500]))
                .values(approved=approved, revision=transaction.revision)
            )
    return changed


def approves(
    subscription: subscription_.Subscription,
    chosen: dict[str, str],
    identifier: str,
    sha512: str,
) -> bool:
    """Whether the site's rule approves an image, proofs left aside.

    :param chosen: SHA-512 at its approval, by image identifier
    """
    if subscription.approval is subscription_.Approval.ALL:
        return True
    if subscription.approval is subscription_.Approval.NONE:
        return False
    if identifier not in chosen:
        return False
    return subscription.approve_new_versions or chosen[identifier] == sha512


def rules(
    transaction: database.Transaction,
    configured: Iterable[subscription_.Subscription],
    names: Iterable[str],
    now: int,
) -> None:
    """Bring the configuration's word into the catalogue.

    A subscription that left the configuration no longer approves anything;
    one whose rules changed is settled anew.

    :param names: all configured names, those of broken groups included:
        a typing error in a group must not withdraw its images
    """
    present = set(names)
    states = store.subscription_states(transaction.connection)
    for name, state in states.items():
        if state.configured and name not in present:
            transaction.put(
                schema.subscription, {'name': name}, {'configured': False}
            )
            transaction.remember(
                now, 'sync', 'unsubscribed', name, 'left the configuration'
            )
    for subscription in configured:
        if subscription.name not in states:
            continue
        transaction.put(
            schema.subscription,
            {'name': subscription.name},
            {
                'configured': True,
                'max_age': subscription.list_max_age,
                'projects': projects_text(
                    subscription, _vo(transaction, subscription.name)
                ),
            },
        )
        approvals(transaction, subscription)


def _vo(transaction: database.Transaction, name: str) -> str | None:
    table = schema.endorsement
    row = transaction.execute(
        sa.select(table.c.vo)
        .where(table.c.subscription == name, table.c.withdrawn == sa.false())
        .limit(1)
    ).first()
    return None if row is None else row.vo


@dataclasses.dataclass(frozen=True, slots=True)
class Withdrawal:
    """A record that no longer approves, and why."""

    image_id: str
    code: model.Reason
    detail: str


def records(
    transaction: database.Transaction, now: int
) -> tuple[Withdrawal, ...]:
    """Withdraw the records whose bytes are endorsed no more.

    Set first, then the image is deactivated: a crash between the two
    leaves an image that nothing approves. Stale, expired and distrusted
    lists withdraw nothing; decisions refuse them while they last.
    """
    snapshot = loading.load(transaction.connection, None, now).snapshot
    withdrawn = []
    for record in snapshot.records.values():
        if record.state is model.RecordState.WITHDRAWN:
            continue
        decision = model.decide_bytes(
            snapshot, record.sha512, record.size, None, now, 1
        )
        if decision.code not in model.WITHDRAWING:
            continue
        transaction.put(
            schema.glance_record,
            {'image_id': record.image_id},
            {
                'state': model.RecordState.WITHDRAWN.value,
                'reason': decision.code.value,
            },
        )
        transaction.remember(
            now,
            'sync',
            'record-withdrawn',
            record.image_id,
            decision.sentence,
        )
        withdrawn.append(
            Withdrawal(record.image_id, decision.code, decision.detail)
        )
    return tuple(withdrawn)

# SPDX-License-Identifier: Apache-2.0
"""What follows from a change: approvals of images, withdrawal of records."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import described
from hepix_vm.catalogue import excerpt
from hepix_vm.catalogue import expression
from hepix_vm.catalogue import model
from hepix_vm.catalogue import notices
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
    columns = 'id identifier sha512 approved proven'
    if subscription.approval is subscription_.Approval.MATCHING:
        columns += ' version vo title entry'
    rows = transaction.execute(
        sa.select(*(table.c[name] for name in columns.split())).where(
            table.c.subscription == subscription.name
        )
    ).all()
    changed: dict[bool, list[int]] = {True: [], False: []}
    for row in rows:
        approved = approves(
            subscription,
            chosen,
            row.identifier,
            row.sha512,
            lambda row=row: facts(row, json.loads(row.entry)),  # type: ignore[misc]
        ) and (bool(row.proven) or subscription.image_signature is None)
        if bool(row.approved) is not approved:
            changed[approved].append(row.id)
    for approved, ids in changed.items():
        for start in range(0, len(ids), 500):
            transaction.execute(
                table.update()
                .where(table.c.id.in_(ids[start : start + 500]))
                .values(approved=approved, revision=transaction.revision)
            )
    return sum(map(len, changed.values()))


def approves(
    subscription: subscription_.Subscription,
    chosen: Mapping[str, str],
    identifier: str,
    sha512: str,
    said: Callable[[], expression.Facts],
) -> bool:
    """Whether the site's rule approves an image, proofs left aside.

    :param chosen: SHA-512 at its approval, by image identifier
    :param said: what its list says of it; see :func:`facts`
    """
    if subscription.approval is subscription_.Approval.ALL:
        return True
    if subscription.approval is subscription_.Approval.MATCHING:
        return expression.any_holds(subscription.approve_if, said())
    if subscription.approval is subscription_.Approval.NONE:
        return False
    if identifier not in chosen:
        return False
    return subscription.approve_new_versions or chosen[identifier] == sha512


def facts(image: Any, entry: Mapping[str, Any]) -> expression.Facts:
    """What a list says of an image, by the keys of expressions.

    :param image: a row of ``endorsement``, or a :class:`store.Image`
    :param entry: its column ``entry``
    """
    said = {
        'vo': image.vo,
        'title': image.title,
        'identifier': image.identifier,
        'version': image.version,
    } | {
        key: entry.get(key)
        for key in ('os', 'os_name', 'os_version', 'arch', 'format')
    }
    values: dict[str, tuple[str, ...]] = {
        key: (str(value),) for key, value in said.items() if value
    }
    values['hypervisor'] = tuple(map(str, entry.get('hypervisors') or ()))
    return values


def digest(subscription: subscription_.Subscription) -> str:
    """All of a subscription that its rows are settled by (SHA-256, hex)."""
    projects, mapped = subscription.projects, subscription.vo_projects
    rules = [
        subscription.approval.value,
        subscription.approve_new_versions,
        [line.text for line in subscription.approve_if],
        subscription.image_signature is not None,
        None if projects is None else sorted(projects),
        {vo: sorted(ids) for vo, ids in mapped.items()},
        subscription.list_max_age,
        _keeps(subscription),
    ]
    text = json.dumps(rules, sort_keys=True)
    return hashlib.sha256(text.encode('ascii')).hexdigest()


def _keeps(subscription: subscription_.Subscription) -> bool:
    return subscription.brake is not None and subscription.brake.keep


def rules(
    transaction: database.Transaction,
    configured: Iterable[subscription_.Subscription],
    names: Iterable[str],
    now: int,
) -> None:
    """Bring the configuration's word into the catalogue.

    A subscription that left the configuration no longer approves anything;
    one whose rules changed is settled anew. Nothing else is written.

    :param names: all configured names, those of broken groups included:
        a typing error in a group must not withdraw its images
    """
    present = set(names)
    table = schema.subscription
    rows = transaction.execute(
        sa.select(
            table.c.name,
            table.c.configured,
            table.c.max_age,
            table.c.held_run,
            table.c.rules_sha256,
        )
    )
    states = {row.name: row for row in rows}
    for name, state in states.items():
        if state.configured and name not in present:
            transaction.put(table, {'name': name}, {'configured': False})
            transaction.remember(
                now, 'sync', 'unsubscribed', name, 'left the configuration'
            )
    for subscription in configured:
        row = states.get(subscription.name)
        if row is not None and not _settled(row, subscription):
            _whole(transaction, subscription)


def settled_by(
    subscription: subscription_.Subscription,
) -> dict[str, Any]:
    """What the catalogue notes when all rows follow these rules."""
    return {
        'held_run': _keeps(subscription),
        'rules_sha256': digest(subscription),
    }


def _settled(row: Any, subscription: subscription_.Subscription) -> bool:
    # Others than settling write the first two.
    return (
        bool(row.configured)
        and row.max_age == subscription.list_max_age
        and bool(row.held_run) is _keeps(subscription)
        and row.rules_sha256 == digest(subscription)
    )


def _whole(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
) -> None:
    approvals(transaction, subscription)
    transaction.put(
        schema.subscription,
        {'name': subscription.name},
        {
            'configured': True,
            'max_age': subscription.list_max_age,
            'projects': projects_text(
                subscription, _vo(transaction, subscription.name)
            ),
        }
        | settled_by(subscription),
    )


def _vo(transaction: database.Transaction, name: str) -> str | None:
    """The VO that the newest list names; held images have an older one's."""
    table = schema.endorsement
    of_images = sa.select(table.c.vo).where(
        table.c.subscription == name, table.c.withdrawn == sa.false()
    )
    for wanted in (table.c.held_at.is_(None), table.c.held_at.is_not(None)):
        row = transaction.execute(of_images.where(wanted).limit(1)).first()
        if row is not None:
            return None if row.vo is None else str(row.vo)
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Withdrawal:
    """A record that no longer approves, and why.

    :ivar sentence: with what the detail is about
    """

    image_id: str
    code: model.Reason
    detail: str
    sentence: str = ''


def records(
    transaction: database.Transaction, now: int
) -> tuple[Withdrawal, ...]:
    """Withdraw the records whose bytes are endorsed no more.

    Set first, then the image is deactivated: a crash between the two
    leaves an image that nothing approves. Stale, expired and distrusted
    lists withdraw nothing; decisions refuse them while they last.
    """
    ended = model.RecordState.WITHDRAWN
    snapshot = excerpt.of_records(
        transaction.connection,
        now,
        schema.glance_record.c.state != ended.value,
    )
    withdrawn = ended_by(snapshot, now)
    for one in withdrawn:
        before = snapshot.records[one.image_id].state
        transaction.put(
            schema.glance_record,
            {'image_id': one.image_id},
            {
                'state': ended.value,
                'reason': one.code.value,
                'was_positive': before is model.RecordState.POSITIVE,
            },
        )
        transaction.remember(
            now, 'sync', 'record-withdrawn', one.image_id, one.sentence
        )
        notices.write(
            transaction,
            now,
            'image.withdrawn',
            one.image_id,
            described.image(transaction.connection, one.image_id)
            | {'code': one.code.value, 'detail': one.detail},
        )
    return withdrawn


def ended_by(snapshot: model.Snapshot, now: int) -> tuple[Withdrawal, ...]:
    """Which records a snapshot says are to be withdrawn; pure."""
    found = []
    for record in snapshot.records.values():
        decision = model.decide_record(snapshot, record, None, now, 1)
        if decision.code in model.WITHDRAWING:
            found.append(
                Withdrawal(
                    record.image_id,
                    decision.code,
                    decision.detail,
                    decision.sentence,
                )
            )
    return tuple(found)

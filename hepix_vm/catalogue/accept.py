# SPDX-License-Identifier: Apache-2.0
"""Signed messages become rows of the catalogue: the one module that asks
``trust``.

A list goes in through :func:`judge` only: what that returns is the only
type that :func:`store_list` takes. Everything of a list is stored in one
transaction, replay state included, before anything acts on it.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import demands
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import judging
from hepix_vm.catalogue import kept
from hepix_vm.catalogue import merge
from hepix_vm.catalogue import model
from hepix_vm.catalogue import revocations
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import replay

#: Codes of a stored list's verification that decisions judge themselves,
#: at decision time and by the list's own dates.
_JUDGED_LATER = frozenset({trust.Code.LIST_EXPIRED})


def judge(
    subscription: subscription_.Subscription,
    message: bytes,
    anchors: trust.TrustAnchors,
    now: int,
) -> trust.EndorsedList:
    """Believe a message, or say why not; :func:`store_list` goes on.

    :raises errors.Refused: for a message that is not believed
    :raises errors.Misconfigured: for a subscription that cannot be used
    """
    return _verified(subscription, message, anchors, now)


def _verified(
    subscription: subscription_.Subscription,
    message: bytes,
    anchors: trust.TrustAnchors,
    now: int,
) -> trust.EndorsedList:
    form = demands.envelope(subscription)
    if form is None:
        return trust.verify(
            message, anchors, demands.policy(subscription), _moment(now)
        )
    return trust.verify_enveloped(
        message, form, anchors, demands.policy(subscription), _moment(now)
    )


def _seen(
    subscription: subscription_.Subscription,
    state: store.SubscriptionState | None,
) -> replay.Seen | None:
    if (
        state is None
        or state.list_identifier is None
        or state.list_version is None
        or state.created is None
        # The operator follows another list under the name of this one.
        or state.list_identifier != subscription.list_identifier
        or state.reset_at is not None
    ):
        return None
    return replay.Seen(
        identifier=state.list_identifier,
        version=state.list_version,
        created=_moment(state.created),
        payload_sha256=state.payload_sha256,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """How a stored message fares.

    :ivar code: of trust
    :ivar until: UNIX seconds until which another look finds the same; None
        where that is not known
    """

    standing: model.Standing
    code: str
    detail: str
    until: int | None


def standing(
    subscription: subscription_.Subscription,
    message: bytes,
    anchored: revocations.Anchored,
    now: int,
) -> Judged:
    """How a stored message fares today.

    A certificate that was revoked since, an anchor that was removed or a
    CRL that ran out act here, without the endorser's server.

    :raises errors.Misconfigured: for a subscription that cannot be used
    """
    try:
        endorsed = _verified(subscription, message, anchored.anchors, now)
    except errors.Refused as exc:
        found, until = model.Standing.DISTRUSTED, None
        if exc.code in _JUDGED_LATER:
            found = model.Standing.TRUSTED
        else:
            until = judging.first_after(now, anchored.moments)
            if exc.code == trust.Code.REVOKED:
                found = model.Standing.REVOKED
        return Judged(found, exc.code, exc.detail, until)
    return Judged(
        model.Standing.TRUSTED,
        str(trust.Code.OK),
        '',
        holds_until(endorsed, anchored, now),
    )


def holds_until(
    endorsed: trust.EndorsedList, anchored: revocations.Anchored, now: int
) -> int | None:
    """The first moment at which a certificate or CRL begins or ends."""
    ends: list[int] = []
    for signer in endorsed.signers:
        if signer.path_ends is None:
            return None
        ends.extend(revocations.around(signer.path_ends))
    return judging.first_after(now, (*ends, *anchored.moments))


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """What is noted beside a stored list; see ``judging`` and ``timing``."""

    judged_by: str | None = None
    judged_until: int | None = None
    next_attempt: int | None = None


def store_list(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    endorsed: trust.EndorsedList,
    message: bytes,
    validators: fetch.Validators,
    now: int,
    marks: Marks = Marks(),
) -> merge.Stored:
    """Make a believed list the newest one of its subscription.

    It is held against the list before it inside the transaction, so that
    of two syncs at once none can put an older list over a newer one.

    :raises errors.Refused: for rollback and equivocation
    """
    state = store.subscription_state(transaction.connection, subscription.name)
    outcome = replay.check(_seen(subscription, state), endorsed, _moment(now))
    image_list = endorsed.image_list
    new_list = not isinstance(outcome, replay.Same)
    transaction.put(
        schema.subscription,
        {'name': subscription.name},
        _good(now, marks)
        | _described(endorsed)
        | {
            'max_age': subscription.list_max_age,
            'projects': settle.projects_text(subscription, image_list.vo),
            'etag': validators.etag,
            'last_modified': validators.last_modified,
            'list_id': _message_row(
                transaction, subscription.name, state, endorsed, message, now
            ),
            'reset_at': _reset_after(state, endorsed),
        },
    )
    # An unchanged list, too: what stood in an image's way may be gone.
    stored = merge.merge(
        transaction,
        subscription,
        image_list,
        new_list,
        state is not None and state.reset_at is not None,
        now,
        state is not None and state.list_identifier != image_list.identifier,
    )
    if stored.problems and marks.judged_until is not None:
        # What stands in an entry's way may be gone at the next attempt.
        transaction.put(
            schema.subscription,
            {'name': subscription.name},
            {'judged_until': None},
        )
    _remember(transaction, subscription.name, state, image_list, stored, now)
    return stored


def _good(now: int, marks: Marks) -> dict[str, Any]:
    """The columns of an attempt that went well."""
    return {
        'configured': True,
        'standing': model.Standing.TRUSTED.value,
        'verified_at': now,
        'last_attempt': now,
        'last_code': str(trust.Code.OK),
        'last_detail': '',
        'failures': 0,
    } | dataclasses.asdict(marks)


def _described(endorsed: trust.EndorsedList) -> dict[str, Any]:
    """The columns that say which list it is."""
    image_list = endorsed.image_list
    return {
        'list_identifier': image_list.identifier,
        'list_version': image_list.version,
        'created': _seconds(image_list.created),
        'expires': _seconds(image_list.expires),
        'payload_sha256': endorsed.payload_sha256,
    }


def _reset_after(
    state: store.SubscriptionState | None, endorsed: trust.EndorsedList
) -> int | None:
    """A reset waits for another list than the one it was made against."""
    if state is None or state.payload_sha256 != endorsed.payload_sha256:
        return None
    return state.reset_at


def _message_row(
    transaction: database.Transaction,
    name: str,
    state: store.SubscriptionState | None,
    endorsed: trust.EndorsedList,
    message: bytes,
    now: int,
) -> int:
    """The row that holds the message; the same message is kept once.

    A list that was only signed anew is another message: its first
    signature may fail long before the new one does.
    """
    table = schema.list_seen
    if state is not None and state.list_id is not None:
        held = transaction.execute(
            sa.select(table.c.message_sha256).where(
                table.c.id == state.list_id
            )
        ).scalar()
        if held == endorsed.message_sha256:
            return state.list_id
    return remember_message(
        transaction, name, message, now, trust.Code.OK, '', endorsed
    )


def _remember(
    transaction: database.Transaction,
    name: str,
    before: store.SubscriptionState | None,
    image_list: imagelist.ImageList,
    stored: merge.Stored,
    now: int,
) -> None:
    trusted = model.Standing.TRUSTED
    if before is not None and before.standing is not trusted:
        transaction.remember(
            now,
            'sync',
            'standing',
            name,
            f'{before.standing} is now {trusted}',
        )
    if not stored.new_list and not stored.added and not stored.withdrawn:
        return
    transaction.remember(
        now,
        'sync',
        'list-accepted',
        name,
        f'list {image_list.identifier} version {image_list.version}: '
        f'{stored.added} images added, {stored.withdrawn} withdrawn',
    )
    for problem in stored.problems:
        transaction.remember(now, 'sync', 'list-problem', name, problem)


def remember_message(
    transaction: database.Transaction,
    name: str,
    message: bytes,
    now: int,
    code: str,
    detail: str,
    endorsed: trust.EndorsedList | None = None,
) -> int:
    """Keep a message with its verdict; the same refusal is kept once.

    :returns: the row's id
    """
    believed = None
    if endorsed is not None:
        believed = kept.Believed(
            endorsed.image_list.identifier,
            endorsed.image_list.version,
            json.dumps(
                [
                    {
                        'subject': signer.subject.rfc4514(),
                        'issuer': signer.issuer.rfc4514(),
                        'sha256': signer.sha256,
                    }
                    for signer in endorsed.signers
                ]
            ),
        )
    return kept.keep(
        transaction, name, message, now, str(code), detail, believed
    )


def _moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _seconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp())

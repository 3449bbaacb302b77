# SPDX-License-Identifier: Apache-2.0
"""Signed messages become rows of the catalogue: the one module that asks
``trust``.

A list goes in through :func:`judge` only: what that returns is the only
type that :func:`store_list` takes. Everything of a list is stored in one
transaction, replay state included, before anything acts on it.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
from typing import cast
from typing import Literal

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import drivers
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import merge
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import names
from hepix_vm.trust import replay

#: Bytes of a refused message that are kept at most.
KEPT = 1024 * 1024

_ENVELOPES = 'hepix_vm.envelopes'

#: Schemes of URLs whose lists are S/MIME, whatever else is installed.
_SMIME = frozenset({'file', 'http', 'https', 'oci', 'oci+http'})

#: Codes of a stored list's verification that decisions judge themselves,
#: at decision time and by the list's own dates.
_JUDGED_LATER = frozenset({trust.Code.LIST_EXPIRED})


def policy(subscription: subscription_.Subscription) -> trust.Policy:
    """What the subscription demands of a signer.

    :raises errors.Misconfigured: for a DN that cannot be read in one way
    """
    endorser = trust.Endorser(
        subject=_name(
            subscription, 'endorser_subject', subscription.endorser_subject
        ),
        issuer=_name(
            subscription, 'endorser_issuer', subscription.endorser_issuer
        ),
    )
    co_endorsers = tuple(
        trust.Endorser(
            subject=_name(subscription, 'co_endorsers', subject),
            issuer=_name(subscription, 'co_endorsers', issuer),
        )
        for subject, issuer in subscription.co_endorsers
    )
    try:
        return trust.Policy(
            crl=_mode(subscription.crl),
            signing_policy=_mode(subscription.signing_policy),
            pins=subscription.pins,
            accept_self_signed_pinned=(
                subscription.dangerous_accept_self_signed
            ),
            accept_server_auth=subscription.accept_server_certificates,
            allow_sha1_dangerous=subscription.dangerous_accept_sha1,
            threshold=subscription.threshold,
            endorser=endorser,
            co_endorsers=co_endorsers,
            list_identifier=subscription.list_identifier,
            limits=trust.Limits(**subscription.limits),
        )
    except errors.Misconfigured as exc:
        raise errors.Misconfigured(
            f'group [subscription:{subscription.name}]: {exc}'
        ) from exc


def _mode(text: str) -> Literal['require', 'if-present', 'off']:
    """A knob's word as its type; trust refuses any other word."""
    return cast(Literal['require', 'if-present', 'off'], text)


def _name(
    subscription: subscription_.Subscription, option: str, text: str
) -> trust.Name:
    try:
        return names.parse(text)
    except ValueError as exc:
        raise errors.Misconfigured(
            f'group [subscription:{subscription.name}] option {option}: {exc}'
        ) from exc


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
    form = envelope(subscription)
    if form is None:
        return trust.verify(
            message, anchors, policy(subscription), _moment(now)
        )
    return trust.verify_enveloped(
        message, form, anchors, policy(subscription), _moment(now)
    )


def envelope(
    subscription: subscription_.Subscription,
) -> trust.Envelope | None:
    """In which form its lists are signed; None stands for S/MIME.

    :raises errors.Misconfigured: the form is known but cannot be loaded
    """
    return _envelope(subscription.url.partition(':')[0].lower())


@functools.cache
def _envelope(scheme: str) -> trust.Envelope | None:
    if scheme in _SMIME or scheme not in drivers.names(_ENVELOPES):
        return None
    form: trust.Envelope = drivers.load(_ENVELOPES, scheme)
    return form


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


def standing(
    subscription: subscription_.Subscription,
    message: bytes,
    anchors: trust.TrustAnchors,
    now: int,
) -> model.Standing:
    """How a stored message fares today.

    A certificate that was revoked since, an anchor that was removed or a
    CRL that ran out act here, without the endorser's server.

    :raises errors.Misconfigured: for a subscription that cannot be used
    """
    try:
        _verified(subscription, message, anchors, now)
    except errors.Refused as exc:
        if exc.code in _JUDGED_LATER:
            return model.Standing.TRUSTED
        if exc.code == trust.Code.REVOKED:
            return model.Standing.REVOKED
        return model.Standing.DISTRUSTED
    return model.Standing.TRUSTED


def store_list(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    endorsed: trust.EndorsedList,
    message: bytes,
    validators: fetch.Validators,
    now: int,
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
        {
            'configured': True,
            'standing': model.Standing.TRUSTED.value,
            'verified_at': now,
            'max_age': subscription.list_max_age,
            'projects': settle.projects_text(subscription, image_list.vo),
            'last_attempt': now,
            'last_code': str(trust.Code.OK),
            'last_detail': '',
            'etag': validators.etag,
            'last_modified': validators.last_modified,
            'list_id': _message_row(
                transaction, subscription.name, state, endorsed, message, now
            ),
            'list_identifier': image_list.identifier,
            'list_version': image_list.version,
            'created': _seconds(image_list.created),
            'expires': _seconds(image_list.expires),
            'payload_sha256': endorsed.payload_sha256,
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
    )
    _remember(transaction, subscription.name, state, image_list, stored, now)
    return stored


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

    Of a large refused message only the digest is kept: whoever answers for
    a server must not be able to fill the database.

    :returns: the row's id
    """
    table = schema.list_seen
    digest = hashlib.sha256(message).hexdigest()
    accepted = endorsed is not None
    if not accepted:
        known = transaction.execute(
            sa.select(table.c.id).where(
                table.c.subscription == name,
                table.c.message_sha256 == digest,
                table.c.code == code,
            )
        ).first()
        if known is not None:
            return int(known.id)
    image_list = endorsed.image_list if endorsed else None
    inserted = transaction.execute(
        table.insert().values(
            subscription=name,
            seen_at=now,
            verdict='accepted' if accepted else 'refused',
            code=str(code),
            detail=detail,
            message_sha256=digest,
            message=message if accepted or len(message) <= KEPT else b'',
            list_identifier=image_list.identifier if image_list else None,
            list_version=image_list.version if image_list else None,
            signers=json.dumps(
                [
                    {
                        'subject': signer.subject.rfc4514(),
                        'issuer': signer.issuer.rfc4514(),
                        'sha256': signer.sha256,
                    }
                    for signer in (endorsed.signers if endorsed else ())
                ]
            ),
        )
    )
    key = inserted.inserted_primary_key
    return int(key[0]) if key else 0


def _moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _seconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp())

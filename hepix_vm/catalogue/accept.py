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
import hashlib
import json
from typing import Any
from typing import cast
from typing import Literal

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
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

#: Codes of a stored list's verification that decisions judge themselves,
#: at decision time and by the list's own dates.
_JUDGED_LATER = frozenset({trust.Code.LIST_EXPIRED})


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """What storing a list changed.

    :ivar problems: entries that were left out, with the reason
    """

    new_list: bool
    added: int = 0
    withdrawn: int = 0
    problems: tuple[str, ...] = ()


def policy(subscription: subscription_.Subscription) -> trust.Policy:
    """What the subscription demands of a signer.

    :raises errors.Misconfigured: for a DN that cannot be read in one way
    """
    return trust.Policy(
        crl=_mode(subscription.crl),
        signing_policy=_mode(subscription.signing_policy),
        pins=subscription.pins,
        accept_self_signed_pinned=subscription.dangerous_accept_self_signed,
        accept_server_auth=subscription.accept_server_certificates,
        allow_sha1_dangerous=subscription.dangerous_accept_sha1,
        endorser=trust.Endorser(
            subject=_name(subscription, 'endorser_subject'),
            issuer=_name(subscription, 'endorser_issuer'),
        ),
        list_identifier=subscription.list_identifier,
    )


def _mode(text: str) -> Literal['require', 'if-present', 'off']:
    """A knob's word as its type; trust refuses any other word."""
    return cast(Literal['require', 'if-present', 'off'], text)


def _name(subscription: subscription_.Subscription, option: str) -> trust.Name:
    text = getattr(subscription, option)
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
    state: store.SubscriptionState | None,
    now: int,
) -> trust.EndorsedList:
    """Believe a message, or say why not.

    :raises errors.Refused: for a message that is not believed, rollback
        and equivocation included
    :raises errors.Misconfigured: for a subscription that cannot be used
    """
    when = _moment(now)
    endorsed = trust.verify(message, anchors, policy(subscription), when)
    replay.check(_seen(state), endorsed, when)
    return endorsed


def _seen(state: store.SubscriptionState | None) -> replay.Seen | None:
    if (
        state is None
        or state.list_identifier is None
        or state.list_version is None
        or state.created is None
        or state.payload_sha256 is None
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
        trust.verify(message, anchors, policy(subscription), _moment(now))
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
) -> Stored:
    """Make a believed list the newest one of its subscription."""
    state = store.subscription_state(transaction.connection, subscription.name)
    image_list = endorsed.image_list
    values: dict[str, Any] = {
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
    }
    same = (
        state is not None and state.payload_sha256 == endorsed.payload_sha256
    )
    key = {'name': subscription.name}
    if state is not None and state.standing is not model.Standing.TRUSTED:
        transaction.remember(
            now,
            'sync',
            'standing',
            subscription.name,
            f'{state.standing} is now {model.Standing.TRUSTED}',
        )
    if same:
        transaction.put(schema.subscription, key, values)
        return Stored(new_list=False)
    list_id = remember_message(
        transaction,
        subscription.name,
        message,
        now,
        trust.Code.OK,
        '',
        endorsed,
    )
    values |= {
        'list_id': list_id,
        'list_identifier': image_list.identifier,
        'list_version': image_list.version,
        'created': _seconds(image_list.created),
        'expires': _seconds(image_list.expires),
        'payload_sha256': endorsed.payload_sha256,
    }
    transaction.put(schema.subscription, key, values)
    stored = _merge(transaction, subscription, image_list, now)
    transaction.remember(
        now,
        'sync',
        'list-accepted',
        subscription.name,
        f'list {image_list.identifier} version {image_list.version}: '
        f'{stored.added} images added, {stored.withdrawn} withdrawn',
    )
    for problem in stored.problems:
        transaction.remember(
            now, 'sync', 'list-problem', subscription.name, problem
        )
    return stored


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
            message=message,
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


def _merge(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    image_list: imagelist.ImageList,
    now: int,
) -> Stored:
    """Bring the subscription's endorsements to what the list says."""
    connection = transaction.connection
    known = {
        (image.identifier, image.version, image.sha512): image
        for image in store.images(
            connection, subscription.name, with_withdrawn=True
        )
    }
    held = store.identifiers_held(
        connection,
        (image.identifier for image in image_list.images),
        subscription.name,
    )
    by_identifier: dict[str, list[store.Image]] = {}
    for image in known.values():
        by_identifier.setdefault(image.identifier, []).append(image)
    problems = [str(p) for p in image_list.problems]
    listed = set()
    added: list[dict[str, Any]] = []
    for entry in image_list.images:
        problem = _problem(
            entry, held, by_identifier.get(entry.identifier, [])
        )
        if problem:
            problems.append(f'at {entry.place}: {problem}')
            continue
        key = (entry.identifier, entry.version, entry.sha512)
        listed.add(key)
        values = _row(entry, image_list.vo)
        if key not in known:
            added.append(
                values
                | {
                    'subscription': subscription.name,
                    'revision': transaction.revision,
                    'approved': False,
                    'withdrawn': False,
                    'first_seen': now,
                }
            )
        elif _differs(known[key], values):
            _update(
                transaction, [known[key].row], values | {'withdrawn': False}
            )
    if added:
        transaction.connection.execute(schema.endorsement.insert(), added)
    gone = [
        image.row
        for key, image in known.items()
        if key not in listed and not image.withdrawn
    ]
    _update(transaction, gone, {'withdrawn': True})
    settle.approvals(transaction, subscription)
    return Stored(True, len(added), len(gone), tuple(problems))


def _problem(
    entry: imagelist.ImageEntry,
    held: dict[str, str],
    known: list[store.Image],
) -> str:
    """Why an entry does not count; '' when it does.

    The rules are the specification's: an image identifier belongs to the
    list that had it first, and the versions of an image never decrease.
    """
    if entry.identifier in held:
        return (
            f'image {entry.identifier} is already listed by subscription '
            f'{held[entry.identifier]}, which keeps it; one of the two '
            'endorsers has to use another identifier'
        )
    version = imagelist.version_key(entry.version)
    for image in known:
        other = imagelist.version_key(image.version)
        if other > version:
            return (
                f'image {entry.identifier} went back from version '
                f'{image.version} to {entry.version}; its endorser has to '
                'raise the version'
            )
        if other == version and image.sha512 != entry.sha512:
            return (
                f'image {entry.identifier} has other bytes under the same '
                f'version {entry.version}; its endorser has to raise the '
                'version'
            )
    return ''


def _row(entry: imagelist.ImageEntry, vo: str | None) -> dict[str, Any]:
    return {
        'identifier': entry.identifier,
        'version': entry.version,
        'sha512': entry.sha512,
        'size': entry.size,
        'expires': None if entry.expires is None else _seconds(entry.expires),
        'vo': vo,
        'title': entry.title,
        'uri': entry.uri,
        'entry': json.dumps(
            {
                'description': entry.description,
                'arch': entry.arch,
                'os': entry.os,
                'os_name': entry.os_name,
                'os_version': entry.os_version,
                'hypervisors': list(entry.hypervisors),
                'format': entry.format,
                'core_minimum': entry.core_minimum,
                'ram_minimum': entry.ram_minimum,
                'mpuri': entry.mpuri,
                'comments': entry.comments,
            },
            sort_keys=True,
        ),
    }


def _differs(image: store.Image, values: dict[str, Any]) -> bool:
    if image.withdrawn:
        return True
    return any(
        getattr(image, name) != value
        for name, value in values.items()
        if name != 'entry'
    ) or image.entry != json.loads(values['entry'])


def _update(
    transaction: database.Transaction, rows: list[int], values: dict[str, Any]
) -> None:
    table = schema.endorsement
    for start in range(0, len(rows), 500):
        transaction.execute(
            table.update()
            .where(table.c.id.in_(rows[start : start + 500]))
            .values(**values, revision=transaction.revision)
        )


def _moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _seconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp())

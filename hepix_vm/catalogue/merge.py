# SPDX-License-Identifier: Apache-2.0
"""A believed list becomes endorsements: what is new, what is gone, and which
of its entries do not count.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import datetime
import json
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import imagelist


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """What storing a list changed.

    :ivar problems: entries that were left out, with the reason, and
        withdrawals that wait for the operator
    """

    new_list: bool
    added: int = 0
    withdrawn: int = 0
    problems: tuple[str, ...] = ()


def merge(
    transaction: database.Transaction,
    subscription: subscription_.Subscription,
    image_list: imagelist.ImageList,
    new_list: bool,
    start_afresh: bool,
    now: int,
    another_list: bool = False,
) -> Stored:
    """Bring the subscription's endorsements to what the list says.

    :param start_afresh: whether versions may be lower than those before
    :param another_list: whether the operator follows another list than
        before under this name, so that its images all go
    """
    connection = transaction.connection
    known = {
        (image.identifier, image.version, image.sha512): image
        for image in _rows(connection, subscription.name)
    }
    entries, problems = _good_entries(
        image_list,
        () if start_afresh else known.values(),
        store.identifiers_held(
            connection,
            (image.identifier for image in image_list.images),
            subscription.name,
        ),
    )
    live = [image for image in known.values() if not image.withdrawn]
    lost = _held_back(
        None if another_list else subscription.brake,
        {image.identifier for image in live},
        {entry.identifier for entry in entries},
    )
    added = _enter(
        transaction, subscription.name, entries, image_list.vo, known, now
    )
    withdrawn = _withdraw(
        transaction,
        [
            image
            for image in known.values()
            if not image.withdrawn and image.identifier not in lost
        ],
        {entry.identifier for entry in entries},
        subscription.replace_grace,
        now,
    )
    _hold(transaction, subscription.name, live, lost, now)
    if lost:
        problems.append(_waiting(subscription.name, len(lost)))
    settle.approvals(transaction, subscription)
    transaction.put(
        schema.subscription,
        {'name': subscription.name},
        settle.settled_by(subscription),
    )
    return Stored(new_list, added, withdrawn, tuple(problems))


def _enter(
    transaction: database.Transaction,
    subscription: str,
    entries: Iterable[imagelist.ImageEntry],
    vo: str | None,
    known: dict[tuple[str, str, str], Any],
    now: int,
) -> int:
    """Make a row of each entry; what is left in ``known`` is not listed.

    :param known: rows that are there, by identifier, version and SHA-512
    :returns: how many are new
    """
    added: list[dict[str, Any]] = []
    for entry in entries:
        values = _row(entry, vo)
        image = known.pop(
            (entry.identifier, entry.version, entry.sha512), None
        )
        if image is None:
            added.append(
                values
                | {
                    'subscription': subscription,
                    'revision': transaction.revision,
                    'approved': False,
                    'withdrawn': False,
                    'proven': False,
                    'first_seen': now,
                }
            )
        elif _differs(image, values):
            _update(
                transaction,
                [image.id],
                values
                | {
                    'withdrawn': False,
                    'held_at': None,
                    'replaced_until': None,
                },
            )
    if added:
        transaction.connection.execute(schema.endorsement.insert(), added)
    return len(added)


def _withdraw(
    transaction: database.Transaction,
    gone: Iterable[Any],
    listed: set[str],
    grace: int,
    now: int,
) -> int:
    """End what the list no longer has; replaced versions after their grace.

    :param gone: rows that the list does not have
    :param listed: image identifiers that it has
    :param grace: seconds
    :returns: how many ended or were replaced
    """
    ended, replaced = [], []
    for image in gone:
        until = image.replaced_until
        if image.identifier not in listed or not grace:
            ended.append(image.id)
        elif until is None:
            replaced.append(image.id)
        elif now >= until:
            ended.append(image.id)
    _update(
        transaction,
        ended,
        {'withdrawn': True, 'held_at': None, 'replaced_until': None},
    )
    _update(
        transaction,
        replaced,
        {'held_at': None, 'replaced_until': now + grace},
    )
    return len(ended) + len(replaced)


def _held_back(
    brake: subscription_.Brake | None, before: set[str], listed: set[str]
) -> set[str]:
    """The images that are gone but may not go yet.

    An image whose newer version is listed is not gone. What waits already
    counts as there, so that a list that takes away little by little has to
    wait all the same.
    """
    lost = before - listed
    if brake is None or not brake.holds(len(lost), len(before)):
        return set()
    return lost


def _hold(
    transaction: database.Transaction,
    name: str,
    live: list[Any],
    lost: set[str],
    now: int,
) -> None:
    """Note what waits from now on, and tell the history of both ends."""
    begins = [
        image
        for image in live
        if image.identifier in lost and image.held_at is None
    ]
    ends = {
        image.identifier
        for image in live
        if image.held_at is not None and image.identifier not in lost
    }
    _update(transaction, [image.id for image in begins], {'held_at': now})
    if begins:
        waiting = len({image.identifier for image in begins})
        transaction.remember(
            now, 'sync', 'withdrawals-held', name, f'{waiting} images'
        )
    if ends:
        transaction.remember(
            now, 'sync', 'withdrawals-released', name, f'{len(ends)} images'
        )


def _waiting(name: str, held: int) -> str:
    return (
        f'{held} of its images are gone, more than brake_images or '
        'brake_percent lets go at once; their withdrawal waits: ask the '
        'endorser, then run '
        f'"hepix-vm subscription confirm {name} --reason ...", or wait for a '
        'list that names them again'
    )


#: Keys of AppDB's lists and of EGI's newer ones.
_PASSED_ON = ('ad:', 'eu.egi.cloud.')

#: What a list says of an image, as the columns that keep it.
_SAID = (
    'identifier',
    'version',
    'sha512',
    'size',
    'expires',
    'vo',
    'title',
    'uri',
    'entry',
)
_KEPT = ('id', 'withdrawn', 'held_at', 'replaced_until')


def _rows(connection: sa.Connection, name: str) -> list[Any]:
    """The endorsements of a subscription; ``entry`` stays text."""
    table = schema.endorsement
    columns = [table.c[column] for column in (*_KEPT, *_SAID)]
    return list(
        connection.execute(
            sa.select(*columns).where(table.c.subscription == name)
        )
    )


def _good_entries(
    image_list: imagelist.ImageList,
    known: Iterable[Any],
    held: dict[str, str],
) -> tuple[list[imagelist.ImageEntry], list[str]]:
    """The entries that count, and what speaks against the others."""
    by_identifier: dict[str, list[Any]] = {}
    for image in known:
        by_identifier.setdefault(image.identifier, []).append(image)
    problems = [str(p) for p in image_list.problems]
    entries = []
    for entry in image_list.images:
        earlier = by_identifier.get(entry.identifier, [])
        problem = _problem(entry, held, earlier)
        if problem:
            problems.append(f'at {entry.place}: {problem}')
        else:
            entries.append(entry)
    return entries, problems


def _problem(
    entry: imagelist.ImageEntry,
    held: dict[str, str],
    known: list[Any],
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
    for image in known:
        if (image.version, image.sha512) == (entry.version, entry.sha512):
            continue
        version = imagelist.version_key(entry.version)
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


# One for all: making it is most of the work.
_ENCODER = json.JSONEncoder(sort_keys=True)


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
        'entry': _ENCODER.encode(
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
            }
            | _extra(entry)
        ),
    }


def _extra(entry: imagelist.ImageEntry) -> dict[str, Any]:
    """Keys of a dialect that a published image passes on to its readers.

    Single values only, and not many: what a list says there is not bounded.
    """
    kept = {
        key: value
        for key, value in entry.extra.items()
        if key.startswith(_PASSED_ON)
        and len(key) <= 128
        and (
            isinstance(value, int)
            or (isinstance(value, str) and len(value) <= 1024)
        )
    }
    return {'extra': dict(list(kept.items())[:64])} if kept else {}


def _differs(image: Any, values: dict[str, Any]) -> bool:
    if (
        image.withdrawn
        or image.held_at is not None
        or image.replaced_until is not None
    ):
        return True
    return bool(image[len(_KEPT) :] != tuple(values[c] for c in _SAID))


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


def _seconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp())

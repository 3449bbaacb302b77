# SPDX-License-Identifier: Apache-2.0
"""Signed messages that were seen: what is kept of each, and for how long.

Each row of ``list_seen`` is bound into the history by a line that names it
and covers all of it but the message's bytes, which have their own SHA-256
there. What servers send is bounded: the same refusal is kept once, a large
refused message or one too many is kept as its digest only, and refused
messages are dropped when they are old. Rows are never removed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema

#: Bytes of a refused message that are kept at most.
LARGEST = 1024 * 1024

#: Refused messages of a subscription that are kept at a time (count).
MOST = 100

#: Events of the history that speak of messages.
SEEN = 'list-seen'
PRUNED = 'messages-pruned'

ACCEPTED = 'accepted'
REFUSED = 'refused'

# Messages that one transaction and one line of the history let go (count).
_AT_ONCE = 500

_LINE = re.compile(
    r'message (\d+): (?:accepted|refused) as \S+, (\d+) bytes(, not kept)?, '
    r'row ([0-9a-f]{64}), of subscription .*',
    re.DOTALL,
)
_PRUNED_LINE = re.compile(r'refused messages ([0-9, ]+) are older than .*')


@dataclasses.dataclass(frozen=True, slots=True)
class Believed:
    """What an accepted message said, as its row keeps it.

    :ivar signers: JSON; a list of objects with subject, issuer and sha256
    """

    list_identifier: str
    list_version: str
    signers: str


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """What a line of the history says of a row of ``list_seen``.

    :ivar kept: whether the message was kept with its digest
    :ivar row_sha256: see :func:`row_digest`
    """

    row: int
    size: int
    kept: bool
    row_sha256: str


def keep(
    transaction: database.Transaction,
    subscription: str,
    message: bytes,
    now: int,
    code: str,
    detail: str,
    believed: Believed | None = None,
) -> int:
    """Keep a message with its verdict; the same refusal is kept once.

    :param believed: None for a refused message
    :returns: the row's id
    """
    digest = hashlib.sha256(message).hexdigest()
    kept = True
    if believed is None:
        known = _refused_before(transaction, subscription, digest, code)
        if known is not None:
            return known
        kept = len(message) <= LARGEST and _room(transaction, subscription)
    values = {
        'subscription': subscription,
        'seen_at': now,
        'verdict': ACCEPTED if believed else REFUSED,
        'code': code,
        'detail': chain.text(detail),
        'message_sha256': digest,
        'size': len(message),
        'list_identifier': believed.list_identifier if believed else None,
        'list_version': believed.list_version if believed else None,
        'signers': believed.signers if believed else '[]',
    }
    inserted = transaction.execute(
        schema.list_seen.insert().values(
            message=message if kept else b'', kept=kept, **values
        )
    )
    key = inserted.inserted_primary_key
    row = int(key[0]) if key else 0
    transaction.remember(
        now,
        'sync',
        SEEN,
        digest,
        f'message {row}: {values["verdict"]} as {code}, {len(message)} bytes'
        f'{"" if kept else ", not kept"}, row '
        f'{row_digest(values | {"id": row})}, of subscription {subscription}',
    )
    return row


def _refused_before(
    transaction: database.Transaction,
    subscription: str,
    digest: str,
    code: str,
) -> int | None:
    table = schema.list_seen
    found = transaction.execute(
        sa.select(table.c.id).where(
            table.c.subscription == subscription,
            table.c.message_sha256 == digest,
            table.c.code == code,
        )
    ).first()
    return None if found is None else int(found.id)


def _room(transaction: database.Transaction, subscription: str) -> bool:
    """Whether another refused message of that subscription is kept."""
    table = schema.list_seen
    held = transaction.execute(
        sa.select(sa.func.count())
        .select_from(table)
        .where(
            table.c.subscription == subscription,
            table.c.verdict == REFUSED,
            table.c.kept == sa.true(),
        )
    ).scalar_one()
    return int(held) < MOST


def row_digest(row: Any) -> str:
    """SHA-256 (hex) of a row, whatever became of its message's bytes.

    :param row: mapping with the columns of ``list_seen``
    """
    text = json.dumps(
        [
            row['id'],
            row['subscription'],
            row['seen_at'],
            row['verdict'],
            row['code'],
            row['detail'],
            row['message_sha256'],
            row['size'],
            row['list_identifier'],
            row['list_version'],
            row['signers'],
        ],
        separators=(',', ':'),
    )
    return hashlib.sha256(text.encode('ascii')).hexdigest()


def bound(detail: str) -> Bound | None:
    """What the detail of a line of event :data:`SEEN` says."""
    match = _LINE.fullmatch(detail)
    if match is None:
        return None
    row, size, not_kept, digest = match.groups()
    return Bound(int(row), int(size), not not_kept, digest)


def prune(database_: database.Database, now: int, days: int) -> int:
    """Let go of refused messages that are older; their rows stay.

    :param days: how long they are kept
    :returns: how many there were
    """
    before = now - days * 86400
    total = 0
    while True:
        dropped = database_.transact(
            lambda transaction: _prune_some(transaction, now, before, days)
        )
        total += dropped
        if dropped < _AT_ONCE:
            return total


def _prune_some(
    transaction: database.Transaction, now: int, before: int, days: int
) -> int:
    table = schema.list_seen
    rows = transaction.execute(
        sa.select(table.c.id, table.c.subscription)
        .where(
            table.c.verdict == REFUSED,
            table.c.kept == sa.true(),
            table.c.seen_at < before,
        )
        .order_by(table.c.seen_at)
        .limit(_AT_ONCE)
    ).all()
    if not rows:
        return 0
    transaction.execute(
        table.update()
        .where(table.c.id.in_([row.id for row in rows]))
        .values(message=b'', kept=False)
    )
    for name in sorted({row.subscription for row in rows}):
        ids = sorted(row.id for row in rows if row.subscription == name)
        transaction.remember(
            now,
            'sync',
            PRUNED,
            name,
            f'refused messages {", ".join(map(str, ids))} are older than '
            f'{days} days; their digests stay',
        )
    return len(rows)


def pruned(detail: str) -> tuple[int, ...]:
    """The rows that a line of event :data:`PRUNED` names."""
    match = _PRUNED_LINE.fullmatch(detail)
    if match is None:
        return ()
    return tuple(int(word) for word in match[1].split(', '))

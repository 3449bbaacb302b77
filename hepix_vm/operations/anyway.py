# SPDX-License-Identifier: Apache-2.0
"""Images that the site runs although their endorsement has ended."""

from __future__ import annotations

import dataclasses
import datetime

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import excerpt
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.operations import images
from hepix_vm.operations import site as site_


#: Why a record may have been withdrawn that runs anyway.
_PASSED_OVER = sorted(
    code.value for code in model.PASSED_OVER & model.WITHDRAWING
)


@dataclasses.dataclass(frozen=True, slots=True)
class Allowed:
    """Bytes that run anyway.

    :ivar until: UNIX seconds
    :ivar decision: of the bytes, from now on
    :ivar restored: Glance images whose records are positive again
    """

    sha512: str
    until: int
    decision: model.Decision
    restored: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """Bytes that no longer run anyway, and the records that this withdrew."""

    sha512: str
    withdrawals: tuple[settle.Withdrawal, ...]


def allow(
    site: site_.Site, now: int, named: str, until: int, who: str, reason: str
) -> Allowed:
    """Let bytes run for a time although their endorsement ends or has ended.

    A revocation, a block and a list that is not believed count all the same,
    now and later.

    :param named: image identifier, SHA-512 or Glance image id
    :param until: UNIX seconds
    :raises errors.Misconfigured: for a time in the past or too far away, an
        image that is not known or stands for several contents, and one that
        something else than its end speaks against
    """
    longest = site.run_anyway_longest
    if not now < until <= now + longest:
        raise errors.Misconfigured(
            f'option --until: expected a time from now to {longest} seconds '
            f'ahead ([catalogue] run_anyway_longest), found {until - now} '
            'seconds ahead'
        )

    def work(transaction: database.Transaction) -> Allowed:
        connection = transaction.connection
        sha512 = _content(connection, named.lower(), ())
        snapshot = dataclasses.replace(
            excerpt.of_bytes(connection, now, sha512),
            run_anyway={sha512: until},
        )
        decision = _decision(snapshot, sha512, named, now)
        transaction.put(
            schema.run_anyway,
            {'sha512': sha512},
            {'until': until, 'at': now, 'who': who, 'reason': reason},
        )
        transaction.remember(
            now,
            who,
            'run-anyway',
            sha512,
            f'until {_time(until)}: {reason}',
        )
        return Allowed(
            sha512, until, decision, _restored(transaction, sha512, now, who)
        )

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def end(
    site: site_.Site, now: int, named: str, who: str, reason: str
) -> Ended:
    """No longer let bytes run anyway; refused at once.

    :param named: image identifier, SHA-512 or Glance image id
    :raises errors.Misconfigured: when there is no such image, or it does
        not run anyway
    """

    def work(transaction: database.Transaction) -> Ended:
        table = schema.run_anyway
        running = set(
            transaction.execute(
                sa.select(table.c.sha512).where(table.c.until > now)
            ).scalars()
        )
        sha512 = _content(transaction.connection, named.lower(), running)
        if sha512 not in running:
            raise errors.Misconfigured(
                f'image {named}: expected one that runs anyway, found none '
                'of that name'
            )
        transaction.execute(
            table.update()
            .where(table.c.sha512 == sha512)
            .values(until=now, revision=transaction.revision)
        )
        transaction.remember(now, who, 'run-anyway-ended', sha512, reason)
        return Ended(sha512, settle.records(transaction, now))

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def _content(
    connection: sa.Connection, named: str, among: set[str] | tuple[()]
) -> str:
    """The SHA-512 that a name stands for.

    :param among: where a name stands for several, these are asked first
    """
    records = store.records(connection, image_id=named)
    if records:
        return records[0].sha512
    found = store.images(connection, named=named, with_withdrawn=True)
    if not found:
        raise images.unknown(named)
    contents = {item.sha512 for item in found}
    if len(contents) > 1 and len(contents & set(among)) == 1:
        contents &= set(among)
    if len(contents) > 1:
        newest = sorted(found, key=lambda item: -item.row)[:5]
        raise errors.Misconfigured(
            f'image {named}: stands for {len(contents)} contents; name one '
            'by its SHA-512: '
            + ', '.join(
                f'{item.sha512} (version {item.version}, subscription '
                f'{item.subscription}'
                f'{", no longer listed" if item.withdrawn else ""})'
                for item in newest
            )
        )
    return contents.pop()


def _decision(
    snapshot: model.Snapshot, sha512: str, named: str, now: int
) -> model.Decision:
    """What will be decided of the bytes.

    :raises errors.Misconfigured: when running anyway would not help them
    """
    sizes = {item.size for item in snapshot.endorsements.get(sha512, ())}
    if not sizes:
        raise images.unknown(named)
    decisions = [
        model.decide_bytes(snapshot, sha512, size, None, now, 1)
        for size in sorted(sizes)
    ]
    for decision in decisions:
        if decision.approved:
            return decision
    raise errors.Misconfigured(
        f'image {named}: cannot run anyway, because {decisions[0].sentence}'
    )


def _restored(
    transaction: database.Transaction, sha512: str, now: int, who: str
) -> tuple[str, ...]:
    """Make records good again that only the endorsement's end withdrew."""
    snapshot = excerpt.of_bytes(transaction.connection, now, sha512)
    table = schema.glance_record
    rows = transaction.execute(
        sa.select(table.c.image_id).where(
            table.c.sha512 == sha512,
            table.c.state == model.RecordState.WITHDRAWN.value,
            # An import that never ended well has nothing to return to.
            table.c.was_positive == sa.true(),
            table.c.reason.in_(_PASSED_OVER),
        )
    ).all()
    restored = []
    for row in rows:
        record = snapshot.records[row.image_id]
        decision = model.decide_record(snapshot, record, None, now, 1)
        if not decision.approved:
            continue
        transaction.put(
            table,
            {'image_id': row.image_id},
            {'state': model.RecordState.POSITIVE.value, 'reason': ''},
        )
        transaction.remember(
            now, who, 'record-restored', row.image_id, decision.sentence
        )
        restored.append(row.image_id)
    return tuple(restored)


def _time(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime('%Y-%m-%dT%H:%M:%SZ')

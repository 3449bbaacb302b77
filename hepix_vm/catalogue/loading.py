# SPDX-License-Identifier: Apache-2.0
"""Rows of the catalogue as the frozen values that decisions use."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import json
import sys
import time
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import model
from hepix_vm.catalogue import packed
from hepix_vm.catalogue import schema


#: What decisions need of an endorsement.
_ENDORSEMENT = tuple(
    schema.endorsement.c[name]
    for name in (
        'id',
        'subscription',
        'identifier',
        'version',
        'sha512',
        'size',
        'expires',
        'approved',
        'withdrawn',
        'held_at',
        'replaced_until',
        'vo',
    )
)


#: What they need of a Glance record.
_RECORD = tuple(
    schema.glance_record.c[name]
    for name in (
        'image_id',
        'state',
        'sha512',
        'size',
        'final_sha512',
        'final_size',
        'created_at',
        'boot',
        'parent',
    )
)
#: Rows of a large table that are in memory at once.
_AT_ONCE = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot and the identity of the store that it came from.

    :ivar mark: of the snapshot's revision; see ``schema.mark``
    """

    store: str
    mark: str | None
    snapshot: model.Snapshot


def load(
    connection: sa.Connection,
    previous: Loaded | None,
    now: int,
    nothing: model.Snapshot = model.EMPTY,
) -> Loaded:
    """The newest snapshot, reading only what changed since the previous.

    A store that is not what the previous snapshot was taken of (another one,
    or restored from a back-up, also when it has gone on since) is read from
    its beginning.

    :param nothing: what to begin with, such as :func:`packed_snapshot`
    """
    table = schema.catalogue
    row = connection.execute(
        sa.select(
            table.c.store,
            table.c.number,
            table.c.children,
            schema.mark.c.value,
        )
        .outerjoin(schema.mark, schema.mark.c.number == table.c.number)
        .where(table.c.id == 1)
    ).one()
    number = int(row.number)
    base = dataclasses.replace(nothing, revision=-1)
    if previous is not None and previous.store == row.store:
        seen = previous.snapshot
        if seen.revision == number and previous.mark == row.value:
            return dataclasses.replace(
                previous, snapshot=dataclasses.replace(seen, answered_at=now)
            )
        if seen.revision < number and _marked(
            connection, seen.revision, previous.mark
        ):
            base = seen
    advanced = _advanced(connection, base, number, now)
    children = model.Children(row.children)
    return Loaded(
        row.store,
        row.value,
        dataclasses.replace(advanced, children=children),
    )


def _marked(
    connection: sa.Connection, revision: int, mark: str | None
) -> bool:
    """Whether that revision is in the store's past; False if too long ago."""
    table = schema.mark
    found = connection.execute(
        sa.select(table.c.value).where(table.c.number == revision)
    ).scalar()
    return found is not None and found == mark


def _advanced(
    connection: sa.Connection, base: model.Snapshot, number: int, now: int
) -> model.Snapshot:
    since = base.revision
    subscriptions = dict(base.subscriptions)
    for row in _subscriptions(connection, since):
        value = subscribed(row)
        if value is not None:
            subscriptions[row.name] = value
        else:
            subscriptions.pop(row.name, None)
    run_anyway = dict(base.run_anyway)
    for row in _changed(connection, schema.run_anyway, since):
        run_anyway[row.sha512] = int(row.until)
    quarantined = dict(base.quarantined)
    for row in _changed(connection, schema.quarantine, since):
        if row.held:
            quarantined[row.image_id] = row.project
        else:
            quarantined.pop(row.image_id, None)
    blocked = set(base.blocked)
    for row in _changed(connection, schema.block, since):
        (blocked.add if row.active else blocked.discard)(row.target)
    return model.Snapshot(
        subscriptions=subscriptions,
        endorsements=_endorsements(
            base, _changed(connection, schema.endorsement, since)
        ),
        records=_records(
            base, _changed(connection, schema.glance_record, since)
        ),
        blocked=frozenset(blocked),
        answered_at=now,
        revision=number,
        run_anyway=run_anyway,
        derived=_derived(base, _changed(connection, schema.derived, since)),
        quarantined=quarantined,
    )


def _subscriptions(connection: sa.Connection, since: int) -> Iterable[Any]:
    """With who signed the list that counts."""
    table, lists = schema.subscription, schema.list_seen
    return connection.execute(
        sa.select(table, lists.c.signers)
        .outerjoin(lists, lists.c.id == table.c.list_id)
        .where(table.c.revision > since)
    )


def _changed(
    connection: sa.Connection, table: sa.Table, since: int
) -> Iterable[Any]:
    changed = table.c.revision > since
    large = _LARGE.get(table.name)
    if large is None:
        return connection.execute(sa.select(table).where(changed))
    return _in_parts(
        connection.execute(
            sa.select(*large).where(changed),
            execution_options={'yield_per': _AT_ONCE},
        )
    )


_LARGE = {'endorsement': _ENDORSEMENT, 'glance_record': _RECORD}


def _in_parts(result: sa.CursorResult[Any]) -> Iterable[Any]:
    for part in result.partitions():
        yield from part
        # Lets others run where threads are green ones.
        time.sleep(0)


def packed_snapshot() -> model.Snapshot:
    """An empty one, which takes little memory when it grows large."""
    return dataclasses.replace(
        model.EMPTY,
        records=packed.Records(),
        endorsements=packed.Endorsements(),
    )


# What is large is copied only where something of it changed.
def _records(
    base: model.Snapshot, rows: Iterable[Any]
) -> Mapping[str, model.GlanceRecord]:
    made = map(record, rows)
    if isinstance(base.records, packed.Records):
        return base.records.changed(made)
    changed = {one.image_id: one for one in made}
    return {**base.records, **changed} if changed else base.records


def _endorsements(
    base: model.Snapshot, rows: Iterable[Any]
) -> Mapping[str, tuple[model.Endorsement, ...]]:
    made = map(endorsement, rows)
    if isinstance(base.endorsements, packed.Endorsements):
        return base.endorsements.changed(made)
    changed = list(made)
    if not changed:
        return base.endorsements
    index = dict(base.endorsements)
    for value in changed:
        others = tuple(
            e for e in index.get(value.sha512, ()) if e.row != value.row
        )
        index[value.sha512] = (*others, value)
    return index


def _derived(
    base: model.Snapshot, rows: Iterable[Any]
) -> Mapping[str, tuple[model.Derived, ...]]:
    changed = list(rows)
    if not changed:
        return base.derived
    index = dict(base.derived)
    for row in changed:
        value = derived(row)
        others = tuple(
            d for d in index.get(row.sha512, ()) if d.sha512 != value.sha512
        )
        index[row.sha512] = tuple(
            sorted((*others, value), key=lambda made: made.sha512)
        )
    return index


def subscribed(row: Any) -> model.Subscribed | None:
    """A subscription's row; None while no list was ever accepted."""
    if row.list_identifier is None or row.verified_at is None:
        return None
    standing = model.Standing(row.standing)
    if not row.configured:
        standing = model.Standing.UNSUBSCRIBED
    projects = None if row.projects is None else json.loads(row.projects)
    return model.Subscribed(
        name=row.name,
        list_identifier=row.list_identifier,
        list_version=row.list_version,
        standing=standing,
        expires=int(row.expires),
        verified_at=int(row.verified_at),
        max_age=int(row.max_age),
        projects=None if projects is None else frozenset(projects),
        held_run=bool(row.held_run),
        endorser=_endorser(row.signers),
    )


def _endorser(signers: str | None) -> str:
    found = json.loads(signers or '[]')
    return str(found[0]['subject']) if found else ''


def endorsement(row: Any) -> model.Endorsement:
    """An endorsement's row."""
    return model.Endorsement(
        row=int(row.id),
        subscription=sys.intern(row.subscription),
        identifier=row.identifier,
        version=sys.intern(row.version),
        sha512=row.sha512,
        size=int(row.size),
        expires=None if row.expires is None else int(row.expires),
        approved=bool(row.approved),
        withdrawn=bool(row.withdrawn),
        held=row.held_at is not None,
        replaced_until=(
            None if row.replaced_until is None else int(row.replaced_until)
        ),
        vo=sys.intern(row.vo or ''),
    )


def derived(row: Any) -> model.Derived:
    """A row of what the site made of endorsed bytes."""
    return model.Derived(
        size=int(row.size),
        sha512=row.origin_sha512,
        origin_size=int(row.origin_size),
        step=row.step,
    )


def record(row: Any) -> model.GlanceRecord:
    """A Glance record's row."""
    return model.GlanceRecord(
        image_id=row.image_id,
        state=model.RecordState(row.state),
        sha512=row.sha512,
        size=int(row.size),
        final_sha512=row.final_sha512,
        final_size=int(row.final_size),
        created_at=int(row.created_at),
        boot=None if row.boot is None else sys.intern(row.boot),
        parent=row.parent,
    )

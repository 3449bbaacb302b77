# SPDX-License-Identifier: Apache-2.0
"""Who fetched which context: rows that count, and what of them was lost.

No decision rests on these rows, so they have no revision; processes that
serve context write them side by side.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema

#: What an instance says of running a bundle: these rows are no fetch.
RAN, FAILED = 'ran', 'failed'

#: Forms that hold a bundle; manifests and features tell nothing of one.
BUNDLES = frozenset({'tgz', 'tgz.b64', 'vendordata'})

#: Instances that one statement names.
_NAMED = 500

#: Seconds without having been seen after which one is taken to have ended:
#: its row is open only while it writes.
GONE = 300

#: Seconds for which what was lost is counted.
SHOWN = 7 * 86400


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """What an instance did, as often as it did; times in UNIX seconds.

    :ivar what: kind of what was fetched, :data:`RAN` or :data:`FAILED`
    :ivar sha256: of the uncompressed tar; '': there is none
    :ivar serial: newest generation that these bytes came as; 0: unpublished
    :ivar project: id of the instance's project
    :ivar times: at least; the answer to a write may be lost, and it is done
        again
    """

    instance: str
    what: str
    sha256: str
    serial: int
    project: str
    first_at: int
    last_at: int
    times: int = 1

    @property
    def key(self) -> tuple[str, str, str]:
        """Notes of the same key are one row."""
        return (self.instance, self.what, self.sha256)

    def joined(self, other: Note) -> Note:
        """Both, as one."""
        newest = other if other.last_at >= self.last_at else self
        return dataclasses.replace(
            newest,
            serial=max(self.serial, other.serial),
            first_at=min(self.first_at, other.first_at),
            last_at=max(self.last_at, other.last_at),
            times=self.times + other.times,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """One that writes notes, or wrote them.

    :ivar name: host, process id and something of its own
    :ivar since: UNIX seconds
    :ivar seen_at: likewise
    :ivar open: whether it has not ended in good order
    :ivar lost: notes that it dropped
    """

    name: str
    since: int
    seen_at: int
    open: bool
    lost: int

    def crashed(self, now: int) -> bool:
        """Whether it ended with notes in its memory, as far as is known."""
        return self.open and self.seen_at < now - GONE


def write(
    store: database.Database, process: Process, notes: Sequence[Note]
) -> None:
    """Write notes, and how their process fares, all or nothing.

    One that ends in good order and has lost nothing leaves no row.

    :param notes: each key once
    :raises Exception: what a database does that is away, see
        ``database.FAILURES``
    """
    # In one order, so that two writers never wait for each other.
    rows = [
        dataclasses.asdict(note)
        for note in sorted(notes, key=lambda note: note.key)
    ]

    def work(connection: sa.Connection) -> None:
        if rows:
            _count(connection, rows)
        _be_seen(connection, process)

    store.beside(work)


def _count(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or add them to those that are there."""
    table = schema.context_fetches

    def together(new: Any) -> dict[str, Any]:
        def best(name: str, least: bool = False) -> sa.ColumnElement[Any]:
            old, given = table.c[name], new[name]
            better = given < old if least else given > old
            return sa.case((better, given), else_=old)

        return {
            'project': new['project'],
            'serial': best('serial'),
            'times': table.c.times + new['times'],
            'first_at': best('first_at', least=True),
            'last_at': best('last_at'),
        }

    _upsert(connection, table, rows, together)


def _be_seen(connection: sa.Connection, process: Process) -> None:
    table = schema.context_lost
    if not process.open and not process.lost:
        connection.execute(
            table.delete().where(table.c.process == process.name)
        )
        return
    row = dataclasses.asdict(process)
    row['process'] = row.pop('name')
    _upsert(
        connection,
        table,
        [row],
        lambda new: {name: new[name] for name in ('seen_at', 'open', 'lost')},
    )


def _upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: list[dict[str, Any]],
    together: Any,
) -> None:
    """Insert rows; those whose key is there change as ``together`` says.

    :param together: gives columns' new values, by the row that came
    """
    statement: Any
    if connection.dialect.name == 'mysql':
        statement = mysql.insert(table)
        statement = statement.on_duplicate_key_update(
            together(statement.inserted)
        )
    else:
        insert: Any = (
            sqlite.insert
            if connection.dialect.name == 'sqlite'
            else postgresql.insert
        )
        statement = insert(table)
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_=together(statement.excluded),
        )
    connection.execute(statement, rows)


def notes(
    connection: sa.Connection, instance: str | None = None
) -> Iterator[Note]:
    """What is noted, by instance, the oldest first.

    :param instance: only of this one
    """
    table = schema.context_fetches
    statement = sa.select(table).order_by(
        table.c.instance, table.c.last_at, table.c.what, table.c.sha256
    )
    if instance is not None:
        statement = statement.where(table.c.instance == instance)
    for row in connection.execute(statement):
        yield Note(**row._mapping)


def processes(connection: sa.Connection) -> tuple[Process, ...]:
    """Those that write, and those that ended otherwise than they should."""
    table = schema.context_lost
    return tuple(
        Process(
            row.process,
            int(row.since),
            int(row.seen_at),
            bool(row.open),
            int(row.lost),
        )
        for row in connection.execute(
            sa.select(table).order_by(table.c.since, table.c.process)
        )
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """All of it at a glance.

    :ivar instances: that fetched a bundle
    :ivar superseded: those of them that never fetched of the newest
        generation that anybody did
    :ivar failed: those that said last that a bundle did not run
    :ivar lost: notes that processes dropped, seen within :data:`SHOWN`
    :ivar crashed: such processes that ended with notes in their memory
    """

    instances: int
    superseded: int
    failed: int
    lost: int
    crashed: int


def counts(connection: sa.Connection, now: int) -> Counts:
    """Count; nothing but numbers leaves the database."""
    table = schema.context_fetches
    serial = sa.case((table.c.what.in_(BUNDLES), table.c.serial))
    each = (
        sa.select(
            sa.func.max(serial).label('serial'),
            _last(FAILED).label('failed'),
            _last(RAN).label('ran'),
        )
        .group_by(table.c.instance)
        .subquery()
    )
    newest = sa.select(sa.func.max(table.c.serial)).scalar_subquery()
    row = connection.execute(
        sa.select(
            sa.func.count(each.c.serial),
            sa.func.sum(sa.case((each.c.serial < newest, 1), else_=0)),
            sa.func.sum(sa.case((each.c.failed > each.c.ran, 1), else_=0)),
        ).select_from(each)
    ).one()
    known = [p for p in processes(connection) if p.seen_at > now - SHOWN]
    return Counts(
        int(row[0]),
        int(row[1] or 0),
        int(row[2] or 0),
        sum(one.lost for one in known),
        sum(one.crashed(now) for one in known),
    )


def _last(what: str) -> sa.ColumnElement[int]:
    """When an instance last did something; 0: never."""
    table = schema.context_fetches
    return sa.func.max(
        sa.case((table.c.what == what, table.c.last_at), else_=0)
    )


def silent(connection: sa.Connection, before: int) -> frozenset[str]:
    """Instances that have done nothing since a time in UNIX seconds."""
    table = schema.context_fetches
    return frozenset(
        connection.execute(
            sa.select(table.c.instance)
            .group_by(table.c.instance)
            .having(sa.func.max(table.c.last_at) < before)
        ).scalars()
    )


def forget(
    store: database.Database, instances: Collection[str], before: int
) -> None:
    """Delete rows of instances, and of processes that ended long ago.

    :param before: UNIX seconds; what happened since stays
    """
    table, lost = schema.context_fetches, schema.context_lost
    gone = sorted(instances)
    for start in range(0, len(gone), _NAMED):
        named = gone[start : start + _NAMED]
        _delete(
            store,
            table.delete().where(
                table.c.instance.in_(named), table.c.last_at < before
            ),
        )
    _delete(store, lost.delete().where(lost.c.seen_at < before))


def _delete(store: database.Database, statement: Any) -> None:
    store.beside(lambda connection: connection.execute(statement))


def by_instance(found: Iterator[Note]) -> Mapping[str, tuple[Note, ...]]:
    """Notes of each instance, the oldest first."""
    grouped: dict[str, list[Note]] = {}
    for note in found:
        grouped.setdefault(note.instance, []).append(note)
    return {name: tuple(group) for name, group in grouped.items()}

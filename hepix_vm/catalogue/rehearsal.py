# SPDX-License-Identifier: Apache-2.0
"""A sync that changes nothing: what it would change, as a diff.

Everything is fetched first. Then the same code as ever judges and stores, in
one transaction that is given up at its end; other writers wait meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import difflib

import sqlalchemy as sa

from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import planning
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import sync
from hepix_vm.catalogue import timing as timing_
from hepix_vm import errors

#: What each thing looks like, by the heading under which it stands.
Picture = Mapping[str, list[str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a sync would do.

    :ivar diff: unified, '' when nothing would change
    """

    reports: tuple[sync.Report, ...]
    withdrawals: tuple[settle.Withdrawal, ...]
    diff: str


class _GivenUp(Exception):
    """Ends a transaction without a trace."""


class _Within(database.Database):
    """The database as it looks within one transaction."""

    def __init__(self, transaction: database.Transaction) -> None:
        super().__init__('')
        self._transaction = transaction

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """The transaction's own connection."""
        yield self._transaction.connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[database.Transaction]:
        """A part of the transaction that can fail by itself."""
        with self._transaction.connection.begin_nested():
            yield self._transaction


def rehearse(
    database_: database.Database,
    configured: sync.Configured,
    settings: fetch.FetchSettings,
    now: int,
    only: frozenset[str] | None = None,
    due: bool = False,
    fetch_list: attempts.Fetch = fetch.fetch_list,
    timing: timing_.Timing | None = None,
) -> Rehearsed:
    """Sync, say what changed, and leave everything as it was.

    :raises errors.Misconfigured: for a name that is not configured
    :raises errors.LocalFault: when the store does not answer
    """
    timing = timing or timing_.Timing()

    def acted(plan: planning.Plan, came: list[attempts.Attempt]) -> Rehearsed:
        found: list[Rehearsed] = []
        with contextlib.suppress(_GivenUp), database_.writing() as outer:
            before = picture(outer.connection)
            reports, withdrawals = sync.act(_Within(outer), plan, came, timing)
            found.append(
                Rehearsed(
                    reports,
                    withdrawals,
                    difference(before, picture(outer.connection)),
                )
            )
            raise _GivenUp
        return found[0]

    try:
        plan = planning.plan(database_, configured, now, only, due, timing)
        came = [
            attempt
            for attempt in attempts.fetched(plan.fetched, settings, fetch_list)
            if attempt is not None
        ]
        return acted(plan, came)
    except database.FAILURES as exc:
        raise errors.LocalFault(
            f'the catalogue does not answer: {database.cause(exc)}; look at '
            'its database, then run the command again'
        ) from exc


def picture(connection: sa.Connection) -> Picture:
    """What an operator would look at after a sync, in lines."""
    found: dict[str, list[str]] = {}
    table = schema.subscription
    for row in connection.execute(sa.select(table).order_by(table.c.name)):
        standing = row.standing if row.configured else 'unsubscribed'
        found[f'subscription/{row.name}'] = [
            f'standing {standing}',
            f'list version {row.list_version or "none"}',
        ]
    image = schema.endorsement
    rows = connection.execute(
        sa.select(
            image.c.subscription,
            image.c.identifier,
            image.c.version,
            image.c.sha512,
            image.c.approved,
            image.c.withdrawn,
            image.c.held_at,
            image.c.replaced_until,
        ).order_by(image.c.subscription, image.c.identifier, image.c.id)
    )
    for row in rows:
        found.setdefault(f'subscription/{row.subscription}', []).append(
            f'image {row.identifier} version {row.version} '
            f'sha512:{row.sha512[:16]}... {_state(row)}'
        )
    record = schema.glance_record
    found['glance'] = [
        f'image {row.image_id} {row.state} {row.reason}'.rstrip()
        for row in connection.execute(
            sa.select(
                record.c.image_id, record.c.state, record.c.reason
            ).order_by(record.c.image_id)
        )
    ]
    return found


def _state(row: sa.Row[tuple[object, ...]]) -> str:
    approved = 'approved' if row.approved else 'not approved'
    if row.withdrawn:
        return f'withdrawn, {approved}'
    if row.replaced_until is not None:
        return f'replaced by a newer version, {approved}'
    if row.held_at is not None:
        return f'listed no more, its withdrawal waits, {approved}'
    return f'listed, {approved}'


def difference(before: Picture, after: Picture) -> str:
    """What differs, as a unified diff without context."""
    lines: list[str] = []
    for heading in sorted(before.keys() | after.keys()):
        old, new = before.get(heading, []), after.get(heading, [])
        if old != new:
            lines += difflib.unified_diff(
                old,
                new,
                heading,
                heading,
                'now',
                'after the sync',
                n=0,
                lineterm='',
            )
    return ''.join(f'{line}\n' for line in map(_printable, lines))


def _printable(line: str) -> str:
    """Versions are an endorser's words; a terminal obeys some."""
    return ''.join(c if c.isprintable() or c == '\t' else '?' for c in line)

# SPDX-License-Identifier: Apache-2.0
"""The history: its lines, held against their chain and the messages that they
name.

What verifies here is what the catalogue itself says; that nobody rewrote all
of it shows only against a head that was noted elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import hashlib
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import database
from hepix_vm.catalogue import kept
from hepix_vm.catalogue import lines as lines_
from hepix_vm.catalogue.lines import Head as Head
from hepix_vm.catalogue.lines import head as head
from hepix_vm.catalogue.lines import Line as Line
from hepix_vm.catalogue.lines import lines as lines
from hepix_vm.catalogue.lines import message as message
from hepix_vm.catalogue.lines import newest as newest
from hepix_vm.catalogue import schema


@dataclasses.dataclass(frozen=True, slots=True)
class Misfit:
    """A place where the history does not fit.

    :ivar row: number of the line, or None where a line is missing
    """

    row: int | None
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        place = 'history' if self.row is None else f'history row {self.row}'
        return (
            f'{place}: {self.what}: expected {self.expected}, found '
            f'{self.found}'
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Verified:
    """What came of holding the history against its chain.

    :ivar messages: signed messages that were read and have their SHA-256
    :ivar not_kept: messages of which only the digest is kept
    :ivar misfits: the first of them at most; empty when all is well
    """

    head: Head
    messages: int
    not_kept: int
    misfits: tuple[Misfit, ...]


def verify(
    database_: database.Database, noted: str | None = None, most: int = 20
) -> Verified:
    """Hold every line and every kept message against the chain.

    Others may write meanwhile; what they add is verified, too.

    :param noted: a head (SHA-256) that was noted earlier, elsewhere
    :param most: misfits after which the look ends (count)
    """
    walk = _Walk(database_, noted)
    misfits: list[Misfit] = []
    for misfit in walk.misfits():
        misfits.append(misfit)
        if len(misfits) >= most:
            break
    return Verified(
        Head(walk.last, walk.length),
        walk.messages,
        walk.not_kept,
        tuple(misfits),
    )


class _Walk:
    """One walk along the chain, beside the messages that it names."""

    def __init__(
        self, database_: database.Database, noted: str | None
    ) -> None:
        self._database = database_
        self._noted = noted
        self._met = noted is None or noted == chain.GENESIS
        self._seen = _Seen(database_)
        # Rows without the message that their line says was kept, until a
        # later line says that it was let go: row -> that first line.
        self._gone: dict[int, int] = {}
        self.last = chain.GENESIS
        self.length = 0
        self.messages = 0
        self.not_kept = 0

    def misfits(self) -> Iterator[Misfit]:
        """What does not fit, in the order of the lines."""
        after = 0
        while True:
            for line in lines(self._database, after):
                after = line.row
                yield from self._line(line)
            # Unbound rows are looked for before the head: a line that binds
            # one is counted in the head by the time the row is there.
            unbound = self._seen.peek()
            with self._database.reading() as connection:
                said = head(connection)
            if said.length == self.length and said.sha256 == self.last:
                break
            if next(lines(self._database, after), None) is None:
                yield from self._end(said)
                break
        yield from self._rest(unbound)

    def _line(self, line: Line) -> Iterator[Misfit]:
        expected = chain.digest(
            self.last,
            line.at,
            line.who,
            line.event,
            line.subject,
            line.detail,
        )
        if line.sha256 != expected:
            yield Misfit(
                line.row,
                'this row was changed, or one before it removed or inserted',
                f'digest {expected}',
                line.sha256,
            )
        self.last = line.sha256
        self.length += 1
        self._met = self._met or line.sha256 == self._noted
        if line.event == kept.SEEN:
            yield from self._message(line)
        elif line.event == kept.PRUNED:
            for row in kept.pruned(line.detail):
                self._gone.pop(row, None)

    def _message(self, line: Line) -> Iterator[Misfit]:
        bound = kept.bound(line.detail)
        if bound is None:
            yield Misfit(
                line.row,
                'what it says of a message cannot be read',
                'the number and digest of a message',
                line.detail[:100],
            )
            return
        for row in self._seen.up_to(bound.row):
            if row['id'] < bound.row:
                yield _unbound(row['id'])
                continue
            yield from self._row(line, bound, row)
            return
        yield Misfit(
            line.row,
            f'message {bound.row} is missing',
            f'a message of SHA-256 {line.subject}',
            'no such row',
        )

    def _row(
        self, line: Line, bound: kept.Bound, row: dict[str, Any]
    ) -> Iterator[Misfit]:
        found = kept.row_digest(row)
        if found != bound.row_sha256:
            yield Misfit(
                line.row,
                f'what is stored about message {bound.row} was changed',
                f'digest {bound.row_sha256}',
                found,
            )
        with self._database.reading() as connection:
            content = message(connection, bound.row)
        if content:
            self.messages += 1
            digest = hashlib.sha256(content).hexdigest()
            if digest != line.subject:
                yield Misfit(
                    line.row,
                    f'message {bound.row} was changed',
                    f'SHA-256 {line.subject}',
                    digest,
                )
            return
        self.not_kept += bool(bound.size)
        if not bound.kept or not bound.size:
            return
        if row['verdict'] == kept.REFUSED:
            self._gone[bound.row] = line.row
        else:
            yield _gone(bound.row, line.row, 'the message of an accepted list')

    def _end(self, said: Head) -> Iterator[Misfit]:
        if said.length != self.length:
            yield Misfit(
                None,
                'rows are missing or too many at the end',
                f'{said.length} rows',
                f'{self.length}',
            )
        if said.sha256 != self.last:
            yield Misfit(
                None,
                'the last row is not the one that the catalogue names',
                f'head {said.sha256}',
                self.last,
            )

    def _rest(self, unbound: int | None) -> Iterator[Misfit]:
        if unbound is not None:
            yield _unbound(unbound)
        for row, line in self._gone.items():
            yield _gone(row, line, 'it, or a row that says it was let go')
        if not self._met:
            yield Misfit(
                None,
                'the noted head is not in the chain any more',
                f'a row with digest {self._noted}',
                'none',
            )


def _unbound(row: int) -> Misfit:
    return Misfit(
        None,
        f'message {row} of list_seen was put there past the history',
        'a row that names it',
        'none',
    )


def _gone(row: int, line: int, expected: str) -> Misfit:
    return Misfit(line, f'message {row} is gone', expected, 'nothing')


class _Seen:
    """The rows of ``list_seen`` without their messages, oldest first."""

    def __init__(self, database_: database.Database) -> None:
        self._database = database_
        self._last = 0
        self._page: list[dict[str, Any]] = []

    def peek(self) -> int | None:
        """Number of the next row; None when there is none now."""
        if not self._page:
            table = schema.list_seen
            with self._database.reading() as connection:
                rows = connection.execute(
                    sa.select(*(c for c in table.c if c.name != 'message'))
                    .where(table.c.id > self._last)
                    .order_by(table.c.id)
                    .limit(lines_.PAGE)
                ).mappings()
                self._page = [dict(row) for row in reversed(rows.all())]
        return int(self._page[-1]['id']) if self._page else None

    def up_to(self, number: int) -> Iterator[dict[str, Any]]:
        """The next rows up to that number, itself included."""
        while True:
            found = self.peek()
            if found is None or found > number:
                return
            row = self._page.pop()
            self._last = found
            yield row

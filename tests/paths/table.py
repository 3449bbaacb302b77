# SPDX-License-Identifier: Apache-2.0
"""What the table of paths is made of, and how its rows are written down."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import enum


class Who(enum.StrEnum):
    """Who goes a path."""

    USER = 'user'
    #: A member with the role "manager" in the same project.
    MANAGER = 'project admin'
    ADMIN = 'admin'
    #: The account of Nova itself, in the project of the services.
    SERVICE = 'service'


class State(enum.StrEnum):
    """What is to be said of an image when somebody uses it."""

    APPROVED = 'approved'
    #: An administrator put it into Glance past the import.
    NEVER_SEEN = 'never seen'
    #: Approved, then blocked by the site.
    BLOCKED = 'blocked'
    #: Approved, but its list was not refreshed for too long.
    STALE = 'stale'
    #: Approved, then no longer listed by its endorser.
    WITHDRAWN = 'withdrawn'
    #: Approved, then an administrator changed what it boots with.
    TAMPERED = 'tampered'
    #: Approved, deleted and purged; its id was used again.
    OTHER_BYTES = 'same id, other bytes'
    #: Approved for another project only, whose owner opened it to all.
    ANOTHERS = "another project's"


class Outcome(enum.StrEnum):
    """What came of a path."""

    #: A server runs these bytes.
    BOOTS = 'boots'
    #: The request is done: bytes are taken in or read, a value is changed.
    PASSES = 'passes'
    REFUSED = 'refused'
    #: Refused without any part of ours, too.
    IMPOSSIBLE = 'not possible'


class At(enum.StrEnum):
    """Where a refusal comes from, as the user sees it."""

    IMPORT = 'import'
    GLANCE = 'Glance API'
    NOVA = 'Nova API'
    SCHEDULER = 'scheduler'
    COMPUTE = 'compute'
    CINDER = 'Cinder API'
    VOLUME = 'volume service'


class Part(enum.StrEnum):
    """What of ours makes the difference; without it the row fails."""

    IMPORT = 'import-plugins'
    DOWNLOAD = 'download-policy'
    GLANCE_GUARD = 'glance-guard'
    FILTER = 'filter'
    API_GUARD = 'api-guard'
    POLICIES = 'glance-policies'
    PROTECTIONS = 'property-protections'
    CINDER = 'cinder-policy'


#: The reason code by which an image of a state is refused where it is known.
CODES: Mapping[State, str] = {
    State.NEVER_SEEN: 'no-record',
    State.BLOCKED: 'blocked',
    State.STALE: 'list-stale',
    State.WITHDRAWN: 'withdrawn',
    State.TAMPERED: 'image-changed',
    State.OTHER_BYTES: 'image-changed',
    State.ANOTHERS: 'wrong-project',
}
FORBIDDEN = 'HTTP 403'


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What came, or has to come, of a path.

    :ivar at: where a refusal comes from; None for none
    :ivar code: reason code of the message, or ``HTTP <status>``
    """

    outcome: Outcome
    at: At | None = None
    code: str = ''

    def __str__(self) -> str:
        if self.at is None:
            return str(self.outcome)
        return f'{self.outcome} ({self.at}: {self.code})'

    def like(self, other: Verdict) -> bool:
        """Whether it is the same as far as one can see from outside."""
        return self._visible() == other._visible()

    def _visible(self) -> Verdict:
        if self.outcome is Outcome.IMPOSSIBLE:
            return dataclasses.replace(self, outcome=Outcome.REFUSED)
        return self


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """One way.

    :ivar name: stable; the name of the function that goes it
    :ivar note: what a reader of the documentation has to know
    """

    name: str
    title: str
    note: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A path, who goes it with what, and what has to come of it."""

    path: Path
    who: Who
    state: State
    verdict: Verdict
    part: Part | None

    @property
    def key(self) -> str:
        """A name of the row that no other one has."""
        return f'{self.path.name}/{self.who}/{self.state}'


@dataclasses.dataclass(frozen=True, slots=True)
class Some:
    """Rows that end alike.

    :ivar codes: by state; the reason code by default
    """

    outcome: Outcome
    who: tuple[Who, ...]
    states: tuple[State, ...]
    at: At | None = None
    part: Part | None = None
    codes: Mapping[State, str] | str | None = None

    def code(self, state: State) -> str:
        """The code of a state."""
        if self.at is None:
            return ''
        if isinstance(self.codes, str):
            return self.codes
        return (self.codes or CODES)[state]


def boots(
    who: Iterable[Who], *states: State, part: Part | None = None
) -> Some:
    """Servers that run.

    :param part: what of ours makes them run
    """
    return Some(Outcome.BOOTS, tuple(who), states, part=part)


def passes(who: Iterable[Who], *states: State) -> Some:
    """Requests that are done."""
    return Some(Outcome.PASSES, tuple(who), states)


def refused(
    at: At,
    part: Part | None,
    who: Iterable[Who],
    *states: State,
    codes: Mapping[State, str] | str | None = None,
) -> Some:
    """Requests that a part of ours refuses."""
    return Some(Outcome.REFUSED, tuple(who), states, at, part, codes)


def impossible(at: At, code: str, who: Iterable[Who], *states: State) -> Some:
    """Requests that the stock service refuses."""
    return Some(Outcome.IMPOSSIBLE, tuple(who), states, at, None, code)


def rows(path: Path, *groups: Some) -> tuple[Row, ...]:
    """The rows of a path.

    :raises ValueError: when two groups have the same row
    """
    found: dict[str, Row] = {}
    for group in groups:
        for who in group.who:
            for state in group.states:
                verdict = Verdict(group.outcome, group.at, group.code(state))
                row = Row(path, who, state, verdict, group.part)
                if row.key in found:
                    raise ValueError(f'{row.key} is there twice')
                found[row.key] = row
    return tuple(found.values())

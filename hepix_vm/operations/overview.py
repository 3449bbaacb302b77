# SPDX-License-Identifier: Apache-2.0
"""A site at a glance, and what of it is a problem."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import datetime
from pathlib import Path

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import condition
from hepix_vm.catalogue import measures
from hepix_vm.catalogue import overview
from hepix_vm.catalogue import published
from hepix_vm import errors
from hepix_vm.operations import anchors
from hepix_vm.operations import sentences
from hepix_vm.operations import site as site_
from hepix_vm.operations import withdrawing

_HOUR = 3600


@dataclasses.dataclass(frozen=True, slots=True)
class Glance:
    """All that an operator asks first.

    :ivar stored: what the catalogue says
    :ivar states: names by state, of all that are configured or were once
    :ivar crls: revocation lists that have run out or soon will, the first
        to end first
    :ivar next_crl: when the first of all runs out; None: there is none
    :ivar unreadable: why a directory of anchors cannot be read, by name
    :ivar withdrawn_servers: None when Nova was not asked
    :ivar use: servers on withdrawn images by where they are; as the last sync
        saw them, unless Nova was asked
    :ivar channels: those that are on
    :ivar cloud_problem: why Nova could not be asked, or ''
    """

    at: int
    stored: overview.Overview
    states: Mapping[condition.State, tuple[str, ...]]
    crls: tuple[anchors.Authority, ...]
    next_crl: datetime.datetime | None
    unreadable: Mapping[str, str]
    withdrawn_servers: int | None
    use: tuple[published.Use, ...]
    channels: tuple[channels.Channel, ...]
    cloud_problem: str


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing that needs a look."""

    grade: measures.Grade
    sentence: str


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How a site fares.

    :ivar values: of each measure by name; None: there is nothing to measure
    :ivar problems: the worst first
    """

    grade: measures.Grade
    values: Mapping[str, float | None]
    problems: tuple[Problem, ...]


def look(site: site_.Site, now: int, ask_nova: bool = False) -> Glance:
    """Look at a site; nothing is changed.

    :param now: UNIX seconds
    :param ask_nova: whether to count servers on withdrawn images
    :raises errors.HepixError: when the catalogue cannot be read
    """
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        stored = overview.look(connection, now)
    shown, unreadable = _directories(site, now)
    ends = [
        authority.next_update
        for directory in shown
        for authority in directory.authorities
        if authority.next_update is not None
    ]
    use, cloud_problem = stored.published.use, ''
    servers = None
    if ask_nova:
        try:
            use = _use(site, now)
            servers = sum(item.servers for item in use)
        except errors.HepixError as exc:
            cloud_problem = str(exc)
    return Glance(
        at=now,
        stored=stored,
        states=_states(site, stored),
        crls=_ending(shown),
        next_crl=min(ends, default=None),
        unreadable=unreadable,
        withdrawn_servers=servers,
        use=use,
        channels=tuple(site.notices.ways),
        cloud_problem=cloud_problem,
    )


def _states(
    site: site_.Site, stored: overview.Overview
) -> dict[condition.State, tuple[str, ...]]:
    """Names by state; the configuration has the first word."""
    found: dict[condition.State, list[str]] = {
        state: [] for state in condition.State
    }
    for name, item in sorted(site.subscriptions.items()):
        state = stored.states.get(name, condition.State.NEVER)
        if isinstance(item, errors.Misconfigured):
            state = condition.State.MISCONFIGURED
        found[state].append(name)
    for name in stored.states:
        if name not in site.subscriptions:
            found[condition.State.UNSUBSCRIBED].append(name)
    return {state: tuple(names) for state, names in found.items()}


def _directories(
    site: site_.Site, now: int
) -> tuple[list[anchors.Directory], dict[str, str]]:
    """The anchors of all directories in use, and those that fail."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    shown = []
    unreadable = {}
    for name in anchors.directories(site):
        try:
            shown.append(anchors.show(Path(name), moment, site.crl_warning))
        except errors.HepixError as exc:
            unreadable[name] = str(exc)
    return shown, unreadable


def _ending(
    shown: list[anchors.Directory],
) -> tuple[anchors.Authority, ...]:
    """The authorities whose CRL has run out or soon will."""
    found = [
        (authority.next_update, authority.subject, authority)
        for directory in shown
        for authority in directory.authorities
        if authority.next_update is not None
        and authority.crl
        in (anchors.CrlState.ENDING, anchors.CrlState.EXPIRED)
    ]
    return tuple(item[2] for item in sorted(found, key=lambda i: i[:2]))


def _use(site: site_.Site, now: int) -> tuple[published.Use, ...]:
    """What runs from withdrawn images now.

    :raises errors.HepixError: when that cannot be asked
    """
    return published.used(
        (one.link.image_id, withdrawing.as_json(one, {}, now))
        for one in withdrawing.running(site)
    )


def judge(glance: Glance, limits: measures.Limits) -> Verdict:
    """What of it is a problem, by the site's limits."""
    values = _values(glance)
    problems = sorted(
        _problems(glance, values, limits),
        key=lambda problem: -problem.grade,
    )
    worst = max(
        (problem.grade for problem in problems), default=measures.Grade.OK
    )
    return Verdict(worst, values, tuple(problems))


def _values(glance: Glance) -> dict[str, float | None]:
    stored, states, at = glance.stored, glance.states, glance.at
    counts = {state: len(names) for state, names in states.items()}
    State = condition.State
    expiry = stored.next_expiry
    crl = glance.next_crl
    return {
        'subscriptions': sum(counts.values()) - counts[State.UNSUBSCRIBED],
        'fresh': counts[State.FRESH],
        'stale': counts[State.STALE],
        'distrusted': counts[State.DISTRUSTED],
        'revoked': counts[State.REVOKED],
        'misconfigured': counts[State.MISCONFIGURED],
        'never_synced': counts[State.NEVER],
        'failing': stored.failing_count,
        'last_sync_hours': _hours(at, stored.last_attempt),
        'next_expiry_hours': _hours(expiry[1] if expiry else None, at),
        'crl_hours': _hours(crl.timestamp() if crl else None, at),
        'images': stored.images,
        'approved': stored.approved,
        'waiting': sum(item.images for item in stored.waiting),
        **_outward(glance),
        'context_superseded': stored.context.superseded,
        'context_failed': stored.context.failed,
        'context_lost': stored.context.lost + stored.context.crashed,
        'run_anyway': stored.anyway_count,
        'run_anyway_hours': _hours(
            stored.anyway[0].until if stored.anyway else None, at
        ),
        'withdrawn_servers': glance.withdrawn_servers,
    }


def _outward(glance: Glance) -> dict[str, float | None]:
    """Of the clouds, and of those who are told."""
    found, at = glance.stored.published, glance.at
    states = [found.channels[channel] for channel in glance.channels]
    publish = found.runs.get('publish')
    return {
        'publishing_errors': found.unpublished_count,
        'quarantine_waiting': found.waiting,
        'quarantine_failed': found.failed,
        **{
            f'{name}_failed': None if run is None else int(not run.ok)
            for name in ('sync', 'withdraw', 'publish')
            for run in [found.runs.get(name)]
        },
        'last_publish_hours': _hours(
            at, None if publish is None else publish.ended_at
        ),
        'undelivered': sum(left for state, left in states if state.failures),
        'events_given_up': sum(
            state.given_up
            for state, _ in states
            if (state.given_up_at or 0) > at - channels.GIVEN_UP_SHOWN
        ),
    }


def _hours(later: float | None, earlier: float | None) -> float | None:
    if later is None or earlier is None:
        return None
    return round((later - earlier) / _HOUR, 2)


def _problems(
    glance: Glance,
    values: Mapping[str, float | None],
    limits: measures.Limits,
) -> Iterator[Problem]:
    for measure in measures.MEASURES:
        value = values[measure.name]
        grade = measures.grade(measure.name, value, limits)
        if grade is not measures.Grade.OK and value is not None:
            yield Problem(grade, sentences.of(glance, measure.name, value))
    for name, problem in glance.unreadable.items():
        yield Problem(
            measures.Grade.WARNING,
            f'trust anchors in {name} cannot be read: {problem}',
        )
    if glance.cloud_problem:
        yield Problem(
            measures.Grade.WARNING,
            f'Nova could not be asked: {glance.cloud_problem}',
        )

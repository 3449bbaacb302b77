# SPDX-License-Identifier: Apache-2.0
"""Candidates and holders, step by step, with a clock of the test."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import threading
from typing import Any

import pytest
from sqlalchemy import exc as sa_exc

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import migrations
from hepix_vm.daemon import election
from hepix_vm.daemon import settings
from hepix_vm import errors
from tests.cloud import waits

SOON = 120
LEASE = 30.0


class Clock:
    """Monotonic seconds of a test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store(database.Database):
    """A database that can be away."""

    away = False

    def engine(self) -> Any:
        """The engine, when it is there."""
        if self.away:
            raise sa_exc.OperationalError('', {}, OSError('server is away'))
        return super().engine()


class Outside:
    """A coordination service."""

    def __init__(self) -> None:
        self.held = False
        self.away = False
        self.dropped = 0

    def hold(self) -> bool:
        """Whether the test has given it to us."""
        if self.away:
            raise errors.TryAgain('etcd is away')
        return self.held

    def drop(self) -> None:
        """Count."""
        self.dropped += 1


@dataclasses.dataclass
class Candidate:
    """One of several daemons."""

    election: election.Election
    store: Store
    changes: list[election.Standing]

    def step(self) -> election.Standing:
        """Let it do one step; returns how it stands."""
        self.election.step()
        return self.election.standing

    def leads(self) -> bool:
        """Whether it is certain that it does."""
        return self.election.term() is not None

    def fence(self) -> int:
        """The number of its term."""
        term = self.election.term()
        assert term is not None
        return term.fence


@pytest.fixture
def clock() -> Clock:
    return Clock()


Candidates = Callable[..., Candidate]


@pytest.fixture
def candidate(url, clock) -> Iterator[Candidates]:
    stores = []

    def make(
        name: str, outside: Outside | None = None, at: str = url
    ) -> Candidate:
        store = Store(at, 60)
        stores.append(store)
        changes: list[election.Standing] = []
        made = election.Election(
            store,
            settings.Settings(at, lease_time=LEASE),
            name,
            lambda: changes.append(made.standing),
            outside,
            clock,
            lambda: 2000000000.5,
        )
        return Candidate(made, store, changes)

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def one(candidate) -> Candidate:
    made = candidate('one')
    made.step()
    assert made.leads()
    return made


@pytest.fixture
def two(candidate, one) -> Candidate:
    made = candidate('two')
    made.step()
    assert not made.leads()
    return made


def test_the_first_one_leads_at_once(candidate):
    made = candidate('one')
    assert not made.leads()
    assert not made.election.standing.seen
    standing = made.step()
    assert standing.term == election.Term(1, 2000000000)
    assert standing.seen
    assert made.election.term() == standing.term
    assert made.changes == [standing]


def test_the_second_one_stands_by_and_says_for_whom(two):
    standing = two.election.standing
    assert standing.seen
    assert standing.other is not None
    assert (standing.other.holder, standing.other.fence) == ('one', 1)


def test_the_second_one_stands_by_as_long_as_the_first_lives(one, two, clock):
    for _ in range(50):
        clock.now += LEASE / 2
        assert one.step().term is not None
        assert two.step().term is None
        assert one.leads()


def test_silent_one_is_followed_after_the_lease_time(one, two, clock):
    clock.now += LEASE - 1
    assert two.step().term is None
    clock.now += 1
    assert two.step().term is not None
    assert two.fence() == 2
    # It was no longer certain of itself, even before it looks.
    assert not one.leads()
    assert one.step().term is None
    assert one.step().other.holder == 'two'


def test_paused_one_becomes_a_candidate_and_follows_in_turn(one, two, clock):
    clock.now += LEASE
    two.step()
    clock.now += 1000
    one.step()
    one.step()
    clock.now += LEASE
    assert one.step().term is not None
    assert one.fence() == 3
    assert two.step().term is None


def test_one_that_is_faster_than_its_own_clock_is_still_refused(
    one, two, clock
):
    # Its clock may have stood still, as in a suspended machine.
    row = look(two)
    assert lease.take(two.store, 'two', row, 1) == 2
    assert one.leads()
    assert one.step().term is None


def look(candidate: Candidate) -> lease.Holder | None:
    with candidate.store.reading() as connection:
        return lease.look(connection)


def test_given_back_it_is_followed_at_once(one, two):
    one.election.resign()
    assert one.election.term() is None
    assert two.step().term is not None
    assert two.fence() == 2


def test_candidate_gives_nothing_back(one, two):
    two.election.resign()
    assert one.step().term is not None


def test_it_leads_on_over_a_short_failure(one, clock):
    one.store.away = True
    clock.now += LEASE - 1
    standing = one.step()
    assert 'server is away' in standing.problem
    assert one.leads()
    one.store.away = False
    standing = one.step()
    assert standing.problem == ''
    assert one.fence() == 1
    clock.now += LEASE - 1
    assert one.leads()


def test_it_stops_when_the_database_is_away_for_the_lease_time(
    one, two, clock
):
    one.store.away = True
    clock.now += LEASE / 2
    one.step()
    clock.now += LEASE / 2
    assert not one.leads()
    standing = one.step()
    assert standing.term is None
    assert 'server is away' in standing.problem
    assert two.step().term is not None


def test_it_stops_as_soon_as_a_beat_has_waited_too_long(
    one, clock, monkeypatch
):
    def slow(store: database.Database) -> None:
        clock.now += LEASE
        raise sa_exc.OperationalError('', {}, OSError('no answer'))

    monkeypatch.setattr(Store, 'engine', slow)
    assert one.step().term is None


def test_alone_it_leads_again_at_once_with_a_higher_number(one, clock):
    one.store.away = True
    clock.now += LEASE
    one.step()
    one.store.away = False
    assert one.step().term is not None
    assert one.fence() == 2
    assert one.election.standing.problem == ''


def test_writes_of_the_term_before_are_refused_then(one, clock):
    mine = one.store.fenced(lease.SYNC, one.fence())
    clock.now += LEASE
    one.step()
    one.step()
    with (
        pytest.raises(errors.LeaseLost, match='ours was 1'),
        mine.writing(),
    ):
        pass


def test_same_problem_is_logged_once(candidate, caplog):
    caplog.set_level('INFO')
    made = candidate('one')
    made.store.away = True
    for _ in range(5):
        made.step()
    assert not made.election.standing.seen
    assert caplog.text.count('server is away') == 1
    assert 'cannot be opened' in made.election.standing.problem
    made.store.away = False
    made.step()
    assert made.leads()
    assert 'can be reached again' in caplog.text


def test_database_without_tables_is_told_what_to_do(candidate, tmp_path):
    made = candidate('one', at=f'sqlite:///{tmp_path / "empty.sqlite"}')
    standing = made.step()
    assert 'run "hepix-vm db sync"' in standing.problem
    assert not standing.seen
    migrations.upgrade(made.store)
    assert made.step().term is not None


def test_number_cannot_be_given_back_while_the_database_is_away(
    one, two, clock, caplog
):
    one.store.away = True
    one.election.resign()
    assert 'could not be given back' in caplog.text
    assert two.step().term is None
    clock.now += LEASE
    assert two.step().term is not None


# A coordination service


@pytest.fixture
def outside() -> Outside:
    return Outside()


def test_without_the_lock_nobody_leads(candidate, outside):
    made = candidate('one', outside)
    standing = made.step()
    assert standing.seen
    assert standing.term is None


def test_with_the_lock_it_takes_over_at_once(candidate, one, outside):
    made = candidate('two', outside)
    made.step()
    outside.held = True
    assert made.step().term is not None
    assert made.fence() == 2
    assert one.step().term is None


def test_lock_is_not_asked_for_while_the_database_is_away(candidate, outside):
    outside.held = True
    made = candidate('one', outside)
    made.store.away = True
    made.step()
    assert outside.dropped == 1
    outside.away = True
    made.step()
    assert 'etcd' not in made.election.standing.problem


@pytest.fixture
def led(candidate, outside) -> Candidate:
    outside.held = True
    made = candidate('one', outside)
    made.step()
    assert made.leads()
    return made


def test_it_stops_when_the_lock_is_lost(led, outside):
    outside.held = False
    assert led.step().term is None
    assert outside.dropped == 1


def test_it_stops_when_the_service_is_away_for_the_lease_time(
    led, outside, clock
):
    outside.away = True
    clock.now += LEASE - 1
    assert led.step().term is not None
    assert 'etcd is away' in led.election.standing.problem
    clock.now += 1
    assert led.step().term is None


def test_lock_is_given_up_by_who_lost_the_lease(led, outside):
    assert lease.take(led.store, 'two', look(led), 1) == 2
    assert led.step().term is None
    assert outside.dropped == 1


def test_lock_is_given_up_by_who_ends(led, outside):
    led.election.resign()
    assert outside.dropped == 1


# Its thread


def test_thread_leads_and_gives_back(candidate, two, one):
    one.election.resign()
    made = candidate('three')
    made.election.start()
    waits.until('it to lead', made.leads, SOON)
    made.election.end()
    assert made.election.ended(SOON)
    assert two.step().term is not None


def test_fault_of_ours_does_not_end_the_thread(url, candidate, caplog):
    made = candidate('one')
    raised = threading.Event()
    looked = lease.Watch.silent

    def broken(*_args: object) -> bool:
        raised.set()
        raise ZeroDivisionError('a fault')

    lease.take(made.store, 'other', None, 1)
    quick = election.Election(
        made.store,
        settings.Settings(url, lease_time=0.3),
        'one',
        lambda: None,
    )
    lease.Watch.silent = broken  # type: ignore[method-assign]
    try:
        quick.start()
        assert raised.wait(SOON)
        waits.until('it to be said', lambda: quick.standing.problem, SOON)
    finally:
        lease.Watch.silent = looked  # type: ignore[method-assign]
    waits.until('it to lead all the same', quick.term, SOON)
    quick.end()
    assert quick.ended(SOON)


def test_one_that_was_never_started_has_ended(candidate):
    assert candidate('one').election.ended(0)

# SPDX-License-Identifier: Apache-2.0
"""The thread that looks at what changes in Nova."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import gc
import threading

import pytest

from hepix_vm.context import facts
from hepix_vm.context import following
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import remembered
from tests import forked

#: Seconds that a busy machine may take for what happens soon.
SOON = 120
WHO = identity.Instance('0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6001', 'p')
OTHER = identity.Instance('0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6002', 'p')


def _facts(uuid: str = WHO.uuid, host: str = 'h') -> facts.Facts:
    return facts.Facts(uuid, 'p', host=host, launched_at=1_800_000_000)


class Nova:
    """Answers, and says when it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.back: list[float] = []
        self.looks = threading.Semaphore(0)
        self.error: Exception | None = None
        self.pages: list[dict[str, identities.Answer]] = []

    def ask(self, uuids) -> Mapping[str, identities.Answer]:
        """The question about some."""
        self.asked.append(list(uuids))
        return {uuid: _facts(uuid) for uuid in uuids}

    def changes(self, back: float) -> Iterator[dict[str, identities.Answer]]:
        """The question about all."""
        self.back.append(back)
        try:
            if self.error is not None:
                raise self.error
            yield from self.pages
        finally:
            self.looks.release()

    def is_looked_at(self, times: int = 1) -> None:
        """Wait until it was, so many times more."""
        for _ in range(times):
            assert self.looks.acquire(timeout=SOON), 'nobody looks'


@pytest.fixture
def nova() -> Nova:
    return Nova()


@pytest.fixture
def clock() -> list[float]:
    """Its one element is what time it is."""
    return [100.0]


@pytest.fixture
def make(nova, clock) -> Iterator[Callable[[], following.Following]]:
    """Followings that look when they are told to."""
    with contextlib.ExitStack() as stack:

        def made() -> following.Following:
            known = identities.Identities(
                nova.ask, identities.Settings(timeout=SOON)
            )
            one = following.Following(known, nova.changes, lambda: clock[0])
            stack.callback(one.close)
            return one

        yield made


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nobody looks unless it is wanted."""
    monkeypatch.setattr(following, 'INTERVAL', 10.0 * SOON)
    monkeypatch.setattr(following, 'IDLE', 10.0 * SOON)
    monkeypatch.setattr(following, '_ENDING', SOON)


def _proved(one: following.Following) -> None:
    """Wait until a look has ended well."""
    with one._known._condition:
        assert one._known._condition.wait_for(
            lambda: one._known._looking, SOON
        ), 'no look ends'


def test_it_begins_with_the_first_request(make, nova):
    one = make()
    assert one._running is None
    assert one.facts_of(WHO, 100.0, 2.0) == _facts()
    nova.is_looked_at()
    assert nova.asked == [[WHO.uuid]]
    assert nova.back == [remembered.LATELY]
    running = one._running
    one.facts_of(WHO, 101.0, 2.0)
    assert one._running is running


def test_who_is_known_waits_for_the_next_look_and_is_not_asked_about(
    make, nova, clock
):
    one = make()
    one.facts_of(WHO, 100.0, 2.0)
    _proved(one)
    clock[0] = 110.0
    assert one.facts_of(WHO, 110.0, 2.0) == _facts()
    assert nova.asked == [[WHO.uuid]]
    nova.is_looked_at(2)
    assert nova.back == [remembered.LATELY, 10.0]


def test_what_a_look_finds_counts_at_once(make, nova, clock):
    one = make()
    one.facts_of(WHO, 100.0, 2.0)
    _proved(one)
    nova.pages = [
        {WHO.uuid: _facts(host='another')},
        {OTHER.uuid: _facts(OTHER.uuid)},
    ]
    clock[0] = 110.0
    assert one.facts_of(WHO, 110.0, 2.0).host == 'another'
    nova.is_looked_at(2)
    # Known before it asks for the first time.
    assert one.facts_of(OTHER, 110.0, 2.0) == _facts(OTHER.uuid)
    assert nova.asked == [[WHO.uuid]]


def test_it_looks_by_itself(make, nova, monkeypatch):
    monkeypatch.setattr(following, 'INTERVAL', 0.01)
    make().facts_of(WHO, 100.0, 2.0)
    nova.is_looked_at(3)


def test_when_nobody_has_asked_for_long_it_looks_less_often(
    make, nova, clock, monkeypatch
):
    monkeypatch.setattr(following, 'IDLE', 0.01)
    one = make()
    one.facts_of(WHO, 100.0 - following.QUIET, 2.0)
    nova.is_looked_at(3)
    one._running.asked = clock[0]
    # It may have seen that before it rests.
    one._known.wanted.set()
    nova.is_looked_at()
    one.close()


def test_while_nova_does_not_list_servers_they_are_asked_for(
    make, nova, clock, caplog
):
    nova.error = OSError('no listing')
    one = make()
    one.facts_of(WHO, 100.0, 2.0)
    nova.is_looked_at()
    for moment in (110.0, 120.0):
        clock[0] = moment
        assert one.facts_of(WHO, moment, 2.0) == _facts()
    assert nova.asked == [[WHO.uuid]] * 3
    with caplog.at_level('INFO'):
        nova.error = None
        one._known.wanted.set()
        _proved(one)
        nova.error = OSError('no listing again')
        clock[0] = 130.0
        assert one.facts_of(WHO, 130.0, 2.0) == _facts()
        one.close()
    assert nova.asked == [[WHO.uuid]] * 4
    assert caplog.text.count('no listing') == 2
    assert 'Nova lists again' in caplog.text


def test_what_it_had_found_when_nova_failed_is_known(make, nova):
    def changes(back: float) -> Iterator[dict[str, identities.Answer]]:
        yield {OTHER.uuid: _facts(OTHER.uuid)}
        try:
            raise OSError('no more')
        finally:
            nova.looks.release()

    one = make()
    one._changes = changes
    one.facts_of(WHO, 100.0, 2.0)
    nova.is_looked_at()
    assert one.facts_of(OTHER, 100.0, 2.0) == _facts(OTHER.uuid)
    assert nova.asked == [[WHO.uuid]]


def test_it_ends(make, nova):
    one = make()
    one.facts_of(WHO, 100.0, 2.0)
    _proved(one)
    running = one._running
    one.close()
    assert not running.alive()
    assert not one._known._looking
    one.close()


def test_it_ends_when_nobody_needs_it_any_more(nova):
    one = following.Following(identities.Identities(nova.ask), nova.changes)
    one.facts_of(WHO, 0.0, 2.0)
    running = one._running
    nova.is_looked_at()
    del one
    gc.collect()
    running._thread.join(SOON)
    assert not running.alive()


def test_without_threads_nobody_fails(make, nova, monkeypatch, caplog):
    def refuse(_thread: object) -> None:
        raise RuntimeError('no more threads')

    one = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', refuse)
        assert one.facts_of(WHO, 100.0, 2.0) == _facts()
    assert 'no more threads' in caplog.text
    one.facts_of(WHO, 100.0, 2.0)
    nova.is_looked_at()


def test_a_child_has_a_thread_of_its_own(make, nova, clock):
    one = make()
    one.facts_of(WHO, 100.0, 2.0)
    _proved(one)
    nova.is_looked_at()

    def child() -> None:
        assert one._running is None
        assert not one._known._looking
        clock[0] = 110.0
        assert one.facts_of(WHO, 110.0, 2.0) == _facts()
        nova.is_looked_at()
        # It goes on with what its parent knew.
        assert nova.back[-1] == 10.0
        one.close()

    # Its parent may hold the lock at that moment.
    with one._known._condition:
        assert forked.in_child(child) == 0
    assert one._running.alive()

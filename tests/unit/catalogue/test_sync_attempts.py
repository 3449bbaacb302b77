# SPDX-License-Identifier: Apache-2.0
"""Fetches in parallel: one that hangs is left behind, and keeps nobody
waiting for long.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import threading
import time
import types

import pytest

from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import endorser
from tests.unit.catalogue import following

#: Seconds that a thread may take on a busy machine; a test never waits so
#: long unless it fails.
LONG = 120

image = endorser.make_image


def wanted(name: str) -> attempts.Wanted:
    return attempts.Wanted(
        subscription.Subscription(
            name, f'http://{name}.test/', '', '', '', '/nowhere'
        ),
        fetch.Validators(),
    )


class Hosts:
    """Answers at once, or never for hosts that hang."""

    def __init__(self, *hanging: str) -> None:
        self.hanging = hanging
        self.asked: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.released = threading.Event()
        self._lock = threading.Lock()

    def __call__(
        self, url: str, settings: fetch.FetchSettings, known: fetch.Validators
    ) -> fetch.Fetched:
        name = url.removeprefix('http://').removesuffix('.test/')
        with self._lock:
            self.asked.append(name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if name in self.hanging:
            assert self.released.wait(LONG)
        with self._lock:
            self.at_once -= 1
        return fetch.Fetched(name.encode(), fetch.Validators())


@pytest.fixture
def hurried(monkeypatch) -> fetch.FetchSettings:
    monkeypatch.setattr(attempts, 'GRACE', 0.5)
    monkeypatch.setattr(attempts, 'PATIENCE', 0.2)
    monkeypatch.setattr(attempts, 'TICK', 0.05)
    return fetch.FetchSettings(list_deadline=0.5, parallel=2)


@contextlib.contextmanager
def released(hosts: Hosts) -> Iterator[None]:
    try:
        yield
    finally:
        hosts.released.set()


def fared(
    names: list[str], settings: fetch.FetchSettings, hosts: Hosts
) -> dict[str, attempts.Attempt]:
    found = [
        attempt
        for attempt in attempts.fetched(
            [wanted(name) for name in names], settings, hosts
        )
        if attempt is not None
    ]
    by_name = {attempt.subscription.name: attempt for attempt in found}
    assert len(by_name) == len(found) == len(names)
    return by_name


def test_all_are_fetched_once_and_so_many_at_once(monkeypatch):
    # However long the machine stands still, none of them hangs.
    monkeypatch.setattr(attempts, 'PATIENCE', LONG)
    hosts = Hosts()
    names = [f'host{n}' for n in range(50)]
    found = fared(names, fetch.FetchSettings(parallel=3), hosts)
    assert sorted(hosts.asked) == sorted(names)
    assert hosts.most_at_once <= 3
    assert all(
        attempt.content is not None
        and attempt.content.content.decode() == name
        for name, attempt in found.items()
    )


def test_nothing_to_fetch_is_no_matter():
    assert fared([], fetch.FetchSettings(), Hosts()) == {}


def test_source_that_ignores_its_deadline_is_left_behind(hurried, monkeypatch):
    ahead = 0
    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + ahead)
    monkeypatch.setattr(attempts, 'time', clock)
    settings = dataclasses.replace(hurried, list_deadline=600)
    hosts = Hosts('hang')
    came: list[attempts.Attempt] = []
    with released(hosts):
        for attempt in attempts.fetched(
            [wanted('hang'), wanted('well')], settings, hosts
        ):
            if attempt is not None:
                came.append(attempt)
                # The time of the one that hangs is over when the other came.
                ahead = 601
    well, hang = came
    failure = hang.failure
    assert isinstance(failure, errors.TryAgain)
    assert 'http://hang.test/: not finished within 600.5 s' in str(failure)
    assert 'list_deadline' in str(failure)
    assert well.content is not None


def test_those_that_hang_do_not_use_up_what_is_fetched_in_parallel(hurried):
    """As many hang as are fetched at once; the others do not wait for that."""
    hosts = Hosts('hang0', 'hang1', 'hang2')
    calm = fetch.FetchSettings(list_deadline=LONG, parallel=2)
    came: list[str] = []
    with released(hosts):
        names = ['hang0', 'hang1', 'hang2', 'a', 'b']
        for attempt in attempts.fetched(
            [wanted(name) for name in names], calm, hosts
        ):
            if attempt is not None:
                came.append(attempt.subscription.name)
            if {'a', 'b'} <= set(came):
                hosts.released.set()
    assert came[:2] == ['a', 'b'] or came[:2] == ['b', 'a']
    assert sorted(came) == sorted(names)


def test_threads_are_bounded(hurried, monkeypatch):
    monkeypatch.setattr(attempts, 'MOST_THREADS', 3)
    names = [f'hang{n}' for n in range(8)]
    hosts = Hosts(*names)
    with released(hosts):
        attempts_ = attempts.fetched(
            [wanted(name) for name in names],
            fetch.FetchSettings(list_deadline=LONG, parallel=2),
            hosts,
        )
        while hosts.at_once < 3:
            assert next(attempts_) is None
        for _ in range(20):
            assert next(attempts_) is None
        assert hosts.at_once == 3
        hosts.released.set()
        assert len([a for a in attempts_ if a is not None]) == len(names)


def test_what_comes_too_late_is_not_taken(hurried):
    hosts = Hosts('hang')
    with released(hosts):
        first = fared(['hang'], hurried, hosts)
    assert first['hang'].content is None
    assert fared(['hang'], fetch.FetchSettings(), hosts)['hang'].content


def test_threads_end_with_their_run(hurried):
    hosts = Hosts()
    before = set(threading.enumerate())
    came = attempts.fetched(
        [wanted(f'host{n}') for n in range(100)], hurried, hosts
    )
    while next(came) is None:
        pass
    came.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(LONG)
        assert not thread.is_alive()
    assert len(hosts.asked) < 100


# Through a sync


def test_lists_are_settled_while_another_one_hangs(main, hurried, monkeypatch):
    """A withdrawal does not wait for a server that never answers."""
    monkeypatch.setattr(sync, 'SETTLE_EVERY', 0.0)
    main.follow('hang')
    data = b'an image'
    main.publish('main', '1', image(data))
    main.sync('main')
    record = main.record(data)
    main.publish('main', '2')
    withdrawn = threading.Event()

    def fetch_list(
        url: str, settings: fetch.FetchSettings, known: fetch.Validators
    ) -> fetch.Fetched | fetch.NotModified:
        if url.endswith('hang'):
            assert withdrawn.wait(LONG)
        return fetch.fetch_list(url, settings, known)

    real = sync.settle.records

    def records(transaction, now):
        found = real(transaction, now)
        if found:
            withdrawn.set()
        return found

    monkeypatch.setattr(sync.settle, 'records', records)
    reports = main.sync(
        fetch_list=fetch_list,
        settings=fetch.FetchSettings(list_deadline=LONG),
    )
    assert withdrawn.is_set()
    assert [w.image_id for w in main.withdrawals] == [record]
    assert reports['hang'].outcome is sync.Outcome.UNREACHABLE
    assert following.names(main.images()) != set()

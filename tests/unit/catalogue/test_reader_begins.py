# SPDX-License-Identifier: Apache-2.0
"""Readers read before they are asked, and wait for the first time."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import concurrent.futures
from pathlib import Path
import sys
import threading
import time
import types
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import refreshing
from tests import catalogue_rows
from tests import forked

DATA = b'endorsed bytes'
SOON = 300.0
#: Seconds after which a decision gives up a store that says nothing.
SILENCE = 0.2


@pytest.fixture(autouse=True)
def forks_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody forks inside SQLite because the machine stood still."""
    monkeypatch.setattr(refreshing, '_FORK_WAITS', SOON)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[catalogue_rows.Rows]:
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    made.subscription('trusted')
    made.endorse(DATA)
    yield made
    made.close()


@pytest.fixture
def asked(rows: catalogue_rows.Rows) -> Iterator[reader.Reader]:
    """The reader that this process shares."""
    settings = reader.ReaderSettings(
        rows.connection, store_timeout=SOON, first_load_timeout=SOON
    )
    one = reader.shared(settings)
    yield one
    one.close()
    reader._readers.pop(settings)


def decide(asked: reader.Reader) -> model.Reason:
    digest = catalogue_rows.sha512(DATA)
    return asked.decide_bytes(digest, len(DATA), None).code


def until(what: str, so: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not so():
        assert time.monotonic() < end, f'never {what}'
        time.sleep(0.02)


def has_read(asked: reader.Reader) -> bool:
    worker = asked._worker
    return worker is not None and worker._loaded is not None


class Slow:
    """A catalogue whose rows take as long as a test wants.

    :ivar begun: somebody has begun to read it
    :ivar failure: what reading it ends with
    """

    def __init__(
        self, rows: catalogue_rows.Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.failure: Exception | None = None
        mine = sa.make_url(rows.connection).database
        real = loading.load

        def load(connection: sa.Connection, *more: Any) -> loading.Loaded:
            # Readers of other tests may still run.
            if connection.engine.url.database == mine:
                self.begun.set()
                assert self.may_end.wait(SOON)
                if self.failure is not None:
                    raise self.failure
            return real(connection, *more)

        monkeypatch.setattr(loading, 'load', load)


@pytest.fixture
def slow(
    rows: catalogue_rows.Rows, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Slow]:
    one = Slow(rows, monkeypatch)
    yield one
    one.may_end.set()


def test_catalogue_is_read_before_anybody_asks(
    asked: reader.Reader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('INFO')
    asked.begin()
    asked.begin()
    until('read', lambda: has_read(asked))
    until('said', lambda: 'is in memory: images=0' in caplog.text)
    assert caplog.text.count('is in memory') == 1
    assert decide(asked) is model.Reason.APPROVED


def test_decision_does_not_wait_until_the_process_has_settled(
    asked: reader.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, '_SETTLED', 3600.0)
    asked.begin()
    assert not has_read(asked)
    assert decide(asked) is model.Reason.APPROVED


def test_first_decisions_wait_while_the_store_answers(
    rows: catalogue_rows.Rows, slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('INFO')
    asked = reader.Reader(
        reader.ReaderSettings(
            rows.connection, store_timeout=SILENCE, first_load_timeout=SOON
        )
    )
    # It may take a busy machine long to open the file.
    asked.begin()
    assert slow.begun.wait(SOON)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(decide, asked) for _ in range(4)]
        # Longer than they would wait for a store that says nothing.
        said = 'a decision waits for the catalogue'
        until('said', lambda: caplog.text.count(said) == len(waiting))
        assert not any(one.done() for one in waiting)
        slow.may_end.set()
        codes = {one.result(SOON) for one in waiting}
    assert codes == {model.Reason.APPROVED}
    asked.close()


def test_what_was_read_meanwhile_counts_though_no_look_follows_in_time(
    rows: catalogue_rows.Rows, slow: Slow
) -> None:
    asked = reader.Reader(
        reader.ReaderSettings(
            rows.connection, store_timeout=0.1, first_load_timeout=SOON
        )
    )
    asked.begin()
    assert slow.begun.wait(SOON)
    worker = asked._worker
    assert worker is not None
    held = threading.Event()

    def look() -> bool:
        assert held.wait(SOON)
        return False

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(decide, asked)
        until('asked', lambda: worker._wanted > 0)
        # The next one, which begins after that question, hangs.
        worker._look = look  # type: ignore[method-assign]
        slow.may_end.set()
        assert waiting.result(SOON) is model.Reason.APPROVED
        held.set()
    asked.close()


def test_first_decision_waits_no_longer_than_it_may(
    rows: catalogue_rows.Rows, slow: Slow
) -> None:
    asked = reader.Reader(
        reader.ReaderSettings(
            rows.connection, store_timeout=0.1, first_load_timeout=0.1
        )
    )
    assert decide(asked) is model.Reason.STORE_UNAVAILABLE
    slow.may_end.set()
    asked.close()


def test_first_reading_that_fails_refuses_at_once(
    asked: reader.Reader, slow: Slow
) -> None:
    slow.failure = OSError('the disk is gone')
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(decide, asked)
        assert slow.begun.wait(SOON)
        slow.may_end.set()
        assert waiting.result(SOON) is model.Reason.STORE_UNAVAILABLE
    slow.failure = None

    def approved() -> bool:
        return decide(asked) is model.Reason.APPROVED

    until('approved', approved)


def test_later_reading_is_waited_for_as_long_as_the_store_may_take(
    rows: catalogue_rows.Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reader.Reader(
        reader.ReaderSettings(
            rows.connection, store_timeout=0.1, refresh_interval=0.1
        )
    )
    until('approved', lambda: decide(asked) is model.Reason.APPROVED)
    slow = Slow(rows, monkeypatch)
    assert slow.begun.wait(SOON)
    # A refusal rests on what is in memory.
    other = asked.decide_bytes('0' * 128, 1, None)
    assert other.code is model.Reason.NOT_ENDORSED
    assert decide(asked) is model.Reason.APPROVED
    slow.may_end.set()
    asked.close()


def test_children_of_a_service_read_of_themselves_and_its_master_does_not(
    asked: reader.Reader,
) -> None:
    asked.begin()
    assert asked._worker is not None

    def child() -> None:
        until('read', lambda: has_read(asked))
        assert decide(asked) is model.Reason.APPROVED

    assert forked.in_child(child) == 0
    assert asked._worker is None
    # It does when it is asked.
    assert decide(asked) is model.Reason.APPROVED
    assert forked.in_child(child) == 0
    assert asked._worker is not None


def test_a_master_of_uwsgi_has_no_thread_when_it_forks(
    asked: reader.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is at in that moment would stay locked in the child."""
    number = 0
    server = types.SimpleNamespace(worker_id=lambda: number)
    monkeypatch.setitem(sys.modules, 'uwsgi', server)
    asked.begin()
    assert asked._worker is None

    def child() -> None:
        until('read', lambda: has_read(asked))

    assert forked.in_child(child) == 0
    # Each of its workers may load the program itself.
    number = 1
    asked.begin()
    assert asked._worker is not None


def test_child_without_threads_decides_late(
    asked: reader.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.begin()

    def child() -> None:
        assert asked._worker is None
        monkeypatch.undo()
        assert decide(asked) is model.Reason.APPROVED

    def refuse(_thread: object) -> None:
        raise RuntimeError('no more threads')

    monkeypatch.setattr(threading.Thread, 'start', refuse)
    assert forked.in_child(child) == 0


@pytest.mark.parametrize('waits', (SOON, 0.01))
def test_nobody_forks_inside_sqlite_unless_it_hangs(
    rows: catalogue_rows.Rows,
    slow: Slow,
    monkeypatch: pytest.MonkeyPatch,
    waits: float,
) -> None:
    monkeypatch.setattr(refreshing, '_FORK_WAITS', waits)
    asked = reader.Reader(reader.ReaderSettings(rows.connection))
    asked.begin()
    assert slow.begun.wait(SOON)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        over = threading.Event()

        def child() -> None:
            assert over.is_set() is (waits == SOON)

        ran = pool.submit(forked.in_child, child)
        if waits == SOON:
            time.sleep(0.2)
        else:
            assert ran.result(SOON) == 0
        over.set()
        slow.may_end.set()
        assert ran.result(SOON) == 0
    asked.close()


def test_refusals_that_no_longer_stand_are_forgotten(
    rows: catalogue_rows.Rows,
) -> None:
    asked = reader.Reader(
        reader.ReaderSettings(
            rows.connection, store_timeout=SOON, negative_ttl=0.01
        )
    )
    for number in range(20):
        asked.decide_bytes(f'{number:0128x}', 1, None)
        time.sleep(0.02)
    assert len(asked._negative) < 3
    asked.close()

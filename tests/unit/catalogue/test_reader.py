# SPDX-License-Identifier: Apache-2.0
"""The catalogue in memory: refreshing, waiting, failing, forking."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import multiprocessing
import sqlite3
import sys
import threading
import time
from typing import Any

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import refreshing
from tests import catalogue_rows
from tests import forked

#: Seconds that a busy machine may take for what happens soon.
SOON = 300
IMAGE = '0f0e0d0c-0000-4000-8000-000000000001'
DATA = b'an endorsed image'
CONTENT = catalogue_rows.sha512(DATA)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'catalogue.sqlite'


@pytest.fixture
def rows(path):
    made = catalogue_rows.Rows(f'sqlite:///{path}')
    made.subscription('trusted')
    yield made
    made.close()


@pytest.fixture(autouse=True)
def forks_wait(monkeypatch) -> None:
    """Nobody forks inside SQLite because the machine stood still."""
    monkeypatch.setattr(refreshing, '_FORK_WAITS', SOON)


class Clock:
    """A clock that a test can put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(path, clock):
    """Readers of the store, ended with the test."""
    with contextlib.ExitStack() as stack:

        def make_reader(**settings: Any) -> reader.Reader:
            values = {
                'connection': f'sqlite:///{path}',
                'refresh_interval': 0.05,
                'store_timeout': SOON,
                'negative_ttl': 0,
            } | settings
            made = reader.Reader(reader.ReaderSettings(**values), clock)
            stack.callback(made.close)
            return made

        yield make_reader


def of_bytes(asked: reader.Reader, **changes: Any) -> model.Decision:
    values = {'sha512': CONTENT, 'size': len(DATA), 'project': None} | changes
    return asked.decide_bytes(**values)


def of_image(asked: reader.Reader) -> model.Decision:
    image = model.ImageFacts(IMAGE, must_know_size=False)
    return asked.decide_image(image, None)


def until(
    asked: Callable[[], model.Decision], code: model.Reason
) -> model.Decision:
    """Ask until the answer is that one; a test fails with the last one."""
    end = time.monotonic() + SOON
    while True:
        decision = asked()
        if decision.code is code:
            return decision
        assert time.monotonic() < end, f'still {decision.sentence}'
        time.sleep(0.02)


class Store:
    """A database whose answers a test holds back or counts."""

    def __init__(
        self, connection: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.looks = 0
        self.failure: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        real = database.Database.reading
        outer = self

        @contextlib.contextmanager
        def reading(self: database.Database) -> Any:
            if self._connection != connection:
                # Of a reader of another test.
                with real(self) as others:
                    yield others
                return
            outer.looks += 1
            assert outer.open.wait(SOON)
            if outer.failure is not None:
                raise outer.failure
            with real(self) as own:
                yield own

        monkeypatch.setattr(database.Database, 'reading', reading)


@pytest.fixture
def held(rows, monkeypatch):
    store = Store(rows.connection, monkeypatch)
    yield store
    store.open.set()


# Answers from memory


def test_first_decision_waits_for_the_first_look(rows, make):
    rows.endorse(DATA)
    rows.record(IMAGE, DATA)
    assert of_bytes(make()).approved
    assert of_image(make()).approved


def test_subject_of_the_sentence_is_the_callers(rows, make):
    rows.endorse(DATA)
    decision = of_bytes(make(), subject='your upload')
    assert decision.sentence.startswith('your upload is approved')


def test_project_and_size_are_asked_for(rows, make):
    rows.subscription('trusted', projects=['mine'])
    rows.endorse(DATA)
    asked = make()
    assert of_bytes(asked, project='mine').approved
    assert of_bytes(asked, project='x').code is model.Reason.WRONG_PROJECT
    assert of_bytes(asked, size=1).code is model.Reason.SIZE_DIFFERS


def test_withdrawal_is_noticed_without_a_miss(rows, make):
    rows.endorse(DATA)
    asked = make()
    assert of_bytes(asked).approved
    rows.withdraw(DATA)
    until(lambda: of_bytes(asked), model.Reason.WITHDRAWN)


def test_approvals_from_memory_do_not_wait_for_the_store(rows, make, held):
    rows.endorse(DATA)
    asked = make()
    assert of_bytes(asked).approved
    held.open.clear()
    assert of_bytes(asked).approved


# A miss asks the store


def test_new_record_is_seen_at_once_whatever_the_refresh_interval(rows, make):
    rows.endorse(DATA)
    asked = make(refresh_interval=3600)
    assert of_image(asked).code is model.Reason.NO_RECORD
    rows.record(IMAGE, DATA)
    assert of_image(asked).approved


def test_the_same_question_asks_the_store_once_per_negative_ttl(
    rows, make, held
):
    asked = make(refresh_interval=3600, negative_ttl=3600)
    assert of_bytes(asked).code is model.Reason.NOT_ENDORSED
    looks = held.looks
    for _ in range(20):
        assert not of_bytes(asked).approved
    assert held.looks == looks


def test_another_question_is_not_held_back_by_a_remembered_refusal(rows, make):
    asked = make(refresh_interval=3600, negative_ttl=3600)
    assert of_image(asked).code is model.Reason.NO_RECORD
    rows.endorse(DATA)
    assert of_bytes(asked).approved


def test_remembered_refusal_ends_with_the_background_refresh(rows, make):
    asked = make(refresh_interval=0.05, negative_ttl=3600)
    assert of_bytes(asked).code is model.Reason.NOT_ENDORSED
    rows.endorse(DATA)
    until(lambda: of_bytes(asked), model.Reason.APPROVED)


def test_remembered_refusal_runs_out(rows, make):
    asked = make(refresh_interval=3600, negative_ttl=0.2)
    assert of_bytes(asked).code is model.Reason.NOT_ENDORSED
    rows.endorse(DATA)
    until(lambda: of_bytes(asked), model.Reason.APPROVED)


def test_only_so_many_refusals_are_remembered(rows, make, monkeypatch):
    monkeypatch.setattr(reader, '_REMEMBERED', 3)
    asked = make(refresh_interval=3600, negative_ttl=3600)
    for size in range(1, 6):
        of_bytes(asked, size=size)
    rows.endorse(DATA, size=1)
    rows.endorse(DATA, size=5)
    assert of_bytes(asked, size=5).code is model.Reason.NOT_ENDORSED
    assert of_bytes(asked, size=1).approved


# The store is away


def test_store_that_never_answered_refuses(make):
    asked = make(connection='sqlite:////nonexistent/catalogue')
    assert of_bytes(asked).code is model.Reason.STORE_UNAVAILABLE
    assert of_image(asked).code is model.Reason.STORE_UNAVAILABLE


def test_missing_tables_refuse(path, make):
    sqlite3.connect(path).close()
    assert of_bytes(make()).code is model.Reason.STORE_UNAVAILABLE


def test_wrong_url_refuses(make):
    asked = make(connection='this is no URL')
    assert of_bytes(asked).code is model.Reason.STORE_UNAVAILABLE


def test_memory_holds_for_its_maximum_age_then_refuses_then_recovers(
    rows, make, held, clock, caplog
):
    caplog.set_level('INFO')
    rows.endorse(DATA)
    asked = make(reader_max_age=300)
    assert of_bytes(asked).approved
    held.failure = OSError('the disk is gone')
    looks = held.looks
    while held.looks < looks + 2:  # a look with the failure is over
        time.sleep(0.01)
    clock.ahead = 250
    assert of_bytes(asked).approved
    clock.ahead = 400
    assert of_bytes(asked).code is model.Reason.STORE_UNAVAILABLE
    held.failure = None
    until(lambda: of_bytes(asked), model.Reason.APPROVED)
    # It says so after it has the answer.
    end = time.monotonic() + SOON
    while 'answers again' not in caplog.text:
        assert time.monotonic() < end, caplog.text
        time.sleep(0.01)
    said = [r.getMessage() for r in caplog.records]
    assert sum('the disk is gone' in text for text in said) == 1
    assert sum('answers again' in text for text in said) == 1


def test_row_that_nobody_understands_counts_as_no_answer(rows, make, clock):
    rows.endorse(DATA)
    asked = make(reader_max_age=300)
    assert of_bytes(asked).approved
    rows.record(IMAGE, DATA, state='splendid')
    clock.ahead = 400
    assert of_bytes(asked).code is model.Reason.STORE_UNAVAILABLE


def test_hanging_store_is_waited_for_no_longer_than_its_time_out(
    rows, make, held
):
    rows.endorse(DATA)
    asked = make(store_timeout=0.2, negative_ttl=3600)
    held.open.clear()
    assert of_bytes(asked).code is model.Reason.STORE_UNAVAILABLE
    held.open.set()
    until(lambda: of_bytes(asked), model.Reason.APPROVED)


def test_hanging_store_does_not_hold_back_a_refusal_from_memory(
    rows, make, held
):
    asked = make(store_timeout=0.2)
    assert of_bytes(asked).code in {
        model.Reason.NOT_ENDORSED,
        model.Reason.STORE_UNAVAILABLE,
    }
    until(lambda: of_bytes(asked), model.Reason.NOT_ENDORSED)
    held.open.clear()
    assert of_bytes(asked).code is model.Reason.NOT_ENDORSED


def test_sqlite_locked_by_another_program_refuses_in_time_and_recovers(
    rows, path, make
):
    rows.endorse(DATA)
    asked = make(connection=f'sqlite:///{path}?timeout=0.1', store_timeout=0.5)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    try:
        assert of_bytes(asked).code is model.Reason.STORE_UNAVAILABLE
    finally:
        lock.execute('ROLLBACK')
        lock.close()
    until(lambda: of_bytes(asked), model.Reason.APPROVED)


# It never raises


def test_fault_of_our_own_is_a_refusal_and_logged(
    rows, make, monkeypatch, caplog
):
    def broken(*args: object) -> model.Decision:
        raise ZeroDivisionError

    monkeypatch.setattr(model, 'decide_bytes', broken)
    decision = of_bytes(make())
    assert decision.code is model.Reason.INTERNAL
    assert 'ZeroDivisionError' in decision.detail
    assert 'code=internal-error' in caplog.text


def test_thread_that_cannot_start_is_a_refusal(rows, make, monkeypatch):
    def exhausted(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    asked = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', exhausted)
        assert of_bytes(asked).code is model.Reason.INTERNAL
    rows.endorse(DATA)
    assert of_bytes(asked).approved


@pytest.mark.parametrize('odd', [None, 5, '', 'ü' * 10, b'bytes'])
def test_odd_questions_are_refused(rows, make, odd):
    asked = make()
    decision = asked.decide_bytes(odd, len(DATA), None)
    assert decision.verdict is model.Verdict.REFUSED
    image = model.ImageFacts(odd)  # type: ignore[arg-type]
    assert not asked.decide_image(image, None).approved


def test_unhashable_question_is_refused(rows, make):
    decision = make().decide_bytes(CONTENT, [], None)  # type: ignore[arg-type]
    assert decision.verdict is model.Verdict.REFUSED


def test_many_threads_ask_while_the_store_changes(rows, make, monkeypatch):
    monkeypatch.setattr(reader, '_REMEMBERED', 5)
    rows.endorse(DATA)
    asked = make(refresh_interval=0.01, negative_ttl=0.001)
    codes: list[model.Reason] = []
    stop = threading.Event()

    def ask(number: int) -> None:
        size = number
        while not stop.is_set():
            codes.append(of_bytes(asked).code)
            size += 1
            codes.append(of_bytes(asked, size=size % 50).code)
            image = model.ImageFacts(f'image {size % 50}')
            codes.append(asked.decide_image(image, None).code)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=ask, args=[n]) for n in range(8)]
    try:
        for thread in threads:
            thread.start()
        for number in range(20):
            rows.block('something', active=bool(number % 2))
    finally:
        stop.set()
        for thread in threads:
            thread.join(SOON)
        sys.setswitchinterval(interval)
    assert set(codes) == {
        model.Reason.APPROVED,
        model.Reason.SIZE_DIFFERS,
        model.Reason.NO_RECORD,
    }


def test_closed_reader_starts_again_when_asked(rows, make):
    rows.endorse(DATA)
    asked = make()
    assert of_bytes(asked).approved
    asked.close()
    asked.close()
    assert of_bytes(asked).approved


# One reader a process


def test_same_settings_share_one_reader(path):
    settings = reader.ReaderSettings(f'sqlite:///{path}')
    again = reader.ReaderSettings(f'sqlite:///{path}')
    other = reader.ReaderSettings(f'sqlite:///{path}', reader_max_age=5)
    assert reader.shared(settings) is reader.shared(again)
    assert reader.shared(settings) is not reader.shared(other)
    assert not path.exists()


def test_forked_child_has_a_reader_of_its_own(rows, path):
    rows.endorse(DATA)
    settings = reader.ReaderSettings(
        f'sqlite:///{path}', refresh_interval=0.05, store_timeout=SOON
    )
    parent = reader.shared(settings)
    assert of_bytes(parent).approved

    def child() -> None:
        mine = reader.shared(settings)
        assert of_bytes(mine).approved
        rows.store = database.Database(f'sqlite:///{path}')
        rows.withdraw(DATA)
        until(lambda: of_bytes(mine), model.Reason.WITHDRAWN)
        assert any(t.name == 'hepix-vm-reader' for t in threading.enumerate())

    try:
        assert forked.in_child(child) == 0
        until(lambda: of_bytes(parent), model.Reason.WITHDRAWN)
    finally:
        parent.close()


def test_fork_while_every_lock_is_held(rows, path):
    rows.endorse(DATA)
    settings = reader.ReaderSettings(
        f'sqlite:///{path}', refresh_interval=0.05, store_timeout=SOON
    )
    parent = reader.shared(settings)
    assert of_bytes(parent).approved

    def child() -> None:
        assert of_bytes(reader.shared(settings)).approved
        of_bytes(reader.shared(settings), size=1)

    worker = parent._worker
    assert worker is not None
    with (
        parent._lock,
        worker._condition,
        reader._readers_lock,
    ):
        status = forked.in_child(child)
    parent.close()
    assert status == 0


def _ask_in_process(connection: str, answers: Any) -> None:
    settings = reader.ReaderSettings(connection, store_timeout=SOON)
    answers.put(of_bytes(reader.shared(settings)).code.value)


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_child_of_multiprocessing_decides(rows, path, method):
    rows.endorse(DATA)
    settings = reader.ReaderSettings(f'sqlite:///{path}', store_timeout=SOON)
    assert of_bytes(reader.shared(settings)).approved
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(
        target=_ask_in_process, args=(f'sqlite:///{path}', answers)
    )
    child.start()
    assert answers.get(timeout=SOON) == 'approved'
    child.join(SOON)
    assert child.exitcode == 0
    reader.shared(settings).close()


def test_what_is_in_memory_can_be_looked_at(rows, make):
    rows.endorse(DATA)
    found = make().snapshot(wait=True)
    assert found.answered_at is not None
    assert list(found.endorsements) == [CONTENT]


def test_what_is_in_memory_is_nothing_while_the_store_is_away(tmp_path):
    asked = reader.Reader(
        reader.ReaderSettings(
            f'sqlite:///{tmp_path}/absent/catalogue.sqlite', store_timeout=0.1
        )
    )
    try:
        assert asked.snapshot(wait=True).answered_at is None
    finally:
        asked.close()


def test_looking_at_it_never_raises(make, monkeypatch):
    asked = make()
    monkeypatch.setattr(asked, '_running', None)
    assert asked.snapshot(wait=False) is model.EMPTY

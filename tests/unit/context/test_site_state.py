# SPDX-License-Identifier: Apache-2.0
"""What is known of the site is in memory: looking, failing, forking."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import logging
from pathlib import Path
import sys
import threading
import time
import types
from typing import Any

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import drains
from hepix_vm.catalogue import hosts
from hepix_vm.context import site_state
from tests import catalogue_rows
from tests import forked

SOON = 120.0
NAME = 'hepix-vm-site-state'
UUID = '7c3a3a3e-0d1f-4c39-9a0c-3a3e0d1f4c39'
HOST = hosts.Host('wn1', 128, 'EPYC', ('batch', 'new'), 'QEMU', 1000)
BARE = hosts.Host('wn2', None, None, (), None, 1000)
TABLE = 'wall_limits: [{project: atlas, seconds: %d}]\n'

Make = Callable[..., site_state.SiteState]


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[catalogue_rows.Rows]:
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield made
    made.close()


@pytest.fixture
def make(rows: catalogue_rows.Rows) -> Iterator[Make]:
    """States of the catalogue, ended with the test."""
    with contextlib.ExitStack() as stack:

        def made(**settings: Any) -> site_state.SiteState:
            values = {
                'connection': rows.connection,
                'refresh_interval': 0.05,
                'store_timeout': SOON,
            } | settings
            found = site_state.SiteState(site_state.Settings(**values))
            stack.callback(found.close)
            return found

        yield made


def until(what: str, so: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not so():
        assert time.monotonic() < end, f'never {what}'
        time.sleep(0.02)


def looked(state: site_state.SiteState) -> site_state.Snapshot:
    until('looked at', lambda: state.current().looked)
    return state.current()


def order(
    rows: catalogue_rows.Rows, kind: drains.Kind, name: str, at: int
) -> None:
    drain = drains.Drain(kind, name, at, 1, 'me')
    rows.store.transact(lambda made: drains.put(made, drain))


def order_host(rows: catalogue_rows.Rows, at: int) -> None:
    order(rows, drains.Kind.HOST, 'wn1', at)


class Held:
    """A catalogue whose answers a test holds back, or spoils.

    :ivar looks: how often it was asked
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.asked = threading.Event()
        self.failure: Exception | None = None
        self.looks = 0
        real = database.Database.reading
        outer = self

        @contextlib.contextmanager
        def reading(self: database.Database) -> Any:
            if threading.current_thread().name == NAME:
                outer.looks += 1
                outer.asked.set()
                assert outer.open.wait(SOON)
                if outer.failure is not None:
                    raise outer.failure
            with real(self) as connection:
                yield connection

        monkeypatch.setattr(database.Database, 'reading', reading)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    found = Held(monkeypatch)
    yield found
    found.open.set()


# Looking


def test_hosts_and_orders_are_those_of_the_catalogue(rows, make):
    rows.store.transact(lambda made: hosts.put(made, (HOST, BARE)))
    order_host(rows, 5000)
    order(rows, drains.Kind.SERVER, UUID, 4000)
    found = looked(make())
    assert found.hosts == {'wn1': HOST, 'wn2': BARE}
    assert found.host_drains == {'wn1': 5000}
    assert found.server_drains == {UUID: 4000}


def test_a_change_is_seen(rows, make):
    state = make()
    assert looked(state).host_drains == {}
    order_host(rows, 5000)
    until('seen', lambda: state.current().host_drains == {'wn1': 5000})
    rows.store.transact(
        lambda made: drains.clear(made, drains.Kind.HOST, 'wn1')
    )
    until('gone', lambda: state.current().host_drains == {})
    rows.store.transact(lambda made: hosts.put(made, (HOST,)))
    until('seen', lambda: state.current().hosts == {'wn1': HOST})
    rows.store.transact(lambda made: hosts.forget(made, ['wn1']))
    until('gone', lambda: state.current().hosts == {})


def test_what_did_not_change_is_not_read_again(rows, make, monkeypatch):
    monkeypatch.setattr(site_state, '_AGAIN', 10 * SOON)
    calls = []
    real = hosts.hosts
    monkeypatch.setattr(
        hosts, 'hosts', lambda found: calls.append(1) or real(found)
    )
    held = Held(monkeypatch)
    held.open.set()
    state = make()
    looked(state)
    before = held.looks
    until('asked again', lambda: held.looks > before + 3)
    assert len(calls) == 1
    # Another past of the same length is noticed after a while.
    monkeypatch.setattr(site_state, '_AGAIN', 0.0)
    until('read again', lambda: len(calls) > 1)


def test_nobody_waits_for_the_catalogue(make, held):
    state = make()
    assert state.current() == site_state.Snapshot()
    assert held.asked.wait(SOON)
    # It hangs, and is asked all the same.
    assert state.current() == site_state.Snapshot()
    held.open.set()
    assert looked(state).looked


def test_while_the_catalogue_is_away_the_last_answer_stays(
    rows, make, held, caplog
):
    caplog.set_level(logging.INFO)
    order_host(rows, 5000)
    held.open.set()
    state = make()
    assert looked(state).host_drains == {'wn1': 5000}
    held.failure = OSError('gone for lunch')
    before = held.looks
    until('asked thrice', lambda: held.looks > before + 3)
    assert state.current().host_drains == {'wn1': 5000}
    told = [record.getMessage() for record in caplog.records]
    assert len([one for one in told if 'for lunch' in one]) == 1
    order_host(rows, 6000)
    held.failure = None
    until('seen', lambda: state.current().host_drains == {'wn1': 6000})
    assert 'the catalogue answers again' in caplog.text


def test_nothing_is_known_until_the_catalogue_has_answered(rows, make, held):
    order_host(rows, 5000)
    held.failure = OSError('gone for lunch')
    held.open.set()
    state = make()
    until('asked', lambda: state.current() is not None and held.looks > 2)
    assert not state.current().looked
    held.failure = None
    assert looked(state).host_drains == {'wn1': 5000}


def test_after_its_end_it_begins_anew_and_knows_what_it_knew(rows, make, held):
    held.open.set()
    order_host(rows, 5000)
    state = make()
    looked(state)
    state.close()
    held.open.clear()
    assert state.current().host_drains == {'wn1': 5000}
    held.open.set()
    state.close()
    state.close()


def test_without_threads_nobody_fails(make, monkeypatch, caplog):
    def refuse(_thread: object) -> None:
        raise RuntimeError('no more threads')

    state = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', refuse)
        state.begin()
        assert state.current() == site_state.Snapshot()
    assert 'no more threads' in caplog.text
    assert looked(state).looked


# The site's table


def test_the_table_is_read_again_when_it_changes(tmp_path, make):
    file = tmp_path / 'ratings.yaml'
    file.write_text(TABLE % 100)
    state = make(ratings_file=file)
    assert looked(state).table.wall_limit('atlas') == 100
    file.write_text(TABLE % 20000)
    until('read', lambda: _limit(state) == 20000)


@pytest.mark.parametrize('what', ['wrong', 'gone', 'a directory'])
def test_a_table_that_is_wrong_leaves_the_one_before(
    tmp_path, make, caplog, what
):
    file = tmp_path / 'ratings.yaml'
    file.write_text(TABLE % 100)
    state = make(ratings_file=file)
    assert looked(state).table.wall_limit('atlas') == 100
    if what == 'wrong':
        # Never without a content, which is a table that says nothing.
        wrong = tmp_path / 'wrong.yaml'
        wrong.write_text('ratings: yes\n')
        wrong.replace(file)
    else:
        file.unlink()
    if what == 'a directory':
        file.mkdir()
    until('told', lambda: 'stays' in caplog.text)
    assert f'[context] ratings_file {file}' in caplog.text
    assert state.current().table.wall_limit('atlas') == 100
    if what == 'a directory':
        file.rmdir()
    file.write_text(TABLE % 30)
    until('read', lambda: _limit(state) == 30)


def test_a_table_that_cannot_be_read_does_not_hide_orders(rows, make):
    order_host(rows, 5000)
    found = looked(make(ratings_file=Path('nowhere\0')))
    assert found.host_drains == {'wn1': 5000}


def _limit(state: site_state.SiteState) -> int | None:
    return state.current().table.wall_limit('atlas')


# Forking


def test_a_child_goes_on_with_what_its_parent_knew_and_looks_itself(
    rows, make
):
    order_host(rows, 5000)
    state = make()
    looked(state)

    def child() -> None:
        assert state.current().host_drains == {'wn1': 5000}
        rows.store = database.Database(rows.connection)
        order_host(rows, 6000)
        until('seen', lambda: state.current().host_drains == {'wn1': 6000})

    assert forked.in_child(child) == 0
    until('seen', lambda: state.current().host_drains == {'wn1': 6000})


def test_a_fork_while_its_lock_is_held(make):
    state = make()
    looked(state)
    with state._lock:
        assert forked.in_child(lambda: _look_at(state)) == 0


def test_children_look_of_themselves_and_a_master_does_not(make):
    state = make(settling=SOON)
    state.begin()
    assert state._looking is not None

    def child() -> None:
        assert state._looking is not None
        assert state._looking.alive()
        state.close()

    assert forked.in_child(child) == 0
    # What forks before it was asked need not know.
    assert state._looking is None
    assert looked(state).looked
    assert forked.in_child(lambda: None) == 0
    assert state._looking is not None


def test_a_master_of_uwsgi_has_no_thread_when_it_forks(make, monkeypatch):
    state = make(settling=SOON)
    server = types.SimpleNamespace(worker_id=lambda: 0)
    monkeypatch.setitem(sys.modules, 'uwsgi', server)
    state.begin()
    assert state._looking is None

    def child() -> None:
        assert state._looking is not None
        assert state._looking.alive()
        state.close()

    assert forked.in_child(child) == 0


def _look_at(state: site_state.SiteState) -> None:
    assert looked(state).looked

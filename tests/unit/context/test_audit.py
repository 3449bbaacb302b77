# SPDX-License-Identifier: Apache-2.0
"""Notes reach the catalogue, and what is lost is said."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
import signal
import sqlite3
import subprocess
import sys
import threading
import time

from oslo_config import cfg
import pytest

from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import database
from hepix_vm.context import audit
from tests import catalogue_rows
from tests.unit.context import auditing

ONE, TWO, THREE = auditing.ONE, auditing.TWO, auditing.THREE
FETCH = auditing.FETCH
NOW = 1_790_000_000
#: Seconds that a busy machine may take for what happens soon.
SOON = 120.0
#: Seconds after which a catalogue counts as away that is locked.
SHORT = 1.0
ROOT = Path(__file__).parents[3]


@pytest.fixture
def rows(tmp_path):
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield made
    made.close()


@pytest.fixture
def taking(rows):
    """Makes audits that end with the test."""
    with contextlib.ExitStack() as stack:

        def make(**values):
            settings = dataclasses.replace(
                audit.Settings(rows.connection, interval=0.02),
                **{'store_timeout': SOON, **values},
            )
            one = audit.Audit(settings, lambda: NOW)
            stack.callback(one.close)
            return one

        yield make


def fetch(**values):
    return dataclasses.replace(FETCH, **values)


def notes(rows):
    with rows.store.reading() as connection:
        return list(context_fetches.notes(connection))


def processes(rows):
    with rows.store.reading() as connection:
        return context_fetches.processes(connection)


def until(what, so):
    end = time.monotonic() + SOON
    while not so():
        assert time.monotonic() < end, f'never {what}'
        time.sleep(0.02)


def test_a_note_is_in_the_catalogue_soon(rows, taking):
    one = taking()
    one.note(FETCH)
    one.note(FETCH)
    until('written', lambda: sum(n.times for n in notes(rows)) == 2)
    (found,) = notes(rows)
    assert dataclasses.asdict(found) == {
        **dataclasses.asdict(FETCH),
        'first_at': NOW,
        'last_at': NOW,
        'times': 2,
    }


def test_a_process_that_writes_has_an_open_row(rows, taking):
    one = taking(interval=3600)
    one.note(FETCH)
    until('seen', lambda: processes(rows))
    (process,) = processes(rows)
    assert process.open
    assert process.seen_at == NOW
    assert f'/{os.getpid()}/' in process.name


def test_nothing_is_started_before_the_first_note(rows, taking):
    before = set(threading.enumerate())
    taking()
    names = {one.name for one in set(threading.enumerate()) - before}
    assert 'hepix-vm-audit' not in names
    assert processes(rows) == ()


def test_a_clean_end_writes_what_waits_and_leaves_no_row(rows, taking):
    one = taking(interval=3600)
    one.note(FETCH)
    until('seen', lambda: processes(rows))
    for number in range(1100):
        one.note(fetch(instance=f'{number:08}-0000-4000-9000-000000000000'))
    one.close()
    assert len(notes(rows)) == 1101
    assert processes(rows) == ()
    one.close()


def test_notes_go_on_after_an_end(rows, taking):
    one = taking()
    one.note(FETCH)
    one.close()
    one.note(FETCH)
    one.close()
    assert notes(rows)[0].times == 2


@contextlib.contextmanager
def locked(rows):
    """Somebody else is writing, and does not come to an end."""
    other = sqlite3.connect(rows.store.engine().url.database, timeout=SOON)
    try:
        other.execute('BEGIN IMMEDIATE')
        yield
    finally:
        other.rollback()
        other.close()


def test_a_catalogue_that_is_away_is_waited_for(
    rows, taking, caplog, monkeypatch
):
    caplog.set_level('INFO')
    tries = []
    really = context_fetches.write
    monkeypatch.setattr(
        context_fetches,
        'write',
        lambda *given: tries.append(1) or really(*given),
    )
    one = taking(store_timeout=SHORT)
    with locked(rows):
        one.note(FETCH)
        until('failed', lambda: 'cannot be written down' in caplog.text)
        one.note(FETCH)
        one.note(fetch(instance=TWO))
        until('failed again', lambda: len(tries) > 2)
        assert caplog.text.count('cannot be written down') == 1
    until('written', lambda: len(notes(rows)) == 2)
    assert [note.times for note in notes(rows)] == [2, 1]
    until('said', lambda: 'is written down again' in caplog.text)
    assert all(process.lost == 0 for process in processes(rows))


def test_what_does_not_fit_meanwhile_is_dropped_and_said(rows, taking, caplog):
    one = taking(kept=2, store_timeout=SHORT)
    with locked(rows):
        for instance in (ONE, TWO, THREE, ONE, THREE):
            one.note(fetch(instance=instance))
        until('said', lambda: 'lost=2' in caplog.text)
    until('noted', lambda: sum(p.lost for p in processes(rows)) == 2)
    assert {n.instance: n.times for n in notes(rows)} == {ONE: 2, TWO: 1}
    one.close()
    # It ends when its last batch is written, whether waited for or not.
    until('ended', lambda: not processes(rows)[0].open)
    (process,) = processes(rows)
    assert process.lost == 2


def test_a_note_without_a_proper_form_does_not_hold_up_the_others(
    rows, taking, caplog
):
    one = taking()
    one.note(fetch(what='x' * 65))
    one.note(fetch(project='\ud800'))
    one.note(FETCH)
    one.close()
    assert [note.what for note in notes(rows)] == ['default.tgz']
    assert processes(rows)[0].lost == 2
    assert 'lost=2' in caplog.text


def test_an_end_without_the_catalogue_is_told_as_a_crash(rows, taking, caplog):
    one = taking(interval=3600)
    one.note(FETCH)
    until('written', lambda: notes(rows))
    until('known', lambda: one._writing._process.open)
    # What was to be written had all the time; what is now, has not.
    one._writing._store.close()
    one._writing._store = database.Database(rows.connection, SHORT)
    with locked(rows):
        one.note(FETCH)
        one.note(FETCH)
        one.close()
        until('ended', lambda: 'lost=2: it ends' in caplog.text)
    (process,) = processes(rows)
    assert process.open
    assert process.crashed(NOW + context_fetches.GONE + 1)


def test_a_catalogue_that_never_was_fails_no_request(tmp_path, caplog):
    for connection in (
        f'sqlite:///{tmp_path / "absent" / "catalogue"}',
        'nothing+nothing://',
        'no url',
    ):
        one = audit.Audit(
            audit.Settings(connection, interval=0.01, store_timeout=SOON)
        )
        caplog.clear()
        one.note(FETCH)
        until('said', lambda: 'cannot be written down' in caplog.text)
        one.close()


def test_a_thread_that_cannot_start_fails_no_request(
    taking, monkeypatch, caplog
):
    class Full(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    one = taking()
    monkeypatch.setattr(threading, 'Thread', Full)
    one.note(FETCH)
    monkeypatch.undo()
    assert 'is not noted' in caplog.text


def test_a_process_with_nothing_to_write_leaves_no_row(rows, taking):
    one = taking()
    for times in (1, 2, 3):
        one.note(FETCH)
        until(
            'written',
            lambda times=times: [n.times for n in notes(rows)] == [times],
        )
        until('closed', lambda: processes(rows) == ())


def test_the_first_note_opens_the_row_at_once(rows, taking):
    one = taking()
    one.note(FETCH)
    until('written', lambda: notes(rows))
    until('closed', lambda: not one._writing._process.open)
    # From now on nothing happens by itself.
    one._writing._settings = dataclasses.replace(
        one._writing._settings, interval=3600
    )
    one.note(FETCH)
    until('open', lambda: [p.open for p in processes(rows)] == [True])


def test_many_threads_note_at_once(rows, taking):
    one = taking()
    start = threading.Barrier(8)

    def work():
        start.wait()
        for _ in range(200):
            one.note(FETCH)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close()
    assert [note.times for note in notes(rows)] == [1600]


# Processes


def test_a_child_writes_its_own_notes_and_not_its_parent_s(rows, taking):
    one = taking(interval=3600)
    one.note(FETCH)
    until('seen', lambda: processes(rows))
    # This waits in the parent while it forks.
    one.note(fetch(instance=TWO))
    child = os.fork()
    if not child:
        try:
            one.note(fetch(instance=THREE))
            one.close()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert {n.instance for n in notes(rows)} - {ONE} == {THREE}
    one.close()
    assert {n.instance: n.times for n in notes(rows)} == {
        ONE: 1,
        TWO: 1,
        THREE: 1,
    }


def test_a_fork_while_a_note_is_taken_leaves_the_child_usable(rows, taking):
    one = taking()
    one.note(FETCH)
    until('written', lambda: notes(rows))
    until('closed', lambda: not one._writing._process.open)
    # No thread of the parent is inside the catalogue any more.
    writing = one._writing
    with one._lock, writing.notes._lock:
        child = os.fork()
        if not child:
            try:
                one.note(fetch(instance=TWO))
                one.close()
            finally:
                os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert TWO in {note.instance for note in notes(rows)}


def process(rows, *arguments):
    return subprocess.Popen(
        [
            sys.executable,
            '-W',
            'ignore',
            '-m',
            'tests.unit.context.auditing',
            rows.connection,
            *arguments,
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_process_that_ends_by_itself_has_written_all(rows):
    with process(rows, '3600') as made:
        assert made.stdout.readline() == 'noted\n'
        made.stdin.close()
    assert made.returncode == 0
    assert len(notes(rows)) == auditing.MANY
    assert processes(rows) == ()


def test_a_process_that_is_killed_leaves_its_row_open(rows):
    with process(rows, '3600') as made:
        assert made.stdout.readline() == 'noted\n'
        until('written', lambda: processes(rows))
        made.send_signal(signal.SIGKILL)
    (left,) = processes(rows)
    assert left.open
    assert f'/{made.pid}/' in left.name
    assert left.crashed(left.seen_at + context_fetches.GONE + 1)


def test_one_that_is_killed_with_nothing_to_write_has_lost_nothing(rows):
    with process(rows, '0.02') as made:
        assert made.stdout.readline() == 'noted\n'
        until('written', lambda: len(notes(rows)) == auditing.MANY)
        until('closed', lambda: processes(rows) == ())
        made.send_signal(signal.SIGKILL)
    assert processes(rows) == ()


def test_notes_are_written_in_a_wsgi_server_between_two_requests(rows):
    pytest.importorskip('eventlet')
    with process(rows, '0.02', 'green') as made:
        assert made.stdout.readline() == 'noted\n'
        until('written', lambda: len(notes(rows)) == auditing.MANY)
        made.stdin.close()
    assert made.returncode == 0
    assert processes(rows) == ()


def test_settings_come_from_the_configuration():
    from hepix_vm.conf import catalogue as conf_catalogue
    from hepix_vm.conf import context as conf_context

    conf = cfg.ConfigOpts()
    conf_catalogue.register(conf)
    conf_context.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override('connection', 'sqlite:///read', 'catalogue')
    found = conf_context.audit_settings(conf)
    assert found == audit.Settings('sqlite:///read')
    conf.set_override('audit_connection', 'sqlite:///write', 'context')
    assert conf_context.audit_settings(conf).connection == 'sqlite:///write'

# SPDX-License-Identifier: Apache-2.0
"""Processes are found and ended, also those that do not want to be."""

from collections.abc import Iterator
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.cloud import errors
from tests.cloud import interrupts
from tests.cloud import layout as layouts
from tests.cloud import processes
from tests.cloud import state as states
from tests.cloud import steps
from tests.cloud import supervisor as supervisors
from tests.cloud import waits

LIMIT = 60
# Its first thread has ended; another lives on until its input does.
HEADLESS = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).pthread_exit(None)
"""
# Ignores SIGTERM and starts a child that leaves the session and does so too.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
between = os.fork()
if between == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
else:
    os.waitpid(between, 0)
# Both write to one pipe, which keeps one write together (pipe(7)).
os.write(1, b'ready\\n')
time.sleep(3600)
"""


def process(
    pid: int, parent: int, session: int, started: int = 100
) -> processes.Process:
    return processes.Process(pid, 'S', parent, session, 1, started)


def test_names_with_brackets_and_spaces_are_read() -> None:
    text = '12 (a ) (b) S 1 12 12 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 4711 0 0'
    assert processes.parse_stat(text) == processes.Process(
        12, 'S', 1, 12, 3, 4711
    )


def test_a_living_process_is_seen_and_a_zombie_is_not() -> None:
    child = subprocess.Popen([sys.executable, '-c', ''])
    end = time.monotonic() + LIMIT
    while processes.look(child.pid) is not None:
        assert time.monotonic() < end, 'the child does not end'
        time.sleep(0.01)
    child.wait()
    assert processes.look(os.getpid()) is not None
    assert os.getpid() in processes.table()


def test_a_process_lives_until_its_last_thread_has_ended() -> None:
    with subprocess.Popen(
        [sys.executable, '-c', HEADLESS],
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        assert child.stdin is not None
        stat = pathlib.Path(f'/proc/{child.pid}/stat')
        waits.until(
            'the first thread to end',
            lambda: ') Z ' in stat.read_text(),
            LIMIT,
        )
        # What it has open, such as a port, is open still.
        assert processes.look(child.pid) is not None
        child.stdin.close()
        waits.until(
            'the process to end',
            lambda: processes.look(child.pid) is None,
            LIMIT,
        )


def test_members_of_a_session_belong_and_their_descendants() -> None:
    table = {
        one.pid: one
        for one in (
            process(5_000_010, 1, 5_000_010),
            process(5_000_011, 5_000_010, 5_000_010),
            process(5_000_012, 5_000_011, 5_000_012),
            process(5_000_013, 1, 5_000_013),
        )
    }
    leader = processes.Leader(5_000_010, 100)
    assert processes.belonging(table, [leader], None) == {
        5_000_010,
        5_000_011,
        5_000_012,
    }


def test_older_processes_with_the_id_of_a_session_do_not_belong() -> None:
    table = {5_000_011: process(5_000_011, 1, 5_000_010, started=99)}
    leader = processes.Leader(5_000_010, 100)
    assert processes.belonging(table, [leader], None) == set()


def test_a_re_used_id_does_not_belong() -> None:
    child = subprocess.Popen(
        [sys.executable, '-c', 'import time; time.sleep(3600)'],
        start_new_session=True,
    )
    try:
        found = processes.look(child.pid)
        assert found is not None
        leader = processes.Leader(child.pid, found.started)
        stale = processes.Leader(child.pid, found.started - 1)
        table = {child.pid: found}
        assert processes.belonging(table, [leader], None) == {child.pid}
        assert processes.belonging(table, [stale], None) == set()
        assert processes.is_running(leader)
        assert not processes.is_running(stale)
    finally:
        child.kill()
        child.wait(LIMIT)


def test_a_stubborn_process_and_its_runaway_child_are_ended() -> None:
    token = os.urandom(8).hex()
    child = subprocess.Popen(
        [sys.executable, '-c', STUBBORN],
        env={**os.environ, processes.TOKEN_VARIABLE: token},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b'ready\n'
    assert child.stdout.readline() == b'ready\n'

    def find() -> set[int]:
        return processes.belonging(processes.table(), [], token)

    assert len(find()) == 2
    processes.end_all(find, grace=0.2)
    assert find() == set()
    assert child.wait(LIMIT) == -signal.SIGKILL
    child.stdout.close()


def test_machines_of_a_folder_are_found_whoever_started_them(
    tmp_path: pathlib.Path,
) -> None:
    disk = str(tmp_path / 'one' / 'disk')
    with subprocess.Popen(
        ['qemu-system-x86_64', '-c', 'read line', disk],
        executable='/bin/sh',
        stdin=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        # A program that begins has no arguments yet for a moment.
        found = waits.until(
            'the machine to be seen',
            lambda: processes.machines(tmp_path / 'one'),
            LIMIT,
        )
        assert found == {child.pid}
        assert processes.machines(tmp_path / 'on') == set()
        child.stdin.close()
        child.wait(LIMIT)
    assert processes.machines(tmp_path / 'one') == set()


def test_what_cannot_be_ended_is_named() -> None:
    with pytest.raises(errors.CloudError, match='5000010'):
        processes.end_all(lambda: {5_000_010}, grace=0, limit=0)


def test_signals_to_end_unwind_the_stack() -> None:
    before = signal.getsignal(signal.SIGTERM)
    unwound = []
    with pytest.raises(KeyboardInterrupt), interrupts.terminable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LIMIT)
        finally:
            unwound.append(True)
    assert unwound == [True]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def supervisor(
    tmp_path: pathlib.Path,
) -> Iterator[supervisors.Supervisor]:
    layout = layouts.Layout(tmp_path / 'w')
    layout.make()
    state = states.State(
        release='none',
        venv='/usr',
        token=os.urandom(8).hex(),
        password='word',
        metadata_secret='shared',
        boot=processes.boot(),
    )
    found = supervisors.Supervisor(layout, state)
    yield found
    found.end_all()


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, '-c', text)


def test_steps_are_taken_in_the_order_of_their_needs(
    supervisor: supervisors.Supervisor,
) -> None:
    done: list[str] = []
    steps.run(
        supervisor,
        [
            steps.Call('last', lambda: done.append('last'), ('server',)),
            steps.Service(
                'server',
                python('import time; time.sleep(3600)'),
                lambda: 'first' in done,
                ('first', 'not-in-this-cloud'),
            ),
            steps.Call('first', lambda: done.append('first'), ('program',)),
            steps.Command('program', python('print("said")')),
        ],
        lambda _: None,
    )
    assert done == ['first', 'last']
    assert set(supervisor.state.started) == {'server'}
    assert supervisor.is_running('server')
    assert supervisor.layout.log_of('program').read_text() == 'said\n'
    known = states.load(supervisor.layout.work)
    assert known.started == supervisor.state.started


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (
            steps.Command(
                'fails', python('print("why"); raise SystemExit(3)')
            ),
            r'(?s)fails ended with 3.*why',
        ),
        (
            steps.Service('dies', python('print("why")'), lambda: False),
            r'(?s)dies ended with 0.*why',
        ),
        (
            steps.Service(
                'slow',
                python('import time; time.sleep(3600)'),
                lambda: False,
                limit=0.3,
            ),
            'slow is not ready after 0 s',
        ),
        (
            steps.Check('never', lambda: False, limit=0.3),
            'never is not ready',
        ),
        (
            steps.Command('missing', ('/no/such/program',)),
            'install-system-packages',
        ),
    ],
    ids=lambda value: getattr(value, 'name', ''),
)
def test_a_failing_step_says_why(
    supervisor: supervisors.Supervisor, step: steps.Step, message: str
) -> None:
    with pytest.raises(errors.CloudError, match=message):
        steps.run(supervisor, [step], lambda _: None)


def test_the_environment_of_the_caller_does_not_reach_services(
    supervisor: supervisors.Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('OS_PASSWORD', 'mine')
    monkeypatch.setenv('http_proxy', 'http://elsewhere')
    command = steps.Command(
        'shows', python('import os; print(sorted(os.environ))')
    )
    steps.run(supervisor, [command], lambda _: None)
    shown = supervisor.layout.log_of('shows').read_text()
    assert 'OS_PASSWORD' not in shown
    assert 'http_proxy' not in shown
    assert 'XDG_CACHE_HOME' in shown

# SPDX-License-Identifier: Apache-2.0
"""One publishing at a time, and none that a killed one holds up."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import threading

import pytest

from hepix_vm.catalogue import lease
from hepix_vm import errors
from hepix_vm.operations import turns
from tests.unit.catalogue import following

LIMIT = 120


@pytest.fixture
def store(tmp_path: Path):
    site = following.Site(tmp_path)
    yield site.database
    site.close()


def taken(store, folder: Path, patience: float = 0, **more):
    return turns.taken(store, folder, 1, patience, **more)


def holder(store) -> lease.Holder | None:
    with store.reading() as connection:
        return lease.state(connection, turns.PUBLISH)


def test_turn_is_taken_and_given_back(store, tmp_path):
    for number in (1, 2):
        with taken(store, tmp_path / 'spool') as mine:
            found = holder(store)
            assert found is not None
            assert found.fence == number
            assert found.holder.endswith(f' {os.getpid()}')
            mine.transact(lambda transaction: None)
        assert holder(store) is None


def test_second_one_waits_and_is_told_for_whom(store, tmp_path):
    told: list[str] = []
    with (
        taken(store, tmp_path),
        pytest.raises(errors.TryAgain, match=r'\[publish\] wait'),
        taken(store, tmp_path, waiting=told.append),
    ):
        pass
    assert told == ['another process of this machine']
    got: list[bool] = []

    def wait() -> None:
        with taken(store, tmp_path, LIMIT, waiting=lambda _: ready.set()):
            got.append(True)

    ready = threading.Event()
    with taken(store, tmp_path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert ready.wait(LIMIT)
        assert got == []
    waiting.join(LIMIT)
    assert got == [True]


def test_other_machine_keeps_us_out_while_it_lives(store, tmp_path):
    fence = lease.take(store, 'elsewhere:/spool 1', None, 1, turns.PUBLISH)
    told: list[str] = []
    with (
        pytest.raises(errors.TryAgain, match='elsewhere:/spool 1'),
        taken(store, tmp_path, waiting=told.append),
    ):
        pass
    assert told == ['elsewhere:/spool 1']
    assert fence is not None
    assert lease.release(store, fence, turns.PUBLISH)
    with taken(store, tmp_path):
        pass


def test_silent_machine_is_followed(store, tmp_path, monkeypatch):
    monkeypatch.setattr(turns, 'LEASE_TIME', 0.3)
    lease.take(store, 'elsewhere:/spool 1', None, 1, turns.PUBLISH)
    with taken(store, tmp_path, LIMIT):
        found = holder(store)
        assert found is not None
        assert found.fence == 2


HOLD = """
import sys, time
from pathlib import Path
from hepix_vm.catalogue import database
from hepix_vm.operations import turns
store = database.Database(sys.argv[1])
with turns.taken(store, Path(sys.argv[2]), 1, 0):
    print('mine', flush=True)
    time.sleep(600)
"""


def test_killed_one_on_this_machine_holds_up_nobody(tmp_path):
    site = following.Site(tmp_path)
    command = [sys.executable, '-c', HOLD, site.url, str(tmp_path / 'spool')]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == 'mine\n'
        with (
            pytest.raises(errors.TryAgain, match='another publishing'),
            taken(site.database, tmp_path / 'spool'),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT)
    with taken(site.database, tmp_path / 'spool') as mine:
        mine.transact(lambda transaction: None)
    site.close()


def test_one_that_was_replaced_writes_nothing_more(store, tmp_path):
    with taken(store, tmp_path) as mine:
        with store.reading() as connection:
            row = lease.look(connection, turns.PUBLISH)
        lease.take(store, 'elsewhere:/spool 1', row, 1, turns.PUBLISH)
        with pytest.raises(errors.LeaseLost, match='elsewhere'):
            mine.transact(lambda transaction: None)


def test_spool_that_cannot_be_used_is_one_sentence(store, tmp_path):
    (tmp_path / 'file').touch()
    with (
        pytest.raises(errors.LocalFault, match='spool_directory'),
        taken(store, tmp_path / 'file' / 'spool'),
    ):
        pass

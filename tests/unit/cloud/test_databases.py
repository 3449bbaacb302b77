# SPDX-License-Identifier: Apache-2.0
"""A database server of the tests is frozen, and gone, with its children."""

from __future__ import annotations

import pathlib
import sys
import threading

from tests.cloud import processes
from tests.cloud import waits
from tests import databases

LIMIT = 120
# Ends at once, and leaves a child in a session of its own that ends later.
PARENT = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True)
while True:
    time.sleep(3600)
"""
CHILD = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path('new').write_text(str(os.getpid()))
os.rename('new', 'child')
while not pathlib.Path('over').exists():
    time.sleep(0.02)
"""


class Server(databases.Server):
    """One whose children outlive it, as those of PostgreSQL may."""

    def _command(self) -> list[str]:
        return [sys.executable, '-c', PARENT, CHILD]

    def _accepts(self) -> bool:
        return (self.folder / 'child').exists()

    def _create(self, name: str) -> None:
        raise NotImplementedError

    def url_of(self, name: str) -> str:
        raise NotImplementedError


def test_a_server_is_gone_when_its_children_are(
    tmp_path: pathlib.Path,
) -> None:
    server = Server(tmp_path)
    server.start()
    parent = server._process
    assert parent is not None
    child = int((tmp_path / 'child').read_text())
    ending = threading.Thread(target=server.end)
    try:
        ending.start()
        waits.until(
            'the parent to be gone',
            lambda: processes.look(parent.pid) is None,
            LIMIT,
        )
        assert ending.is_alive()
        assert processes.look(child) is not None
    finally:
        (tmp_path / 'over').touch()
        ending.join(LIMIT)
    assert not ending.is_alive()
    assert processes.look(child) is None


def test_a_server_that_was_killed_is_gone_with_its_children(
    tmp_path: pathlib.Path,
) -> None:
    server = Server(tmp_path)
    server.start()
    members = server._members()
    assert len(members) == 2
    try:
        server.kill()
        assert not any(map(processes.look, members))
    finally:
        (tmp_path / 'over').touch()


def test_nothing_of_a_frozen_server_runs(tmp_path: pathlib.Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        with server.frozen():
            states = [processes.look(pid) for pid in server._members()]
            assert [one and one.state for one in states] == ['T', 'T']
    finally:
        server.kill()

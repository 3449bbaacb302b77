# SPDX-License-Identifier: Apache-2.0
"""When a database server of the tests is gone."""

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
import os, pathlib, signal, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, '-c', sys.argv[1]], start_new_session=True
)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
pathlib.Path('new').write_text(str(child.pid))
os.rename('new', 'child')
while True:
    time.sleep(3600)
"""
CHILD = """
import pathlib, time
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

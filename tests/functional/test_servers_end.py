# SPDX-License-Identifier: Apache-2.0
"""Database servers of the tests end with them, also when they are killed."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
import tempfile

from tests.cloud import processes
from tests.cloud import waits
from tests import databases

_PROGRAM = """
import time
from tests import databases
with databases.mariadb() as mariadb, databases.postgresql() as postgresql:
    print(*(s.folder for s in (mariadb, postgresql)), flush=True)
    time.sleep(600)
"""


def test_servers_of_tests_that_were_killed_end() -> None:
    with (
        # What was killed leaves its files behind.
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, '-c', _PROGRAM],
            cwd=Path(__file__).parents[2],
            env=os.environ | {'TMPDIR': folder},
            stdout=subprocess.PIPE,
            text=True,
        ) as tests,
    ):
        Path(folder).chmod(0o755)
        assert tests.stdout is not None
        folders = tests.stdout.readline().split()
        assert len(folders) == 2
        running = _servers(folders)
        assert len(running) >= 2
        tests.kill()
        waits.until(
            'the servers to end',
            lambda: not any(map(processes.look, running)),
            databases.SOON,
        )


def _servers(folders: list[str]) -> list[int]:
    """Processes that are in one of these folders, or below."""
    found = []
    for pid in processes.table():
        try:
            where = str(Path(f'/proc/{pid}/cwd').readlink())
        except OSError:
            continue
        if where.startswith(tuple(folders)):
            found.append(pid)
    return found

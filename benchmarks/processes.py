# SPDX-License-Identifier: Apache-2.0
"""What things take that have a process of their own.

Imports count for the memory of a process and not for its time.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

from tests.cloud.processes import table

_KIB, _MB = 2**10, 1e6


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What one step took.

    :param seconds: by the clock on the wall
    :param processor: seconds of processors
    :param memory: MB, the peak of what was resident
    """

    seconds: float
    processor: float
    memory: float


def run(module: str, *arguments: object) -> Taken:
    """Run a module that prints what :func:`measured` found out.

    :raises RuntimeError: it failed
    """
    done = subprocess.run(
        [sys.executable, '-m', module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f'{module}: {done.stderr.strip()[-2000:]}')
    return Taken(**json.loads(done.stdout))


@contextlib.contextmanager
def serving(module: str, path: pathlib.Path) -> Iterator[str]:
    """A server that prints its port and serves until its input ends.

    :param path: of what it serves
    :returns: its URL, without a path
    """
    argv = [sys.executable, '-m', module, str(path)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError('the server has no pipes')
        try:
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError(f'{module} did not start')
            yield f'http://127.0.0.1:{port}'
        finally:
            process.stdin.close()
            process.wait(60)


class Watching:
    """A process that waits for images to appear.

    :param how: ``watch``: by decisions, ``poll``: by its own queries
    :param connection: SQLAlchemy URL of the catalogue
    """

    def __init__(self, how: str, connection: str) -> None:
        argv = [sys.executable, '-m', 'benchmarks.steps', how, connection]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, sha512: str) -> None:
        """Wait for this one, from now on."""
        if self._process.stdin is None:
            raise RuntimeError('the watching process has no pipe')
        self._process.stdin.write(f'{sha512}\n')
        self._process.stdin.flush()

    def seen(self) -> float:
        """When it was there, in seconds of the monotonic clock."""
        if self._process.stdout is None:
            raise RuntimeError('the watching process has no pipe')
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError('the watching process ended')
        return float(said)

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


def of_session(leader: int) -> Taken:
    """What all processes of a session have taken so far.

    :param leader: its process id
    :returns: memory: MB that are resident now; what is shared counts once
    """
    ticks, memory = 0, 0
    for pid, one in table().items():
        if one.session != leader:
            continue
        path = pathlib.Path('/proc') / str(pid)
        fields = (path / 'stat').read_text('latin-1').rpartition(') ')[2]
        ticks += sum(map(int, fields.split()[11:13]))
        for line in (path / 'smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                memory += int(line.split()[1])
    return Taken(
        time.monotonic(),
        ticks / os.sysconf('SC_CLK_TCK'),
        memory * _KIB / _MB,
    )


def _peak() -> float:
    """MB that were resident at most.

    What getrusage says would begin with what the parent held when it
    started this process: Linux carries that across exec.
    """
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM:'):
            return int(line.split()[1]) * _KIB / _MB
    raise RuntimeError('this system does not tell the peak of memory')


def measured(call: Callable[[], None]) -> str:
    """Call, and say in JSON what it took."""
    busy = time.process_time()
    begin = time.perf_counter()
    call()
    taken = Taken(
        time.perf_counter() - begin,
        time.process_time() - busy,
        _peak(),
    )
    return json.dumps(dataclasses.asdict(taken))

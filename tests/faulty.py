# SPDX-License-Identifier: Apache-2.0
"""Runs ``hepix-vm`` in processes to which something happens at a given step.

A step is a statement or the end of a transaction. One process imports
everything and forks the others, so that hundreds of them cost little::

    with faulty.runner() as run:
        ran = run(['--config-file', path, 'sync'], kill=7)
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import gc
import importlib
from importlib import metadata
import json
import os
from pathlib import Path
import signal
import sqlite3
import subprocess
import sys
import tempfile
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Ran:
    """How a command ended.

    :ivar status: its exit status; None when it was killed
    :ivar steps: how many it began
    """

    status: int | None
    steps: int
    out: str
    err: str

    @property
    def problems(self) -> list[str]:
        """The lines of standard error that are no warnings of the sync."""
        return [
            line
            for line in self.err.splitlines()
            if line and 'verdict=' not in line
        ]


class Runner:
    """Gives commands to the process that forks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, argv: list[object], **fault: int | str) -> Ran:
        """Run a command, and wait for it.

        :param fault: ``kill=N``: by SIGKILL before step N; ``away=N``: the
            database fails from step N on; ``once=N``: at step N alone;
            ``pages=N``: no more pages in the file than N;
            ``now=SECONDS``: what the clock says; ``pid=FILE``: where the
            process notes who it is, for others to kill it
        """
        self.begin(argv, **fault)
        return self.end()

    def begin(self, argv: list[object], **fault: int | str) -> None:
        """Run a command."""
        assert self._process.stdin is not None
        words = [str(word) for word in argv]
        print(json.dumps([words, fault]), file=self._process.stdin, flush=True)

    def end(self) -> Ran:
        """Wait for what :meth:`begin` began."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, 'the process that forks has ended'
        ran = Ran(**json.loads(line))
        assert 'Traceback' not in ran.out + ran.err, ran.err
        return ran


@contextlib.contextmanager
def runner() -> Iterator[Runner]:
    """Start the process that forks; it ends with us."""
    with subprocess.Popen(
        [sys.executable, '-m', 'tests.faulty'],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Runner(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


class _Steps:
    """Counts, and does what is to happen."""

    def __init__(self, fault: dict[str, Any], told: int) -> None:
        self._fault = fault
        self._told = told
        self._count = 0

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Before each step."""
        self._count += 1
        os.pwrite(self._told, str(self._count).encode(), 0)
        if self._count == self._fault.get('kill'):
            os.kill(os.getpid(), signal.SIGKILL)
        away = self._fault.get('away')
        if self._count == self._fault.get('once') or (
            away is not None and self._count >= away
        ):
            raise self._failure(args)

    @staticmethod
    def _failure(args: tuple[Any, ...]) -> Exception:
        away = sqlite3.OperationalError('the database is away')
        # At the end of a transaction there is no statement, and nobody who
        # would turn the driver's error into SQLAlchemy's.
        return away if len(args) > 1 else _dbapi_error('COMMIT', {}, away)

    def limit(self, connection: Any, record: Any) -> None:
        """Before a connection to SQLite is used."""
        # The kernel outlives all of this, and disks may be slow.
        connection.execute('PRAGMA synchronous = OFF')
        pages = self._fault.get('pages')
        if pages:
            connection.execute(f'PRAGMA max_page_count = {pages}')


def _dbapi_error(*args: Any) -> Exception:
    from sqlalchemy import exc

    return exc.OperationalError(*args)


def _run(argv: list[str], fault: dict[str, Any], told: int) -> int:
    import sqlalchemy as sa

    from hepix_vm.cli import base
    from hepix_vm.cli import main

    steps = _Steps(fault, told)
    sa.event.listen(sa.Engine, 'before_cursor_execute', steps)
    sa.event.listen(sa.Engine, 'commit', steps)
    sa.event.listen(sa.pool.Pool, 'connect', steps.limit)
    if 'pid' in fault:
        Path(fault['pid']).write_text(str(os.getpid()))
    if 'now' in fault:
        base.now = lambda: int(fault['now'])
    try:
        return main.main(argv)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 1


def _forked(argv: list[str], fault: dict[str, Any]) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        out, err, told, imported = (
            stack.enter_context(tempfile.TemporaryFile()) for _ in range(4)
        )
        # The child need not look through all that was imported.
        gc.freeze()
        child = os.fork()
        if not child:
            status = 70
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                before = set(sys.modules)
                status = _run(argv, fault, told.fileno())
                imported.write('\n'.join(set(sys.modules) - before).encode())
                imported.flush()
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)
        _, waited = os.waitpid(child, 0)
        for file in (out, err, told, imported):
            file.seek(0)
        # So that the next ones find it there.
        for name in imported.read().decode().split():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        status = os.waitstatus_to_exitcode(waited)
        return {
            'status': None if status == -signal.SIGKILL else status,
            'steps': int(told.read() or 0),
            'out': out.read().decode(),
            'err': err.read().decode(),
        }


def _serve() -> None:
    import hepix_vm.cli.configured
    import hepix_vm.cli.syncing  # noqa: F401 - before the first fork

    # What is installed stays; to read about it takes as long as all the rest
    # of a short command.
    metadata.entry_points = functools.cache(metadata.entry_points)
    metadata.entry_points(group='hepix_vm.cli')
    for line in sys.stdin:
        argv, fault = json.loads(line)
        print(json.dumps(_forked(argv, fault)), flush=True)


if __name__ == '__main__':
    _serve()

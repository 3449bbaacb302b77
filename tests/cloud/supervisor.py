# SPDX-License-Identifier: Apache-2.0
"""Starts the processes of one cloud and ends them on every way out.

A second process watches the one that started the cloud: when that is gone
without having said good-bye (``kill -9``), the watch ends everything.
"""

from collections.abc import Mapping
import os
import pathlib
import signal
import subprocess
import sys

from tests.cloud import errors
from tests.cloud import layout as layouts
from tests.cloud import processes
from tests.cloud import state as states

ROOT = pathlib.Path(__file__).parents[2]
PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
RESTART_GRACE = 15.0
DETACH = b'detach\n'


class Supervisor:
    """The processes of the cloud in one work directory."""

    def __init__(self, layout: layouts.Layout, state: states.State) -> None:
        self.layout = layout
        self.state = state
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._watch: subprocess.Popen[bytes] | None = None

    def base_environment(self) -> dict[str, str]:
        """Return what every process gets: nothing of the caller's own."""
        return {
            'PATH': f'{self.state.venv}/bin:{PATH}',
            'HOME': str(self.layout.work),
            'LANG': 'C.UTF-8',
            'TZ': 'UTC',
            'PYTHONUNBUFFERED': '1',
            # stevedore remembers entry points there: one cloud must not see
            # those of another's package.
            'XDG_CACHE_HOME': str(self.layout.data / 'cache'),
            'PYTHONPATH': str(self.layout.site),
            processes.TOKEN_VARIABLE: self.state.token,
        }

    def watch(self) -> None:
        """Have everything ended also when this process is killed."""
        states.save(self.layout.work, self.state)
        with self.layout.log_of('watch').open('ab') as log:
            self._watch = subprocess.Popen(
                [sys.executable, '-m', 'tests.cloud.watch', self.layout.work],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def spawn(
        self,
        name: str,
        argv: tuple[str, ...],
        environment: Mapping[str, str],
        port: int | None = None,
    ) -> None:
        """Start a process in a session of its own, its output to its log.

        :raises errors.CloudError: when the program is not there
        """
        full = {**self.base_environment(), **environment}
        path = self.layout.log_of(name)
        with path.open('ab') as log:
            try:
                child = subprocess.Popen(
                    argv,
                    env=full,
                    cwd=self.layout.work,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise errors.CloudError(
                    f'{name} cannot be started: {error}; '
                    'tools/install-system-packages installs what is missing'
                ) from error
        self._children[name] = child
        found = processes.look(child.pid)
        self.state.started[name] = states.Started(
            name=name,
            argv=argv,
            environment=full,
            log=str(path),
            port=port,
            leader=processes.Leader(child.pid, found.started if found else 0),
        )
        states.save(self.layout.work, self.state)

    def exit_status(self, name: str) -> int | None:
        """Return how a process of ours ended; None while it runs."""
        return self._children[name].poll()

    def is_running(self, name: str) -> bool:
        """Say whether a process is alive, whoever started it."""
        child = self._children.get(name)
        if child is not None and child.poll() is not None:
            return False
        return processes.is_running(self.state.started[name].leader)

    def forget(self, name: str) -> None:
        """Drop the record of a process that has ended."""
        del self.state.started[name]

    def end(self, *names: str, grace: float = RESTART_GRACE) -> None:
        """End processes with their children, and wait until they are gone."""
        leaders = [self.state.started[name].leader for name in names]
        processes.end_all(
            lambda: processes.belonging(processes.table(), leaders, None),
            grace=grace,
        )
        for name in names:
            if name in self._children:
                self._children[name].wait()

    def kill(self, name: str) -> None:
        """Kill a process with its children, and wait until they are gone."""
        leader = self.state.started[name].leader

        def left() -> set[int]:
            return processes.belonging(processes.table(), [leader], None)

        processes.send(left(), signal.SIGKILL)
        processes.end_all(left)

    def end_all(self) -> None:
        """End every process of the cloud, then the watch."""
        processes.end_all(self.state.belonging)
        for child in self._children.values():
            child.wait()
        self._dismiss_watch()

    def detach(self) -> None:
        """Leave the cloud running when this process ends."""
        self._dismiss_watch()

    def _dismiss_watch(self) -> None:
        if self._watch is None:
            return
        try:
            self._watch.communicate(DETACH, timeout=60)
        except BrokenPipeError:
            self._watch.wait()
        except subprocess.TimeoutExpired:
            os.kill(self._watch.pid, 9)
            self._watch.wait()
        self._watch = None

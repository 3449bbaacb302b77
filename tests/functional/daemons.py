# SPDX-License-Identifier: Apache-2.0
"""Real processes of ``hepix-vm-sync``, and a network that can be cut."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import select
import signal
import socket
import subprocess
import sys
import threading

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from tests.cloud import waits
from tests.unit.catalogue import following
from tests.unit.cli import commands
from tests.unit.daemon import systemd

#: Seconds: the machine may be busy.
SOON = 240


class Daemon:
    """One process, under a service manager that listens.

    :param options: of the group ``[daemon]``
    :param url: another way to the site's database
    """

    def __init__(
        self,
        site: following.Site,
        name: str,
        url: str | None = None,
        watchdog: float | None = None,
        more: str = '',
        **options: object,
    ) -> None:
        self.site = site
        self.folder = site.folder / name
        self.folder.mkdir()
        self.file = self.folder / 'hepix_vm.conf'
        self.log = self.folder / 'log'
        self.systemd = systemd.Systemd(self.folder)
        self._url = url or site.url
        self._watchdog = watchdog
        self._more = more
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, **options: object) -> None:
        """Write its configuration file."""
        self.options |= options
        commands.write_configuration(self.site, self.file)
        text = self.file.read_text().replace(
            f'connection = {self.site.url}\n', f'connection = {self._url}\n'
        )
        lines = [f'{key} = {value}' for key, value in self.options.items()]
        self.file.write_text(
            '\n'.join([text, self._more, '[daemon]', *lines, ''])
        )

    def start(self) -> None:
        """Start it."""
        self.configure()
        with self.log.open('ab') as log:
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).with_name('hepix-vm-sync'),
                    '--config-file',
                    self.file,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.systemd.environment(self._watchdog),
            )

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self.process is not None
        return self.process.pid

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; returns its exit status."""
        assert self.process is not None
        return self.process.wait(SOON)

    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text()

    def until(self, what: str, probe: Callable[[], object]) -> None:
        """Wait for something while it lives."""
        waits.until(what, probe, SOON, log=self.log, alive=self.alive)

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it has logged something."""
        self.until(
            f'the daemon to say {text!r}',
            lambda: self.said().count(text) >= times,
        )

    def is_ready(self) -> None:
        """Wait until it tells so."""
        self.until('READY=1', lambda: 'READY=1' in self.systemd.listen())

    def leads(self) -> bool:
        """Whether it does, by the database."""
        held = holder(self.site)
        return held is not None and held.holder.endswith(f':{self.pid}')

    def comes_to_lead(self) -> None:
        """Wait until it leads."""
        self.until('the daemon to lead', self.leads)

    def end(self) -> None:
        """However it is, it runs no longer."""
        if self.alive():
            self.send(signal.SIGKILL)
            self.ended()
        self.systemd.close()


@contextlib.contextmanager
def crew(
    site: following.Site, names: str, **options: object
) -> Iterator[list[Daemon]]:
    """Daemons of a site that were not started yet."""
    with contextlib.ExitStack() as stack:
        made = []
        for name in names.split():
            made.append(Daemon(site, name, **options))  # type: ignore[arg-type]
            stack.callback(made[-1].end)
        yield made


def paused(site: following.Site, one: Daemon) -> None:
    """Pause a daemon, not while it keeps others out of a SQLite file."""

    def stands() -> bool:
        one.send(signal.SIGSTOP)
        try:
            with site.database.writing():
                return True
        except database.FAILURES:
            one.send(signal.SIGCONT)
            return False

    waits.until('the daemon to stand outside of a transaction', stands, 600)


def holder(site: following.Site) -> lease.Holder | None:
    """Who leads."""
    with site.database.reading() as connection:
        return lease.state(connection)


def leader(site: following.Site, among: list[Daemon]) -> Daemon:
    """Wait until one of them leads; returns it."""

    def found() -> Daemon | None:
        return next((one for one in among if one.leads()), None)

    return waits.until(
        'one to lead',
        found,
        SOON,
        log=among[0].log,
        alive=lambda: all(one.alive() for one in among),
    )


def fence(site: following.Site) -> int:
    """The number of the lease, held or not."""
    with site.database.reading() as connection:
        row = lease.look(connection)
    return 0 if row is None else row.fence


class Proxy:
    """A TCP port that leads to a server's socket, until it is cut.

    :param path: of the server's Unix socket
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._ended = False
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            with self._lock:
                # Under the lock: what is cut meanwhile must not live on.
                refused = self._refusing or server.connect_ex(str(self._path))
                if not refused:
                    self._pairs.append((client, server))
            if refused:
                client.close()
                server.close()
                continue
            threading.Thread(
                target=self._pump, args=[client, server], daemon=True
            ).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        ways = {client: server, server: client}
        with contextlib.suppress(OSError, ValueError):
            while not self._ended:
                ready, _, _ = select.select(list(ways), [], [], 0.2)
                self._flowing.wait()
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return _closed(client, server)
                    ways[one].sendall(data)
        return _closed(client, server)

    def cut(self) -> None:
        """Connections break, and new ones are refused."""
        self._refusing = True
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _closed(*pair)

    def hold(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._flowing.clear()

    def mend(self) -> None:
        """All is well again."""
        self._refusing = False
        self._flowing.set()

    def close(self) -> None:
        """Listen no more."""
        self._ended = True
        self._listening.close()
        self.mend()
        self.cut()


def _closed(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@contextlib.contextmanager
def proxy(path: Path) -> Iterator[Proxy]:
    """A proxy in front of a server's socket."""
    made = Proxy(path)
    try:
        yield made
    finally:
        made.close()

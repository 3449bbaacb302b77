# SPDX-License-Identifier: Apache-2.0
"""A service manager that listens."""

from __future__ import annotations

from pathlib import Path
import socket
import threading
import time

from tests.cloud import waits


class Systemd:
    """What a service tells, in the order of telling.

    :ivar heard: all lines so far
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / 'notify'
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.heard: list[str] = []
        # The kernel keeps some ten datagrams and drops the next ones, as
        # nobody waits for who does not read (unix(7)); so they are kept here.
        self._kept: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def environment(self, watchdog: float | None = None) -> dict[str, str]:
        """The variables that a service gets."""
        made = {'NOTIFY_SOCKET': str(self.path)}
        if watchdog is not None:
            made['WATCHDOG_USEC'] = str(round(watchdog * 1_000_000))
        return made

    def listen(self) -> list[str]:
        """All lines so far."""
        self._take()
        with self._lock:
            self.heard += self._kept
            self._kept.clear()
        return self.heard

    def _keep(self) -> None:
        while not self._over.wait(0.1):
            self._take()

    def _take(self) -> None:
        with self._lock:
            while True:
                try:
                    message = self._socket.recv(65536).decode()
                except BlockingIOError:
                    return
                self._kept += message.split('\n')

    def status(self) -> str:
        """The last status line."""
        lines = [x for x in self.listen() if x.startswith('STATUS=')]
        return lines[-1].removeprefix('STATUS=') if lines else ''

    def wait(self, line: str, seconds: float, log: Path | None = None) -> None:
        """Wait until it is told something, after what was heard before.

        :param line: its beginning
        """
        begin = len(self.heard)
        waits.until(
            f'the service to tell {line}',
            lambda: any(x.startswith(line) for x in self.listen()[begin:]),
            seconds,
            log=log,
            interval=0.05,
        )

    def forget(self) -> None:
        """What was heard so far counts no more."""
        self.listen()
        self.heard.clear()

    def close(self) -> None:
        """Listen no more."""
        self._over.set()
        self._thread.join()
        self._socket.close()


class Clock:
    """Monotonic seconds that a test puts forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead

# SPDX-License-Identifier: Apache-2.0
"""What a service tells systemd: sd_notify(3) and sd_watchdog_enabled(3)."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import contextlib
import os
import socket
import time


class Notify:
    """Datagrams to the socket that the service manager has named.

    Without one nothing is sent, and nothing ever fails: a service does not
    end because nobody listens to it.

    :param environment: of the process
    :param clock: seconds of CLOCK_MONOTONIC, which systemd compares with
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        name = environment.get('NOTIFY_SOCKET', '')
        # '@' stands for the byte 0 of an abstract name.
        self._address = '\0' + name[1:] if name.startswith('@') else name
        self._clock = clock
        self.watchdog = _watchdog(environment)

    def tell(self, *lines: str) -> None:
        """Send assignments, such as ``READY=1``, in one message."""
        if not self._address:
            return
        message = '\n'.join(' '.join(line.split()) for line in lines)
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending,
        ):
            # A full queue of the manager is no reason to wait.
            sending.setblocking(False)
            sending.sendto(message.encode(), self._address)

    def reloading(self) -> None:
        """The configuration is being read again; ``READY=1`` follows."""
        moment = round(self._clock() * 1_000_000)
        self.tell('RELOADING=1', f'MONOTONIC_USEC={moment}')

    def extend(self, seconds: float) -> None:
        """Starting or ending takes this much longer, and that is meant."""
        self.tell(f'EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}')


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Seconds after which systemd misses a sign of life; None: never."""
    pid = environment.get('WATCHDOG_PID')
    try:
        if pid is not None and int(pid) != os.getpid():
            return None
        seconds = int(environment.get('WATCHDOG_USEC', '0')) / 1_000_000
    except ValueError:
        return None
    return seconds if seconds > 0 else None

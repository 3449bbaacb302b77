# SPDX-License-Identifier: Apache-2.0
"""Free ports on loopback that stay ours while the services start."""

from collections.abc import Sequence
import fcntl
import pathlib
import random
import re
import socket
from typing import IO

from tests.cloud import errors

ADDRESS = '127.0.0.1'
# Below the ports that Linux gives to outgoing connections (32768 and up by
# default), so that none of those takes a port before its service listens.
FIRST = 20000
LAST = 31999
BLOCK = 20
ATTEMPTS = 50
_STATUS = re.compile(rb'HTTP/1\.[01] [234]')


def is_free(port: int) -> bool:
    """Say whether a TCP port of the loopback address can be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Say whether something accepts connections at a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((ADDRESS, port)) == 0


class Block:
    """Consecutive free ports by name, locked against other clouds.

    The lock is held until :meth:`release` or the end of the process: the
    listening services themselves do not keep the ports while they are
    started again.
    """

    def __init__(self, ports: dict[str, int], lock: IO[str]) -> None:
        self.ports = ports
        self._lock = lock

    def release(self) -> None:
        """Give up the lock."""
        self._lock.close()


def _locked(path: pathlib.Path) -> IO[str] | None:
    stream = path.open('w')
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream


def reserve(
    names: Sequence[str], folder: pathlib.Path, chance: random.Random
) -> Block:
    """Find a free port for each name.

    :param folder: where the lock files of the blocks are
    :raises errors.CloudError: when no block of ports is free
    """
    if len(names) > BLOCK:
        raise ValueError(f'{len(names)} names for {BLOCK} ports')
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(ATTEMPTS):
        first = FIRST + BLOCK * chance.randrange((LAST + 1 - FIRST) // BLOCK)
        lock = _locked(folder / f'{first}.lock')
        if lock is None:
            continue
        ports = dict(zip(names, range(first, first + BLOCK), strict=False))
        if all(map(is_free, ports.values())):
            return Block(ports, lock)
        lock.close()
    raise errors.CloudError(
        f'no {len(names)} free ports together between {FIRST} and {LAST} of '
        f'{ADDRESS} after {ATTEMPTS} attempts: end what listens there'
    )


class HttpAnswer:
    """Says whether a port of loopback has answered a request, never waiting.

    uWSGI listens long before its application is loaded; one request stays
    open until then.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __call__(self) -> bool:
        """Return true once there was an answer other than a server error."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(
                    (ADDRESS, self._port), timeout=5
                )
                self._socket.setblocking(False)
                self._socket.sendall(b'GET / HTTP/1.0\r\n\r\n')
            line = self._socket.recv(64)
        except BlockingIOError:
            return False
        except OSError:
            line = b''
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        return _STATUS.match(line) is not None

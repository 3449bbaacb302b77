# SPDX-License-Identifier: Apache-2.0
"""Connections to PostgreSQL that do not wait for ever.

Its client library bounds connecting alone: a server that hangs later, or a
host that is gone, is waited for without end. One thread a process looks at
what is being waited for, and shuts the connection down after the time-out;
the library then says that the server is gone. Runs inside Glance and Nova.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import functools
import importlib
import os
import socket
import threading
import time
from typing import Any

#: Seconds between two looks.
_LOOK = 0.5


class _Watch:
    """The thread, and the waits that it looks at."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._ends: dict[Any, float] = {}
        self._begun = threading.Event()
        threading.Thread(
            target=self._run, name='hepix-vm-silence', daemon=True
        ).start()

    def begin(self, connection: Any, seconds: float) -> None:
        with self._lock:
            self._ends[connection] = time.monotonic() + seconds
        self._begun.set()

    def end(self, connection: Any) -> None:
        with self._lock:
            self._ends.pop(connection, None)

    def _run(self) -> None:
        while True:
            self._begun.wait()
            time.sleep(_LOOK)
            now = time.monotonic()
            # Under the lock: who waits cannot go on and close the connection,
            # whose number might be another one's then.
            with self._lock:
                for connection, end in list(self._ends.items()):
                    if now >= end:
                        del self._ends[connection]
                        _shut(connection)
                if not self._ends:
                    self._begun.clear()


def _shut(connection: Any) -> None:
    with contextlib.suppress(Exception):
        copy = os.dup(connection.fileno())
        with socket.socket(fileno=copy) as end:
            end.shutdown(socket.SHUT_RDWR)


_watch: _Watch | None = None
_watch_lock = threading.Lock()


def _running() -> _Watch:
    global _watch
    with _watch_lock:
        if _watch is None or _watch.pid != os.getpid():
            _watch = _Watch()
        return _watch


def _after_fork() -> None:
    global _watch_lock
    _watch_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def bounded(connection: Any, seconds: float) -> Iterator[None]:
    """Shut a connection down when the block takes longer.

    :param connection: with ``fileno()``, as those of psycopg2 have
    """
    watch = _running()
    watch.begin(connection, seconds)
    try:
        yield
    finally:
        watch.end(connection)


@functools.cache
def connections(seconds: float) -> Any:
    """The ``connection_factory`` of psycopg2 whose waits are bounded.

    :param seconds: for each answer
    :raises ImportError: without psycopg2
    """
    extensions: Any = importlib.import_module('psycopg2.extensions')

    class Cursor(extensions.cursor):  # type: ignore[misc]
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            with bounded(self.connection, seconds):
                return super().execute(*args, **kwargs)

        def executemany(self, *args: Any, **kwargs: Any) -> Any:
            with bounded(self.connection, seconds):
                return super().executemany(*args, **kwargs)

    class Connection(extensions.connection):  # type: ignore[misc]
        def cursor(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault('cursor_factory', Cursor)
            return super().cursor(*args, **kwargs)

        def commit(self) -> None:
            with bounded(self, seconds):
                super().commit()

        def rollback(self) -> None:
            with bounded(self, seconds):
                super().rollback()

    return Connection

# SPDX-License-Identifier: Apache-2.0
"""HTTP connections that another thread can end, whatever they wait for."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import socket
import threading
from typing import Any

from requests import adapters


class Adapter(adapters.HTTPAdapter):
    """Keeps a hold on its connections, so that another thread can end them.

    A read returns only when its whole piece is there, so a server that
    sends a byte now and then, of the headers too, would never be noticed
    by a look at the clock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[socket.socket] = []
        self.is_cut = False
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the pool's connections held."""
        super().init_poolmanager(*args, **kwargs)
        _hold(self.poolmanager, self._hold)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Have connections to a proxy held, too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        _hold(manager, self._hold)
        return manager

    @property
    def opened(self) -> int:
        """Connections that were opened since the last :meth:`forget`."""
        with self._lock:
            return len(self._held)

    def cut(self) -> None:
        """End every connection, those of the future included."""
        with self._lock:
            self.is_cut = True
            for held in self._held:
                _shut(held)

    def forget(self) -> None:
        """Let go of the connections."""
        with self._lock:
            for held in self._held:
                held.close()
            self._held.clear()

    def _hold(self, connection: socket.socket) -> None:
        # TLS takes the socket itself away; a duplicate ends the same one.
        held = connection.dup()
        with self._lock:
            self._held.append(held)
            if self.is_cut:
                _shut(held)


def _hold(manager: Any, hold: Callable[[socket.socket], None]) -> None:
    """Make a pool manager's classes tell of each new connection."""

    def told(pool: Any) -> Any:
        connection = pool.ConnectionCls

        def new_conn(self: Any) -> Any:
            made = connection._new_conn(self)
            hold(made)
            return made

        return type(
            pool.__name__,
            (pool,),
            {
                'ConnectionCls': type(
                    connection.__name__,
                    (connection,),
                    {'_new_conn': new_conn},
                )
            },
        )

    manager.pool_classes_by_scheme = {
        scheme: told(pool)
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

# SPDX-License-Identifier: Apache-2.0
"""Who leads, decided by a coordination service through tooz.

It decides alone who may take the lease; the lease's fencing number is taken
in the database all the same, because a lock in another service protects
nothing from a holder that was paused and does not know that it lost it. (With
etcd tooz does not see that its own lock has expired: the lock stays
``acquired`` after another process has it, measured with tooz 9.1. The
database tells such a holder at its next beat.)
"""

from __future__ import annotations

import contextlib
from typing import Any
from typing import Protocol
import urllib.parse

from hepix_vm import errors

_LOCK = b'hepix-vm-sync'

# Seconds to wait for tooz' own thread, which tries for ever while its server
# is away.
_HEART = 5.0


class Coordination(Protocol):
    """Decides who leads."""

    def hold(self) -> bool:
        """Get the lock without waiting, or confirm that we have it.

        :raises errors.TryAgain: when the service cannot be asked
        """

    def drop(self) -> None:
        """Give the lock back, as well as that is possible; never raises."""


class Tooz:
    """A lock of tooz.

    :param url: as tooz takes it
    :param member: our name
    :raises errors.Misconfigured: when there is no such driver
    """

    def __init__(self, url: str, member: str) -> None:
        self._url = url
        self._member = member
        self._coordinator: Any = None
        self._lock: Any = None
        # Loads the driver, asks nobody.
        self._made()

    def _made(self) -> Any:
        try:
            from tooz import coordination

            return coordination.get_coordinator(
                self._url, self._member.encode()
            )
        except Exception as exc:
            scheme = urllib.parse.urlsplit(self._url).scheme
            raise errors.Misconfigured(
                'option [daemon] coordination_url: expected a URL of tooz '
                'such as etcd3+http://HOST:2379, found one of scheme '
                f'"{scheme}" that cannot be used ({_cause(exc)}); install '
                'the extra "tooz" and the driver, or edit the option'
            ) from exc

    def hold(self) -> bool:
        """Get the lock without waiting, or confirm that we have it.

        :raises errors.TryAgain: when the service cannot be asked
        """
        try:
            if self._coordinator is None:
                made = self._made()
                made.start(start_heart=True)
                self._coordinator = made
            if self._lock is None:
                lock = self._coordinator.get_lock(_LOCK)
                if lock.acquire(blocking=False):
                    self._lock = lock
                return self._lock is not None
            # Where locks expire, this is asked of the service.
            beat = getattr(self._lock, 'heartbeat', None)
            if beat is not None:
                beat()
            return bool(self._lock.acquired)
        except errors.HepixError:
            raise
        except Exception as exc:
            raise errors.TryAgain(
                'the coordination service cannot be asked: '
                f'{_cause(exc)}; option [daemon] coordination_url'
            ) from exc

    def drop(self) -> None:
        """Give the lock back, as well as that is possible; never raises."""
        lock, self._lock = self._lock, None
        coordinator, self._coordinator = self._coordinator, None
        # What cannot be given back runs out by itself.
        with contextlib.suppress(Exception):
            if lock is not None:
                lock.release()
        with contextlib.suppress(Exception):
            if coordinator is not None:
                _ended(coordinator)


def _ended(coordinator: Any) -> None:
    heart = coordinator.heart
    if heart.is_alive():
        heart.stop()
        if heart.wait(_HEART):
            # Its server is away; it ends when that is back, and the lock
            # that it no longer refreshes expires before.
            return
    coordinator.stop()


def _cause(exc: BaseException) -> str:
    return ' '.join(str(exc).split())[:300] or type(exc).__name__

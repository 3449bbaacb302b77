# SPDX-License-Identifier: Apache-2.0
"""Looks at what has changed in Nova, again and again.

One background thread a process, from its first request on: no process that
only forks others ever asks Nova. What it finds, and what that proves, is kept
in :mod:`hepix_vm.context.identities`.
"""

from __future__ import annotations

from collections.abc import Callable
import os
import threading
import time
import weakref

from oslo_log import log as logging

from hepix_vm.catalogue import refreshing
from hepix_vm.context import identities
from hepix_vm.context import identity

LOG = logging.getLogger(__name__)

#: Seconds from the begin of a look to that of the next one: so much less than
#: :data:`identities.CURRENT` that hardly anybody waits.
INTERVAL = 2.0
#: The same while nobody asks: machines are known before they boot.
IDLE = 10.0
#: Seconds after the last question until nobody asks.
QUIET = 60.0
#: Seconds that the end waits for a look to end.
_ENDING = 5.0


class Following:
    """Facts that are followed; safe to share by threads.

    :param clock: seconds of a clock that never goes back
    """

    def __init__(
        self,
        known: identities.Identities,
        changes: identities.Changes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known
        self._changes = changes
        self._clock = clock
        self._lock: threading.Lock = refreshing.threads().Lock()
        self._running: _Running | None = None
        _followings.add(self)

    def facts_of(
        self, instance: identity.Instance, now: float, at_most: float
    ) -> identities.Answer:
        """As :meth:`identities.Identities.facts_of`."""
        running = self._running
        if running is None or not running.alive():
            try:
                running = self._start(now)
            except Exception:
                LOG.exception('what changes in Nova is not looked at')
                return self._known.facts_of(instance, now, at_most)
        running.asked = now
        return self._known.facts_of(instance, now, at_most)

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None and running.pid == os.getpid():
            running.stop()

    def _start(self, now: float) -> _Running:
        # Not held while waiting for anything.
        with self._lock:
            running = self._running
            if running is None or not running.alive():
                running = _Running(
                    self._known, self._changes, self._clock, now
                )
                running.start()
                self._running = running
                # Let go of without having been closed, it ends as well.
                weakref.finalize(self, running.end).atexit = False
            return running

    def _forget_parent(self) -> None:
        """The parent's thread is not here."""
        self._lock = refreshing.threads().Lock()
        self._running = None
        self._known.forget_parent()


class _Running:
    """The thread of one process.

    :ivar asked: when somebody did for the last time
    """

    def __init__(
        self,
        known: identities.Identities,
        changes: identities.Changes,
        clock: Callable[[], float],
        now: float,
    ) -> None:
        self.pid = os.getpid()
        self.asked = now
        self._known = known
        self._changes = changes
        self._clock = clock
        self._well = True
        self._ending = False
        self._thread: threading.Thread = refreshing.threads().Thread(
            target=self._run, name='hepix-vm-following', daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self.pid == os.getpid() and self._thread.is_alive()

    def end(self) -> None:
        if self.pid == os.getpid():
            self._ending = True
            self._known.wanted.set()

    def stop(self) -> None:
        self.end()
        self._thread.join(_ENDING)

    def _run(self) -> None:
        while not self._ending:
            self._known.wanted.clear()
            began = self._clock()
            self._look(began)
            self._rest(began)
        self._known.not_looked()

    def _rest(self, began: float) -> None:
        """Until the next look; somebody who wants it ends that early."""
        if self._ending:
            return
        ended = self._clock()
        interval = INTERVAL if ended < self.asked + QUIET else IDLE
        # After one that takes long Nova has some rest, too.
        took = ended - began
        self._known.wanted.wait(max(interval - took, took / 4))

    def _look(self, began: float) -> None:
        try:
            pages = self._changes(self._known.goes_back(began))
            while not self._ending:
                asked = self._clock()
                page = next(pages, None)
                if page is None:
                    self._known.looked(began)
                    break
                self._known.learn(page, asked)
        except Exception as error:  # noqa: BLE001 the thread must live on
            self._known.not_looked()
            if self._well:
                LOG.warning(
                    'Nova does not list what has changed (%s: %s); instances'
                    ' are asked for one by one, which is slower',
                    type(error).__name__,
                    ' '.join(str(error).split())[:500],
                )
            self._well = False
        else:
            if not self._well:
                LOG.info('Nova lists again what has changed')
            self._well = True


_followings: weakref.WeakSet[Following] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_followings):
        one._forget_parent()


os.register_at_fork(after_in_child=_after_fork)

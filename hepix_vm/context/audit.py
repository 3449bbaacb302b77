# SPDX-License-Identifier: Apache-2.0
"""Notes of who fetched what, on their way to the catalogue.

A request leaves its note in memory and goes on; one background thread a
process writes them down in batches. What an instance does again adds to the
note that waits already, so that only instances take room, and that is
bounded: while the catalogue is away notes are kept up to the bound, further
ones are dropped and counted.

What was lost is said, in the log and in the catalogue: as a number where it
is known, and by the process's open row where it ended with something to write.
The row is closed again when nothing has waited for a while: workers of many
servers are ended without a word, and have lost nothing then. Notes of at most
:attr:`Settings.interval` seconds, and those that
waited for a catalogue that was away, go with a process that is killed.

The thread and its connections belong to one process; after a fork the child
starts its own, with no note of its parent's.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
import dataclasses
import os
import socket
import threading
import time
import uuid
import weakref

from oslo_log import log as logging

from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import database
from hepix_vm.catalogue import refreshing
from hepix_vm.context import noted

LOG = logging.getLogger(__name__)

Fetch = noted.Fetch

#: Notes of one transaction.
_BATCH = 1000

#: Seconds between two lines that say how much is being dropped.
_SAID_AGAIN = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How notes are kept; times in seconds.

    :ivar connection: SQLAlchemy URL of the catalogue, with an account that
        may write ``context_fetches`` and ``context_lost``
    :ivar kept: notes that wait in the memory of a process at most
    :ivar interval: between two batches
    :ivar store_timeout: how long one answer of the store may take, and how
        long the end of a process waits for its last batch
    """

    connection: str
    kept: int = 20_000
    interval: float = 2.0
    store_timeout: float = 2.0


DEFAULT = Settings('sqlite://')


class Audit:
    """Takes notes; safe to share by threads.

    :param clock: UNIX seconds
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._lock: threading.Lock = refreshing.threads().Lock()
        self._writing: _Writing | None = None
        _audits.add(self)

    def note(self, fetch: Fetch) -> None:
        """Take a note; never waits for the catalogue and never raises."""
        try:
            writing = self._writing
            if writing is None or not writing.alive():
                writing = self._start()
            writing.add(fetch, int(self._clock()))
        except Exception:
            LOG.exception('who fetched context is not noted')

    def close(self) -> None:
        """Write what there is, as long as the store's time-out, and end."""
        with self._lock:
            writing, self._writing = self._writing, None
        if writing is not None and writing.pid == os.getpid():
            writing.stop()

    def _start(self) -> _Writing:
        # Not held while waiting for anything.
        with self._lock:
            writing = self._writing
            if writing is None or not writing.alive():
                writing = _Writing(self._settings, self._clock)
                writing.start()
                self._writing = writing
            return writing

    def _forget_parent(self) -> None:
        """The parent's thread is not here; its notes are not ours."""
        self._lock = refreshing.threads().Lock()
        self._writing = None


class _Writing:
    """The notes and the thread of one process."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.pid = os.getpid()
        self.notes = noted.Noted(settings.kept)
        self._settings = settings
        self._clock = clock
        self._store = database.Database(
            settings.connection, settings.store_timeout
        )
        self._inside = refreshing.unforked(settings.connection)
        self._process = context_fetches.Process(
            name=f'{socket.gethostname()[:200]}/{self.pid}/'
            f'{uuid.uuid4().hex[:8]}',
            since=int(clock()),
            # Not written yet.
            seen_at=0,
            open=True,
            lost=0,
        )
        self._said_lost = 0
        self._said_at = float('-inf')
        self._well = True
        self._ending: threading.Event = refreshing.threads().Event()
        self._waking: threading.Event = refreshing.threads().Event()
        self._thread: threading.Thread = refreshing.threads().Thread(
            target=self._run, name='hepix-vm-audit', daemon=True
        )

    def start(self) -> None:
        _running.add(self)
        try:
            self._thread.start()
        except BaseException:
            _running.discard(self)
            raise

    def alive(self) -> bool:
        return self.pid == os.getpid() and self._thread.is_alive()

    def add(self, fetch: Fetch, now: int) -> None:
        self.notes.add(fetch, now)
        if not self._process.open:
            # At once: until then a crash would not be told.
            self._waking.set()

    def stop(self) -> None:
        self._ending.set()
        self._waking.set()
        self._thread.join(self._settings.store_timeout + 1)

    def _run(self) -> None:
        last = False
        while True:
            with self._inside:
                self._write_all(last)
            self._say_lost(last)
            if last:
                break
            last = self._rest()
        with self._inside:
            self._store.close()
        _running.discard(self)

    def _rest(self) -> bool:
        """Until there is something to do; whether that is the end."""
        if self._process.open or not self._well:
            return self._ending.wait(self._settings.interval)
        self._waking.wait(self._settings.interval)
        self._waking.clear()
        return self._ending.is_set()

    def _write_all(self, last: bool) -> None:
        """Write until nothing waits, or until the store fails."""
        more = True
        while more or (not self._process.open and self.notes.left()):
            batch, more = self.notes.take(_BATCH)
            before = self._process
            process = dataclasses.replace(
                before,
                seen_at=int(self._clock()),
                lost=self.notes.lost,
                open=more or (bool(batch) and not last),
            )
            if not (
                batch or last or before.open or process.lost != before.lost
            ):
                return
            if not self._write(batch, process):
                self.notes.take_back()
                return
            self._process = process
            self.notes.written()

    def _write(
        self,
        batch: tuple[context_fetches.Note, ...],
        process: context_fetches.Process,
    ) -> bool:
        try:
            context_fetches.write(self._store, process, batch)
        except Exception as exc:  # noqa: BLE001 - the thread must live on
            if self._well:
                LOG.warning(
                    'who fetched context cannot be written down (%s: %s); up '
                    'to %d notes are kept until it can',
                    type(exc).__name__,
                    database.cause(exc),
                    self._settings.kept,
                )
            self._well = False
            return False
        if not self._well:
            LOG.info('who fetched context is written down again')
        self._well = True
        return True

    def _say_lost(self, last: bool) -> None:
        left = self.notes.left() if last else 0
        if left:
            LOG.error(
                'context audit: process=%s lost=%d: it ends, and the '
                'catalogue does not take them',
                self._process.name,
                left,
            )
        lost, moment = self.notes.lost, time.monotonic()
        if lost == self._said_lost or (
            not last and moment < self._said_at + _SAID_AGAIN
        ):
            return
        LOG.error(
            'context audit: process=%s lost=%d so far: %d notes wait for the '
            'catalogue already, or they had no proper form',
            self._process.name,
            lost,
            self._settings.kept,
        )
        self._said_lost, self._said_at = lost, moment


_audits: weakref.WeakSet[Audit] = weakref.WeakSet()
# Also those whose audit was let go without having been closed, and in a child
# its parent's: SQLite forbids it even to close their connections.
_running: set[_Writing] = set()


def _after_fork() -> None:
    for one in list(_audits):
        one._forget_parent()


def _at_exit() -> None:
    for one in list(_running):
        if one.pid == os.getpid():
            one.stop()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)

# SPDX-License-Identifier: Apache-2.0
"""The catalogue in memory, for code inside Glance and Nova.

One background thread a process asks the store what changed and swaps in a
new snapshot; decisions look at the snapshot only. A refusal may rest on an
index that is a moment old, so before it stands the store is asked once
more (at most once in ``negative_ttl`` for the same question), and that
wait is bounded. The store is the only peer.

The thread, its lock and its connections belong to one process: after a
fork the child starts its own.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
import dataclasses
import os
import threading
import time

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model

LOG = log.getLogger(__name__)

#: Answers "no" that are remembered at most; the oldest is forgotten first.
_REMEMBERED = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class ReaderSettings:
    """How a reader behaves; all but the URL are seconds.

    :ivar connection: SQLAlchemy URL of the catalogue
    :ivar reader_max_age: how long answers hold when the store is away
    :ivar refresh_interval: between two looks at the revision
    :ivar store_timeout: how long a decision waits for the store
    :ivar negative_ttl: how long a refusal stands without asking again
    """

    connection: str
    reader_max_age: int = 300
    refresh_interval: float = 1.0
    store_timeout: float = 2.0
    negative_ttl: float = 1.0


class Reader:
    """Decides from memory; see the module.

    :param settings: how to behave
    :param clock: UNIX seconds; tests give their own
    """

    def __init__(
        self,
        settings: ReaderSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._start_lock = threading.Lock()
        self._worker: _Worker | None = None
        self._lock = threading.Lock()
        self._negative: collections.OrderedDict[object, float] = (
            collections.OrderedDict()
        )

    def decide_bytes(
        self, sha512: str, size: int, project: str | None, subject: str = ''
    ) -> model.Decision:
        """Whether these bytes may be used; never raises."""

        def ask(snapshot: model.Snapshot) -> model.Decision:
            return model.decide_bytes(
                snapshot,
                sha512,
                size,
                project,
                int(self._clock()),
                self._settings.reader_max_age,
                subject,
            )

        return self._decide(ask, ('bytes', sha512, size, project))

    def decide_image(
        self, image: model.ImageFacts, project: str | None
    ) -> model.Decision:
        """Whether this Glance image may be used; never raises."""

        def ask(snapshot: model.Snapshot) -> model.Decision:
            return model.decide_image(
                snapshot,
                image,
                project,
                int(self._clock()),
                self._settings.reader_max_age,
            )

        return self._decide(ask, (image, project))

    def forget_parent(self) -> None:
        """Start afresh in a child process.

        The parent's thread does not exist here, and its locks and
        connections must not be touched, not even closed.
        """
        self._start_lock = threading.Lock()
        self._lock = threading.Lock()
        self._negative = collections.OrderedDict()
        if self._worker is not None:
            _abandoned.append(self._worker)
        self._worker = None

    def close(self) -> None:
        """End the background thread and the connections."""
        worker, self._worker = self._worker, None
        if worker is not None and worker.pid == os.getpid():
            worker.stop(self._settings.store_timeout)

    def _decide(
        self, ask: Callable[[model.Snapshot], model.Decision], key: object
    ) -> model.Decision:
        try:
            worker = self._running()
            decision = ask(worker.snapshot())
            if decision.approved or self._recently_refused(key):
                return decision
            if worker.refresh(self._settings.store_timeout):
                decision = ask(worker.snapshot())
            if not decision.approved:
                self._remember_refusal(key)
            return decision
        except Exception as exc:
            LOG.exception('verdict=refused code=internal-error')
            return model.refused(
                model.Reason.INTERNAL, 'this request', type(exc).__name__
            )

    def _running(self) -> _Worker:
        worker = self._worker
        if worker is not None and worker.alive():
            return worker
        with self._start_lock:
            worker = self._worker
            if worker is None or not worker.alive():
                worker = _Worker(self._settings, self._clock)
                worker.start()
                self._worker = worker
                # The first decision of a process waits for the first load.
                worker.refresh(self._settings.store_timeout)
            return worker

    def _recently_refused(self, key: object) -> bool:
        with self._lock:
            at = self._negative.get(key)
        if at is None:
            return False
        return 0 <= time.monotonic() - at < self._settings.negative_ttl

    def _remember_refusal(self, key: object) -> None:
        with self._lock:
            self._negative[key] = time.monotonic()
            self._negative.move_to_end(key)
            while len(self._negative) > _REMEMBERED:
                self._negative.popitem(last=False)


class _Worker:
    """The refreshing thread of one process."""

    def __init__(
        self, settings: ReaderSettings, clock: Callable[[], float]
    ) -> None:
        self.pid = os.getpid()
        self._settings = settings
        self._clock = clock
        self._store = database.Database(
            settings.connection, settings.store_timeout
        )
        self._loaded: loading.Loaded | None = None
        self._well = True
        self._condition = threading.Condition()
        self._wanted = 0
        self._done = 0
        self._succeeded = 0
        self._stopping = False
        self._thread = threading.Thread(
            target=self._run, name='hepix-vm-reader', daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self.pid == os.getpid() and self._thread.is_alive()

    def snapshot(self) -> model.Snapshot:
        loaded = self._loaded
        return model.EMPTY if loaded is None else loaded.snapshot

    def refresh(self, timeout: float) -> bool:
        """Wait for a look at the store that starts after this call.

        :returns: whether the store answered within the time-out
        """
        with self._condition:
            self._wanted += 1
            ticket = self._wanted
            self._condition.notify_all()
            self._condition.wait_for(
                lambda: self._done >= ticket or self._stopping, timeout
            )
            return self._succeeded >= ticket

    def stop(self, timeout: float) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._stopping:
                    break
                ticket = self._wanted
            answered = self._look()
            with self._condition:
                self._done = ticket
                if answered:
                    self._succeeded = ticket
                self._condition.notify_all()
                self._condition.wait_for(
                    lambda done=ticket: (  # type: ignore[misc]
                        self._wanted > done or self._stopping
                    ),
                    self._settings.refresh_interval,
                )
        self._store.close()

    def _look(self) -> bool:
        try:
            with self._store.reading() as connection:
                self._loaded = loading.load(
                    connection, self._loaded, int(self._clock())
                )
        except Exception as exc:  # noqa: BLE001 - the thread must live on
            if self._well:
                LOG.warning(
                    'the catalogue does not answer (%s: %s); decisions rest '
                    'on what is in memory for at most %s s',
                    type(exc).__name__,
                    database.cause(exc),
                    self._settings.reader_max_age,
                )
            self._well = False
            return False
        if not self._well:
            LOG.info('the catalogue answers again')
        self._well = True
        return True


_readers: dict[ReaderSettings, Reader] = {}
# Workers of the parent: SQLite forbids a child to close their connections.
_abandoned: list[_Worker] = []
_readers_lock = threading.Lock()


def shared(settings: ReaderSettings) -> Reader:
    """The one reader of this process for these settings.

    A reader is an empty shell until its first decision, so this opens
    nothing and cannot fail.
    """
    with _readers_lock:
        return _readers.setdefault(settings, Reader(settings))


def _after_fork() -> None:
    global _readers_lock
    _readers_lock = threading.Lock()
    for reader in _readers.values():
        reader.forget_parent()


os.register_at_fork(after_in_child=_after_fork)

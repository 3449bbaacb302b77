# SPDX-License-Identifier: Apache-2.0
"""The catalogue in memory, for code inside Glance and Nova.

One background thread a process asks the store what changed and swaps in a
new snapshot; decisions look at the snapshot only. A refusal may rest on an
index that is a moment old, so before it stands the store is asked once
more (at most once in ``negative_ttl`` for the same question), and that
wait is bounded. The store is the only peer.

The thread, its lock and its connections belong to one process: after a
fork the child starts its own. To read a large catalogue for the first time
takes seconds. Services begin with that when they start; a decision that comes
before it is done waits for it as long as the store goes on answering.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
import dataclasses
import os
import threading
import time

from oslo_log import log

from hepix_vm.catalogue import model
from hepix_vm.catalogue import refreshing
from hepix_vm.catalogue import staged

LOG = log.getLogger(__name__)

ReaderSettings = refreshing.ReaderSettings

#: Seconds after the start of a process until it reads of itself: masters fork
#: before, and what starts a program in a child is gone by then.
_SETTLED = 1.0

#: Answers "no" that are remembered at most; the oldest is forgotten first.
_REMEMBERED = 10_000


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
        self._start_lock: threading.Lock = refreshing.threads().Lock()
        self._worker: refreshing.Refreshing | None = None
        self._lock: threading.Lock = refreshing.threads().Lock()
        self._early = False
        self._asked = False
        self._negative: collections.OrderedDict[object, float] = (
            collections.OrderedDict()
        )

    def begin(self) -> None:
        """Read the catalogue before anybody asks, in children likewise.

        Returns at once. Not in a process that forks before it has been asked:
        that is a service's master, which decides nothing.
        """
        self._early = True
        if not refreshing.forks_workers():
            self._begin()

    def _begin(self) -> None:
        with self._start_lock:
            if self._worker is None or not self._worker.alive():
                self._start(_SETTLED)

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

    def decide_staged(
        self, sha512: str, size: int, named: str | None, project: str | None
    ) -> staged.Staged:
        """Whether bytes may be imported, and as what; never raises.

        :param named: see :func:`hepix_vm.catalogue.staged.decide`
        """
        found = staged.Staged(
            model.refused(model.Reason.INTERNAL, 'this request'), sha512, size
        )

        def ask(snapshot: model.Snapshot) -> model.Decision:
            nonlocal found
            found = staged.decide(
                snapshot,
                staged.Data(sha512, size, named),
                project,
                int(self._clock()),
                self._settings.reader_max_age,
            )
            return found.decision

        decision = self._decide(ask, ('staged', sha512, size, named, project))
        return dataclasses.replace(found, decision=decision)

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

    def is_imported(self, image: model.ImageFacts) -> bool:
        """Whether it is what came in by an import; never raises.

        From what is in memory: for after a decision, which asks the store.
        """
        try:
            return model.is_imported(
                self._running().snapshot(),
                image,
                int(self._clock()),
                self._settings.reader_max_age,
            )
        except Exception:
            LOG.exception('verdict=refused code=internal-error')
            return False

    def snapshot(self, wait: bool) -> model.Snapshot:
        """What is in memory, for what is no decision; never raises.

        ``answered_at`` is None while the store has never answered.

        :param wait: whether to wait for it then, as long as a decision would
        """
        try:
            worker = self._running()
            if wait and worker.snapshot().answered_at is None:
                worker.refresh()
            return worker.snapshot()
        except Exception:
            LOG.exception('the catalogue cannot be read')
            return model.EMPTY

    def forget_parent(self) -> None:
        """Start afresh in a child process.

        The parent's thread does not exist here, and its locks and
        connections must not be touched, not even closed.
        """
        self._start_lock = refreshing.threads().Lock()
        self._lock = refreshing.threads().Lock()
        self._negative = collections.OrderedDict()
        if self._worker is not None:
            _abandoned.append(self._worker)
        self._worker = None
        self._asked = False
        # Green threads that start now would belong to the parent's hub.
        if self._early and not (
            refreshing.green() and refreshing.threads() is threading
        ):
            try:
                self._begin()
            except Exception:
                LOG.exception('the catalogue is read when it is asked for')

    def leave_to_children(self) -> None:
        """This process has forked: it need not know what nobody asked."""
        if self._worker is not None and not self._asked:
            worker, self._worker = self._worker, None
            worker.end()

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
            # Without an answer in time there may still be news: of a look
            # that began before this question.
            worker.refresh()
            decision = ask(worker.snapshot())
            if not decision.approved:
                self._remember_refusal(key)
            return decision
        except Exception as exc:
            LOG.exception('verdict=refused code=internal-error')
            return model.refused(
                model.Reason.INTERNAL, 'this request', type(exc).__name__
            )

    def _running(self) -> refreshing.Refreshing:
        self._asked = True
        worker = self._worker
        if worker is not None and worker.alive():
            return worker
        with self._start_lock:
            worker = self._worker
            if worker is None or not worker.alive():
                worker = self._start(0)
            return worker

    def _start(self, settling: float) -> refreshing.Refreshing:
        worker = refreshing.Refreshing(self._settings, self._clock, settling)
        worker.start()
        self._worker = worker
        return worker

    def _recently_refused(self, key: object) -> bool:
        with self._lock:
            at = self._negative.get(key)
        if at is None:
            return False
        return 0 <= time.monotonic() - at < self._settings.negative_ttl

    def _remember_refusal(self, key: object) -> None:
        now = time.monotonic()
        with self._lock:
            self._negative[key] = now
            self._negative.move_to_end(key)
            past = now - self._settings.negative_ttl
            while self._negative:
                oldest = next(iter(self._negative.values()))
                if len(self._negative) <= _REMEMBERED and oldest >= past:
                    break
                self._negative.popitem(last=False)


_readers: dict[ReaderSettings, Reader] = {}
# Workers of the parent: SQLite forbids a child to close their connections.
_abandoned: list[refreshing.Refreshing] = []
_readers_lock = threading.Lock()


def shared(settings: ReaderSettings) -> Reader:
    """The one reader of this process for these settings.

    A reader is an empty shell until its first decision, so this opens
    nothing and cannot fail.
    """
    with _readers_lock:
        found = _readers.get(settings)
        if found is None:
            found = _readers[settings] = Reader(settings)
        return found


def _after_fork() -> None:
    global _readers_lock
    _readers_lock = threading.Lock()
    for reader in list(_readers.values()):
        reader.forget_parent()


def _forked() -> None:
    for reader in list(_readers.values()):
        reader.leave_to_children()


os.register_at_fork(after_in_parent=_forked, after_in_child=_after_fork)

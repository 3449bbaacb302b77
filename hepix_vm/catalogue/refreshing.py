# SPDX-License-Identifier: Apache-2.0
"""Keeps the catalogue in memory up to date, in one background thread.

It asks the store what changed and swaps in a new snapshot. The thread and its
connections belong to one process.

Where a service has made its threads green, so is this one, unless they live in
a WSGI server: there nothing runs green threads between two requests, and each
native thread has its own. So it is a native one there.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import dataclasses
import os
import sys
import threading
import time
import types
from typing import Any

from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema

LOG = log.getLogger(__name__)

#: Modules that WSGI servers give to the programs inside them.
_WSGI_SERVERS = frozenset({'mod_wsgi', 'uwsgi'})

#: Seconds that a fork waits for a look at an SQLite file to end.
_FORK_WAITS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class ReaderSettings:
    """How a reader behaves; all but the URL are seconds.

    :ivar connection: SQLAlchemy URL of the catalogue
    :ivar reader_max_age: how long answers hold when the store is away
    :ivar refresh_interval: between two looks at the revision
    :ivar store_timeout: how long a decision waits for the store
    :ivar negative_ttl: how long a refusal stands without asking again
    :ivar first_load_timeout: how long it waits while the store is answering
        and nothing is in memory yet
    """

    connection: str
    reader_max_age: int = 300
    refresh_interval: float = 1.0
    store_timeout: float = 2.0
    negative_ttl: float = 1.0
    first_load_timeout: float = 60.0


class Refreshing:
    """The refreshing thread of one process.

    :param settling: seconds until its first look, if nobody asks before
    """

    def __init__(
        self,
        settings: ReaderSettings,
        clock: Callable[[], float],
        settling: float,
    ) -> None:
        self.pid = os.getpid()
        self._settings = settings
        self._clock = clock
        self._store = database.Database(
            settings.connection, settings.store_timeout
        )
        self._inside = unforked(settings.connection)
        self._settling = settling
        self._nothing = loading.packed_snapshot()
        self._loaded: loading.Loaded | None = None
        self._reading = False
        self._well = True
        self._condition: threading.Condition = threads().Condition()
        self._wanted = 0
        self._done = 0
        self._succeeded = 0
        self._stopping = False
        self._thread: threading.Thread = threads().Thread(
            target=self._run, name='hepix-vm-reader', daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self.pid == os.getpid() and self._thread.is_alive()

    def snapshot(self) -> model.Snapshot:
        loaded = self._loaded
        return model.EMPTY if loaded is None else loaded.snapshot

    def refresh(self) -> bool:
        """Wait for a look at the store that starts after this call.

        As long as the store's time-out; longer for the very first look, when
        the store does answer and only has much to tell.

        :returns: whether the store answered in time
        """
        timeout = self._settings.store_timeout
        with self._condition:
            self._wanted += 1
            ticket = self._wanted
            self._condition.notify_all()

            def over() -> bool:
                return self._done >= ticket or self._stopping

            if not self._condition.wait_for(over, timeout) and (
                self._loaded is None and self._reading
            ):
                LOG.info(
                    'a decision waits for the catalogue, which is being read '
                    'for the first time'
                )
                self._condition.wait_for(
                    lambda: over() or not self._reading,
                    self._settings.first_load_timeout,
                )
                # That look may have started before this call.
                self._condition.wait_for(over, timeout)
            return self._succeeded >= ticket

    def end(self) -> None:
        """Have the thread end, some time."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def stop(self, timeout: float) -> None:
        self.end()
        self._thread.join(timeout)

    def _run(self) -> None:
        with self._condition:
            self._condition.wait_for(
                lambda: self._wanted > 0 or self._stopping, self._settling
            )
        while True:
            with self._condition:
                if self._stopping:
                    break
                ticket = self._wanted
            with self._inside:
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
        with self._inside:
            self._store.close()

    def _look(self) -> bool:
        began = time.monotonic()
        first = self._loaded is None
        try:
            with self._store.reading() as connection:
                if first:
                    # Once it answers it may take its time.
                    connection.execute(
                        sa.select(schema.catalogue.c.number)
                    ).first()
                    self._reading = True
                self._loaded = loading.load(
                    connection,
                    self._loaded,
                    int(self._clock()),
                    self._nothing,
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
        finally:
            self._reading = False
        if first:
            LOG.info(
                'the catalogue is in memory: images=%d after %.1f s',
                len(self._loaded.snapshot.records),
                time.monotonic() - began,
            )
        if not self._well:
            LOG.info('the catalogue answers again')
        self._well = True
        return True


def green() -> bool:
    """Whether threads are eventlet's."""
    patcher = sys.modules.get('eventlet.patcher')
    return patcher is not None and bool(patcher.is_monkey_patched('thread'))


def threads() -> types.ModuleType:
    """Threads that run by themselves; see the module."""
    if green() and not _WSGI_SERVERS.isdisjoint(sys.modules):
        patcher = sys.modules['eventlet.patcher']
        native: types.ModuleType = patcher.original('threading')
        return native
    return threading


def forks_workers() -> bool:
    """Whether this is the master of uWSGI, whose children answer requests.

    What a thread is at when a process forks stays locked in the child for
    ever, such as OpenSSL while it reads certificates for a database: there no
    thread begins before its time.
    """
    worker_id = getattr(sys.modules.get('uwsgi'), 'worker_id', None)
    return worker_id is not None and worker_id() == 0


def unforked(connection: str) -> contextlib.AbstractContextManager[Any]:
    """What to be in while reading: this process does not fork meanwhile.

    Of use to the process that asks for it, not to its children.

    :param connection: SQLAlchemy URL of the catalogue
    """
    inside: contextlib.AbstractContextManager[Any] = (
        _in_sqlite
        if connection.startswith('sqlite')
        else contextlib.nullcontext()
    )
    return inside


# SQLite's own locks are copied as they are: a child of a process that was
# inside it at that moment would wait for them for ever.
_in_sqlite = threads().Lock()
_forking = threading.local()


def _before_fork() -> None:
    _forking.waited = _in_sqlite.acquire(timeout=_FORK_WAITS)


def _after_fork() -> None:
    global _in_sqlite
    _in_sqlite = threads().Lock()


def _forked() -> None:
    if _forking.waited:
        _in_sqlite.release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_forked,
    after_in_child=_after_fork,
)

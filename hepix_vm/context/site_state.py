# SPDX-License-Identifier: Apache-2.0
"""Hosts, orders to end and the site's table, in the memory of a service.

One background thread a process looks at the catalogue and at the table's
file, and swaps in a new snapshot whole; whoever asks gets the newest one and
never waits. While the catalogue is away, or the file is wrong, what was read
last stays: orders to end only tell virtual machines something, and what is
said of a host has its own age (see :class:`features.Settings`).

The thread and its connections belong to one process; after a fork the child
starts its own, and goes on with what its parent knew.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import os
import pathlib
import threading
import time
import weakref

from oslo_log import log as logging
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import drains
from hepix_vm.catalogue import hosts
from hepix_vm.catalogue import refreshing
from hepix_vm.catalogue import schema
from hepix_vm.context import features
from hepix_vm.context import ratings_file

LOG = logging.getLogger(__name__)

Snapshot = features.Snapshot

#: Seconds after which everything is read again although the catalogue has
#: the revision that it had: one that lost its newest transactions reaches the
#: same numbers with other rows.
_AGAIN = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Where the state is; times in seconds.

    :ivar connection: SQLAlchemy URL of the catalogue
    :ivar ratings_file: the site's table; None: there is none
    :ivar refresh_interval: between two looks
    :ivar store_timeout: how long one answer of the store may take
    :ivar settling: from :meth:`SiteState.begin` to the first look, if nobody
        asks before: masters fork before
    """

    connection: str
    ratings_file: pathlib.Path | None = None
    refresh_interval: float = 5.0
    store_timeout: float = 2.0
    settling: float = 1.0


class SiteState:
    """What features need to know of the site; safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock: threading.Lock = refreshing.threads().Lock()
        self._looking: _Looking | None = None
        self._last = Snapshot()
        self._early = False
        _states.add(self)

    def begin(self) -> None:
        """Look before anybody asks, in children likewise; returns at once."""
        self._early = True
        if not refreshing.forks_workers():
            self._start_early()

    def current(self) -> Snapshot:
        """What is known now; never waits and never raises.

        Nothing (see :attr:`Snapshot.looked`) until the catalogue has answered
        once.
        """
        looking = self._looking
        if looking is None or not looking.alive():
            try:
                looking = self._start(0)
            except Exception:
                LOG.exception('the state of the site is not looked at')
                return self._last
        looking.asked = True
        return looking.snapshot

    def close(self) -> None:
        """End the thread and its connections."""
        with self._lock:
            looking, self._looking = self._looking, None
        if looking is not None and looking.pid == os.getpid():
            self._last = looking.snapshot
            looking.stop()

    def _start_early(self) -> None:
        try:
            self._start(self._settings.settling)
        except Exception:
            LOG.exception('the site is looked at when it is asked for')

    def _start(self, settling: float) -> _Looking:
        # Not held while waiting for anything.
        with self._lock:
            looking = self._looking
            if looking is None or not looking.alive():
                if looking is not None:
                    self._last = looking.snapshot
                looking = _Looking(self._settings, settling, self._last)
                looking.start()
                self._looking = looking
            return looking

    def _forget_parent(self) -> None:
        """The parent's thread is not here; its connections are not ours."""
        self._lock = refreshing.threads().Lock()
        looking, self._looking = self._looking, None
        if looking is not None:
            self._last = looking.snapshot
            # SQLite forbids a child even to close them.
            _abandoned.append(looking)
        # Green threads that start now would belong to the parent's hub.
        if self._early and not (
            refreshing.green() and refreshing.threads() is threading
        ):
            self._start_early()

    def _leave_to_children(self) -> None:
        """This process has forked; it need not know what nobody asked."""
        looking = self._looking
        if looking is not None and not looking.asked:
            self._looking = None
            looking.end()


class _Looking:
    """The thread of one process."""

    def __init__(
        self, settings: Settings, settling: float, known: Snapshot
    ) -> None:
        self.pid = os.getpid()
        self.snapshot = known
        self.asked = settling == 0
        self._settings = settings
        self._settling = settling
        self._store = database.Database(
            settings.connection, settings.store_timeout
        )
        self._inside = refreshing.unforked(settings.connection)
        self._ratings = ratings_file.RatingsFile(
            settings.ratings_file, known.table
        )
        self._ending: threading.Event = refreshing.threads().Event()
        self._well = True
        self._revision: tuple[str, int] | None = None
        self._read_at = 0.0
        self._thread: threading.Thread = refreshing.threads().Thread(
            target=self._run, name='hepix-vm-site-state', daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self.pid == os.getpid() and self._thread.is_alive()

    def end(self) -> None:
        self._ending.set()

    def stop(self) -> None:
        self.end()
        self._thread.join(self._settings.store_timeout)

    def _run(self) -> None:
        waiting = self._settling
        while not self._ending.wait(waiting):
            with self._inside:
                self._look()
            waiting = self._settings.refresh_interval
        with self._inside:
            self._store.close()

    def _look(self) -> None:
        found = dataclasses.replace(self.snapshot, table=self._ratings.table())
        try:
            found = dataclasses.replace(self._read(found), looked=True)
        except Exception as exc:  # noqa: BLE001 - the thread must live on
            if self._well:
                LOG.warning(
                    'the catalogue does not answer (%s: %s); features rest '
                    'on what is in memory',
                    type(exc).__name__,
                    database.cause(exc),
                )
            self._well = False
        else:
            if not self._well:
                LOG.info('the catalogue answers again')
            self._well = True
        self.snapshot = found

    def _read(self, before: Snapshot) -> Snapshot:
        row = schema.catalogue
        with self._store.reading() as connection:
            number = connection.execute(
                sa.select(row.c.store, row.c.number)
            ).one()
            revision = (str(number.store), int(number.number))
            now = time.monotonic()
            if revision == self._revision and now < self._read_at + _AGAIN:
                return before
            known = {one.host: one for one in hosts.hosts(connection)}
            orders = drains.drains(connection)
        self._revision, self._read_at = revision, now
        return dataclasses.replace(
            before,
            hosts=known,
            host_drains=_by_name(orders, drains.Kind.HOST),
            server_drains=_by_name(orders, drains.Kind.SERVER),
        )


def _by_name(
    orders: tuple[drains.Drain, ...], kind: drains.Kind
) -> dict[str, int]:
    return {one.name: one.at for one in orders if one.kind is kind}


_states: weakref.WeakSet[SiteState] = weakref.WeakSet()
_abandoned: list[_Looking] = []


def _each(do: Callable[[SiteState], None]) -> None:
    for state in list(_states):
        do(state)


os.register_at_fork(
    after_in_parent=lambda: _each(SiteState._leave_to_children),
    after_in_child=lambda: _each(SiteState._forget_parent),
)

# SPDX-License-Identifier: Apache-2.0
"""The daemon: leads or stands by, syncs what is due, answers signals.

The main thread only waits for messages and never for a peer: the lease has a
thread (:mod:`hepix_vm.daemon.election`), and so have each sync and telling
others of it (:mod:`hepix_vm.daemon.work`). So it can tell systemd's watchdog
the truth: that all is well as long as the lease and the sync make progress.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import enum
import functools
import os
import queue
import socket
import time

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.daemon import coordination
from hepix_vm.daemon import election
from hepix_vm.daemon import notify
from hepix_vm.daemon import settings as settings_
from hepix_vm.daemon import telling
from hepix_vm.daemon import work as work_
from hepix_vm import errors
from hepix_vm.operations import site as site_

LOG = log.getLogger(__name__)

# Seconds between two looks around when nothing happens.
_LOOK = 5.0

# Seconds between two syncs at least, whatever is due.
_PAUSE = 1.0


class Message(enum.Enum):
    """What wakes the main thread."""

    RELOAD = enum.auto()
    STOP = enum.auto()
    CHANGED = enum.auto()
    DONE = enum.auto()
    TOLD = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class Configured:
    """What the configuration says."""

    site: site_.Site
    settings: settings_.Settings


class Daemon:
    """The daemon.

    :param configured: as it is at the start
    :param load: reads it again
    :param work: what a leader does
    :param clock: monotonic seconds
    :param now: UNIX seconds
    """

    def __init__(
        self,
        configured: Configured,
        load: Callable[[], Configured],
        work: work_.Work,
        systemd: notify.Notify,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._configured = configured
        self._load = load
        self._work = work
        self._systemd = systemd
        self._clock = clock
        self._now = now
        # Its put() may be called by a handler of a signal, at any moment.
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._telling = telling.Telling()
        self._election: election.Election | None = None
        self._term: election.Term | None = None
        self._run: work_.Run | None = None
        self._delivery: work_.Delivery | None = None
        self._next = 0.0
        self._failures = 0
        self._ready = False
        self._stopping = False
        self._watched = clock()
        self._status = ''
        #: Whether a sync did not end in time and still runs.
        self.abandoned = False

    def tell(self, message: Message) -> None:
        """Wake the main thread; from any thread or handler of a signal."""
        self._inbox.put(message)

    def run(self) -> None:
        """Work until told to stop.

        :raises errors.Misconfigured: at once, when it cannot begin
        """
        self._election = self._elected()
        self._election.start()
        while not self._stopping:
            self._look_around()
            try:
                message = self._inbox.get(timeout=self._patience())
            except queue.Empty:
                continue
            self._handle(message)
        self._end()

    def _elected(self) -> election.Election:
        settings = self._configured.settings
        holder = f'{socket.gethostname()}:{os.getpid()}'
        outside = (
            coordination.Tooz(settings.coordination_url, holder)
            if settings.coordination_url
            else None
        )
        return election.Election(
            database.Database(settings.connection, settings.lease_time / 3),
            settings,
            holder,
            functools.partial(self.tell, Message.CHANGED),
            outside,
            self._clock,
            self._now,
        )

    # What is going on

    def _look_around(self) -> None:
        assert self._election is not None  # noqa: S101 - made by run()
        term = self._election.term()
        if term != self._term:
            self._term, self._next, self._failures = term, self._clock(), 0
            if self._run is not None:
                self._run.abandon()
            if self._delivery is not None:
                self._delivery.abandon()
        if (
            term is not None
            and self._run is None
            and self._clock() >= self._next
        ):
            self._run = work_.Run(
                self._configured.site,
                term,
                self._work,
                functools.partial(self.tell, Message.DONE),
                self._clock,
                self._now,
            )
            self._run.start()
        self._tell_systemd()

    def _patience(self) -> float:
        """Seconds until there is something to do, unless a message comes."""
        limits = [_LOOK]
        if self._systemd.watchdog is not None:
            limits.append(self._systemd.watchdog / 4)
        if self._term is not None and self._run is None:
            limits.append(self._next - self._clock())
        return max(0.0, min(limits))

    def _handle(self, message: Message) -> None:
        if message is Message.STOP:
            self._stopping = True
        elif message is Message.RELOAD:
            self._reload()
        elif message is Message.DONE:
            self._after()
        elif message is Message.TOLD:
            delivery, self._delivery = self._delivery, None
            if delivery and delivery.site is not self._configured.site:
                delivery.site.catalogue.close()

    def _deliver(self) -> None:
        """Tell others, unless that goes on; they hold up no sync."""
        if self._term is None or self._delivery is not None:
            return
        self._delivery = work_.Delivery(
            self._configured.site,
            self._term,
            self._work,
            functools.partial(self.tell, Message.TOLD),
            self._now,
        )
        self._delivery.start()

    def _after(self) -> None:
        run, self._run = self._run, None
        if run is None or run.done is None:
            return
        if run.site is not self._configured.site:
            run.site.catalogue.close()
        done = run.done
        self._telling.of(done)
        self._deliver()
        check = self._configured.settings.check_interval
        if done.failure:
            self._failures += 1
            pause = min(check, _PAUSE * 2**self._failures)
        else:
            self._failures = 0
            due = check
            if done.next_due is not None:
                due = done.next_due - self._now()
            pause = max(_PAUSE, min(check, due))
        # A reload or a new term that came meanwhile wants one at once.
        if run.term == self._term and run.site is self._configured.site:
            self._next = self._clock() + pause

    def _reload(self) -> None:
        self._systemd.reloading()
        before = self._configured
        try:
            self._configured = self._load()
            if not before.settings.same_lease(self._configured.settings):
                made = self._elected()
                assert self._election is not None  # noqa: S101
                self._election.end()
                self._election = made
                made.start()
        except errors.HepixError as exc:
            self._configured = before
            LOG.error(
                'the new configuration is refused, the old one goes on: %s',
                exc,
            )
        else:
            if self._run is None:
                before.site.catalogue.close()
            self._next = self._clock()
            LOG.info('the configuration was read again')
        self._status = ''
        self._tell_systemd(*(('READY=1',) if self._ready else ()))

    # What systemd hears

    def _tell_systemd(self, *lines: str) -> None:
        assert self._election is not None  # noqa: S101
        standing = self._election.standing
        if standing.seen and not self._ready:
            self._ready = True
            lines += ('READY=1',)
        elif not self._ready:
            # However long the database is away: that is no failed start.
            self._systemd.extend(12 * _LOOK)
        status = telling.status(standing, self._term, self._run is not None)
        if status != self._status:
            self._status = status
            lines += (f'STATUS={status}',)
        watchdog = self._systemd.watchdog
        if (
            watchdog is not None
            and self._clock() - self._watched >= watchdog / 4
            and self._progress()
        ):
            self._watched = self._clock()
            lines += ('WATCHDOG=1',)
        if lines:
            self._systemd.tell(*lines)

    def _progress(self) -> bool:
        assert self._election is not None  # noqa: S101
        marks = [self._election.alive]
        if self._run is not None:
            marks.append(self._run.progress)
        stalled = self._clock() - min(marks)
        return stalled < self._configured.settings.stall_time

    # The end

    def _end(self) -> None:
        assert self._election is not None  # noqa: S101
        stop_time = self._configured.settings.stop_time
        self._systemd.tell('STOPPING=1', 'STATUS=ending')
        self._systemd.extend(2 * stop_time)
        limit = self._clock() + stop_time
        if self._run is not None:
            self._run.abandon()
        if self._delivery is not None:
            self._delivery.abandon()
        self._wait_for_work(limit)
        self._election.end()
        # Waits for a database at most as long as its time-outs are.
        ended = self._election.ended(stop_time)
        self.abandoned = (
            self._run is not None or self._delivery is not None or not ended
        )
        if self._run is not None:
            LOG.warning(
                'a sync did not end within %.0f s and is given up; what it '
                'had not stored yet the next one does again',
                stop_time,
            )
        elif not self.abandoned:
            self._configured.site.catalogue.close()
        LOG.info('ended')

    def _wait_for_work(self, limit: float) -> None:
        """Until it is done, the time is over or a second signal comes."""
        while (
            self._run is not None or self._delivery is not None
        ) and self._clock() < limit:
            try:
                message = self._inbox.get(
                    timeout=max(0.01, min(1.0, limit - self._clock()))
                )
            except queue.Empty:
                continue
            if message is Message.DONE:
                self._run = None
            elif message is Message.TOLD:
                self._delivery = None
            elif message is Message.STOP:
                return

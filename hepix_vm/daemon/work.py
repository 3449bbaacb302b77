# SPDX-License-Identifier: Apache-2.0
"""One sync of a term, and telling others of what it did: a thread each."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import threading
import time

from oslo_log import log

from hepix_vm.catalogue import lease
from hepix_vm.catalogue import sync
from hepix_vm.daemon import election
from hepix_vm import errors
from hepix_vm.operations import catalogue
from hepix_vm.operations import site as site_

LOG = log.getLogger(__name__)

Told = Callable[[sync.Report], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What there is to do, as functions.

    :ivar synchronise: syncs what is due at a time (UNIX seconds)
    :ivar next_due: when the next subscription is; None: there is none
    :ivar deliver: tells others what happened, until it is to stop
    """

    synchronise: Callable[[site_.Site, int, Told], catalogue.Synced]
    next_due: Callable[[site_.Site, int], int | None]
    deliver: Callable[[site_.Site, int, Callable[[], bool]], object] = (
        lambda site, now, stop: None
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """How a sync ended.

    :ivar synced: None when it failed as a whole
    :ivar failure: why, or ''
    :ivar next_due: UNIX seconds
    """

    synced: catalogue.Synced | None
    failure: str = ''
    next_due: int | None = None


class _Abandoned(errors.TryAgain):
    """The daemon ends, or no longer leads."""


class Run:
    """One sync.

    :param site: its catalogue is used through the fence of the term
    :param ended: called from the thread when :attr:`done` is there
    """

    def __init__(
        self,
        site: site_.Site,
        term: election.Term,
        work: Work,
        ended: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.site = site
        self.term = term
        self._work = work
        self._ended = ended
        self._clock = clock
        self._now = now
        self._abandoned = threading.Event()
        #: Monotonic seconds when something last came to an end.
        self.progress = clock()
        self.done: Done | None = None

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name='sync', daemon=True).start()

    def abandon(self) -> None:
        """End it after the list that it is at."""
        self._abandoned.set()

    def _told(self, report: sync.Report) -> None:
        del report
        self.progress = self._clock()
        if self._abandoned.is_set():
            raise _Abandoned('the sync was ended before all lists were done')

    def _run(self) -> None:
        try:
            self.done = self._sync()
        except errors.HepixError as exc:
            self.done = Done(None, str(exc))
        except Exception as exc:
            LOG.exception('syncing')
            self.done = Done(None, f'{type(exc).__name__}: {exc}')
        self._ended()

    def _sync(self) -> Done:
        site = _fenced(self.site, self.term)
        synced = self._work.synchronise(site, int(self._now()), self._told)
        return Done(
            synced, next_due=self._work.next_due(site, int(self._now()))
        )


class Delivery:
    """Telling others, once; whoever waits for them, no sync does.

    :param site: its catalogue is used through the fence of the term
    :param ended: called from the thread when it is over
    """

    def __init__(
        self,
        site: site_.Site,
        term: election.Term,
        work: Work,
        ended: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.site = site
        self._term = term
        self._work = work
        self._ended = ended
        self._now = now
        self._abandoned = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(
            target=self._run, name='delivery', daemon=True
        ).start()

    def abandon(self) -> None:
        """End it after the event that it is at."""
        self._abandoned.set()

    def _run(self) -> None:
        try:
            self._work.deliver(
                _fenced(self.site, self._term),
                int(self._now()),
                self._abandoned.is_set,
            )
        except errors.HepixError as exc:
            LOG.warning('events were not told: %s', exc)
        except Exception:
            LOG.exception('telling events')
        self._ended()


def _fenced(site: site_.Site, term: election.Term) -> site_.Site:
    return dataclasses.replace(
        site, catalogue=site.catalogue.fenced(lease.SYNC, term.fence)
    )

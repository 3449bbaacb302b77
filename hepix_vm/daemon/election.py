# SPDX-License-Identifier: Apache-2.0
"""Standing by for the lease, taking it, and keeping it.

One thread of its own does nothing else, so that a sync that hangs does not
cost the lease, and a database that hangs does not stop the rest of the daemon
from answering signals.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import dataclasses
import threading
import time

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import migrations
from hepix_vm.daemon import coordination
from hepix_vm.daemon import settings as settings_
from hepix_vm import errors

LOG = log.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """One time of leading.

    :ivar fence: what the database knows it by
    :ivar since: UNIX seconds
    """

    fence: int
    since: int


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How things are, for a status line.

    :ivar seen: whether the catalogue was ever seen
    :ivar other: who leads, when it is somebody else
    :ivar problem: what keeps us from looking or beating, or ''
    """

    seen: bool = False
    term: Term | None = None
    other: lease.Holder | None = None
    problem: str = ''


class Election:
    """A candidate for the lease, and its holder when it has it.

    :param store: a database of its own, with short time-outs
    :param holder: our name: host and process
    :param changed: called from the thread when :attr:`standing` is another
    :param outside: who decides, if not the lease itself
    :param clock: monotonic seconds
    :param now: UNIX seconds
    """

    def __init__(
        self,
        store: database.Database,
        settings: settings_.Settings,
        holder: str,
        changed: Callable[[], None],
        outside: coordination.Coordination | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._settings = settings
        self._holder = holder
        self._changed = changed
        self._outside = outside
        self._clock = clock
        self._now = now
        self._watch = lease.Watch(settings.lease_time)
        self._former: int | None = None
        self._checked = False
        self._proven = 0.0
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        #: Monotonic seconds when the thread last began to do something.
        self.alive = clock()
        self.standing = Standing()

    def term(self) -> Term | None:
        """Our term, if it is certain that it still lasts.

        Nobody takes the lease over before its time without a beat has passed
        since this moment's last one.
        """
        term = self.standing.term
        if term is None:
            return None
        silent = self._clock() - self._proven
        return term if silent < self._settings.lease_time else None

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(
            target=self._run, name='election', daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Have it give the lease back and end; see :meth:`ended`."""
        self._ending.set()

    def ended(self, timeout: float) -> bool:
        """Wait for the end; False when that takes longer."""
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self.step()
            except Exception as exc:
                LOG.exception('standing for the lease')
                self._failed(f'{type(exc).__name__}: {exc}')
            self._ending.wait(self._settings.beat_interval)
        self.resign()

    def step(self) -> None:
        """One beat of a holder, or one look of a candidate."""
        self.alive = self._clock()
        term = self.standing.term
        try:
            if term is None:
                self._stand()
            else:
                self._beat(term)
        except database.FAILURES as exc:
            self._failed(database.cause(exc))
        except errors.HepixError as exc:
            self._failed(str(exc))

    def resign(self) -> None:
        """Give the lease back, for the next one to lead at once."""
        term = self.standing.term
        if term is not None:
            try:
                if lease.release(self._store, term.fence):
                    LOG.info('gave the lease back (number %s)', term.fence)
            except database.FAILURES as exc:
                LOG.warning(
                    'the lease (number %s) could not be given back, it runs '
                    'out by itself: %s',
                    term.fence,
                    database.cause(exc),
                )
            self._tell(dataclasses.replace(self.standing, term=None))
        if self._outside is not None:
            self._outside.drop()
        with contextlib.suppress(*database.FAILURES):
            self._store.close()

    # As a candidate

    def _stand(self) -> None:
        if not self._checked:
            migrations.check(self._store)
            self._checked = True
        asked = self._clock()
        with self._store.reading() as connection:
            row = lease.look(connection)
        if self._may_take(row, asked):
            began = self._clock()
            fence = lease.take(
                self._store, self._holder, row, int(self._now())
            )
            if fence is not None:
                self._lead(fence, began)
                return
        other = row if row is not None and row.holder else None
        before = self.standing.other
        if other is not None and (
            before is None or before.fence != other.fence
        ):
            LOG.info(
                'standing by: %s leads (number %s)', other.holder, other.fence
            )
        self._well(Standing(seen=True, other=other))

    def _may_take(self, row: lease.Holder | None, asked: float) -> bool:
        if self._outside is not None:
            return self._outside.hold()
        if row is None or not row.holder:
            return True
        # Ours, lost without anybody having taken it: a higher number keeps
        # out what may still run of that term.
        if row.fence == self._former:
            return True
        return self._watch.silent(row, asked, self._clock())

    def _lead(self, fence: int, began: float) -> None:
        self._former = fence
        self._proven = began
        LOG.info('leading as %s (number %s)', self._holder, fence)
        self._well(Standing(seen=True, term=Term(fence, int(self._now()))))

    # As the holder

    def _beat(self, term: Term) -> None:
        began = self._clock()
        if began - self._proven >= self._settings.lease_time:
            self._lose(
                f'no beat for {began - self._proven:.0f} s'
                + (f': {p}' if (p := self.standing.problem) else '')
            )
            return
        if self._outside is not None and not self._outside.hold():
            self._lose('the coordination service has given it to another')
            return
        if not lease.beat(self._store, term.fence):
            self._lose('another one has taken it over')
            return
        self._proven = began
        self._well(dataclasses.replace(self.standing, problem=''))

    def _lose(self, why: str) -> None:
        term = self.standing.term
        if term is None:
            return
        LOG.warning('no longer leading (number %s): %s', term.fence, why)
        if self._outside is not None:
            # Kept, it would keep away those who can reach the database.
            self._outside.drop()
        self._tell(dataclasses.replace(self.standing, term=None))

    def _failed(self, problem: str) -> None:
        self._checked = False
        term = self.standing.term
        if problem != self.standing.problem:
            LOG.error('%s', problem)
        self._tell(dataclasses.replace(self.standing, problem=problem))
        if term is None:
            if self._outside is not None:
                self._outside.drop()
        elif self.term() is None:
            self._lose(f'no beat in time: {problem}')

    def _well(self, standing: Standing) -> None:
        if self.standing.problem:
            LOG.info('the catalogue and its lease can be reached again')
        self._tell(standing)

    def _tell(self, standing: Standing) -> None:
        if standing != self.standing:
            self.standing = standing
            self._changed()

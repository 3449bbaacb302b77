# SPDX-License-Identifier: Apache-2.0
"""Many fetches at once: none delays or ends another.

Sources keep to the deadlines of their settings. One that does not is left
behind: its thread goes on alone, and what it brings at last is not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import dataclasses
import queue
import threading
import time

from oslo_log import log

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors

LOG = log.getLogger(__name__)

#: Seconds that a source may exceed its deadline by until it is left behind.
GRACE = 5.0

#: Seconds after which a fetch no longer counts among those in parallel:
#: servers that hang must not keep the others waiting.
PATIENCE = 10.0

#: Threads at most, those that hang included.
MOST_THREADS = 128

#: Seconds between two looks at what hangs.
TICK = 0.25

Fetch = Callable[
    [str, fetch.FetchSettings, fetch.Validators],
    fetch.Fetched | fetch.NotModified,
]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription to be fetched, and what is known of its list."""

    subscription: subscription_.Subscription
    known: fetch.Validators


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """What fetching one subscription gave.

    :ivar content: None: not modified, or a failure
    """

    subscription: subscription_.Subscription
    content: fetch.Fetched | None
    failure: errors.HepixError | None


def attempt(
    wanted: Wanted, settings: fetch.FetchSettings, fetch_list: Fetch
) -> Attempt:
    """Fetch one list; whatever goes wrong is its own failure."""
    subscription = wanted.subscription
    try:
        reached = dataclasses.replace(settings, access=subscription.reached())
        got = fetch_list(subscription.url, reached, wanted.known)
    except errors.HepixError as exc:
        return Attempt(subscription, None, exc)
    except Exception as exc:
        LOG.exception('fetching %s', subscription.name)
        return Attempt(
            subscription, None, errors.TryAgain(f'{type(exc).__name__}: {exc}')
        )
    if isinstance(got, fetch.NotModified):
        return Attempt(subscription, None, None)
    return Attempt(subscription, got, None)


def fetched(
    wanted: Iterable[Wanted],
    settings: fetch.FetchSettings,
    fetch_list: Fetch,
) -> Iterator[Attempt | None]:
    """All attempts, as they end; None now and then while nothing does."""
    crew = _Crew(list(wanted), settings, fetch_list)
    try:
        yield from crew.results()
    finally:
        crew.stop()


@dataclasses.dataclass(slots=True)
class _Busy:
    """What a thread works on."""

    wanted: Wanted
    began: float


class _Crew:
    """Threads that fetch, and one (the caller's) that watches them."""

    def __init__(
        self,
        wanted: list[Wanted],
        settings: fetch.FetchSettings,
        fetch_list: Fetch,
    ) -> None:
        self._settings = settings
        self._fetch_list = fetch_list
        self._waiting = wanted[::-1]
        self._left = len(wanted)
        self._lock = threading.Lock()
        self._busy: dict[int, _Busy] = {}
        self._threads = 0
        self._stopped = False
        # Bounded, so that lists do not pile up in front of slow judging.
        self._done: queue.Queue[Attempt] = queue.Queue(
            max(2, settings.parallel)
        )

    def stop(self) -> None:
        """Have the threads end after what they are doing."""
        self._stopped = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._done.get_nowait()

    def results(self) -> Iterator[Attempt | None]:
        """What came, what was left behind, and None when nothing did."""
        self._fill()
        looked = time.monotonic()
        while self._left:
            try:
                yield self._counted(self._done.get(timeout=TICK))
            except queue.Empty:
                yield None
            if time.monotonic() - looked >= TICK:
                looked = time.monotonic()
                for late in self._left_behind():
                    yield self._counted(late)
                self._fill()

    def _counted(self, one: Attempt) -> Attempt:
        self._left -= 1
        return one

    def _left_behind(self) -> list[Attempt]:
        limit = self._settings.list_deadline + GRACE
        now = time.monotonic()
        with self._lock:
            late = [k for k, b in self._busy.items() if now - b.began > limit]
            found = [self._busy.pop(ident) for ident in late]
            self._threads -= len(late)
        return [
            Attempt(
                busy.wanted.subscription,
                None,
                errors.TryAgain(
                    f'{busy.wanted.subscription.url}: not finished within '
                    f'{limit:g} s, and its driver did not end it; see '
                    'list_deadline in group [fetch]'
                ),
            )
            for busy in found
        ]

    def _most(self) -> int:
        """As many threads as may fetch in parallel, beside those that hang."""
        now = time.monotonic()
        hanging = sum(
            now - busy.began > PATIENCE for busy in self._busy.values()
        )
        return min(self._settings.parallel + hanging, MOST_THREADS)

    def _fill(self) -> None:
        with self._lock:
            more = min(self._most() - self._threads, len(self._waiting))
            self._threads += max(0, more)
        for _ in range(more):
            # Not to be waited for when the process ends.
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        with fetch.connections_kept():
            self._fetch_all()

    def _fetch_all(self) -> None:
        me = threading.get_ident()
        while not self._stopped:
            with self._lock:
                if not self._waiting or self._threads > self._most():
                    self._threads -= 1
                    return
                wanted = self._waiting.pop()
                self._busy[me] = _Busy(wanted, time.monotonic())
            found = attempt(wanted, self._settings, self._fetch_list)
            with self._lock:
                mine = self._busy.get(me)
                if mine is None or mine.wanted is not wanted:
                    return
                del self._busy[me]
            self._hand_over(found)

    def _hand_over(self, found: Attempt) -> None:
        while not self._stopped:
            with contextlib.suppress(queue.Full):
                self._done.put(found, timeout=TICK)
                return

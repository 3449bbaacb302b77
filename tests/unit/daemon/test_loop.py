# SPDX-License-Identifier: Apache-2.0
"""The daemon's own loop, with work that a test controls."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path
import threading
import time

import futurist  # noqa: F401 - see below
import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import model
from hepix_vm.catalogue import sync
from hepix_vm.daemon import loop
from hepix_vm.daemon import notify
from hepix_vm.daemon import settings
from hepix_vm.daemon import work
from hepix_vm import errors
from hepix_vm.operations import catalogue
from hepix_vm.operations import site as site_
from tests.cloud import waits
from tests.unit.daemon import systemd

# Tooz imports futurist, and that eventlet, which makes a copy of threading:
# the thread in which it does that can never be joined. Here it is this one.

SOON = 120
#: Seconds that no machine stands still: who waits for the end of a lease puts
#: the clock forward.
LEASE = 1e6
#: Seconds that a daemon has for its end; likewise.
STOP = 1000.0
NOTHING = catalogue.Synced((), ())


class Often(settings.Settings):
    """Beats that a test need not wait for."""

    @property
    def beat_interval(self) -> float:
        """Seconds; a lease lasts longer than six."""
        return 0.3


class Work:
    """Work that is counted, and that hangs or fails as a test says.

    :ivar sites: with which it was begun
    :ivar succeeded: how many times it ended well
    """

    def __init__(self) -> None:
        self.sites: list[site_.Site] = []
        self.failure: Exception | None = None
        self.result = NOTHING
        self.due: int | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.lists = 1
        self.succeeded = 0

    def synchronise(
        self,
        site: site_.Site,
        now: int,
        told: Callable[[sync.Report], None],
    ) -> catalogue.Synced:
        """Sync as many lists as there are."""
        self.sites.append(site)
        for number in range(self.lists):
            assert self.go_on.wait(SOON)
            # Others want to get on as well.
            time.sleep(0.0001)
            told(report(str(number)))
        if self.failure is not None:
            raise self.failure
        self.succeeded += 1
        return self.result

    def next_due(self, site: site_.Site, now: int) -> int | None:
        """What the test says."""
        return self.due

    def begun(self, times: int) -> Callable[[], bool]:
        """Whether it was begun so many times."""
        return lambda: len(self.sites) >= times


def report(name: str) -> sync.Report:
    return sync.Report(
        name,
        sync.Outcome.UNCHANGED,
        'ok',
        '',
        next(iter(model.Standing)),
    )


@dataclasses.dataclass
class Running:
    """A daemon in a thread."""

    daemon: loop.Daemon
    work: Work
    systemd: systemd.Systemd
    clock: systemd.Clock
    url: str
    configured: list[loop.Configured | errors.HepixError]
    problems: list[BaseException] = dataclasses.field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""

        def run() -> None:
            try:
                self.daemon.run()
            except BaseException as exc:  # noqa: BLE001 - looked at by tests
                self.problems.append(exc)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def stop(self) -> None:
        """Tell it to stop, and wait for that."""
        self.daemon.tell(loop.Message.STOP)
        self.ended()

    def ended(self) -> None:
        """Wait for the end."""
        assert self.thread is not None
        self.thread.join(SOON)
        assert not self.thread.is_alive()

    def begun(self, times: int) -> None:
        """Wait for so many syncs."""
        waits.until(f'sync {times}', self.work.begun(times), SOON)

    def rests(self) -> None:
        """Wait until the syncs that were due are over."""
        waits.until(
            'the next sync to be due',
            lambda: self.systemd.status().endswith('due next'),
            SOON,
        )

    def lease(self) -> lease.Holder | None:
        """Who leads by the database."""
        with (
            contextlib.closing(database.Database(self.url, 60)) as store,
            store.reading() as connection,
        ):
            return lease.state(connection)

    def beats(self, times: int) -> None:
        """Wait until it has beaten or been elected some times more."""
        for _ in range(times):
            before = self.lease()
            waits.until('a beat', lambda b=before: self.lease() != b, SOON)


def made_site(url: str) -> site_.Site:
    return site_.Site(
        catalogue=database.Database(url, 60),
        subscriptions={},
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=lambda: None),
    )


@pytest.fixture
def running(tmp_path: Path, url: str) -> Iterator[Running]:
    """A daemon that was not started yet."""
    listening = systemd.Systemd(tmp_path)
    clock = systemd.Clock()
    work_ = Work()
    configured = loop.Configured(
        made_site(url),
        Often(
            url,
            check_interval=3600,
            lease_time=LEASE,
            stall_time=1000,
            stop_time=STOP,
        ),
    )
    later: list[loop.Configured | errors.HepixError] = [configured]

    def load() -> loop.Configured:
        if isinstance(later[-1], errors.HepixError):
            raise later[-1]
        return later[-1]

    made = Running(
        loop.Daemon(
            configured,
            load,
            work.Work(work_.synchronise, work_.next_due),
            notify.Notify(listening.environment(watchdog=2), clock),
            clock,
        ),
        work_,
        listening,
        clock,
        url,
        later,
    )
    yield made
    work_.go_on.set()
    if made.thread is not None and made.thread.is_alive():
        made.stop()
    listening.close()


def test_it_is_ready_leads_and_syncs(running):
    running.start()
    running.begun(1)
    running.rests()
    heard = running.systemd.listen()
    assert heard.count('READY=1') == 1
    assert running.systemd.status().startswith('leading (number 1)')
    running.stop()
    assert running.systemd.listen()[-1].startswith('EXTEND_TIMEOUT_USEC')
    assert 'STOPPING=1' in running.systemd.heard
    assert running.lease() is None
    assert not running.daemon.abandoned
    assert len(running.work.sites) == 1


def test_what_it_syncs_with_carries_the_number(running):
    running.start()
    running.begun(1)
    with running.work.sites[0].catalogue.writing():
        pass
    with contextlib.closing(database.Database(running.url, 60)) as store:
        with store.reading() as connection:
            seen = lease.look(connection)
        while lease.take(store, 'other', seen, 1) is None:
            with store.reading() as connection:
                seen = lease.look(connection)
    with (
        pytest.raises(errors.LeaseLost),
        running.work.sites[0].catalogue.writing(),
    ):
        pass


def test_it_syncs_again_when_something_is_due(running):
    running.work.due = int(time.time())
    running.start()
    running.begun(3)


def test_it_looks_again_after_the_check_interval(running):
    running.work.due = int(time.time()) + 10**6
    running.start()
    running.begun(1)
    running.rests()
    running.clock.ahead += 3600
    running.begun(2)


def test_it_stands_by_for_another(running):
    with contextlib.closing(database.Database(running.url, 60)) as store:
        lease.take(store, 'other', None, 1)
        running.start()
        running.systemd.wait('READY=1', SOON)
        waits.until(
            'it to stand by',
            lambda: 'other leads (number 1)' in running.systemd.status(),
            SOON,
        )
        assert not running.work.sites
        lease.release(store, 1)
    running.begun(1)


def test_sync_of_a_lost_term_is_ended_and_begun_anew(running):
    running.work.go_on.clear()
    running.work.lists = 10**9
    running.start()
    running.begun(1)
    with contextlib.closing(database.Database(running.url, 60)) as store:
        while True:
            with store.reading() as connection:
                seen = lease.look(connection)
            if lease.take(store, 'other', seen, 1) is not None:
                break
    waits.until(
        'it to stand by',
        lambda: 'other leads' in running.systemd.status(),
        SOON,
    )
    running.work.go_on.set()
    # The other one does not beat, so this one follows it in turn.
    running.clock.ahead += LEASE
    running.begun(2)


def test_sync_that_hangs_stops_neither_beat_nor_signals(running):
    running.work.go_on.clear()
    running.start()
    running.begun(1)
    running.beats(3)
    running.daemon.tell(loop.Message.RELOAD)
    running.systemd.wait('RELOADING=1', SOON)


def test_watchdog_hears_of_progress_only(running):
    running.work.go_on.clear()
    running.start()
    running.begun(1)
    running.systemd.wait('WATCHDOG=1', SOON)
    # No list has ended for too long, though all else goes on.
    running.clock.ahead += 1001
    running.systemd.forget()
    running.daemon.tell(loop.Message.RELOAD)
    # Who tells that has seen what time it is.
    running.systemd.wait('READY=1', SOON)
    running.systemd.forget()
    running.beats(6)
    assert 'WATCHDOG=1' not in running.systemd.listen()
    running.work.go_on.set()
    running.systemd.wait('WATCHDOG=1', SOON)


def test_long_sync_that_gets_on_is_no_stall(running):
    running.work.lists = 10**9
    running.start()
    running.begun(1)
    running.clock.ahead += 1001
    running.beats(1)
    running.systemd.forget()
    running.systemd.wait('WATCHDOG=1', SOON)


def test_sync_that_fails_is_told_once_and_tried_again(running, caplog):
    running.work.failure = errors.LocalFault('the disk is full')
    running.start()
    running.begun(2)
    running.work.failure = None
    waits.until('a sync to succeed', lambda: running.work.succeeded, SOON)
    running.stop()
    assert caplog.text.count('the disk is full') == 1


def test_fault_of_ours_ends_nothing(running, caplog):
    running.work.failure = ZeroDivisionError('a fault')
    running.start()
    running.begun(2)
    assert 'ZeroDivisionError' in caplog.text


def test_reload_takes_the_new_configuration(running):
    running.start()
    running.begun(1)
    before = running.configured[0]
    assert isinstance(before, loop.Configured)
    site = made_site(running.url)
    running.configured.append(loop.Configured(site, before.settings))
    running.systemd.forget()
    running.daemon.tell(loop.Message.RELOAD)
    running.begun(2)
    assert running.work.sites[1].fetch is site.fetch
    heard = running.systemd.listen()
    start = heard.index('RELOADING=1')
    assert heard[start + 1].startswith('MONOTONIC_USEC=')
    assert 'READY=1' in heard[start + 2 :]
    held = running.lease()
    assert held is not None
    assert held.fence == 1


def test_reload_during_a_sync_leads_to_another_one(running):
    running.work.go_on.clear()
    running.start()
    running.begun(1)
    before = running.configured[0]
    assert isinstance(before, loop.Configured)
    site = made_site(running.url)
    running.configured.append(loop.Configured(site, before.settings))
    running.daemon.tell(loop.Message.RELOAD)
    running.systemd.wait('RELOADING=1', SOON)
    running.work.go_on.set()
    running.begun(2)
    assert running.work.sites[1].fetch is site.fetch


def test_broken_new_configuration_is_refused_with_one_error(running, caplog):
    running.work.due = int(time.time())
    running.start()
    running.begun(1)
    running.configured.append(errors.Misconfigured('option x: wrong'))
    running.systemd.forget()
    running.daemon.tell(loop.Message.RELOAD)
    running.systemd.wait('READY=1', SOON)
    done = len(running.work.sites)
    running.begun(done + 2)
    assert caplog.text.count('option x: wrong') == 1
    assert 'the old one goes on' in caplog.text


def test_new_lease_time_means_a_new_term(running):
    running.start()
    running.begun(1)
    before = running.configured[0]
    assert isinstance(before, loop.Configured)
    running.configured.append(
        loop.Configured(
            made_site(running.url),
            dataclasses.replace(before.settings, lease_time=LEASE + 1),
        )
    )
    running.daemon.tell(loop.Message.RELOAD)
    waits.until(
        'a new term',
        lambda: (held := running.lease()) is not None and held.fence > 1,
        SOON,
    )
    running.begun(2)


def test_coordination_that_cannot_be_used_is_refused_on_reload(
    running, caplog
):
    running.work.due = int(time.time())
    running.start()
    running.begun(1)
    before = running.configured[0]
    assert isinstance(before, loop.Configured)
    running.configured.append(
        loop.Configured(
            made_site(running.url),
            dataclasses.replace(
                before.settings, coordination_url='unheard-of://x'
            ),
        )
    )
    running.daemon.tell(loop.Message.RELOAD)
    waits.until('the refusal', lambda: 'coordination_url' in caplog.text, SOON)
    running.beats(2)
    done = len(running.work.sites)
    running.begun(done + 2)
    assert running.work.sites[-1].fetch is before.site.fetch


def test_coordination_that_cannot_be_used_is_no_start(running, url):
    one = running.configured[0]
    assert isinstance(one, loop.Configured)
    made = loop.Daemon(
        loop.Configured(
            one.site,
            dataclasses.replace(one.settings, coordination_url='nothing'),
        ),
        lambda: one,
        work.Work(running.work.synchronise, running.work.next_due),
        notify.Notify({}),
    )
    with pytest.raises(errors.Misconfigured):
        made.run()


def test_it_waits_for_a_catalogue_that_is_not_there(running, tmp_path):
    path = tmp_path / 'catalogue.sqlite'
    path.rename(tmp_path / 'away')
    running.start()
    running.systemd.wait('EXTEND_TIMEOUT_USEC', SOON)
    waits.until(
        'the reason', lambda: 'db sync' in running.systemd.status(), SOON
    )
    assert 'READY=1' not in running.systemd.heard
    path.unlink(missing_ok=True)
    (tmp_path / 'away').rename(path)
    running.systemd.wait('READY=1', SOON)
    running.begun(1)


def test_stop_ends_a_sync_between_two_lists(running):
    running.work.lists = 10**6
    running.start()
    running.begun(1)
    running.stop()
    assert not running.daemon.abandoned
    assert running.lease() is None


def test_sync_that_does_not_end_is_given_up(running, caplog):
    running.work.go_on.clear()
    running.start()
    running.begun(1)
    running.daemon.tell(loop.Message.STOP)

    def ended() -> bool:
        # Its time begins at a moment that nobody hears of.
        running.clock.ahead += STOP
        assert running.thread is not None
        return not running.thread.is_alive()

    running.systemd.wait('STOPPING=1', SOON)
    waits.until('its end', ended, SOON)
    assert running.daemon.abandoned
    assert 'given up' in caplog.text
    # The next one need not wait for the lease time.
    assert running.lease() is None


def test_second_signal_does_not_wait(running):
    running.start()
    running.rests()
    running.work.go_on.clear()
    running.daemon.tell(loop.Message.RELOAD)
    running.begun(2)
    running.daemon.tell(loop.Message.STOP)
    running.systemd.wait('STOPPING=1', SOON)
    running.stop()
    assert running.daemon.abandoned

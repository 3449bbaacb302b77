# SPDX-License-Identifier: Apache-2.0
"""The daemon tells others after each sync, and no sync waits for them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from pathlib import Path
import threading
import time

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm.daemon import loop
from hepix_vm.daemon import notify
from hepix_vm.daemon import work
from hepix_vm import errors
from hepix_vm.operations import site as site_
from tests.cloud import waits
from tests.unit.daemon import systemd
from tests.unit.daemon import test_loop

SOON = test_loop.SOON


class Deliveries:
    """What tells others, as a test lets it.

    :ivar sites: with which it was begun
    :ivar stopped: how often it was told to end
    """

    def __init__(self) -> None:
        self.sites: list[site_.Site] = []
        self.stopped = 0
        self.failure: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def deliver(
        self, site: site_.Site, now: int, stop: Callable[[], bool]
    ) -> None:
        """Wait until the test or the daemon wants it to end."""
        self.sites.append(site)
        while not self.go_on.wait(0.05):
            if stop():
                self.stopped += 1
                return
        if self.failure is not None:
            raise self.failure

    def begun(self, times: int) -> None:
        """Wait for so many."""
        waits.until(
            f'delivery {times}', lambda: len(self.sites) >= times, SOON
        )


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture
def running(
    tmp_path: Path, url: str, deliveries: Deliveries
) -> Iterator[test_loop.Running]:
    """A daemon that was not started yet."""
    listening, clock = systemd.Systemd(tmp_path), systemd.Clock()
    work_ = test_loop.Work()
    configured = loop.Configured(
        test_loop.made_site(url),
        test_loop.Often(
            url,
            check_interval=3600,
            lease_time=test_loop.LEASE,
            stop_time=test_loop.STOP,
        ),
    )
    made = test_loop.Running(
        loop.Daemon(
            configured,
            lambda: configured,
            work.Work(work_.synchronise, work_.next_due, deliveries.deliver),
            notify.Notify(listening.environment(watchdog=2), clock),
            clock,
        ),
        work_,
        listening,
        clock,
        url,
        [configured],
    )
    yield made
    deliveries.go_on.set()
    if made.thread is not None and made.thread.is_alive():
        made.stop()
    listening.close()


def take(running: test_loop.Running) -> None:
    """Have another daemon take the lease."""
    with contextlib.closing(database.Database(running.url, 60)) as store:
        taken = None
        while taken is None:
            with store.reading() as connection:
                seen = lease.look(connection)
            taken = lease.take(store, 'other', seen, 1)


def test_it_tells_after_a_sync_through_the_fence(running, deliveries):
    running.start()
    deliveries.begun(1)
    running.begun(1)
    with deliveries.sites[0].catalogue.writing():
        pass
    take(running)
    with (
        pytest.raises(errors.LeaseLost),
        deliveries.sites[0].catalogue.writing(),
    ):
        pass


def test_no_sync_waits_for_it_and_one_goes_on_at_a_time(running, deliveries):
    deliveries.go_on.clear()
    running.work.due = int(time.time())
    running.start()
    running.begun(3)
    assert len(deliveries.sites) == 1
    deliveries.go_on.set()
    deliveries.begun(2)


def test_who_no_longer_leads_ends_it(running, deliveries):
    deliveries.go_on.clear()
    running.start()
    deliveries.begun(1)
    take(running)
    waits.until('it to end', lambda: deliveries.stopped == 1, SOON)


@pytest.mark.parametrize(
    'failure', [errors.TryAgain('it is away'), ValueError('a mistake')]
)
def test_one_that_fails_costs_nothing_else(
    running, deliveries, caplog, failure
):
    deliveries.failure = failure
    running.work.due = int(time.time())
    running.start()
    deliveries.begun(2)
    running.begun(2)
    assert running.problems == []
    assert ('Traceback' in caplog.text) is isinstance(failure, ValueError)


def test_it_is_ended_when_the_daemon_is(running, deliveries):
    deliveries.go_on.clear()
    running.start()
    deliveries.begun(1)
    running.stop()
    assert deliveries.stopped == 1
    assert not running.daemon.abandoned


def test_one_that_does_not_end_does_not_keep_the_daemon(running, deliveries):
    ended = threading.Event()

    def hang(site, now, stop):
        deliveries.sites.append(site)
        assert ended.wait(SOON)

    running.daemon._work = work.Work(
        running.work.synchronise, running.work.next_due, hang
    )
    running.start()
    deliveries.begun(1)
    running.daemon.tell(loop.Message.STOP)
    # The second one does not wait any longer.
    running.stop()
    assert running.daemon.abandoned
    ended.set()


def test_a_new_configuration_is_used_by_the_next_one(running, deliveries):
    running.start()
    deliveries.begun(1)
    # One that goes on still would be the only one.
    waits.until('its end', lambda: running.daemon._delivery is None, SOON)
    running.daemon.tell(loop.Message.RELOAD)
    deliveries.begun(2)
    running.begun(2)

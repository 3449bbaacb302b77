# SPDX-License-Identifier: Apache-2.0
"""The daemon as a service: what it tells systemd, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from pathlib import Path
import signal

import pytest

from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from tests import endorser
from tests.functional import daemons
from tests.unit.catalogue import following
from tests.unit.catalogue import servers

SOON = daemons.SOON
DATA, OTHER = b'an image', b'another image'
image = endorser.make_image


@pytest.fixture
def site(tmp_path: Path) -> Iterator[following.Site]:
    """A site that follows one list, with SQLite."""
    made = following.Site(tmp_path)
    made.follow()
    made.publish('main', '1', image(DATA))
    yield made
    made.close()


Start = Callable[..., daemons.Daemon]


@pytest.fixture
def start(site: following.Site) -> Iterator[Start]:
    """Starts a daemon."""
    with contextlib.ExitStack() as stack:
        count = iter(range(10))

        def make(begin: bool = True, **options: object) -> daemons.Daemon:
            made = daemons.Daemon(
                site,
                f'daemon{next(count)}',
                **options,  # type: ignore[arg-type]
            )
            stack.callback(made.end)
            if begin:
                made.start()
            return made

        yield make


def approved(site: following.Site, data: bytes) -> bool:
    return site.decide(data) is model.Reason.APPROVED


def test_life_of_a_service(site: following.Site, start: Start) -> None:
    one = start(watchdog=2)
    one.is_ready()
    one.comes_to_lead()
    one.until('the list', lambda: approved(site, DATA))
    one.systemd.wait('WATCHDOG=1', SOON, one.log)
    one.until(
        'the status',
        lambda: one.systemd.status().startswith('leading (number 1)'),
    )
    site.follow('second')
    site.publish('second', '1', image(OTHER))
    one.configure()
    one.systemd.forget()
    one.send(signal.SIGHUP)
    one.systemd.wait('READY=1', SOON, one.log)
    heard = [x.split('=')[0] for x in one.systemd.heard]
    begin = heard.index('RELOADING')
    assert heard[begin + 1] == 'MONOTONIC_USEC'
    assert 'READY' in heard[begin + 2 :]
    one.until('the second list', lambda: approved(site, OTHER))
    one.send(signal.SIGTERM)
    assert one.ended() == 0
    assert 'STOPPING=1' in one.systemd.listen()
    assert daemons.holder(site) is None
    assert 'Traceback' not in one.said()


def test_it_needs_no_service_manager_and_ends_at_an_interrupt(
    site: following.Site, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start(begin=False)
    monkeypatch.setattr(one.systemd, 'environment', lambda watchdog: {})
    one.start()
    one.until('the list', lambda: approved(site, DATA))
    one.send(signal.SIGINT)
    assert one.ended() == 0
    assert daemons.holder(site) is None


def test_changed_list_comes_in_by_itself(
    site: following.Site, start: Start
) -> None:
    one = start(check_interval=1, more='[sync]\ninterval = 60')
    one.until('the list', lambda: approved(site, DATA))
    # An edited subscription is due at once, an unchanged one in its time.
    site.publish('main', '2', image(OTHER))
    make_due(site)
    one.until('the next list', lambda: approved(site, OTHER))


def make_due(site: following.Site) -> None:
    """As if the time until the next attempt were over."""
    with site.database.writing() as transaction:
        transaction.execute(
            schema.subscription.update().values(next_attempt=1)
        )


def test_broken_new_configuration_is_refused(
    site: following.Site, start: Start
) -> None:
    one = start(check_interval=1)
    one.until('the list', lambda: approved(site, DATA))
    good = one.file.read_text()
    one.file.write_text(good + '\nlease_time = soon\n')
    one.send(signal.SIGHUP)
    one.says('the new configuration is refused')
    site.publish('main', '2', image(OTHER))
    make_due(site)
    one.until('the old one to go on', lambda: approved(site, OTHER))
    one.file.write_text(good)
    one.send(signal.SIGHUP)
    one.says('the configuration was read again')
    assert one.said().count('is refused') == 1
    assert 'Traceback' not in one.said()


def test_wrong_configuration_at_the_start_is_status_2(
    site: following.Site, start: Start
) -> None:
    one = start(lease_time='soon')
    assert one.ended() == 2
    assert 'lease_time' in one.said()
    assert 'Traceback' not in one.said()
    assert 'READY=1' not in one.systemd.listen()


def test_broken_subscription_ends_no_other(
    site: following.Site, start: Start
) -> None:
    one = start(begin=False, more='[subscription:broken]\nurl = nothing\n')
    one.start()
    one.until('the list', lambda: approved(site, DATA))
    assert 'subscription:broken' in one.said()


def test_server_that_hangs_delays_neither_beat_nor_end(
    site: following.Site, start: Start
) -> None:
    with servers.running() as server:
        site.change('main', url=server.tell('/list', servers.hanging))
        one = start(stop_timeout=5, lease_time=6, watchdog=2)
        one.until('it to ask', lambda: server.asked)
        before = daemons.holder(site)
        one.until('beats', lambda: daemons.holder(site) != before)
        one.systemd.forget()
        one.systemd.wait('WATCHDOG=1', SOON, one.log)
        one.send(signal.SIGTERM)
        assert one.ended() == 0
        assert daemons.holder(site) is None


def test_second_one_follows_at_once_when_the_first_is_stopped(
    site: following.Site, start: Start
) -> None:
    one = start(lease_time=3600)
    one.comes_to_lead()
    two = start(lease_time=6)
    two.is_ready()
    two.says('standing by')
    one.send(signal.SIGTERM)
    assert one.ended() == 0
    two.comes_to_lead()
    assert daemons.fence(site) == 2

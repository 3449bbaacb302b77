# SPDX-License-Identifier: Apache-2.0
"""Hosts are asked for in time, and what cannot be asked stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import logging
from typing import Any

import pytest

from hepix_vm.catalogue import hosts as hosts_
from hepix_vm.catalogue import runs
from hepix_vm import errors
from hepix_vm.nova import capacity
from hepix_vm.operations import catalogue as catalogue_
from hepix_vm.operations import hosts
from hepix_vm.operations import site as site_
from tests import catalogue_rows
from tests.unit.catalogue import following

NOW = 1_800_000_000
HOUR = 3600
PATIENCE = 20.0


class Cloud:
    """Nova and Placement as a test wants them.

    :ivar hosts: names; their processors are told by ``total``
    :ivar away: what listing fails with
    :ivar failing: what asking for a host fails with, by its name
    :ivar asked: hosts that Placement was asked for, in order
    :ivar takes: seconds for each of these answers
    """

    def __init__(self) -> None:
        self.hosts = ['wn1', 'wn2']
        self.away: errors.HepixError | None = None
        self.failing: dict[str, errors.HepixError] = {}
        self.asked: list[str] = []
        self.listings = 0
        self.takes = 0.0
        self.time = 0.0

    def hypervisors(self) -> tuple[capacity.Hypervisor, ...]:
        self.listings += 1
        if self.away is not None:
            raise self.away
        return tuple(
            capacity.Hypervisor(f'id of {name}', name, 'QEMU', 'EPYC')
            for name in self.hosts
        )

    def aggregates(self) -> dict[str, tuple[str, ...]]:
        return {'wn1': ('batch', 'new')}

    def total_cpu(self, provider: str) -> int | None:
        name = provider.removeprefix('id of ')
        self.asked.append(name)
        self.time += self.takes
        if name in self.failing:
            raise self.failing[name]
        return 64

    def clock(self) -> float:
        return self.time


@pytest.fixture
def rows(tmp_path) -> Iterator[catalogue_rows.Rows]:
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield made
    made.close()


@pytest.fixture
def cloud(monkeypatch) -> Cloud:
    found = Cloud()
    monkeypatch.setattr(
        capacity, 'Capacity', lambda session, *_: session or found
    )
    return found


@pytest.fixture
def site(rows, cloud) -> site_.Site:
    return site_.Site(
        catalogue=rows.store,
        subscriptions={},
        fetch=following.SETTINGS,
        cloud=site_.Cloud(session=lambda: cloud),
        hosts=capacity.Settings(interval=HOUR, patience=PATIENCE),
    )


def follow(site: site_.Site, cloud: Cloud, now: int = NOW) -> Any:
    cloud.asked.clear()
    return hosts.follow(site, site.catalogue, now, cloud.clock)


def known(site: site_.Site) -> dict[str, hosts_.Host]:
    return {one.host: one for one in hosts.known(site)}


def last_run(site: site_.Site) -> runs.Run | None:
    with site.catalogue.reading() as connection:
        return runs.last(connection).get(hosts.RUN)


def test_hosts_are_known_as_they_are_told(site, cloud):
    assert hosts.refresh(site, NOW) == hosts.Refreshed(2, 0, ())
    assert known(site) == {
        'wn1': hosts_.Host('wn1', 64, 'EPYC', ('batch', 'new'), 'QEMU', NOW),
        'wn2': hosts_.Host('wn2', 64, 'EPYC', (), 'QEMU', NOW),
    }
    # Whoever asks by hand asks for all.
    hosts.refresh(site, NOW + 1)
    assert cloud.asked == ['wn1', 'wn2'] * 2


def test_more_hosts_than_one_transaction_writes(site, cloud):
    cloud.hosts = [f'wn{number:04}' for number in range(450)]
    assert hosts.refresh(site, NOW).asked == 450
    assert len(known(site)) == 450
    cloud.hosts = ['wn0007']
    assert hosts.refresh(site, NOW + 1).asked == 1
    assert list(known(site)) == ['wn0007']


def test_a_sync_asks_once_in_an_interval(site, cloud):
    assert follow(site, cloud) == hosts.Refreshed(2, 0, ())
    assert follow(site, cloud, NOW + HOUR - 1) is None
    assert follow(site, cloud, NOW + HOUR) == hosts.Refreshed(2, 0, ())
    assert cloud.listings == 2
    # A clock that was ahead.
    assert follow(site, cloud, NOW - 5) == hosts.Refreshed(2, 0, ())


def test_a_sync_asks_for_none_unless_it_shall(site, cloud):
    quiet = site_.Site(
        catalogue=site.catalogue,
        subscriptions={},
        fetch=site.fetch,
        cloud=site.cloud,
    )
    assert follow(quiet, cloud) is None
    assert cloud.listings == 0


def test_each_sync_asks(site, cloud):
    catalogue_.synchronise(site, NOW)
    assert known(site).keys() == {'wn1', 'wn2'}


def test_time_that_is_up_leaves_hosts_to_the_next_sync(site, cloud):
    cloud.hosts = ['wn1', 'wn2', 'wn3', 'wn4', 'wn5']
    cloud.takes = PATIENCE / 2
    assert follow(site, cloud) == hosts.Refreshed(2, 3, ())
    assert known(site).keys() == {'wn1', 'wn2'}
    # All have been seen once before one is asked for again.
    hosts.refresh(site, NOW)
    assert follow(site, cloud, NOW + HOUR) == hosts.Refreshed(2, 3, ())
    assert follow(site, cloud, NOW + HOUR + 60) == hosts.Refreshed(2, 1, ())
    assert cloud.asked == ['wn3', 'wn4']
    assert follow(site, cloud, NOW + HOUR + 120) == hosts.Refreshed(1, 0, ())
    assert follow(site, cloud, NOW + HOUR + 180) is None


def test_hosts_that_are_gone_are_forgotten(site, cloud):
    hosts.refresh(site, NOW)
    cloud.hosts = ['wn2']
    hosts.refresh(site, NOW + 1)
    assert known(site).keys() == {'wn2'}


@pytest.mark.parametrize('how', ['away', 'no account'])
def test_what_cannot_be_asked_stays_and_is_told(site, cloud, how):
    hosts.refresh(site, NOW)
    before = known(site)
    if how == 'away':
        cloud.away = errors.TryAgain('Nova is away')
        expected = hosts.Refreshed(0, 0, ('Nova is away',))
    else:
        site = site_.Site(
            catalogue=site.catalogue,
            subscriptions={},
            fetch=site.fetch,
            cloud=site_.Cloud(session=lambda: None),
        )
        assert _follow_without(site) is None
        assert last_run(site) is None
        problem = (
            'group [openstack] option auth_type: expected the account that '
            'publishes, found nothing; edit hepix_vm.conf'
        )
        expected = hosts.Refreshed(0, 0, (problem,))
    assert hosts.refresh(site, NOW + 1) == expected
    assert known(site) == before


def _follow_without(site: site_.Site) -> hosts.Refreshed | None:
    made = dataclasses.replace(site, hosts=capacity.Settings(interval=HOUR))
    return hosts.follow(made, site.catalogue, NOW + HOUR)


def test_an_account_that_cannot_be_used_is_told(site, cloud):
    def broken() -> Any:
        raise errors.Misconfigured('group [openstack]: no such auth_type')

    wrong = site_.Site(
        catalogue=site.catalogue,
        subscriptions={},
        fetch=site.fetch,
        cloud=site_.Cloud(session=broken),
        further={'second': site_.Cloud(session=lambda: cloud)},
    )
    problem = 'group [openstack]: no such auth_type'
    assert hosts.refresh(wrong, NOW) == hosts.Refreshed(0, 0, (problem,))
    wrong = site_.Site(
        catalogue=site.catalogue,
        subscriptions={},
        fetch=site.fetch,
        cloud=site_.Cloud(session=broken),
    )
    assert hosts.refresh(wrong, NOW) == hosts.Refreshed(0, 0, (problem,))


def test_a_failure_is_told_once_and_left_alone_for_a_while(
    site, cloud, caplog
):
    caplog.set_level(logging.INFO)
    cloud.away = errors.TryAgain('Nova is away')
    assert follow(site, cloud) == hosts.Refreshed(0, 0, ('Nova is away',))
    run = last_run(site)
    assert run is not None
    assert (run.ok, run.detail) == (False, 'Nova is away')
    assert follow(site, cloud, NOW + 899) is None
    assert follow(site, cloud, NOW + 900) is not None
    told = [r for r in caplog.records if 'Nova is away' in r.getMessage()]
    assert len(told) == 1
    cloud.away = None
    assert follow(site, cloud, NOW + 1800) == hosts.Refreshed(2, 0, ())
    run = last_run(site)
    assert run is not None
    assert run.ok


def test_one_host_that_fails_does_not_keep_the_others_away(site, cloud):
    cloud.hosts = ['wn1', 'wn2', 'wn3']
    cloud.failing = {'wn1': errors.TryAgain('odd')}
    assert follow(site, cloud) == hosts.Refreshed(2, 1, ('odd',))
    assert known(site).keys() == {'wn2', 'wn3'}


def test_a_placement_that_is_away_is_not_asked_for_every_host(site, cloud):
    cloud.hosts = [f'wn{number}' for number in range(9)]
    problem = errors.TryAgain('Placement is away')
    cloud.failing = dict.fromkeys(cloud.hosts, problem)
    found = follow(site, cloud)
    assert found == hosts.Refreshed(0, 9, ('Placement is away',))
    assert len(cloud.asked) == 3


def test_a_daemon_that_no_longer_leads_stops(site, cloud):
    cloud.failing = {'wn1': errors.LeaseLost('taken over')}
    with pytest.raises(errors.LeaseLost):
        follow(site, cloud)


def test_a_name_in_two_clouds_has_no_features(site, cloud, caplog):
    other = Cloud()
    other.hosts = ['wn2', 'wn3']
    both = site_.Site(
        catalogue=site.catalogue,
        subscriptions={},
        fetch=site.fetch,
        cloud=site.cloud,
        further={'second': site_.Cloud(session=lambda: other)},
    )
    assert hosts.refresh(both, NOW) == hosts.Refreshed(3, 0, ())
    found = known(site)
    assert found['wn2'] == hosts_.Host('wn2', None, None, (), None, NOW)
    assert found['wn3'].total_cpu == 64
    assert 'host=wn2 is the name of 2 hypervisors' in caplog.text

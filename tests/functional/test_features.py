# SPDX-License-Identifier: Apache-2.0
"""What real Nova and Placement say of a host is what servers are told."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import math
from pathlib import Path
import time
from typing import Any

from keystoneauth1 import adapter
import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.context import facts as facts_
from hepix_vm.context import features
from hepix_vm.context import site_state
from hepix_vm.nova import capacity
from hepix_vm.operations import draining
from hepix_vm.operations import hosts
from hepix_vm.operations import site as site_
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import waits

pytestmark = pytest.mark.timeout(1200)

LIMIT = 300
AGGREGATE = 'fast'
DAY = 86400


@pytest.fixture
def site(cloud: clouds.Cloud, tmp_path: Path) -> Iterator[site_.Site]:
    """A site with that cloud, and a catalogue of its own."""
    rows = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield site_.Site(
        catalogue=rows.store,
        subscriptions={},
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=cloud.session, interface='public'),
        hosts=capacity.Settings(interval=3600),
        grace_secs=3600,
    )
    rows.close()


def hypervisor(cloud: clouds.Cloud) -> dict[str, Any]:
    """The one that the cloud has, as Nova shows it."""
    nova = adapter.Adapter(
        cloud.session(), service_type='compute', default_microversion='2.53'
    )
    (found,) = nova.get('/os-hypervisors/detail').json()['hypervisors']
    return dict(found)


def inventories(cloud: clouds.Cloud, provider: str) -> dict[str, Any]:
    """What Placement has of a host."""
    placement = adapter.Adapter(cloud.session(), service_type='placement')
    body = placement.get(f'/resource_providers/{provider}/inventories').json()
    return dict(body['inventories'])


@contextlib.contextmanager
def aggregate(cloud: clouds.Cloud, host: str) -> Iterator[None]:
    """The host is in an aggregate meanwhile."""
    calls = cloud.nova().aggregates
    made = calls.create(AGGREGATE, None)
    calls.add_host(made, host)
    try:
        yield
    finally:
        calls.remove_host(made, host)
        calls.delete(made)


def test_a_server_is_told_what_its_host_has(
    cloud: clouds.Cloud, site: site_.Site, tmp_path: Path
) -> None:
    shown = hypervisor(cloud)
    name = str(shown['service']['host'])
    with aggregate(cloud, name):
        found = hosts.follow(site, site.catalogue, int(time.time()))
    assert found == hosts.Refreshed(1, 0, ())
    (host,) = hosts.known(site)
    vcpu = inventories(cloud, str(shown['id']))['VCPU']
    total = math.floor(
        (vcpu['total'] - vcpu['reserved']) * vcpu['allocation_ratio']
    )
    assert total > 0
    assert (host.host, host.total_cpu) == (name, total)
    assert host.aggregates == (AGGREGATE,)
    assert host.hypervisor_type == shown['hypervisor_type']
    assert host.cpu_model == shown['cpu_info'].get('model')

    table = tmp_path / 'ratings.yaml'
    table.write_text(f'ratings: [{{aggregate: {AGGREGATE}, hs23: {total}}}]\n')
    now = int(time.time())
    draining.order(site, now, name, now + DAY, 'test', force=False)
    state = site_state.SiteState(
        site_state.Settings(
            f'sqlite:///{tmp_path / "catalogue"}', table, store_timeout=LIMIT
        )
    )
    try:
        waits.until('the hosts', lambda: state.current().hosts, LIMIT)
        facts = facts_.Facts('a uuid', 'a project', host=name, vcpus=2)
        settings = features.Settings(grace_secs=3600)
        assert features.machine(facts, state.current(), settings, now) == {
            'total_cpu': str(total),
            'hs06': str(total),
            'hs23': str(total),
            'shutdowntime': str(now + DAY),
            'grace_secs': '3600',
        }
        job = features.job(facts, state.current(), settings, now)
        assert (job['hs06_job'], job['hs23_job']) == ('2', '2')
        assert job['shutdowntime_job'] == str(now + DAY)
    finally:
        state.close()


def test_a_user_may_not_ask_what_hosts_have(
    cloud: clouds.Cloud, site: site_.Site
) -> None:
    mine = site_.Site(
        catalogue=site.catalogue,
        subscriptions={},
        fetch=site.fetch,
        cloud=site_.Cloud(
            session=lambda: cloud.session('demo'), interface='public'
        ),
    )
    found = hosts.refresh(mine, int(time.time()))
    assert found.asked == 0
    (problem,) = found.problems
    assert 'group [openstack] has to be an administrator' in problem

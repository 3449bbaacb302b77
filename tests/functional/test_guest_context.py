# SPDX-License-Identifier: Apache-2.0
"""The whole chain: endorsed, approved, booted, and the context runs in it.

Real machines of libvirt in networks of Neutron, whose consoles tell what
happens in them. All of them boot at the same time, from images of a signed
list.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import re
from typing import Any

from novaclient import exceptions as nova_exc
import pytest

from tests.cloud import cloud as clouds
from tests.cloud import waits
from tests.cloud import wires
from tests.functional import endorsing
from tests.functional import images as acts
from tests import worker

pytestmark = pytest.mark.timeout(3600)

#: Seconds. A machine without KVM boots in half a minute on a processor of its
#: own, and in several where others want it, too.
LIMIT = 1200.0
CIDR = '10.9.0.0/24'
FLAVOR = 'worker'
USER_DATA = """#!/bin/sh
echo "user part: on $(hostname)"
"""
USER = 'user part: on'
PROLOG = 'site prolog: start'
EPILOG = 'site epilog: start'
SHA256 = '[0-9a-f]{64}'


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """A server that tells on its console what happens in it."""

    cloud: clouds.Cloud
    id: str

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until the console shows something; how it matches.

        :param pattern: within a line; with its end where what it finds is
            of no known length, as half of one may be there
        """
        client = self.cloud.nova()
        waits.until(
            f'server {self.id} to be active',
            lambda: client.servers.get(self.id).status == 'ACTIVE',
            LIMIT,
            log=self.cloud.log('nova-compute'),
        )
        try:
            return waits.until(
                f'the console to show {pattern!r}',
                lambda: re.search(pattern, self.console()),
                LIMIT,
                interval=2,
            )
        except waits.errors.NotReady as exc:
            last = '\n'.join(self.console().splitlines()[-40:])
            raise AssertionError(f'{exc}; it shows:\n{last}') from exc

    def console(self) -> str:
        """All that it said."""
        text: str = self.cloud.nova().servers.get_console_output(self.id)
        return text

    def in_order(self, *parts: str) -> None:
        """See that the console shows these, one after the other."""
        text, place = self.console(), 0
        for part in parts:
            found = text.find(part, place)
            assert found >= 0, f'{part!r} is not behind the rest in:\n{text}'
            place = found + len(part)


@dataclasses.dataclass(frozen=True, slots=True)
class Machines:
    """What has been booted.

    :ivar new: with the agent
    :ivar old: without it
    :ivar alone: with it, and without a network
    """

    site: endorsing.Site
    new: Guest
    old: Guest
    alone: Guest


@pytest.fixture(scope='module')
def site(
    chain: clouds.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[endorsing.Site]:
    """A list of two images that the site has approved and published."""
    folder = tmp_path_factory.mktemp('endorser')
    with endorsing.site(chain, folder) as made:
        for kind in worker.Kind:
            made.endorse(kind.value, worker.image(kind))
        made.sign()
        made.well('sync', endorsing.NAME)
        made.well('context', 'hosts', '--refresh')
        for kind in worker.Kind:
            made.approve(kind.value)
        yield made


@contextlib.contextmanager
def _booted(
    cloud: clouds.Cloud, name: str, image: str, **more: Any
) -> Iterator[Guest]:
    nova = cloud.nova()
    made = nova.servers.create(
        name,
        image,
        nova.flavors.find(name=FLAVOR),
        userdata=USER_DATA,
        **more,
    )
    try:
        yield Guest(cloud, made.id)
    finally:
        acts.Servers(cloud, 'admin').delete(made.id)


@pytest.fixture(scope='module')
def machines(chain: clouds.Cloud, site: endorsing.Site) -> Iterator[Machines]:
    """All machines, of which none need be up yet."""
    new, old = (site.images[kind.value] for kind in worker.Kind)
    chain.nova().flavors.create(FLAVOR, ram=worker.MEMORY, vcpus=1, disk=1)
    with (
        wires.network(chain, CIDR) as network,
        _booted(chain, 'new', new, nics=[{'net-id': network.id}]) as one,
        _booted(chain, 'old', old, nics=[{'net-id': network.id}]) as two,
        _booted(chain, 'alone', new, nics='none', config_drive=True) as three,
    ):
        yield Machines(site, one, two, three)


def _status(machines: Machines, guest: Guest) -> dict[str, Any]:
    rows = machines.site.read('context', 'status')
    (found,) = [row for row in rows if row['server'] == guest.id]
    return dict(found)


def _status_when(
    machines: Machines, guest: Guest, **expected: Any
) -> dict[str, Any]:
    """What the site knows, once it is so: notes are written now and then."""

    def known() -> dict[str, Any] | None:
        row = _status(machines, guest)
        return row if expected.items() <= row.items() else None

    return waits.until(
        f'the site to know of {guest.id} that {expected}',
        known,
        LIMIT,
        log=guest.cloud.log('nova-metadata'),
        interval=2,
    )


def test_a_machine_runs_the_user_s_part_and_then_the_site_s(
    machines: Machines,
) -> None:
    guest = machines.new
    ran = guest.says(f'context ran: sha256=({SHA256})')
    guest.in_order(worker.UP, 'worker: network 10.9.0.', USER, PROLOG, EPILOG)
    row = _status_when(machines, guest, told='ran')
    assert row['sha256'] == ran[1]
    assert row['state'] == 'unpublished'
    assert row['project'] == guest.cloud.session().get_project_id()


def test_a_machine_has_its_features_as_files(machines: Machines) -> None:
    guest = machines.new
    found = {
        key: guest.says(f'worker: {key} ([^\r\n]+)[\r\n]')[1]
        for key in (
            'jobfeatures/job_id',
            'jobfeatures/allocated_cpu',
            'jobfeatures/wall_limit_secs',
            'machinefeatures/total_cpu',
            'machinefeatures/hs06',
        )
    }
    assert found.pop('jobfeatures/job_id') == guest.id
    assert int(found.pop('machinefeatures/total_cpu')) > 0
    assert found == {
        'jobfeatures/allocated_cpu': '1',
        'jobfeatures/wall_limit_secs': '259200',
        'machinefeatures/hs06': '640',
    }


def test_a_machine_from_before_the_agent_runs_the_site_s_part_too(
    machines: Machines,
) -> None:
    guest = machines.old
    guest.says(worker.OVER)
    guest.in_order(
        'worker: network 10.9.0.',
        USER,
        'worker: unpacked epilog.sh prolog.sh',
        PROLOG,
        EPILOG,
    )
    assert 'hepix-context' not in guest.console()
    row = _status_when(machines, guest, form='tgz')
    # It says nothing of how it went.
    assert row['told'] == ''
    same = _status_when(machines, machines.new, told='ran')
    assert row['sha256'] == same['sha256']


def test_a_machine_without_a_network_has_it_all_from_its_config_drive(
    machines: Machines,
) -> None:
    """Its prolog runs before there could be a network."""
    guest = machines.alone
    guest.says(f'context ran: sha256=({SHA256})')
    guest.in_order(
        worker.UP,
        'vendor_data2: bundle is good: ',
        PROLOG,
        'worker: no network',
        USER,
        EPILOG,
    )
    row = _status_when(machines, guest, form='vendordata')
    ran = guest.says(f'context ran: sha256=({SHA256})')
    assert row['sha256'] == ran[1]


def _fault(cloud: clouds.Cloud, image: str) -> str:
    nova = cloud.nova('demo')
    with pytest.raises(nova_exc.ClientException) as raised:
        nova.servers.create(
            'next', image, nova.flavors.find(name=FLAVOR), nics='none'
        )
    return str(raised.value)


def test_a_machine_whose_image_is_withdrawn_is_told_to_end(
    machines: Machines,
) -> None:
    """It is named, reads until when it has, and there is no next one."""
    guest, site = machines.new, machines.site
    guest.says('worker: jobfeatures/job_id ')
    assert 'shutdowntime' not in guest.console()
    image = site.images[worker.Kind.AGENT]
    site.withdraw(worker.Kind.AGENT)
    said = site.run('sync', endorsing.NAME)
    assert said.returncode == 0, said.stderr
    assert guest.id in said.stderr
    running = site.read('server', 'list', '--not-approved')
    named = {row['server'] for row in running}
    assert {guest.id, machines.alone.id} <= named
    assert machines.old.id not in named
    orders = {row['name']: row for row in site.read('drain', 'list')}
    assert guest.id in orders
    told = guest.says('worker: jobfeatures/shutdowntime_job ([0-9]+)[\r\n]')
    at = int(told[1])
    assert endorsing.seconds(orders[guest.id]['at']) == at
    # What Nova says of an image that is deactivated, or our guard.
    refused = _fault(guest.cloud, image)
    assert re.search('withdrawn|not active', refused), refused

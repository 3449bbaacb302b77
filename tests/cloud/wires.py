# SPDX-License-Identifier: Apache-2.0
"""Guests without machines: ports of servers, each in a namespace of its own.

What such a guest sends takes the way of any guest's: over the bridge, which
Neutron's agent has wired, to what serves its network. It is there without a
hypervisor, so nova's fake driver is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import subprocess
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as keystone_exceptions

from tests.cloud import cloud as clouds
from tests.cloud import errors
from tests.cloud import neutron
from tests.cloud import switch
from tests.cloud import waits

METADATA = '169.254.169.254'
LIMIT = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """A network with one subnet, and its proxy of the metadata."""

    id: str
    subnet: str


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """A namespace with the interface of a port."""

    cloud: clouds.Cloud
    name: str
    address: str

    def argv(self, *argv: str) -> tuple[str, ...]:
        """Return a command as it is run in the guest."""
        return _inside(self.cloud, 'ip', 'netns', 'exec', self.name, *argv)

    def run(
        self, *argv: str, input: bytes = b'', limit: float = LIMIT
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program as the guest does, with its output as bytes.

        :param limit: seconds, then it is killed
        :raises subprocess.TimeoutExpired: at the limit
        """
        return subprocess.run(
            self.argv(*argv),
            input=input,
            capture_output=True,
            timeout=limit,
        )


def api(cloud: clouds.Cloud) -> adapter.Adapter:
    """Return a client of the network service, as its administrator."""
    return adapter.Adapter(cloud.session(), service_type='network')


def _inside(cloud: clouds.Cloud, *argv: str) -> tuple[str, ...]:
    return switch.inside(cloud.site, *argv)


def _do(cloud: clouds.Cloud, *argv: str) -> str:
    done = subprocess.run(
        _inside(cloud, *argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode != 0:
        raise errors.CloudError(f'{" ".join(argv)}: {done.stderr.strip()}')
    return done.stdout


def _made(cloud: clouds.Cloud, kind: str, **fields: Any) -> dict[str, Any]:
    answer = api(cloud).post(f'/v2.0/{kind}s', json={kind: fields})
    made: dict[str, Any] = answer.json()[kind]
    return made


def _removed(cloud: clouds.Cloud, kind: str, number: str) -> None:
    with contextlib.suppress(keystone_exceptions.NotFound):
        api(cloud).delete(f'/v2.0/{kind}s/{number}')


def _ports(cloud: clouds.Cloud, query: Mapping[str, str]) -> list[Any]:
    answer = api(cloud).get('/v2.0/ports', params=dict(query))
    found: list[Any] = answer.json()['ports']
    return found


@contextlib.contextmanager
def network(
    cloud: clouds.Cloud, cidr: str, *, shared: bool = False
) -> Iterator[Network]:
    """Have a network of the administrator's, and DHCP in it.

    :param cidr: its addresses, such as ``10.7.0.0/24``
    :param shared: whether users may have servers in it
    :raises errors.NotReady: when nothing serves it, with the agent's log
    """
    made = _made(cloud, 'network', name=cidr, shared=shared)
    try:
        subnet = _made(
            cloud,
            'subnet',
            network_id=made['id'],
            ip_version=4,
            cidr=cidr,
            gateway_ip=None,
        )
        yield Network(made['id'], subnet['id'])
    finally:
        _removed(cloud, 'network', made['id'])


@contextlib.contextmanager
def port(cloud: clouds.Cloud, on: Network) -> Iterator[dict[str, Any]]:
    """Have a port, for a server that is made with it."""
    made = _made(cloud, 'port', network_id=on.id)
    try:
        yield made
    finally:
        _removed(cloud, 'port', made['id'])


def _served(cloud: clouds.Cloud, on: Network) -> None:
    """Wait until requests for metadata are taken in a network."""
    query = {'network_id': on.id, 'device_owner': 'network:dhcp'}
    log = cloud.log(neutron.DHCP_AGENT)
    waits.until(
        'DHCP in the network',
        lambda: any(p['status'] == 'ACTIVE' for p in _ports(cloud, query)),
        LIMIT,
        log=log,
    )
    argv = ('ip', 'netns', 'exec', f'qdhcp-{on.id}', 'ss', '-Hltn')

    def listens() -> bool:
        # The switch's agent may know the port before it is in its namespace.
        with contextlib.suppress(errors.CloudError):
            return f'{METADATA}:80' in _do(cloud, *argv)
        return False

    waits.until('the proxy of the metadata', listens, LIMIT, log=log)


def _wired(cloud: clouds.Cloud, number: str) -> None:
    """Wait until the switch knows where a port belongs."""
    waits.until(
        f'port {number} to be wired',
        lambda: any(
            p['status'] == 'ACTIVE' for p in _ports(cloud, {'id': number})
        ),
        LIMIT,
        log=cloud.log(neutron.SWITCH_AGENT),
    )


@contextlib.contextmanager
def guest(
    cloud: clouds.Cloud, on: Network, bound: Mapping[str, Any]
) -> Iterator[Guest]:
    """Be the guest of a server's port for a while.

    :param bound: the port; a server has been made with it
    :raises errors.CloudError: when the bridge cannot take it
    """
    name = f'tap{bound["id"][:11]}'
    space = f'guest-{bound["id"][:11]}'
    address = bound['fixed_ips'][0]['ip_address']
    _do(cloud, 'ip', 'netns', 'add', space)
    try:
        _plug(cloud, name, bound)
        _configure(cloud, name, space, bound['mac_address'], address)
        _wired(cloud, bound['id'])
        _served(cloud, on)
        yield Guest(cloud, space, address)
    finally:
        _do(cloud, *switch.vsctl('--if-exists', 'del-port', name))
        _do(cloud, 'ip', 'netns', 'delete', space)


def _plug(cloud: clouds.Cloud, name: str, bound: Mapping[str, Any]) -> None:
    """Do what nova's virt drivers leave to os-vif."""
    _do(
        cloud,
        *switch.vsctl('add-port', switch.BRIDGE, name, '--'),
        *('set', 'Interface', name, 'type=internal'),
        f'external_ids:iface-id={bound["id"]}',
        'external_ids:iface-status=active',
        f'external_ids:attached-mac="{bound["mac_address"]}"',
    )


def _configure(
    cloud: clouds.Cloud, name: str, space: str, mac: str, address: str
) -> None:
    """Do what the guest's DHCP client would."""
    _do(cloud, 'ip', 'link', 'set', name, 'netns', space)
    inside = ('ip', '-netns', space)
    _do(cloud, *inside, 'link', 'set', name, 'address', mac, 'up')
    _do(cloud, *inside, 'link', 'set', 'lo', 'up')
    _do(cloud, *inside, 'address', 'add', f'{address}/24', 'dev', name)
    _do(cloud, *inside, 'route', 'add', METADATA, 'dev', name)

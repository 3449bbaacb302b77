# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch without a kernel module, in the cloud's own network node."""

from __future__ import annotations

import pathlib
import socket
import sys

from tests.cloud import node
from tests.cloud import site as sites
from tests.cloud import steps
from tests.cloud import supervisor

BRIDGE = 'br-int'
NODE = 'network-node'
PROGRAMS = ('ip', 'nsenter', 'ovs-vsctl', 'ovs-vswitchd', 'ovsdb-tool')
SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'
PORT = 6640
"""Of its database; in the network node, each cloud has this one."""
_REACHED = (
    *('rabbitmq', 'keystone', 'network', 'nova-metadata', 'front'),
    # A hypervisor that is in there, too.
    *('glance', 'placement', 'cinder-api', 'context'),
)
_ENTER = 'exec nsenter --target "$(cat "$0")" --mount --net -- "$@"'


def pid_file(site: sites.Site) -> pathlib.Path:
    """Return the file with the process id of the network node."""
    return site.layout.socket.with_name('node.pid')


def inside(site: sites.Site, *argv: str) -> tuple[str, ...]:
    """Return a command as it is run in the network node."""
    return ('sh', '-c', _ENTER, str(pid_file(site)), *argv)


def vsctl(*arguments: str) -> tuple[str, ...]:
    """Return a command of the switch, to be run in the network node."""
    return ('ovs-vsctl', '--timeout=120', *arguments)


def _answers(path: pathlib.Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        return probe.connect_ex(str(path)) == 0


def services(site: sites.Site) -> list[steps.Step]:
    """Return the network node, the switch in it, and its bridge."""
    folder = site.layout.socket.parent
    database = str(site.layout.data / 'ovs.db')
    control, switch = folder / 'ovsdb.ctl', folder / 'vswitchd.ctl'
    return [
        steps.Service(
            NODE,
            (
                sys.executable,
                str(supervisor.ROOT / 'tests/cloud/node.py'),
                str(pid_file(site)),
                *(str(site.ports[name]) for name in _REACHED),
            ),
            pid_file(site).exists,
        ),
        steps.Command(
            'ovs-create', ('ovsdb-tool', 'create', database, SCHEMA)
        ),
        steps.Service(
            'ovsdb-server',
            inside(
                site,
                'ovsdb-server',
                database,
                f'--unixctl={control}',
                f'--remote=punix:{node.SOCKETS}/db.sock',
                '--remote=db:Open_vSwitch,Open_vSwitch,manager_options',
            ),
            lambda: _answers(control),
            (NODE, 'ovs-create'),
        ),
        steps.Command(
            'ovs-init',
            inside(
                site,
                *vsctl('--no-wait', 'init', '--'),
                *('set-manager', f'ptcp:{PORT}:{node.ADDRESS}'),
            ),
            ('ovsdb-server',),
        ),
        steps.Service(
            'ovs-vswitchd',
            inside(site, 'ovs-vswitchd', f'--unixctl={switch}'),
            lambda: _answers(switch),
            ('ovs-init',),
        ),
        steps.Command(
            'ovs-bridge',
            inside(
                site,
                *vsctl('--may-exist', 'add-br', BRIDGE, '--'),
                *('set', 'bridge', BRIDGE, 'datapath_type=netdev'),
                'fail-mode=secure',
            ),
            ('ovs-vswitchd',),
        ),
    ]

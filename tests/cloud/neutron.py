# SPDX-License-Identifier: Apache-2.0
"""Neutron, an optional part: networks, DHCP and the metadata agent.

It comes with an environment and a template of its own, so that clouds
without it start as quickly as ever. Its agents live in the network node of
:mod:`tests.cloud.switch`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import pathlib

from tests.cloud import databases
from tests.cloud import node
from tests.cloud.options import Sections
from tests.cloud.options import Value
from tests.cloud import ports
from tests.cloud import site as sites
from tests.cloud import steps
from tests.cloud import switch

PART = 'neutron'
PROGRAMS = (*switch.PROGRAMS, 'dnsmasq', 'haproxy', 'mariadb', 'mariadb-dump')
API = 'network'
RPC = 'neutron-rpc-server'
SWITCH_AGENT = 'neutron-openvswitch-agent'
DHCP_AGENT = 'neutron-dhcp-agent'
METADATA_AGENT = 'neutron-metadata-agent'
AGENTS = (SWITCH_AGENT, DHCP_AGENT, METADATA_AGENT)
DUMP = 'neutron.sql'
_QUEUES = ('q-plugin', 'q-reports-plugin')
_PRIVILEGES = (
    'privsep',
    'privsep_conntrack',
    'privsep_dhcp_release',
    'privsep_link',
    'privsep_namespace',
    'privsep_ovs_vsctl',
)


def metadata_socket(site: sites.Site) -> pathlib.Path:
    """Return where the metadata agent listens to the proxies of networks."""
    return site.layout.socket.with_name('metadata')


def file(site: sites.Site) -> str:
    """Return the path of the configuration, which all processes share."""
    return str(site.etc('neutron') / 'neutron.conf')


def write_dhcp(site: sites.Site) -> None:
    """Write what dnsmasq is told besides its command line.

    It would become "nobody", who may not read what is in a work directory:
    the addresses of those that come later.
    """
    _dhcp_file(site).write_text('user=root\n')


def _dhcp_file(site: sites.Site) -> pathlib.Path:
    return site.etc('neutron') / 'dnsmasq.conf'


def _helpers(site: sites.Site) -> dict[str, dict[str, Value]]:
    command = (
        f'{site.network_program("privsep-helper")} --config-file {file(site)}'
    )
    return {name: {'helper_command': command} for name in _PRIVILEGES}


def _metadata(site: sites.Site) -> dict[str, Value]:
    return {
        'nova_metadata_host': ports.ADDRESS,
        'nova_metadata_port': site.ports['nova-metadata'],
        'metadata_proxy_shared_secret': site.metadata_secret,
        'metadata_proxy_socket': str(metadata_socket(site)),
        'metadata_workers': 8,
    }


def _agents(host: str) -> dict[str, Value]:
    return {
        'host': host,
        'interface_driver': 'openvswitch',
        'dhcp_agents_per_network': 1,
        'enable_isolated_metadata': True,
        'force_metadata': True,
        # A busy machine is no dead agent.
        'agent_down_time': 600,
        'rpc_response_timeout': 120,
    }


def settings(site: sites.Site, host: str) -> Sections:
    """Return ``neutron.conf``, with what each agent needs to know.

    :param host: the name of the one compute and network host
    """
    data = site.layout.data / 'neutron'
    paste = site.network_venv / 'etc' / 'neutron' / 'api-paste.ini'
    connection = f'tcp:{node.ADDRESS}:{switch.PORT}'
    return {
        'DEFAULT': {
            'use_stderr': True,
            'log_color': False,
            'state_path': str(data),
            'transport_url': site.messages,
            'auth_strategy': 'keystone',
            'api_paste_config': str(paste),
            'core_plugin': 'ml2',
            'service_plugins': '',
            'rpc_workers': 1,
            'notify_nova_on_port_status_changes': False,
            'notify_nova_on_port_data_changes': False,
            'dnsmasq_config_file': str(_dhcp_file(site)),
            **_agents(host),
            **_metadata(site),
        },
        'database': {
            'connection': site.database('neutron'),
            'max_pool_size': 5,
        },
        'keystone_authtoken': site.token('neutron'),
        'agent': {'root_helper': '', 'report_interval': 10},
        'ml2': {
            'type_drivers': 'local',
            'tenant_network_types': 'local',
            'mechanism_drivers': 'openvswitch',
            'extension_drivers': 'port_security',
        },
        'ovs': {
            'datapath_type': 'netdev',
            'integration_bridge': switch.BRIDGE,
            'ovsdb_connection': connection,
        },
        'securitygroup': {
            'enable_security_group': False,
            'firewall_driver': 'noop',
        },
        'oslo_concurrency': {'lock_path': str(data / 'lock')},
        'oslo_messaging_rabbit': {'heartbeat_in_pthread': True},
        **_helpers(site),
    }


def listens(site: sites.Site) -> bool:
    """Say whether the RPC server takes messages.

    An agent that asks before loses a minute.
    """
    # Not all that start a cloud have it; those with Nova do.
    import amqp

    try:
        with amqp.Connection(
            host=f'{ports.ADDRESS}:{site.ports["rabbitmq"]}',
            userid=sites.RABBIT_USER,
            password=site.password,
            connect_timeout=30,
        ) as connection:
            channel = connection.channel()
            return all(
                channel.queue_declare(name, passive=True).consumer_count
                for name in _QUEUES
            )
    except (OSError, amqp.exceptions.AMQPError):
        return False


class Reported:
    """Says whether an agent has reported a start since this was made.

    Not any report: one of the agent before it may still be on its way.
    """

    def __init__(self, site: sites.Site, binary: str) -> None:
        self._site = site
        self._binary = binary
        # In whole seconds, as Neutron notes it.
        self._since = datetime.datetime.now(datetime.UTC).replace(
            microsecond=0
        )

    def _last(self) -> datetime.datetime | None:
        query = 'SELECT started_at FROM neutron.agents WHERE `binary`=%s'
        with (
            contextlib.closing(databases.connect(self._site)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, (self._binary,))
            row = cursor.fetchone()
        return row[0].replace(tzinfo=datetime.UTC) if row else None

    def __call__(self) -> bool:
        """Return true once there is such a report."""
        last = self._last()
        return last is not None and last >= self._since


def _filled(site: sites.Site) -> steps.Command:
    """Return the step that makes Neutron's database from the template's."""
    dump = site.layout.data / DUMP
    load = (
        'mariadb --no-defaults --user=root --socket="$0" '
        '-e "CREATE DATABASE neutron" && '
        'exec mariadb --no-defaults --user=root --socket="$0" neutron < "$1"'
    )
    return steps.Command(
        'neutron-database',
        ('sh', '-c', load, str(site.layout.socket), str(dump)),
        ('mariadb',),
    )


def migration(site: sites.Site, dump: pathlib.Path) -> list[steps.Step]:
    """Return the steps that make the tables and write them to a file."""
    return [
        steps.Command(
            'neutron-sync',
            (
                *(site.network_program('neutron-db-manage'), '--config-file'),
                *(file(site), 'upgrade', 'heads'),
            ),
            ('databases',),
        ),
        steps.Command(
            'neutron-dump',
            (
                *('mariadb-dump', '--no-defaults', '--user=root'),
                f'--socket={site.layout.socket}',
                *(f'--result-file={dump}', 'neutron'),
            ),
            ('neutron-sync',),
        ),
    ]


def _agent(site: sites.Site, name: str) -> steps.Service:
    return steps.Service(
        name,
        switch.inside(
            site, site.network_program(name), '--config-file', file(site)
        ),
        Reported(site, name),
        (RPC, 'ovs-bridge', API),
    )


def services(site: sites.Site, api: steps.Service) -> list[steps.Step]:
    """Return the processes of Neutron.

    :param api: the process that answers HTTP
    """
    base = ('neutron-database', 'identity', 'rabbitmq')
    return [
        _filled(site),
        dataclasses.replace(api, needs=base),
        steps.Service(
            RPC,
            (site.network_program(RPC), '--config-file', file(site)),
            lambda: listens(site),
            base,
        ),
        *(_agent(site, name) for name in AGENTS),
    ]

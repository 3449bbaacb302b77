# SPDX-License-Identifier: Apache-2.0
"""The configuration of each service: pure functions of the site's facts."""

from tests.cloud import neutron as networks
from tests.cloud.options import Sections
from tests.cloud.options import Value
from tests.cloud import ports
from tests.cloud import site as sites
from tests.cloud import volumes

HOST = 'compute-1'
MOUNTS = ('context', 'machinefeatures', 'jobfeatures')
"""What the context application serves."""
IMPORT_METHODS = ('glance-direct', 'web-download', 'copy-image')
FILTERS = (
    'ComputeFilter',
    'ComputeCapabilitiesFilter',
    'ImagePropertiesFilter',
)


def _database(site: sites.Site, name: str) -> dict[str, Value]:
    return {'connection': site.database(name), 'max_pool_size': 5}


def _logging() -> dict[str, Value]:
    return {'use_stderr': True, 'log_color': False}


def keystone(site: sites.Site) -> Sections:
    """Return ``keystone.conf``."""
    keys = site.layout.data / 'keystone'
    return {
        'DEFAULT': _logging(),
        'cache': {'enabled': True, 'backend': 'dogpile.cache.memory'},
        'database': _database(site, 'keystone'),
        'identity': {'password_hash_rounds': 4},
        'token': {'provider': 'fernet'},
        'fernet_tokens': {'key_repository': str(keys / 'fernet')},
        'fernet_receipts': {'key_repository': str(keys / 'fernet')},
        'credential': {'key_repository': str(keys / 'credential')},
    }


def glance(site: sites.Site) -> Sections:
    """Return ``glance-api.conf``: two file stores, interoperable import."""
    data = site.layout.data / 'glance'
    return {
        'DEFAULT': {
            **_logging(),
            'enabled_backends': 'local:file,local2:file',
            'enabled_import_methods': f'[{",".join(IMPORT_METHODS)}]',
            'worker_self_reference_url': site.url('glance'),
            'image_cache_dir': str(data / 'cache'),
        },
        'database': _database(site, 'glance'),
        'glance_store': {'default_backend': 'local'},
        'local': {'filesystem_store_datadir': str(data / 'local')},
        'local2': {'filesystem_store_datadir': str(data / 'local2')},
        'os_glance_staging_store': {
            'filesystem_store_datadir': str(data / 'staging')
        },
        'os_glance_tasks_store': {
            'filesystem_store_datadir': str(data / 'tasks')
        },
        'keystone_authtoken': site.token('glance'),
        'paste_deploy': {
            'flavor': 'keystone',
            'config_file': str(site.etc('glance') / 'glance-api-paste.ini'),
        },
        'oslo_policy': {
            'policy_file': str(site.etc('glance') / 'policy.yaml')
        },
        'oslo_concurrency': {'lock_path': str(data / 'lock')},
    }


def glance_image_import(site: sites.Site) -> Sections:
    """Return ``glance-image-import.conf``; loopback may be downloaded from.

    ``allowed_ports`` decides over ``disallowed_ports``: all ports of tests'
    own web servers are listed by leaving both empty.
    """
    plugins = ','.join(site.options.import_plugins)
    return {
        'image_import_opts': {'image_import_plugins': f'[{plugins}]'},
        'import_filtering_opts': {
            'allowed_schemes': '[http,https]',
            'allowed_hosts': f'[{ports.ADDRESS},localhost]',
            'allowed_ports': '[]',
            'disallowed_ports': '[]',
        },
    }


def placement(site: sites.Site) -> Sections:
    """Return ``placement.conf``."""
    return {
        'DEFAULT': _logging(),
        'api': {'auth_strategy': 'keystone'},
        'placement_database': _database(site, 'placement'),
        'keystone_authtoken': site.token('placement'),
    }


def _scheduling(site: sites.Site) -> dict[str, dict[str, Value]]:
    ours = site.options.scheduler_filters
    names = [dotted.rpartition('.')[2] for dotted in ours]
    return {
        'filter_scheduler': {
            'available_filters': [
                'nova.scheduler.filters.all_filters',
                *ours,
            ],
            'enabled_filters': ','.join([*names, *FILTERS]),
        },
        # The scheduler maps a new compute host to its cell by itself.
        'scheduler': {'workers': 1, 'discover_hosts_in_cells_interval': 2},
    }


def nova(site: sites.Site) -> Sections:
    """Return ``nova.conf``, which all of nova's services share."""
    data = site.layout.data / 'nova'
    return {
        'DEFAULT': {
            **_logging(),
            'state_path': str(data),
            'instances_path': str(data / 'instances'),
            'my_ip': ports.ADDRESS,
            'host': HOST,
            'transport_url': site.messages,
            # Unlike FakeDriver it keeps its node's identity, so that
            # nova-compute can be started again.
            'compute_driver': (
                'libvirt.LibvirtDriver'
                if 'libvirt' in site.options.parts
                else 'fake.FakeDriverWithoutFakeNodes'
            ),
            'vif_plugging_is_fatal': False,
            'vif_plugging_timeout': 0,
            'flat_injected': False,
            # Else the scheduler looks for new hosts after up to a minute.
            'periodic_fuzzy_delay': 0,
            'rpc_response_timeout': 120,
            'long_rpc_timeout': 240,
            # A busy machine is no dead service.
            'service_down_time': 600,
            # Servers of tests do next to nothing.
            'initial_cpu_allocation_ratio': 64,
        },
        'api': {'auth_strategy': 'keystone', **_vendordata(site)},
        'api_database': _database(site, 'nova_api'),
        'database': _database(site, 'nova'),
        'cinder': site.credentials('nova'),
        'conductor': {'workers': 1},
        'glance': site.credentials('nova'),
        'keystone_authtoken': site.token('nova'),
        'neutron': {
            **site.credentials('nova'),
            'service_metadata_proxy': True,
            'metadata_proxy_shared_secret': site.metadata_secret,
        },
        'oslo_concurrency': {'lock_path': str(data / 'lock')},
        'oslo_messaging_rabbit': {'heartbeat_in_pthread': True},
        'placement': site.credentials('nova'),
        'service_user': {
            **site.credentials('nova'),
            'send_service_user_token': True,
        },
        'serial_console': {'enabled': False},
        'spice': {'enabled': False},
        'vendordata_dynamic_auth': site.credentials('nova'),
        'vnc': {'enabled': False},
        **_scheduling(site),
        **_guests(site),
    }


def _vendordata(site: sites.Site) -> dict[str, Value]:
    path = site.options.vendordata
    if path is None:
        return {}
    return {
        'vendordata_providers': 'StaticJSON,DynamicJSON',
        'vendordata_dynamic_targets': f'hepix@{site.url("context")}{path}',
        # A busy machine is no process that is away.
        'vendordata_dynamic_connect_timeout': 60,
        'vendordata_dynamic_read_timeout': 60,
    }


def neutron(site: sites.Site) -> Sections:
    """Return ``neutron.conf``, which all of Neutron's processes share."""
    return networks.settings(site, HOST)


def _guests(site: sites.Site) -> dict[str, dict[str, Value]]:
    if 'libvirt' not in site.options.parts:
        return {}
    helper: dict[str, Value] = {
        'helper_command': (
            f'{site.program("privsep-helper")} --config-file '
            f'{site.etc("nova") / "nova.conf"}'
        )
    }
    return {
        'libvirt': {
            'virt_type': site.options.virt_type,
            'cpu_mode': 'none',
            'images_type': 'qcow2',
            'inject_partition': -2,
            'nfs_mount_point_base': str(volumes.mount_base(site)),
        },
        'nova_sys_admin': helper,
        'privsep_osbrick': helper,
        'vif_plug_ovs_privileged': helper,
        'vif_plug_linux_bridge_privileged': helper,
    }


def with_context_app(paste: str, factory: str) -> str:
    """Return nova's ``api-paste.ini`` with an application of ours, too.

    :param paste: the file that nova ships
    :param factory: ``module:callable``, a paste application factory
    :raises ValueError: when the file is not like the one that nova ships
    """
    mark = '[composite:metadata]\nuse = egg:Paste#urlmap\n'
    if paste.count(mark) != 1:
        raise ValueError('no [composite:metadata] of a known form')
    mounts = ''.join(f'/{path}: context\n' for path in MOUNTS)
    return (
        paste.replace(mark, mark + mounts)
        + '\n[app:context]\n'
        + f'paste.app_factory = {factory}\n'
    )


def with_guard(paste: str, behind: str, factory: str) -> str:
    """Return a paste file with the filter ``hepix_guard`` in its pipelines.

    :param paste: the file that a service ships
    :param behind: the end of the part of a pipeline that the filter follows
    :param factory: ``module:callable``, a paste filter factory
    :raises ValueError: when the file is not like the one that is shipped
    """
    if behind not in paste:
        raise ValueError(f'no pipeline with {behind!r}')
    return (
        paste.replace(behind, f'{behind}hepix_guard ')
        + '\n[filter:hepix_guard]\n'
        + f'paste.filter_factory = {factory}\n'
    )


def rabbitmq(site: sites.Site) -> str:
    """Return ``rabbitmq.conf``: one user, loopback only."""
    return '\n'.join(
        (
            f'listeners.tcp.1 = {ports.ADDRESS}:{site.ports["rabbitmq"]}',
            f'default_user = {sites.RABBIT_USER}',
            f'default_pass = {site.password}',
            # A full disk of the machine is not this cloud's business.
            'disk_free_limit.absolute = 50MB',
            'log.console = true',
            'log.file = false',
            '',
        )
    )

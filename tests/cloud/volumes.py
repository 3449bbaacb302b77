# SPDX-License-Identifier: Apache-2.0
"""Cinder, an optional part: volumes as files, without NFS or a device mapper.

Its NFS driver, and Nova's, run ``mount -t nfs``. A ``mount`` of ours binds the
folder instead, in a mount namespace that ends with the service, so that no
NFS is needed.
"""

from __future__ import annotations

import os
import pathlib
import shlex

from tests.cloud import databases
from tests.cloud.options import Sections
from tests.cloud import ports
from tests.cloud import site as sites
from tests.cloud import steps

PART = 'cinder'
BACKEND = 'files'
_NAMESPACE = (
    ('unshare', '--mount')
    if os.geteuid() == 0
    else ('unshare', '--map-root-user', '--mount')
)
_MOUNT = """#!/bin/sh
if [ "$1 $2" = '-t nfs' ]; then
    grep -q " $4 " /proc/self/mounts || exec /bin/mount --bind "${3#*:}" "$4"
    exit 0
fi
exec /bin/mount "$@"
"""
# Cinder looks whether it is there, and does not call it.
_MOUNT_NFS = """#!/bin/sh
exit 1
"""
_BASE = ('mariadb', 'package', 'prepare', 'identity')


def mount_base(site: sites.Site) -> pathlib.Path:
    """Return the folder below which shares are mounted."""
    return site.layout.data / 'cinder' / 'mnt'


def share(site: sites.Site) -> str:
    """Return the one share, as NFS names it."""
    return f'{ports.ADDRESS}:{site.layout.data / "cinder" / "share"}'


def write_programs(site: sites.Site) -> None:
    """Write the programs that stand in the way of NFS."""
    folder = _programs(site)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (('mount', _MOUNT), ('mount.nfs', _MOUNT_NFS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def _programs(site: sites.Site) -> pathlib.Path:
    return site.layout.data / 'cinder' / 'bin'


def separate(site: sites.Site, argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command in a mount namespace of its own, without NFS."""
    path = f'PATH={shlex.quote(str(_programs(site)))}:$PATH exec "$@"'
    return (*_NAMESPACE, 'sh', '-c', path, 'sh', *argv)


def settings(site: sites.Site) -> Sections:
    """Return ``cinder.conf``."""
    data = site.layout.data / 'cinder'
    helper = (
        f'{site.program("privsep-helper")} --config-file '
        f'{site.etc("cinder") / "cinder.conf"}'
    )
    shares = site.etc('cinder') / 'shares'
    return {
        'DEFAULT': {
            'use_stderr': True,
            'log_color': False,
            'state_path': str(data),
            'my_ip': ports.ADDRESS,
            'host': 'volumes-1',
            'transport_url': site.messages,
            'auth_strategy': 'keystone',
            'api_paste_config': str(site.etc('cinder') / 'api-paste.ini'),
            'resource_query_filters_file': str(
                site.venv / 'etc' / 'cinder' / 'resource_filters.json'
            ),
            'glance_api_servers': site.url('glance'),
            'enabled_backends': BACKEND,
            'image_conversion_dir': str(data / 'conversion'),
            'rpc_response_timeout': 120,
            'service_down_time': 600,
            'periodic_fuzzy_delay': 0,
        },
        BACKEND: {
            'volume_driver': 'cinder.volume.drivers.nfs.NfsDriver',
            'volume_backend_name': BACKEND,
            'nfs_shares_config': str(shares),
            'nfs_mount_point_base': str(mount_base(site)),
            # All of it is one account's: there is nothing to change.
            'nas_secure_file_operations': 'false',
            'nas_secure_file_permissions': 'false',
            'nfs_snapshot_support': True,
        },
        'database': {
            'connection': site.database('cinder'),
            'max_pool_size': 5,
        },
        'keystone_authtoken': site.token('cinder'),
        'nova': {**site.credentials('cinder'), 'interface': 'public'},
        'service_user': {
            **site.credentials('cinder'),
            'send_service_user_token': True,
        },
        'cinder_sys_admin': {'helper_command': helper},
        'privsep_osbrick': {'helper_command': helper},
        'oslo_concurrency': {'lock_path': str(data / 'lock')},
        'oslo_policy': {
            'policy_file': str(site.etc('cinder') / 'policy.yaml')
        },
        'oslo_messaging_rabbit': {'heartbeat_in_pthread': True},
    }


def migration(site: sites.Site) -> steps.Command:
    """Return the step that makes Cinder's tables."""
    return steps.Command(
        'cinder-sync',
        (
            site.program('cinder-manage'),
            '--config-file',
            str(site.etc('cinder') / 'cinder.conf'),
            'db',
            'sync',
        ),
        ('glance-sync',),
    )


def services(site: sites.Site) -> list[steps.Step]:
    """Return Cinder's scheduler and the process that has the volumes.

    The scheduler comes first: it asks for capabilities at its start, and is
    told of them again only once a minute.
    """
    configuration = ('--config-file', str(site.etc('cinder') / 'cinder.conf'))
    environment = dict(site.options.environment)
    return [
        steps.Service(
            'cinder-scheduler',
            (site.program('cinder-scheduler'), *configuration),
            databases.Reported(site, 'cinder-scheduler', 'cinder'),
            ('rabbitmq', *_BASE),
            environment,
        ),
        steps.Service(
            'cinder-volume',
            separate(site, (site.program('cinder-volume'), *configuration)),
            databases.Reported(site, 'cinder-volume', 'cinder'),
            ('cinder-scheduler',),
            environment,
        ),
    ]

# SPDX-License-Identifier: Apache-2.0
"""Runs a Swift of one device in this process and its children.

Run by the Python of an environment that has Swift, not by the tests' own:
``swift_server.py FOLDER PORT PORTS USER SECRET [KEYSTONE]``; the last are
options of ``keystonemiddleware.auth_token``, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import signal
import sys

from swift.common.ring import builder
from swift.common import wsgi

_SERVER = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
log_udp_host = 127.0.0.1
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
conn_timeout = 120
node_timeout = 120
container_update_timeout = 120
"""
# Nobody listens at the address of memcache: every request is authenticated.
# A busy machine is no server that is away.
_PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
log_udp_host = 127.0.0.1
[pipeline:main]
pipeline = catch_errors healthcheck cache s3api tempauth {more}
    slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 120
node_timeout = 120
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_{user}_{user} = {secret} .admin
[filter:slo]
use = egg:swift#slo
"""
# Tokens of Keystone, beside the one account above.
_KEYSTONE = """\
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
{options}
[filter:keystoneauth]
use = egg:swift#keystoneauth
reseller_prefix = KEY
operator_roles = admin, service
"""


def _end_with_parent() -> None:
    """Each server makes itself a session: signals do not reach it."""
    set_death_signal = 1
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(set_death_signal, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), 'prctl')


def main(
    folder: pathlib.Path,
    port: str,
    ports: dict[str, int],
    user: str,
    secret: str,
    keystone: str = '',
) -> None:
    """Write rings and configuration, then serve for ever."""
    (folder / 'devices' / 'one').mkdir(parents=True)
    (folder / 'swift.conf').write_text(
        '[swift-hash]\n'
        'swift_hash_path_suffix = a\n'
        'swift_hash_path_prefix = b\n'
    )
    for kind, own in ports.items():
        ring = builder.RingBuilder(2, 1, 1)
        ring.add_dev(
            {
                'region': 1,
                'zone': 1,
                'ip': '127.0.0.1',
                'port': own,
                'replication_ip': '127.0.0.1',
                'replication_port': own,
                'device': 'one',
                'weight': 1.0,
                'meta': '',
            }
        )
        ring.rebalance()
        ring.get_ring().save(str(folder / f'{kind}.ring.gz'))
        (folder / f'{kind}.conf').write_text(
            _SERVER.format(kind=kind, port=own, folder=folder)
        )
        if not os.fork():
            _end_with_parent()
            wsgi.run_wsgi(str(folder / f'{kind}.conf'), f'{kind}-server')
            os._exit(0)
    proxy = _PROXY.format(
        port=port,
        folder=folder,
        user=user,
        secret=secret,
        more='authtoken keystoneauth' if keystone else '',
    )
    if keystone:
        proxy += _KEYSTONE.format(
            options='\n'.join(
                f'{name} = {value}'
                for name, value in json.loads(keystone).items()
            )
        )
    (folder / 'proxy.conf').write_text(proxy)
    wsgi.run_wsgi(str(folder / 'proxy.conf'), 'proxy-server')


if __name__ == '__main__':
    main(
        pathlib.Path(sys.argv[1]),
        sys.argv[2],
        json.loads(sys.argv[3]),
        *sys.argv[4:7],
    )

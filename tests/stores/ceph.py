# SPDX-License-Identifier: Apache-2.0
"""A Ceph of one monitor, one manager and one OSD that lives in memory.

From the system's packages; nobody logs in (``auth none``), it listens on
loopback only, and it ends with the cloud that it is started in.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import os
import pathlib
import subprocess
import uuid

from tests.cloud import cloud as clouds
from tests.cloud import errors
from tests.cloud import ports
from tests.cloud import steps
from tests.cloud import supervisor

POOLS = ('images', 'volumes')
LIMIT = 240
#: Where the system's packages put the bindings for its Python.
BINDINGS = pathlib.Path('/usr/lib/python3/dist-packages')
_GIB = 2**30

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = {monitor}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = {size}
mon_allow_pool_size_one = true
# A full disk of the machine is not this cluster's business.
mon_data_avail_crit = 1
mon_data_avail_warn = 1
mon_data = {folder}/mon
osd_data = {folder}/osd
mgr_data = {folder}/mgr
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_to_file = false
log_to_stderr = true
err_to_stderr = true
debug_rocksdb = 0
"""


class Ceph:
    """The cluster in the work directory of a cloud."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.configuration = folder / 'ceph.conf'

    def run(self, *argv: str) -> str:
        """Run a program of Ceph and return its output.

        :raises errors.CloudError: with what it said, when it fails
        """
        done = subprocess.run(
            [argv[0], '-c', str(self.configuration), *argv[1:]],
            # The system's Python, and nothing of ours.
            env={'PATH': supervisor.PATH, 'LANG': 'C.UTF-8'},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        if done.returncode != 0:
            raise errors.CloudError(
                f'{" ".join(argv)} ended with {done.returncode}: '
                f'{done.stderr[-2000:]}'
            )
        return done.stdout

    def images(self, pool: str) -> list[str]:
        """The names of what a pool holds."""
        return self.run('rbd', 'ls', pool).split()

    def parent(self, pool: str, name: str) -> str:
        """Of which image an image is a clone; '' of none."""
        shown = json.loads(
            self.run('rbd', 'info', '--format', 'json', f'{pool}/{name}')
        )
        return str(shown.get('parent', {}).get('image', ''))

    def osd_up(self) -> bool:
        """Say whether there is something to store in."""
        shown = json.loads(self.run('ceph', 'osd', 'stat', '-f', 'json'))
        return bool(shown['num_up_osds'] == 1)


def require_programs() -> None:
    """See that the packages are there.

    :raises errors.CloudError: with what to do
    """
    wanted = ('ceph-mon', 'ceph-mgr', 'ceph-osd', 'rbd')
    missing = [
        name
        for name in wanted
        if not any(
            (pathlib.Path(folder) / name).exists()
            for folder in supervisor.PATH.split(os.pathsep)
        )
    ]
    missing += [
        f'python3-{name}'
        for name in ('rados', 'rbd')
        if not list(BINDINGS.glob(f'{name}.cpython-*.so'))
    ]
    if missing:
        raise errors.CloudError(
            f'missing: {", ".join(missing)}; run '
            'tools/install-system-packages stores'
        )


def bind(site: pathlib.Path) -> None:
    """Let the services' environment find the system's bindings.

    :param site: folder of the cloud's own packages
    """
    for name in ('rados', 'rbd'):
        for path in BINDINGS.glob(f'{name}.cpython-*.so'):
            (site / path.name).symlink_to(path)


def start(cloud: clouds.Cloud, port: int, second: int) -> Ceph:
    """Start a cluster that ends with a cloud.

    :param port: of the monitor's newer protocol, ``second`` of the older
    :raises errors.CloudError: when it does not become ready
    """
    folder = cloud.layout.data / 'ceph'
    for name in ('mon', 'osd', 'mgr'):
        (folder / name).mkdir(parents=True)
    fsid = str(uuid.uuid4())
    monitor = f'[v2:127.0.0.1:{port},v1:127.0.0.1:{second}]'
    one = Ceph(folder)
    one.configuration.write_text(
        _CONFIGURATION.format(
            fsid=fsid, monitor=monitor, folder=folder, size=2 * _GIB
        )
    )
    map_file = str(folder / 'monmap')
    one.run(
        *('monmaptool', '--create', '--fsid', fsid),
        *('--addv', 'a', monitor, map_file),
    )
    one.run('ceph-mon', '-i', 'a', '--mkfs', '--monmap', map_file)
    _serve(cloud, one, 'ceph-mon', 'a', lambda: ports.answers(port))
    osd = str(uuid.uuid4())
    one.run('ceph', 'osd', 'new', osd)
    one.run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', osd)
    _serve(cloud, one, 'ceph-mgr', 'x', lambda: True)
    _serve(cloud, one, 'ceph-osd', '0', one.osd_up)
    for pool in POOLS:
        one.run('ceph', 'osd', 'pool', 'create', pool, '8')
        one.run('rbd', 'pool', 'init', pool)
    return one


def _serve(
    cloud: clouds.Cloud,
    one: Ceph,
    program: str,
    name: str,
    ready: Callable[[], bool],
) -> None:
    argv = (program, '-c', str(one.configuration), '-i', name, '-f')
    cloud.start(
        steps.Service(program, argv, ready, environment={'PYTHONPATH': ''})
    )

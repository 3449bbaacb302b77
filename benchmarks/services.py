# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.services WHAT PART CONFIG``: a service's process.

``memory`` prints in JSON the MB that the part has added. ``watch`` reads ids
of images and prints, for each, the time at which it is refused.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
import time

from oslo_config import cfg
import sqlalchemy as sa

from benchmarks import filled
from benchmarks import inside as parts
from hepix_vm.conf import inside

#: What the services have in memory without us.
_THEIRS = {
    'scheduler': ('nova.scheduler.manager', 'nova.objects'),
    'API': ('nova.api.openstack.compute', 'nova.compute.api'),
    'Glance': ('glance.api.v2.router', 'glance.api.policy'),
}


def configured(path: str) -> cfg.ConfigOpts:
    """What a service's configuration is to our code inside it."""
    host_conf = cfg.ConfigOpts()
    host_conf([], default_config_files=[], default_config_dirs=[])
    inside.register(host_conf)
    host_conf.set_override('config_file', path, group='hepix_vm')
    return host_conf


def _memory(part: str, path: str) -> None:
    for name in _THEIRS[part]:
        importlib.import_module(name)
    _with_a_database()
    begin = _megabytes()
    ask = parts.PARTS[part][1](configured(path))
    refusal = ask(filled.identifier(0))
    if refusal:
        raise RuntimeError(refusal)
    # The memory that reading has freed is its own again, or is not.
    time.sleep(3)
    print(json.dumps({'begin': begin, 'end': _megabytes()}))


def _with_a_database() -> None:
    """A service has used SQLAlchemy before."""
    engine = sa.create_engine('sqlite://')
    with engine.connect() as connection:
        connection.execute(sa.text('SELECT 1'))
    engine.dispose()


def _megabytes() -> float:
    """MB that are resident; what is shared counts for each by its part."""
    for line in (
        pathlib.Path('/proc/self/smaps_rollup').read_text().split('\n')
    ):
        if line.startswith('Pss:'):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError('this system does not tell the memory of a process')


def _watch(part: str, path: str) -> None:
    ask = parts.PARTS[part][1](configured(path))
    for line in sys.stdin:
        image_id = line.strip()
        if ask(image_id):
            raise RuntimeError(f'{part} refused {image_id} before')
        print(time.monotonic(), flush=True)
        while not ask(image_id):
            time.sleep(0.01)
        print(time.monotonic(), flush=True)


if __name__ == '__main__':
    {'memory': _memory, 'watch': _watch}[sys.argv[1]](*sys.argv[2:])

# SPDX-License-Identifier: Apache-2.0
"""A scheduler's process with our filter: threads decide, the site changes.

``deciding.py KIND FOLDER CONNECTION DECISIONS``, where KIND is how threads
are: ``native`` or ``green``. Prints the MB that the process had for itself
after a fifth of the decisions, and at the end.
"""

import sys

if sys.argv[1:2] == ['green']:
    import eventlet

    eventlet.monkey_patch()

from concurrent import futures
import faulthandler
import os
import pathlib
import subprocess
import uuid

from nova import exception
from nova import objects
from oslo_config import cfg

from hepix_vm.conf import inside
from hepix_vm.nova import filter as ours
from tests import catalogue_rows
from tests import nova_databases

DATA = b'endorsed bytes'
IMAGES = [str(uuid.UUID(int=number + 1)) for number in range(50)]
THREADS = 8
#: Every so many decisions something in the catalogue changes.
CHANGE = 250
HOSTS = [object()]


#: What a sync does, in a process of its own.
ENDORSE = """
import os, sys
from tests import catalogue_rows
catalogue_rows.Rows(sys.argv[1]).endorse(os.urandom(8))
"""


def change(rows: catalogue_rows.Rows) -> None:
    """An image more is endorsed.

    Green threads are one thread to SQLite: a writer among them would wait for
    a reader that cannot go on.
    """
    if sys.argv[1] == 'native':
        rows.endorse(os.urandom(8))
        return
    subprocess.run(
        [sys.executable, '-c', ENDORSE, rows.connection], check=True
    )


def megabytes() -> float:
    """What this process has for itself, whoever else ends meanwhile."""
    for line in (
        pathlib.Path('/proc/self/smaps_rollup').read_text().split('\n')
    ):
        if line.startswith('Anonymous:'):
            return int(line.split()[1]) / 1024
    raise RuntimeError('this system does not tell')


def deciding(filtering: ours.HepixApprovedImageFilter, number: int) -> None:
    """One request: of ten, one is of an image that nobody knows."""
    good = number % 10 != 0
    image = IMAGES[number % len(IMAGES)] if good else str(uuid.uuid4())
    spec = objects.RequestSpec(
        image=objects.ImageMeta(
            id=image,
            size=len(DATA),
            properties=objects.ImageMetaProps(),
        ),
        instance_uuid=SERVER,
        project_id='project',
        is_bfv=False,
    )
    try:
        passed = list(filtering.filter_all(HOSTS, spec)) == HOSTS
    except exception.NoValidHost as refusal:
        if '(no-record)' not in str(refusal):
            raise RuntimeError(str(refusal)) from refusal
        passed = False
    if passed is not good:
        raise RuntimeError(f'{image}: {passed}')


SERVER = str(uuid.uuid4())


def main(folder: pathlib.Path, connection: str, decisions: int) -> None:
    """Decide, change, fork and tell."""
    # A deadlock ends with the stacks of all threads.
    faulthandler.dump_traceback_later(1200, exit=True)
    rows = catalogue_rows.Rows(connection)
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    inside.register(conf)
    conf.set_override(
        'config_file', str(folder / 'hepix_vm.conf'), group='hepix_vm'
    )
    filtering = ours.HepixApprovedImageFilter(conf)
    with nova_databases.made(folder) as known:
        known.new(SERVER)
        with futures.ThreadPoolExecutor(THREADS) as pool:
            for first in range(0, decisions, CHANGE):
                change(rows)
                numbers = range(first, first + CHANGE)
                list(pool.map(lambda n: deciding(filtering, n), numbers))
                if first + CHANGE == decisions // 5:
                    print(megabytes(), flush=True)
        print(megabytes(), flush=True)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                deciding(filtering, 1)
                deciding(filtering, 10)
                status = 0
            finally:
                os._exit(status)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise RuntimeError('the child failed')


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))

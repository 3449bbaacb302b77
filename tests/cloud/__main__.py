# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.cloud``: a cloud to play with.

Any Python will do to call this: where the clients are missing it goes on in
the environment of the services.
"""

import argparse
import dataclasses
import importlib.util
import os
import pathlib
import shlex
import signal
import sys
import typing

from tests.cloud import cache
from tests.cloud import environment
from tests.cloud import errors
from tests.cloud import interrupts
from tests.cloud import processes
from tests.cloud import releases
from tests.cloud import state as states
from tests.cloud import supervisor

if typing.TYPE_CHECKING:
    from tests.cloud import cloud as clouds

CLIENTS = (
    'alembic',
    'cryptography',
    'glanceclient',
    'keystoneauth1',
    'novaclient',
    'oslo_db',
    'pymysql',
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tests.cloud',
        description='A real OpenStack on loopback, for development.',
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        '--work-dir',
        type=pathlib.Path,
        help='folder of the cloud (default: "cloud" in the cache)',
    )
    shared.add_argument(
        '--release',
        choices=sorted(releases.RELEASES),
        default=releases.DEFAULT,
        help='release of OpenStack (default: %(default)s)',
    )
    actions = parser.add_subparsers(dest='action', required=True)
    up = actions.add_parser(
        'up', parents=[shared], help='start a cloud and leave it running'
    )
    up.add_argument(
        '--stock', action='store_true', help='without any part of hepix_vm'
    )
    actions.add_parser(
        'status', parents=[shared], help='show its processes and ports'
    )
    actions.add_parser('down', parents=[shared], help='end it')
    actions.add_parser(
        'python',
        help='run the Python that has the services, with all that follows',
        add_help=False,
    )
    return parser


def _report(line: str) -> None:
    print(line, file=sys.stderr)


def _run_python(release: str, arguments: list[str]) -> None:
    venv = environment.services(releases.named(release), _report)
    python = str(venv / 'bin' / 'python')
    os.chdir(supervisor.ROOT)
    os.execv(python, [python, *arguments])


def _up(work: pathlib.Path, release: str, stock: bool) -> None:
    if not all(importlib.util.find_spec(name) for name in CLIENTS):
        _run_python(release, ['-m', 'tests.cloud', *sys.argv[1:]])
    # Only now, since these need the clients.
    from tests.cloud import hepix
    from tests.cloud import launch
    from tests.cloud import options as opts

    options = opts.CloudOptions() if stock else hepix.hepix_cloud_options(work)
    options = dataclasses.replace(options, release=release)
    cloud = launch.start(options, work, launch.reporter())
    cloud.detach()
    openrc = openrc_of(cloud)
    print(f'{release} runs in {work}; to use it:')
    print(f'  . {shlex.quote(str(openrc))}')
    print('  openstack image list')


def openrc_of(cloud: 'clouds.Cloud') -> pathlib.Path:
    """Write the openrc of a cloud's administrator into its folder."""
    site = cloud.layout.site
    return write_openrc(
        cloud.layout.work,
        {**cloud.environment(), 'PYTHONPATH': str(site)},
        f'{site / "bin"}:{cloud.site.program("")}',
    )


def write_openrc(
    work: pathlib.Path, variables: dict[str, str], programs: str
) -> pathlib.Path:
    """Write the file that a shell sources for the command line clients."""
    path = work / 'openrc'
    lines = [
        f'export {name}={shlex.quote(value)}'
        for name, value in variables.items()
    ]
    lines.append(f'export PATH={shlex.quote(programs)}:"$PATH"')
    path.touch(mode=0o600)
    path.write_text('\n'.join(lines) + '\n')
    return path


def _status(work: pathlib.Path) -> int:
    known = states.load(work)
    current = known.boot == processes.boot()
    print(f'{known.release} in {work}')
    print(f'{"process":16} {"state":6} {"pid":>8} {"port":>6} log')
    all_run = True
    for one in known.started.values():
        runs = current and processes.is_running(one.leader)
        all_run = all_run and runs
        print(
            f'{one.name:16} {"runs" if runs else "ended":6} '
            f'{one.leader.pid:8} {one.port or "-":>6} {one.log}'
        )
    return 0 if all_run else 1


def _down(work: pathlib.Path) -> None:
    if not (work / states.NAME).exists():
        print(f'no cloud in {work}: nothing to end')
        return
    processes.end_all(states.load(work).belonging)
    print(f'ended; logs stay in {work / "log"}')


def main() -> int:
    """Do what the command line says."""
    # argparse would take an option that follows for one of its own.
    own, rest = sys.argv[1:], []
    if own[:1] == ['python']:
        own, rest = own[:1], own[1:]
    arguments = _parser().parse_args(own)
    try:
        if arguments.action == 'python':
            _run_python(releases.DEFAULT, rest)
        work = (arguments.work_dir or cache.root() / 'cloud').absolute()
        with interrupts.terminable():
            match arguments.action:
                case 'up':
                    _up(work, arguments.release, arguments.stock)
                case 'status':
                    return _status(work)
                case 'down':
                    _down(work)
    except errors.CloudError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == '__main__':
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.cloud up|status|down``: a cloud to play with."""

import argparse
import importlib.util
import os
import pathlib
import signal
import sys
from types import FrameType

from tests.cloud import cache
from tests.cloud import errors
from tests.cloud import releases
from tests.cloud import state as states


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tests.cloud',
        description='A real OpenStack on loopback, for development.',
    )
    parser.add_argument('action', choices=('up', 'status', 'down'))
    parser.add_argument(
        '--work-dir',
        type=pathlib.Path,
        help='folder of the cloud (default: "cloud" in the cache)',
    )
    parser.add_argument(
        '--release',
        choices=sorted(releases.RELEASES),
        default=releases.DEFAULT,
    )
    parser.add_argument(
        '--stock',
        action='store_true',
        help='without any part of hepix_vm',
    )
    return parser


def _with_clients(release: str) -> None:
    """Go on in the services' environment when this one has no clients."""
    wanted = ('glanceclient', 'keystoneauth1', 'novaclient', 'pymysql', 'yaml')
    if all(importlib.util.find_spec(name) for name in wanted):
        return
    from tests.cloud import environment
    from tests.cloud import supervisor

    venv = environment.services(
        releases.RELEASES[release], lambda line: print(line, file=sys.stderr)
    )
    python = str(venv / 'bin' / 'python')
    os.chdir(supervisor.ROOT)
    os.execv(python, [python, '-m', 'tests.cloud', *sys.argv[1:]])


def _up(work: pathlib.Path, release: str, stock: bool) -> None:
    _with_clients(release)
    import dataclasses

    from tests.cloud import hepix
    from tests.cloud import launch
    from tests.cloud import options as opts

    options = opts.CloudOptions() if stock else hepix.hepix_cloud_options(work)
    options = dataclasses.replace(options, release=release)
    cloud = launch.start(options, work, launch.reporter())
    cloud.detach()
    openrc = write_openrc(work, cloud.environment(), cloud.site.program(''))
    print(f'source {openrc}   # then: openstack server list')


def write_openrc(
    work: pathlib.Path, variables: dict[str, str], programs: str
) -> pathlib.Path:
    """Write the file that a shell sources for the ``openstack`` client."""
    path = work / 'openrc'
    lines = [f"export {name}='{value}'" for name, value in variables.items()]
    lines.append(f'export PATH="{programs}:$PATH"')
    path.write_text('\n'.join(lines) + '\n')
    path.chmod(0o600)
    return path


def _status(work: pathlib.Path) -> int:
    from tests.cloud import processes

    known = states.load(work)
    current = known.boot == processes.boot()
    print(f'{known.release} in {work}')
    all_run = True
    for one in known.started.values():
        runs = current and processes.is_running(one.leader)
        all_run = all_run and runs
        print(
            f'{one.name:16} {"runs" if runs else "ended":6} '
            f'{one.leader.pid:8} {one.port or "":>6} {one.log}'
        )
    return 0 if all_run else 1


def _down(work: pathlib.Path) -> None:
    from tests.cloud import processes

    known = states.load(work)
    processes.end_all(known.belonging)
    print(f'ended; logs stay in {work / "log"}')


def _terminated(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)


def main() -> int:
    """Do what the command line says."""
    arguments = _parser().parse_args()
    work = (arguments.work_dir or cache.root() / 'cloud').absolute()
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
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

# SPDX-License-Identifier: Apache-2.0
"""Installs a checkout's package for one cloud, without its dependencies.

The services find it, with its entry points, by ``PYTHONPATH``. The build runs
on a copy, so that nothing is written into a checkout that others use, and
needs no network.
"""

from collections.abc import Callable
import pathlib
import shutil

from tests.cloud import environment
from tests.cloud import site as sites
from tests.cloud import steps

VERSION = '0.0.0.dev0'
NAME = 'package'


def copy(checkout: pathlib.Path, target: pathlib.Path) -> None:
    """Copy what git knows or would add; make it a repository for pbr.

    pbr takes the list of package data from git.

    :raises errors.CloudError: when ``checkout`` is no git repository
    """
    git = ['git', '-c', 'safe.directory=*', '-C']
    listed = environment.call(
        [
            *git,
            str(checkout),
            'ls-files',
            '-z',
            '--cached',
            '--others',
            '--exclude-standard',
        ]
    )
    for name in filter(None, listed.split('\0')):
        source = checkout / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    environment.call([*git, str(target), 'init', '--quiet'])
    environment.call([*git, str(target), 'add', '--all'])


def step(
    site: sites.Site, checkout: pathlib.Path, report: Callable[[str], None]
) -> steps.Command:
    """Copy the checkout and return the command that installs the copy."""
    source = site.layout.data / 'checkout'
    source.mkdir()
    copy(checkout, source)
    python = site.program('python')
    program = environment.uv(report)
    if program is None:
        argv = [python, '-m', 'pip', 'install', '--no-index']
    else:
        argv = [program, 'pip', 'install', '--python', python, '--offline']
    argv += ['--no-deps', '--no-build-isolation']
    argv += ['--target', str(site.layout.site), str(source)]
    return steps.Command(
        NAME, tuple(argv), environment={'PBR_VERSION': VERSION}
    )

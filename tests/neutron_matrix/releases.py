# SPDX-License-Identifier: Apache-2.0
"""Releases of Neutron, each in an environment in the cache."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import hashlib
import pathlib
import sys

from tests.cloud import cache
from tests.cloud import environment
from tests.cloud import releases

#: What the pins of a cloud without Neutron leave open.
_ALL = (
    'ncclient==0.7.1',
    'os-ken==4.2.2',
    'pecan==1.8.0',
    'python-designateclient==7.0.0',
)
_OLD = (*_ALL, 'neutron-lib==3.22.0', 'setproctitle==1.3.8')
_NEW = (*_ALL, 'neutron-lib==4.2.0')


@dataclasses.dataclass(frozen=True, slots=True)
class Neutron:
    """One release.

    :ivar constraints: name of the file that pins what it needs
    :ivar more: further pins
    :ivar needs_of: the release whose dependencies do for it; its own of
        24 cannot all be installed without a compiler
    """

    version: str
    constraints: str
    more: tuple[str, ...] = ()
    needs_of: str = ''

    @property
    def major(self) -> int:
        """The first part of the version."""
        return int(self.version.partition('.')[0])


RELEASES = (
    Neutron('24.2.2', '2025.1', _OLD, '25.2.3'),
    Neutron('25.2.3', '2025.1', _OLD),
    Neutron('26.0.0', '2025.1', _OLD),
    Neutron('26.0.3', '2025.1', _OLD),
    Neutron('27.0.1', '2026.1', _NEW),
    Neutron('27.0.2', '2026.1', _NEW),
    Neutron('28.0.2', '2026.1', _NEW),
    Neutron('29.0.0', 'neutron-2026.2'),
)


def python(one: Neutron, report: Callable[[str], None]) -> pathlib.Path:
    """Return the Python of a release's environment, made when needed.

    :raises errors.CloudError: when a package cannot be installed
    """
    pins = releases.CONSTRAINTS / f'{one.constraints}.txt'

    def build(folder: pathlib.Path) -> None:
        report(f'installing Neutron {one.version} from PyPI')
        program = environment.uv(report)
        made = (
            [program, 'venv', '--python', environment.interpreter()]
            if program is not None
            else [environment.interpreter(), '-m', 'venv']
        )
        environment.call([*made, str(folder)])
        own = folder / 'bin' / 'python'
        first = f'neutron=={one.needs_of or one.version}'
        environment.install(own, ['-c', str(pins), *one.more, first], report)
        if one.needs_of:
            only = ['--no-deps', f'neutron=={one.version}']
            environment.install(own, only, report)

    content = hashlib.sha256(repr((one, sys.version)).encode())
    content.update(pins.read_bytes())
    name = f'neutron-{one.version}-{content.hexdigest()[:12]}'
    folder = cache.root() / 'neutron-matrix' / name
    return cache.built(folder, build, report) / 'bin' / 'python'

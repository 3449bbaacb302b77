# SPDX-License-Identifier: Apache-2.0
"""The OpenStack releases of which a cloud can be started."""

import dataclasses
import pathlib

CONSTRAINTS = pathlib.Path(__file__).parent / 'constraints'
DEFAULT = '2026.2'

# What a cloud of any release needs. uWSGI comes as pyuwsgi, the same server
# as wheels, so that no compiler is needed. The lower half is what the package
# under test requires, which shares the environment of the services, and what
# builds it.
PACKAGES = (
    'cinder',
    'glance',
    'keystone',
    'nova',
    'openstack-placement',
    'pymysql',
    'python-openstackclient',
    'python-memcached',
    'pyuwsgi',
    'alembic',
    'cliff',
    'pbr',
    'pyopenssl',
    'python-glanceclient',
    'python-novaclient',
    'setuptools',
    'wheel',
)


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """One release of OpenStack, by its pinned packages from PyPI."""

    name: str
    """Name of the release, such as ``2026.2``."""
    packages: tuple[str, ...] = PACKAGES

    @property
    def constraints(self) -> pathlib.Path:
        """The file with the exact version of every package."""
        return CONSTRAINTS / f'{self.name}.txt'


RELEASES = {release.name: release for release in (Release('2026.2'),)}

# SPDX-License-Identifier: Apache-2.0
"""The OpenStack releases of which a cloud can be started."""

import dataclasses
import os
import pathlib

from tests.cloud import errors

CONSTRAINTS = pathlib.Path(__file__).parent / 'constraints'
NEWEST = '2026.2'
DEFAULT = os.environ.get('HEPIX_VM_RELEASE') or NEWEST
"""The release of clouds that do not say which they want."""

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


NETWORK_PACKAGES = (
    'neutron',
    'pymysql',
    'python-memcached',
    'pyuwsgi',
)
"""Of the environment of Neutron, which is not part of every cloud."""

RELEASES = {name: Release(name) for name in (NEWEST, '2026.1', '2025.1')}


def named(name: str) -> Release:
    """Return the release of a name.

    :raises errors.CloudError: when there is none, with those there are
    """
    if name not in RELEASES:
        raise errors.CloudError(
            f'no cloud of OpenStack {name!r} can be started; choose (for '
            f'tests by HEPIX_VM_RELEASE) one of {", ".join(RELEASES)}'
        )
    return RELEASES[name]


def network(name: str) -> Release:
    """Return the packages of Neutron of a release, by themselves.

    :raises errors.CloudError: when no cloud of the release has Neutron
    """
    found = Release(f'neutron-{name}', NETWORK_PACKAGES)
    if not found.constraints.exists():
        raise errors.CloudError(
            f'no Neutron of {name}: there is no {found.constraints}'
        )
    return found

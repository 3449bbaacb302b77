# SPDX-License-Identifier: Apache-2.0
"""The two clouds that Tempest runs against, and its configuration for them."""

from __future__ import annotations

import os
import pathlib

from tests import catalogue_rows
from tests.cloud import cloud as running
from tests.cloud import configuration
from tests.cloud import hepix
from tests.cloud import identity
from tests.cloud import options as opts
from tests.cloud import settings
from tests.cloud import site as sites
from tests.functional import images as acts

PARTS = opts.ALL | {'cinder'}
TIMEOUT = 300
IMAGE_SIZE = 2**16


def options(work: pathlib.Path, stock: bool) -> opts.CloudOptions:
    """Return the options of a cloud; the two differ by our parts alone."""
    ours = hepix.hepix_cloud_options(
        work, PARTS, {'nova': {'volume_boot': 'endorsed'}}
    )
    if not stock:
        return ours
    # Of the rest of the configuration, that which is none of our parts.
    extra = {
        name: {
            section: {
                option: value
                for option, value in values.items()
                if option != 'property_protection_file'
            }
            for section, values in sections.items()
            if section != 'hepix_vm'
        }
        for name, sections in ours.extra.items()
    }
    return opts.CloudOptions(parts=PARTS, extra=extra)


def images(cloud: running.Cloud, stock: bool) -> tuple[str, str]:
    """Import the two public images that Tempest boots; returns their ids.

    Where our parts are, they are endorsed first.
    """
    datas = [os.urandom(IMAGE_SIZE) for _ in range(2)]
    if not stock:
        rows = catalogue_rows.Rows(cloud.site.database(hepix.DATABASE))
        rows.subscription('outside')
        for data in datas:
            rows.endorse(data, 'outside')
        rows.close()
    found = []
    for data in datas:
        outcome = acts.Images(cloud, identity.ADMIN).imported(
            data, visibility='public'
        )
        if outcome.status != 'success':
            raise RuntimeError(f'an image is not taken in: {outcome.message}')
        found.append(str(outcome.image['id']))
    return found[0], found[1]


def _flavors(cloud: running.Cloud) -> tuple[str, str]:
    api = cloud.nova()
    other = api.flavors.create('tiny-too', ram=128, vcpus=1, disk=1)
    return str(api.flavors.find(name=running.FLAVOR).id), str(other.id)


def _compute(cloud: running.Cloud, stock: bool) -> opts.Sections:
    image, other = images(cloud, stock)
    flavor, larger = _flavors(cloud)
    # What nova's fake driver, one host and no neutron cannot do.
    cannot = (
        'can_migrate_between_any_hosts',
        'cold_migration',
        'config_drive',
        'console_output',
        'interface_attach',
        'live_migration',
        'metadata_service',
        'snapshot',
        'attach_encrypted_volume',
    )
    return {
        'compute': {
            'image_ref': image,
            'image_ref_alt': other,
            'flavor_ref': flavor,
            'flavor_ref_alt': larger,
            'min_compute_nodes': 1,
            'max_microversion': 'latest',
            'build_timeout': TIMEOUT,
        },
        'compute-feature-enabled': {
            **dict.fromkeys(cannot, False),
            'resize': True,
            'scheduler_enabled_filters': ','.join(settings.FILTERS),
        },
    }


def tempest_conf(
    cloud: running.Cloud, stock: bool, work: pathlib.Path
) -> opts.Sections:
    """Return ``tempest.conf``, for a cloud that has two images by then."""
    return {
        'DEFAULT': {'log_dir': str(work), 'log_file': 'tempest.log'},
        'oslo_concurrency': {'lock_path': str(work / 'lock')},
        'auth': {
            'admin_username': identity.ADMIN,
            'admin_project_name': identity.ADMIN,
            'admin_password': cloud.site.password,
            'admin_domain_name': 'Default',
            'create_isolated_networks': False,
        },
        'identity': {
            'uri_v3': cloud.endpoints['keystone'] + '/v3',
            'auth_version': 'v3',
            'region': sites.REGION,
        },
        'service_available': {
            'cinder': True,
            'glance': True,
            'horizon': False,
            # A stand-in, which has no networks.
            'neutron': True,
            'nova': True,
            'swift': False,
        },
        'validation': {'run_validation': False},
        'image': {
            'build_timeout': TIMEOUT,
        },
        'volume': {
            'catalog_type': 'block-storage',
            'build_timeout': TIMEOUT,
            'storage_protocol': 'nfs',
            'vendor_name': 'Open Source',
        },
        'volume-feature-enabled': {'backup': False},
        **_compute(cloud, stock),
    }


def write(cloud: running.Cloud, stock: bool, work: pathlib.Path) -> None:
    """Write what Tempest needs to know of a cloud into a folder."""
    (work / 'lock').mkdir(parents=True)
    content = tempest_conf(cloud, stock, work)
    (work / 'tempest.conf').write_text(configuration.render(content))

# SPDX-License-Identifier: Apache-2.0
"""Writes the configuration files and keys of a cloud."""

import json
import pathlib

from cryptography import fernet

from tests.cloud import configuration
from tests.cloud import neutron
from tests.cloud import options as opts
from tests.cloud import settings
from tests.cloud import site as sites
from tests.cloud import volumes

_FILES = {
    'keystone': ('keystone', settings.keystone),
    'glance-api': ('glance', settings.glance),
    'glance-image-import': ('glance', settings.glance_image_import),
    'placement': ('placement', settings.placement),
    'nova': ('nova', settings.nova),
    'cinder': ('cinder', volumes.settings),
    'neutron': ('neutron', settings.neutron),
}


def _write(path: pathlib.Path, text: str) -> None:
    """Write a file that services may read meanwhile.

    Some look at its time, and are between two policies while they read it
    again: what is the same stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() == text:
        return
    fresh = path.with_name(f'.{path.name}.new')
    fresh.write_text(text)
    fresh.replace(path)


def _shipped(site: sites.Site, name: str) -> str:
    return (site.venv / 'etc' / name).read_text()


def _keys(folder: pathlib.Path, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in names:
        (folder / name).write_bytes(fernet.Fernet.generate_key())


def write(site: sites.Site) -> None:
    """Write every configuration file; may be called again later.

    :raises ValueError: when ``extra`` names a file that there is not
    """
    unknown = set(site.options.extra) - set(_FILES)
    if unknown:
        raise ValueError(f'no such file: {unknown}; there are {set(_FILES)}')
    for name, (folder, make) in _FILES.items():
        if name == 'neutron' and name not in site.options.parts:
            continue
        extra: opts.Sections = site.options.extra.get(name, {})
        content = configuration.merge(make(site), extra)
        _write(
            site.etc(folder) / f'{name}.conf', configuration.render(content)
        )
    paste = _shipped(site, 'glance/glance-api-paste.ini')
    if site.options.glance_guard is not None:
        paste = settings.with_guard(
            paste, ' authtoken context ', site.options.glance_guard
        )
    _write(site.etc('glance') / 'glance-api-paste.ini', paste)
    _write(
        site.etc('glance') / 'policy.yaml',
        # JSON is YAML.
        json.dumps(dict(site.options.glance_policy), indent=1),
    )
    paste = _shipped(site, 'nova/api-paste.ini')
    if site.options.context_app is not None:
        paste = settings.with_context_app(paste, site.options.context_app)
    if site.options.nova_guard is not None:
        paste = settings.with_guard(
            paste, ' authtoken keystonecontext ', site.options.nova_guard
        )
    _write(site.etc('nova') / 'api-paste.ini', paste)
    _write(
        site.etc('cinder') / 'api-paste.ini',
        _shipped(site, 'cinder/api-paste.ini'),
    )
    _write(
        site.etc('cinder') / 'policy.yaml',
        json.dumps(dict(site.options.cinder_policy), indent=1),
    )
    _write(site.etc('cinder') / 'shares', f'{volumes.share(site)}\n')
    volumes.write_programs(site)
    if neutron.PART in site.options.parts:
        neutron.write_dhcp(site)
    _write(site.etc('rabbitmq') / 'rabbitmq.conf', settings.rabbitmq(site))


def write_keys(site: sites.Site) -> None:
    """Make keystone's keys: an active one and the next (its key 0)."""
    keys = site.layout.data / 'keystone'
    _keys(keys / 'fernet', ('0', '1'))
    _keys(keys / 'credential', ('0', '1'))


def make_folders(site: sites.Site) -> None:
    """Make the folders that services expect to exist."""
    for name in (
        'cache',
        'rabbitmq',
        'cinder/conversion',
        'cinder/lock',
        'cinder/share',
        'cinder/mnt',
        'glance/local',
        'glance/local2',
        'glance/staging',
        'glance/tasks',
        'glance/cache',
        'glance/lock',
        'nova/instances',
        'nova/lock',
        'neutron/lock',
    ):
        (site.layout.data / name).mkdir(parents=True, exist_ok=True)

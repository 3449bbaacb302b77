# SPDX-License-Identifier: Apache-2.0
"""A further backend of Cinder that keeps volumes of images as a cache.

The first volume of an image asks Glance; the next ones are copies of it.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import functools

from keystoneauth1 import adapter

from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import ports
from tests.cloud import steps
from tests.cloud import volumes

#: Of the process, of its backend and of the type of its volumes.
NAME = 'cinder-volume-cached'
BACKEND = 'cached'
_HOST = 'volumes-2'


@contextlib.contextmanager
def volume_type(cloud: clouds.Cloud) -> Iterator[str]:
    """Have such a backend for a while; yields the type of its volumes."""
    cinder = adapter.Adapter(
        cloud.session('admin'), service_type='block-storage'
    )
    # All other volumes stay where they were.
    usual = cinder.get('/types/default').json()['volume_type']['id']
    cinder.post(
        f'/types/{usual}/extra_specs',
        json={'extra_specs': {'volume_backend_name': volumes.BACKEND}},
    )
    kinds = cinder.get('/types').json()['volume_types']
    # Volumes of an earlier time may still be of it.
    if all(kind['name'] != BACKEND for kind in kinds):
        specs = {'volume_backend_name': BACKEND}
        made = {'name': BACKEND, 'extra_specs': specs}
        cinder.post('/types', json={'volume_type': made})
    cloud.start(_service(cloud, cinder))
    try:
        yield BACKEND
    finally:
        cloud.end_further(NAME)


def _service(cloud: clouds.Cloud, cinder: adapter.Adapter) -> steps.Service:
    site = cloud.site
    folder = cloud.layout.etc / NAME
    shared = site.layout.data / 'cinder' / BACKEND
    for each in (folder, shared):
        each.mkdir(parents=True, exist_ok=True)
    shares = folder / 'shares'
    shares.write_text(f'{ports.ADDRESS}:{shared}\n')
    usual = configuration.merge(
        volumes.settings(site), site.options.extra.get('cinder', {})
    )
    session = cloud.session('admin')
    ours = {
        'DEFAULT': {
            'host': _HOST,
            'enabled_backends': BACKEND,
            'cinder_internal_tenant_project_id': session.get_project_id(),
            'cinder_internal_tenant_user_id': session.get_user_id(),
        },
        BACKEND: {
            **usual[volumes.BACKEND],
            'volume_backend_name': BACKEND,
            'nfs_shares_config': str(shares),
            'image_volume_cache_enabled': True,
        },
    }
    path = folder / 'cinder.conf'
    path.write_text(configuration.render(configuration.merge(usual, ours)))
    (service,) = (
        step
        for step in volumes.services(site)
        if step.name == 'cinder-volume' and isinstance(step, steps.Service)
    )
    argv = (site.program('cinder-volume'), '--config-file', str(path))
    return dataclasses.replace(
        service,
        name=NAME,
        argv=volumes.separate(site, argv),
        ready=functools.partial(_is_up, cinder),
        needs=(),
    )


def _is_up(cinder: adapter.Adapter) -> bool:
    found = cinder.get('/os-services?binary=cinder-volume').json()['services']
    return any(
        one['host'] == f'{_HOST}@{BACKEND}' and one['state'] == 'up'
        for one in found
    )

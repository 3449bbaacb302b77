# SPDX-License-Identifier: Apache-2.0
"""Volumes cloned in Ceph never ask Glance for the image's data."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import io
from typing import Any

from keystoneauth1 import adapter
from novaclient import exceptions as nova_exc
import pytest

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import errors
from tests.cloud import hepix
from tests.cloud import waits
from tests.functional import images as acts
from tests.functional import importing
from tests.stores import ceph

#: What Cinder says of a volume that it is still making.
_MAKING = frozenset({'creating', 'downloading'})


@pytest.fixture(scope='module')
def approved(cloud: clouds.Cloud, rows: catalogue_rows.Rows) -> str:
    """An image in Ceph that came in as it should."""
    images = acts.Images(cloud)
    data = acts.some_bytes()
    rows.endorse(data)
    image_id = images.create()
    images.stage(image_id, data)
    images.start(image_id, stores=['rbd'])
    importing.assert_taken_in(rows, images.finished(image_id), data)
    return image_id


@pytest.fixture(scope='module')
def slipped_in(cloud: clouds.Cloud) -> str:
    """An image in Ceph that an administrator uploaded past the import."""
    admin = acts.Images(cloud, 'admin')
    image_id = admin.create(visibility='public')
    admin.client.http_client.put(
        f'/v2/images/{image_id}/file',
        data=io.BytesIO(acts.some_bytes()),
        headers={
            'Content-Type': 'application/octet-stream',
            'X-Image-Meta-Store': 'rbd',
        },
    )
    return image_id


def volume_of(cloud: clouds.Cloud, image_id: str) -> dict[str, Any]:
    """A volume made of an image, once Cinder has done what it can."""
    volumes = adapter.Adapter(
        cloud.session('demo'), service_type='block-storage'
    )
    made = volumes.post(
        '/volumes', json={'volume': {'size': 1, 'imageRef': image_id}}
    )
    path = f'/volumes/{made.json()["volume"]["id"]}'
    return waits.until(
        'the volume to be made',
        lambda: (
            found
            if (found := dict(volumes.get(path).json()['volume']))['status']
            not in _MAKING
            else None
        ),
        acts.LIMIT,
        log=cloud.log('cinder-volume'),
    )


def parent(cluster: ceph.Ceph, volume: dict[str, Any]) -> str:
    """The image of which a volume is a clone."""
    return cluster.parent('volumes', f'volume-{volume["id"]}')


def boot(cloud: clouds.Cloud, volume: dict[str, Any]) -> Any:
    """A server that boots from a volume."""
    disk = {
        'uuid': volume['id'],
        'source_type': 'volume',
        'destination_type': 'volume',
        'boot_index': 0,
        'delete_on_termination': True,
    }
    servers = acts.Servers(cloud)
    return servers.boot(None, block_device_mapping_v2=[disk])


def test_a_volume_of_an_approved_image_is_made_and_boots(
    cloud: clouds.Cloud, approved: str
) -> None:
    volume = volume_of(cloud, approved)
    assert volume['status'] == 'available'
    server = boot(cloud, volume)
    assert server.status == 'ACTIVE'
    acts.Servers(cloud).delete(server.id)


def test_no_volume_is_made_of_an_image_that_nobody_approved(
    cloud: clouds.Cloud, slipped_in: str
) -> None:
    assert volume_of(cloud, slipped_in)['status'] == 'error'


@pytest.fixture
def shown(cloud: clouds.Cloud) -> Iterator[None]:
    """A Glance that shows where in Ceph the data of an image is."""
    before = cloud.site
    extra = dict(before.options.extra)
    glance = extra['glance-api']
    extra['glance-api'] = {
        **glance,
        'DEFAULT': {**glance['DEFAULT'], 'show_image_direct_url': True},
    }
    path = hepix.config_file(cloud.layout.work)
    content = path.read_text()
    options = dataclasses.replace(before.options, extra=extra)
    cloud.site = dataclasses.replace(before, options=options)
    cloud.write_configuration()
    yield
    cloud.site = before
    path.write_text(content)
    cloud.write_configuration()
    cloud.restart('glance')


@pytest.mark.usefixtures('shown')
def test_where_it_is_told_a_clone_passes_the_check_and_does_not_boot(
    cloud: clouds.Cloud,
    cluster: ceph.Ceph,
    approved: str,
    slipped_in: str,
) -> None:
    # Glance does not start so, unless the site wants it.
    with pytest.raises(errors.CloudError, match='locations'):
        cloud.restart('glance')
    path = hepix.config_file(cloud.layout.work)
    path.write_text(
        f'{path.read_text()}\n[glance_guard]\naccept_open = locations\n'
    )
    cloud.restart('glance')
    volume = volume_of(cloud, approved)
    assert volume['status'] == 'available'
    assert parent(cluster, volume) == approved
    volume = volume_of(cloud, slipped_in)
    assert volume['status'] == 'available'
    assert parent(cluster, volume) == slipped_in
    with pytest.raises(nova_exc.Forbidden, match=slipped_in):
        boot(cloud, volume)

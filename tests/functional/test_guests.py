# SPDX-License-Identifier: Apache-2.0
"""Real machines: QEMU guests by libvirt, and volumes by Cinder."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from typing import Any

from keystoneauth1 import adapter
import pytest

from tests import catalogue_rows
from tests.cloud import actions
from tests.cloud import cloud as clouds
from tests.cloud import waits
from tests import guest

LIMIT = 300


@pytest.fixture(scope='module')
def image_id(guests: clouds.Cloud, guest_rows: catalogue_rows.Rows) -> str:
    """The guest as an image."""
    glance = guests.glance('demo')
    guest_rows.endorse(guest.image())
    made = actions.stage_and_import(glance, 'guest', guest.image())
    assert actions.wait_for_import(guests, glance, made)
    return made


@contextlib.contextmanager
def _up(
    cloud: clouds.Cloud, image: str, **more: Any
) -> Iterator[tuple[Any, Any]]:
    """A server whose guest has said its line."""
    nova = cloud.nova('demo')
    flavor = nova.flavors.find(name=clouds.FLAVOR)
    server = nova.servers.create('guest', image, flavor, nics='none', **more)
    try:
        actions.wait_for_server(cloud, nova, server.id)
        waits.until(
            'the guest to say that it is up',
            lambda: guest.SAYS in nova.servers.get_console_output(server.id),
            LIMIT,
            log=cloud.log('nova-compute'),
        )
        yield nova, server
    finally:
        actions.delete_server(cloud, nova, server.id)


@pytest.mark.timeout(1800)
def test_guest_boots_from_its_image(
    guests: clouds.Cloud, image_id: str
) -> None:
    with _up(guests, image_id) as (nova, server):
        assert nova.servers.get(server.id).image['id'] == image_id


@pytest.mark.timeout(1800)
def test_guest_boots_from_a_volume_of_its_image(
    guests: clouds.Cloud, image_id: str
) -> None:
    volumes = adapter.Adapter(
        guests.session('demo'), service_type='block-storage'
    )
    made = volumes.post(
        '/volumes', json={'volume': {'size': 1, 'imageRef': image_id}}
    )
    path = f'/volumes/{made.json()["volume"]["id"]}'

    def status() -> Any:
        return volumes.get(path).json()['volume']['status']

    waits.until(
        'the volume to be made of the image',
        lambda: status() != 'creating' and status() != 'downloading',
        LIMIT,
        log=guests.log('cinder-volume'),
    )
    assert status() == 'available'
    root = [
        {
            'boot_index': 0,
            'uuid': path.rpartition('/')[2],
            'source_type': 'volume',
            'destination_type': 'volume',
        }
    ]
    with _up(guests, '', block_device_mapping_v2=root) as (nova, server):
        assert not nova.servers.get(server.id).image
    assert status() in ('available', 'detaching')

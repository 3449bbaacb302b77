# SPDX-License-Identifier: Apache-2.0
"""Snapshots of real machines inherit the word of what they were made of."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import io
import time
from typing import Any

from glanceclient import exc as glance_exc
from keystoneauth1 import adapter
from novaclient import exceptions as nova_exc
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import lineage
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from tests import catalogue_rows
from tests.cloud import actions
from tests.cloud import cloud as clouds
from tests.cloud import waits
from tests import guest

pytestmark = pytest.mark.timeout(2400)

LIMIT = 600
DATA = guest.image(mark='the parent of snapshots')


@dataclasses.dataclass
class Family:
    """An approved image, a server of it, and a snapshot of that."""

    cloud: clouds.Cloud
    rows: catalogue_rows.Rows
    image: str
    server: str
    snapshot: str

    @property
    def nova(self) -> Any:
        """Nova as a user sees it."""
        return self.cloud.nova('demo')

    def recorded(self, image_id: str) -> Any:
        """The record of an active image, and its hash in Glance."""
        actions.wait_for_image(
            self.cloud, self.cloud.glance('demo'), image_id, limit=LIMIT
        )
        # Glance is done a moment before we are.
        row = waits.until(
            f'image {image_id} to be recorded',
            lambda: self.rows.recorded(image_id),
            LIMIT,
            log=self.cloud.log('glance'),
        )
        image = self.cloud.glance().images.get(image_id)
        assert row.final_sha512 == image.os_hash_value
        assert row.final_size == image.size
        assert (row.sha512, row.size) == (
            catalogue_rows.sha512(DATA),
            len(DATA),
        )
        return row

    def readable(self, image_id: str) -> bool:
        """Whether Glance gives the image out to its user."""
        try:
            return bool(
                b''.join(self.cloud.glance('demo').images.data(image_id))
            )
        except glance_exc.HTTPForbidden:
            return False


@pytest.fixture(scope='module')
def family(
    guests: clouds.Cloud, guest_rows: catalogue_rows.Rows
) -> Iterator[Family]:
    """An approved image, a server of it, and a snapshot of that."""
    guest_rows.endorse(DATA)
    glance, nova = guests.glance(), guests.nova('demo')
    image = actions.stage_and_import(
        glance, 'parent', DATA, visibility='public'
    )
    assert actions.wait_for_import(guests, glance, image)
    server = actions.boot(nova, 'of the parent', image)
    actions.wait_for_server(guests, nova, server, limit=LIMIT)
    snapshot = nova.servers.create_image(server, 'a snapshot')
    yield Family(guests, guest_rows, image, server, snapshot)
    actions.delete_server(guests, nova, server)


def test_snapshot_of_an_approved_server_boots(family: Family) -> None:
    row = family.recorded(family.snapshot)
    assert (row.state, row.parent) == ('positive', family.image)
    nova = family.nova
    child = actions.boot(nova, 'of the snapshot', family.snapshot)
    actions.wait_for_server(family.cloud, nova, child, limit=LIMIT)
    # Nova names the first parent of a copy of a copy.
    again = family.recorded(nova.servers.create_image(child, 'of a copy'))
    assert (again.state, again.parent) == ('positive', family.image)
    _shelved_and_back(family, child)
    actions.delete_server(family.cloud, nova, child)


def _shelved_and_back(family: Family, server: str) -> None:
    nova = family.nova
    actions.shelve_server(family.cloud, nova, server, limit=LIMIT)
    (image,) = (
        image
        for image in family.cloud.glance('demo').images.list()
        if image['name'] == 'of the snapshot-shelved'
    )
    # Now it is the image that the server was booted from.
    assert family.recorded(image['id']).parent == family.snapshot
    nova.servers.unshelve(server)
    actions.wait_for_server(family.cloud, nova, server, limit=LIMIT)


def test_backup_of_an_approved_server_is_recorded(family: Family) -> None:
    family.nova.servers.backup(family.server, 'a back-up', 'daily', 1)
    image = waits.until(
        'Nova to make a back-up',
        lambda: [
            image['id']
            for image in family.cloud.glance('demo').images.list()
            if image['name'] == 'a back-up'
        ],
        LIMIT,
    )
    row = family.recorded(image[0])
    assert (row.state, row.parent) == ('positive', family.image)


def test_image_of_a_volume_is_nobodys_child(family: Family) -> None:
    """Cinder does not say which image a volume was made of."""
    cinder = adapter.Adapter(
        family.cloud.session('demo'), service_type='block-storage'
    )
    body = {'volume': {'size': 1, 'imageRef': family.image}}
    volume = cinder.post('/volumes', json=body).json()['volume']['id']

    def is_available() -> bool:
        shown = cinder.get(f'/volumes/{volume}').json()['volume']
        return bool(shown['status'] == 'available')

    log = family.cloud.log('cinder-volume')
    waits.until('the volume', is_available, LIMIT, log=log)
    upload = {'image_name': 'of a volume', 'disk_format': 'raw'}
    answer = cinder.post(
        f'/volumes/{volume}/action', json={'os-volume_upload_image': upload}
    )
    image = answer.json()['os-volume_upload_image']['image_id']
    waits.until('the upload', is_available, LIMIT, log=log)
    assert family.cloud.glance().images.get(image).status == 'active'
    assert family.rows.recorded(image) is None
    with pytest.raises(nova_exc.Forbidden, match='no-record'):
        actions.boot(family.nova, 'of an image of a volume', image)


class Requests:
    """What is sent to Glance with tokens of one's choice."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._glance = adapter.Adapter(
            family.cloud.session('demo'),
            service_type='image',
            raise_exc=False,
        )

    def send(
        self, method: str, path: str, service: str = '', **more: Any
    ) -> Any:
        """Send a request; ``service`` is whose service token it has."""
        headers = more.pop('headers', {})
        if service:
            project = 'demo' if service == 'demo' else 'service'
            session = self.family.cloud.session(service, project)
            headers = headers | {'X-Service-Token': session.get_token()}
        return self._glance.request(path, method, headers=headers, **more)

    def make(self, service: str = '', **more: Any) -> str:
        """An image that is said to be a snapshot."""
        said = {
            'name': 'said to be a snapshot',
            'disk_format': 'raw',
            'container_format': 'bare',
            'base_image_ref': self.family.image,
            'instance_uuid': self.family.server,
            'image_type': 'snapshot',
        }
        answer = self.send('POST', '/v2/images', service, json=said, **more)
        return str(answer.json()['id']) if answer.status_code == 201 else ''

    def fill(self, image: str, service: str = '', **more: Any) -> int:
        """Put data into it; the status of the answer."""
        headers = {'Content-Type': 'application/octet-stream'}
        headers |= more.pop('headers', {})
        answer = self.send(
            'PUT',
            f'/v2/images/{image}/file',
            service,
            data=io.BytesIO(DATA),
            headers=headers,
        )
        return int(answer.status_code)

    def noted(self, image: str) -> bool:
        """Whether it counts as made by Nova for a snapshot."""
        table = schema.lineage
        with self.family.rows.store.reading() as connection:
            return bool(
                connection.execute(
                    sa.select(table).where(table.c.image_id == image)
                ).first()
            )


@pytest.fixture
def requests(family: Family) -> Requests:
    """What is sent to Glance with tokens of one's choice."""
    return Requests(family)


def test_only_novas_own_service_token_makes_children(
    requests: Requests,
) -> None:
    image = requests.make('nova')
    assert requests.noted(image)
    assert requests.fill(image, 'nova') == 204
    assert requests.family.recorded(image).parent == requests.family.image


@pytest.mark.parametrize('who', ['headers', 'demo', 'cinder'])
def test_nobody_else_makes_children(requests: Requests, who: str) -> None:
    forged = {
        'X-Service-Roles': 'service',
        'X-Service-User-Name': 'nova',
        'X-Service-Identity-Status': 'Confirmed',
    }
    service = '' if who == 'headers' else who
    # A user is not even let name a parent, but another service is.
    image = requests.make(service, headers=forged)
    assert bool(image) is (who == 'cinder')
    assert not image or not requests.noted(image)
    # Nor does somebody else fill what Nova has made.
    novas = requests.make('nova')
    status = requests.fill(novas, service, headers=forged)
    assert status == (204 if who == 'cinder' else 403)
    assert requests.family.rows.recorded(novas) is None


def test_image_that_its_owner_changes_on_the_way_is_not_recorded(
    requests: Requests,
) -> None:
    image = requests.make('nova')
    change = [{'op': 'add', 'path': '/os_command_line', 'value': 'init=/x'}]
    patch = 'application/openstack-images-v2.1-json-patch'
    # With Nova's token, since ours may not by the property protections.
    answer = requests.send(
        'PATCH',
        f'/v2/images/{image}',
        'nova',
        json=change,
        headers={'Content-Type': patch},
    )
    assert answer.status_code == 200, answer.text
    assert requests.fill(image, 'nova') == 204
    assert requests.family.rows.recorded(image) is None


def _refused(family: Family, image_id: str) -> str:
    """Why Nova's API takes no server of an image; '' when it takes one."""
    try:
        server = actions.boot(family.nova, 'too late', image_id)
    except nova_exc.Forbidden as exc:
        return str(exc)
    actions.delete_server(family.cloud, family.nova, server)
    return ''


def test_withdrawal_of_the_parent_reaches_its_children(
    family: Family,
) -> None:
    rows, store = family.rows, family.rows.store
    family.recorded(family.snapshot)

    def becomes(parent: bool, child: bool) -> None:
        waits.until(
            f'parent and child to be readable: {parent}, {child}',
            lambda: (
                family.readable(family.image) is parent
                and family.readable(family.snapshot) is child
            ),
            LIMIT,
            log=family.cloud.log('glance'),
        )

    becomes(True, True)
    lineage.choose(store, model.Children.REFUSE, int(time.time()))
    becomes(True, False)
    lineage.choose(store, model.Children.KEEP, int(time.time()))
    rows.withdraw(DATA)
    becomes(False, True)
    settled = store.transact(lambda t: settle.records(t, int(time.time())))
    assert family.image in {one.image_id for one in settled}
    assert family.snapshot not in {one.image_id for one in settled}
    lineage.choose(store, model.Children.FOLLOW, int(time.time()))
    becomes(False, False)
    # Nova's memory is another one than Glance's.
    said = waits.until(
        'Nova to know of it, too',
        lambda: _refused(family, family.snapshot),
        LIMIT,
        log=family.cloud.log('nova-api'),
    )
    assert family.image in said
    settled = store.transact(lambda t: settle.records(t, int(time.time())))
    assert family.snapshot in {one.image_id for one in settled}
    # A snapshot that is made now is known for what it is.
    late = family.nova.servers.create_image(family.server, 'too late')
    assert family.recorded(late).state == 'withdrawn'

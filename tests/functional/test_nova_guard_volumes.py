# SPDX-License-Identifier: Apache-2.0
"""New servers boot from volumes of approved images, and from no others."""

from collections.abc import Callable
from collections.abc import Iterator
import json
from typing import Any
import uuid

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exc
import pytest

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import waits
from tests.functional import images as acts
from tests.functional import raw as novas

pytestmark = pytest.mark.timeout(1800)


class Volumes:
    """Volumes as one user has them; deleted afterwards."""

    def __init__(self, cloud: clouds.Cloud, user: str = 'demo') -> None:
        self._cloud = cloud
        self._cinder = adapter.Adapter(
            cloud.session(user), service_type='block-storage'
        )
        self._made: list[tuple[str, str]] = []

    def make(self, kind: str = 'volume', **values: Any) -> str:
        """A volume or snapshot that can be used; returns its id."""
        body = {kind: {'name': 'of a test', **values}}
        found = self._cinder.post(f'/{kind}s', json=body).json()[kind]
        path = f'/{kind}s/{found["id"]}'
        self._made.append((kind, found['id']))

        def rested() -> str | None:
            status = str(self._cinder.get(path).json()[kind]['status'])
            return status if status in ('available', 'error') else None

        status = waits.until(
            f'{kind} {found["id"]} to be at rest',
            rested,
            acts.LIMIT,
            log=self._cloud.log('cinder-volume'),
        )
        assert status == 'available'
        return str(found['id'])

    def act(self, volume: str, name: str, value: Any) -> None:
        """An action of a volume."""
        self._cinder.post(f'/volumes/{volume}/action', json={name: value})

    def delete(self) -> None:
        """Delete what was made, the newest first."""
        for kind, ident in reversed(self._made):
            path = f'/{kind}s/{ident}'
            self._cinder.delete(path)
            waits.until(
                f'{kind} {ident} to be gone',
                lambda path=path: self._gone(path),  # type: ignore[misc]
                acts.LIMIT,
            )

    def _gone(self, path: str) -> bool:
        try:
            self._cinder.get(path)
        except ks_exc.NotFound:
            return True
        return False


@pytest.fixture(scope='module')
def rows(guests: clouds.Cloud) -> Iterator[catalogue_rows.Rows]:
    """The catalogue of that cloud, with one list that tests fill."""
    one = catalogue_rows.Rows(guests.site.database(hepix.DATABASE))
    one.subscription('volumes')
    yield one
    one.close()


@pytest.fixture(scope='module')
def volumes(guests: clouds.Cloud) -> Iterator[Volumes]:
    one = Volumes(guests)
    yield one
    one.delete()


Image = tuple[str, bytes]


@pytest.fixture(scope='module')
def take_in(
    guests: clouds.Cloud, rows: catalogue_rows.Rows
) -> Callable[[], Image]:
    def taken() -> Image:
        data = acts.some_bytes(4096)
        rows.endorse(data, 'volumes')
        outcome = acts.Images(guests).imported(data)
        assert outcome.status == 'success', outcome.message
        return outcome.image['id'], data

    return taken


@pytest.fixture(scope='module')
def good(take_in: Callable[[], Image]) -> str:
    return take_in()[0]


@pytest.fixture(scope='module')
def of_good(volumes: Volumes, good: str) -> str:
    """A volume of an approved image."""
    return volumes.make(size=1, imageRef=good)


@pytest.fixture
def ask(guests: clouds.Cloud) -> Callable[..., novas.Answer]:
    """A boot from a volume, with a flavor that there is not.

    Nova looks for it when the request has passed the guard.
    """
    raw = novas.Raw(guests)

    def asked(kind: str, ident: str, image: str = '') -> novas.Answer:
        body = novas.a_server('from a volume', image, 'none')
        body['server']['block_device_mapping_v2'] = [
            {
                'source_type': kind,
                'uuid': ident,
                'destination_type': 'volume',
                'boot_index': 0,
                'volume_size': 1,
            }
        ]
        return raw.send('POST', '/v2.1/servers', body)

    return asked


Ask = Callable[..., novas.Answer]


def passed(answer: novas.Answer) -> bool:
    return answer.status == 400 and 'Flavor none' in answer.text


def test_a_volume_its_snapshot_and_its_clone_boot_as_their_image_may(
    rows: catalogue_rows.Rows,
    volumes: Volumes,
    take_in: Callable[[], Image],
    ask: Ask,
) -> None:
    image, data = take_in()
    volume = volumes.make(size=1, imageRef=image)
    snapshot = volumes.make('snapshot', volume_id=volume)
    clone = volumes.make(size=1, source_volid=volume)
    made = (
        ('image', image),
        ('volume', volume),
        ('volume', clone),
        ('snapshot', snapshot),
    )
    for kind, ident in made:
        answer = ask(kind, ident)
        assert passed(answer), answer
    rows.withdraw(data)
    waits.until(
        'Nova to know of the withdrawal',
        lambda: not passed(ask(*made[0])),
        acts.LIMIT,
    )
    for kind, ident in made:
        text = novas.refused(ask(kind, ident), 'withdrawn')
        assert image in text
        assert ident in text


def test_a_server_of_an_approved_volume_runs(
    guests: clouds.Cloud, of_good: str
) -> None:
    servers = acts.Servers(guests)
    server = servers.boot(
        None,
        block_device_mapping_v2=[
            {
                'source_type': 'volume',
                'uuid': of_good,
                'destination_type': 'volume',
                'boot_index': 0,
            }
        ],
    )
    try:
        assert server.status == 'ACTIVE', acts.fault(server)
    finally:
        servers.delete(server.id)


def test_what_cinder_does_not_say_is_unknown(
    volumes: Volumes, good: str, ask: Ask
) -> None:
    empty = volumes.make(size=1)
    volumes.act(empty, 'os-set_bootable', {'bootable': True})
    nowhere = str(uuid.uuid4())
    for kind, ident in (
        ('volume', empty),
        ('volume', nowhere),
        ('snapshot', nowhere),
    ):
        # An approved image beside it is no help.
        for image in ('', good):
            text = novas.refused(ask(kind, ident, image), 'volume-unknown')
            assert ident in text


def test_a_volume_of_another_project_is_unknown(
    guests: clouds.Cloud, of_good: str
) -> None:
    body = novas.a_server('from a volume', '', 'none')
    body['server']['block_device_mapping'] = [
        {'device_name': 'vda', 'volume_id': of_good}
    ]
    answer = novas.Raw(guests, 'other').send('POST', '/v2.1/servers', body)
    novas.refused(answer, 'volume-unknown')


def test_owners_cannot_say_what_a_volume_was_made_from(
    guests: clouds.Cloud, volumes: Volumes, good: str, ask: Ask
) -> None:
    forged = volumes.make(size=1)
    claim = {'metadata': {'image_id': good, 'size': '4096', 'min_disk': '0'}}
    with pytest.raises(ks_exc.Forbidden):
        volumes.act(forged, 'os-set_image_metadata', claim)
    with pytest.raises(ks_exc.Forbidden):
        volumes.act(forged, 'os-unset_image_metadata', {'key': 'image_id'})
    # Without the shipped policy that would do.
    admin = Volumes(guests, 'admin')
    admin.act(forged, 'os-set_image_metadata', claim)
    admin.act(forged, 'os-set_bootable', {'bootable': True})
    answer = ask('volume', forged)
    assert passed(answer), answer
    for name, value, code in (
        ('kernel_id', str(uuid.uuid4()), 'image-changed'),
        ('size', '4097', 'image-changed'),
        ('image_id', str(uuid.uuid4()), 'no-record'),
    ):
        claim['metadata'][name] = value
        admin.act(forged, 'os-set_image_metadata', claim)
        assert forged in novas.refused(ask('volume', forged), code)
        del claim['metadata'][name]


def test_cinder_that_is_away_is_no_way_around(
    guests: clouds.Cloud, of_good: str, good: str, ask: Ask
) -> None:
    guests.stop('cinder-api')
    try:
        text = novas.refused(ask('volume', of_good), 'volume-unknown')
        assert 'Cinder cannot be asked' in text
        # What needs no Cinder goes on.
        answer = ask('image', good)
        assert answer.status != 403, answer
    finally:
        guests.restart('cinder-api')
    answer = ask('volume', of_good)
    assert passed(answer), answer
    assert json.loads(answer.text)['badRequest']['code'] == 400

# SPDX-License-Identifier: Apache-2.0
"""What depends on a withdrawn image, asked of real services.

One image, and of it a server, a copy of that server, a volume, a snapshot of
the volume, a volume of the snapshot, and a server that runs from that.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import datetime
import json
from pathlib import Path
import time
from typing import Any
import uuid

from glanceclient import exc as glance_exc
from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exc
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import withdrawal
from hepix_vm.cli import main
from hepix_vm import errors
from hepix_vm.nova import volumes as volumes_
from hepix_vm.operations import following
from hepix_vm.operations import site as site_
from hepix_vm.operations import withdrawing
from tests import catalogue_rows
from tests.cloud import actions
from tests.cloud import cloud as clouds
from tests.cloud import configuration
from tests.cloud import hepix
from tests.cloud import waits
from tests import guest
from tests.unit.cli import commands

pytestmark = pytest.mark.timeout(2400)

LIMIT = 300
DATA = guest.image(mark='to be withdrawn')
DAY = 86400


class Disks:
    """Cinder as a user of it."""

    def __init__(self, cloud: clouds.Cloud) -> None:
        self._cloud = cloud
        self._client = adapter.Adapter(
            cloud.session('demo'), service_type='block-storage'
        )

    def make(self, kind: str, **values: Any) -> str:
        """A volume or snapshot, once it can be used."""
        body = self._client.post(f'/{kind}s', json={kind: values}).json()
        made = str(body[kind]['id'])
        waits.until(
            f'{kind} {made} to be available',
            lambda: self._status(kind, made) == 'available',
            LIMIT,
            log=self._cloud.log('cinder-volume'),
        )
        return made

    def pretend(self, volume: str, image: str) -> None:
        """Say of a volume that it was made of another image.

        Any owner may where Cinder has its own policy, an administrator where
        it has ours.
        """
        metadata = {'metadata': {'image_id': image}}
        admin = adapter.Adapter(
            self._cloud.session(), service_type='block-storage'
        )
        admin.post(
            f'/volumes/{volume}/action',
            json={'os-set_image_metadata': metadata},
        )

    def delete(self, kind: str, name: str) -> None:
        """Delete it and wait until it is gone."""
        waits.until(
            f'{kind} {name} to be free',
            lambda: self._status(kind, name) in ('available', 'error'),
            LIMIT,
            log=self._cloud.log('cinder-volume'),
        )
        self._client.delete(f'/{kind}s/{name}')
        waits.until(
            f'{kind} {name} to be gone',
            lambda: self._status(kind, name) is None,
            LIMIT,
            log=self._cloud.log('cinder-volume'),
        )

    def _status(self, kind: str, name: str) -> str | None:
        try:
            body = self._client.get(f'/{kind}s/{name}').json()
        except ks_exc.NotFound:
            return None
        return str(body[kind]['status'])


@dataclasses.dataclass
class Made:
    """Everything that was made of one image."""

    image: str
    server: str = ''
    copy: str = ''
    volume: str = ''
    snapshot: str = ''
    second: str = ''
    from_volume: str = ''


@pytest.fixture(scope='module')
def disks(guests: clouds.Cloud) -> Disks:
    """Cinder as a user of it."""
    return Disks(guests)


@pytest.fixture(scope='module')
def made(
    guests: clouds.Cloud, guest_rows: catalogue_rows.Rows, disks: Disks
) -> Iterator[Made]:
    """A public image of the site, and what a user made of it."""
    guest_rows.endorse(DATA)
    glance, nova = guests.glance(), guests.nova('demo')
    image = actions.stage_and_import(
        glance, 'worker', DATA, visibility='public'
    )
    assert actions.wait_for_import(guests, glance, image)
    found = Made(image)
    found.server = actions.boot(nova, 'from the image', image)
    found.volume = disks.make('volume', size=1, imageRef=image)
    found.snapshot = disks.make('snapshot', volume_id=found.volume)
    found.second = disks.make('volume', size=1, snapshot_id=found.snapshot)
    found.from_volume = nova.servers.create(
        'from the volume',
        '',
        nova.flavors.find(name=clouds.FLAVOR),
        nics='none',
        block_device_mapping_v2=[
            {
                'boot_index': index,
                'uuid': uuid,
                'source_type': 'volume',
                'destination_type': 'volume',
            }
            for index, uuid in ((0, found.second), (-1, found.volume))
        ],
    ).id
    for server in (found.server, found.from_volume):
        actions.wait_for_server(guests, nova, server)
    found.copy = nova.servers.create_image(found.server, 'a copy')
    actions.wait_for_image(guests, guests.glance('demo'), found.copy)
    yield found
    left = {server.id for server in nova.servers.list()}
    for server in left & {found.server, found.from_volume}:
        actions.delete_server(guests, nova, server)


@pytest.fixture
def rows(
    tmp_path: Path, guests: clouds.Cloud, made: Made
) -> Iterator[catalogue_rows.Rows]:
    """A catalogue in which the image is endorsed, recorded and ours.

    Not that of the cloud's own services, where it stays approved.
    """
    shown = guests.glance().images.get(made.image)
    created = datetime.datetime.fromisoformat(shown.created_at)
    one = catalogue_rows.Rows(f'sqlite:///{tmp_path / "catalogue"}')
    one.subscription('trusted')
    identifier = one.endorse(DATA)
    one.record(made.image, DATA, created_at=int(created.timestamp()))
    with one.store.writing() as transaction:
        transaction.put(
            schema.publication,
            {'image_id': made.image},
            {
                'subscription': 'trusted',
                'identifier': identifier,
                'version': '1.0',
                'sha512': catalogue_rows.sha512(DATA),
                'state': 'active',
                'at': int(time.time()),
            },
        )
    yield one
    one.close()


class Site:
    """A site that publishes into the cloud."""

    def __init__(self, cloud: clouds.Cloud, rows: catalogue_rows.Rows) -> None:
        self.cloud = cloud
        self.rows = rows
        self.value = site_.Site(
            catalogue=rows.store,
            subscriptions={},
            fetch=fetch.FetchSettings(),
            cloud=site_.Cloud(session=cloud.session, interface='public'),
            withdrawal=withdrawal.Settings(withdrawal.Action.DELETE, DAY),
        )

    def follow(self, later: int = 0) -> following.Followed:
        """Have the cloud follow, some seconds from now."""
        now = int(time.time()) + later
        found = following.follow_all(self.value, self.rows.store, now)
        return found['default']


@pytest.fixture
def site(guests: clouds.Cloud, rows: catalogue_rows.Rows) -> Site:
    """A site that publishes into the cloud."""
    return Site(guests, rows)


def by_id(looked: withdrawing.Looked) -> dict[str, tuple[str, int]]:
    """Relation and number of steps between, by server."""
    return {
        one.server.server_id: (one.relation.value, len(one.link.through))
        for one in looked.affected.servers
    }


def test_dry_run_of_a_block_names_all_and_warns_host_by_host(
    site: Site, made: Made, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / 'hepix_vm.conf'
    account = hepix.sections(
        site.rows.connection, tmp_path, site.cloud.environment()
    )
    path.write_text(configuration.render(account))
    path.chmod(0o600)
    ran = commands.run(
        main.main,
        [
            *('--config-file', path, 'image', 'block', made.image),
            *('--dry-run', '-f', 'json'),
        ],
        capsys,
    )
    assert ran.status == 0, ran.err
    kinds = {row['id']: row['kind'] for row in ran.json}
    assert kinds.pop(next(i for i in kinds if kinds[i] == 'endorsement'))
    assert kinds == {
        made.image: 'image',
        made.server: 'server',
        made.from_volume: 'server',
        made.volume: 'volume',
        made.second: 'volume',
        made.snapshot: 'snapshot',
        made.copy: 'copy',
    }
    (row,) = [row for row in ran.json if row['id'] == made.server]
    assert row['project_name'] == 'demo'
    assert row['age'] >= 0
    (warning,) = [line for line in ran.err.splitlines() if 'resize' in line]
    assert warning.startswith(f'host {row["host"]}: server {made.server} ')
    assert made.from_volume not in warning
    # Nothing was changed.
    assert site.cloud.glance().images.get(made.image).status == 'active'
    assert site.follow() == following.Followed()


def test_user_who_sees_one_project_learns_nothing_wrong(
    guests: clouds.Cloud, made: Made
) -> None:
    demo = volumes_.Volumes(guests.session('demo'), None, 'public')
    with pytest.raises(errors.Misconfigured, match='of all projects'):
        demo.volumes()
    image = guests.glance().images.get(made.image)
    assert image
    used = withdrawing.in_use(
        guests.session('demo'), None, 'public', {'no such image'}, ()
    )
    assert used == {'no such image'}


def test_withdrawn_image_is_hidden_reported_and_deleted_in_the_end(
    site: Site, made: Made, disks: Disks
) -> None:
    cloud, rows = site.cloud, site.rows
    glance, nova = cloud.glance(), cloud.nova('demo')
    rows.withdraw(DATA)
    now = int(time.time())
    rows.store.transact(lambda t: settle.records(t, now))

    user = cloud.glance('demo')
    deletes = site.value
    site.value = dataclasses.replace(deletes, withdrawal=withdrawal.Settings())
    followed = site.follow()
    assert (followed.problems, followed.reactivated) == ((), ())
    assert [one.error for one in followed.deactivated] == ['']
    assert followed.removed == ()
    # Deactivated it is for administrators, to whom Glance's own catalogue
    # still approves it.
    assert b''.join(glance.images.data(made.image)) == DATA
    with pytest.raises(glance_exc.HTTPForbidden):
        user.images.data(made.image)

    site.value = deletes
    followed = site.follow()
    assert [(one.fate.value, one.error) for one in followed.removed] == [
        ('hidden', '')
    ]
    shown = glance.images.get(made.image)
    assert (shown.status, shown.visibility, shown.os_hidden) == (
        'deactivated',
        'private',
        True,
    )
    # Nova then takes the base from the host that a server leaves.
    with pytest.raises(glance_exc.HTTPNotFound):
        user.images.data(made.image)
    assert by_id(followed.looked) == {
        made.server: ('image', 0),
        # Cinder has copied the image metadata of the first volume.
        made.from_volume: ('volume', 1),
    }
    affected = followed.looked.affected
    assert {one.volume.volume_id for one in affected.volumes} == {
        made.volume,
        made.second,
    }
    assert [one.snapshot.snapshot_id for one in affected.snapshots] == [
        made.snapshot
    ]
    assert [one.copy.image_id for one in affected.copies] == [made.copy]
    assert set(followed.looked.names.values()) == {'demo'}
    for one in affected.servers:
        assert one.server.host
        assert one.server.age(now + LIMIT)

    # Something else can be written there; the way is told then.
    disks.pretend(made.second, str(uuid.uuid4()))
    (found,) = [
        one
        for one in site.follow().looked.affected.servers
        if one.server.server_id == made.from_volume
    ]
    assert found.link.through == (
        f'volume {made.volume}',
        f'snapshot {made.snapshot}',
        f'volume {made.second}',
    )

    # In use, it stays whatever the retention is.
    assert site.follow(2 * DAY).removed == ()

    actions.shelve_server(cloud, nova, made.server)
    later = site.follow(2 * DAY)
    shelved = [
        one for one in later.looked.affected.servers if not one.server.host
    ]
    assert [one.server.server_id for one in shelved] == [made.server]
    assert 'none (shelved)' in withdrawing.sentence(shelved[0], {})
    # Nova's own copy of the shelved server is one more.
    assert len(later.looked.affected.copies) == 2

    glance.images.reactivate(made.image)
    assert [one.image_id for one in site.follow().deactivated] == [made.image]

    for server in (made.server, made.from_volume):
        actions.delete_server(cloud, nova, server)
    disks.delete('volume', made.second)
    disks.delete('snapshot', made.snapshot)
    assert site.follow(2 * DAY).removed == ()
    disks.delete('volume', made.volume)
    for copy in later.looked.affected.copies:
        try:
            cloud.glance('demo').images.delete(copy.copy.image_id)
        except glance_exc.HTTPNotFound:
            # Nova deletes its own with the server.
            continue
    assert [
        (one.fate.value, one.error) for one in site.follow(2 * DAY).removed
    ] == [('deleted', '')]
    with pytest.raises(glance_exc.HTTPNotFound):
        glance.images.get(made.image)
    assert told(rows) == [
        ('image.withdrawn', 0),
        ('servers.on-withdrawn', 2),
        ('servers.on-withdrawn', 0),
        ('image.deleted', 0),
    ]


def told(rows: catalogue_rows.Rows) -> list[tuple[str, int]]:
    """Kinds of notices in order, with how many servers each is about."""
    table = schema.notice
    with rows.store.reading() as connection:
        return [
            (row.kind, json.loads(row.payload).get('count', 0))
            for row in connection.execute(
                sa.select(table).order_by(table.c.id)
            )
        ]

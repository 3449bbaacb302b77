# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of the cloud: publishing, syncing, servers."""

from __future__ import annotations

from collections.abc import Iterator
import json

import pytest

from hepix_vm.catalogue import records
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.nova import projects
from hepix_vm.nova import servers
from hepix_vm.nova import volumes
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers as image_servers
from tests.unit.cli import commands
from tests.unit.operations import glances

RAW = b'\x00' * 512 + b'a disk' * 100
OTHER = RAW + b'other'


class Nova:
    """A Nova with these servers, behind our own client's interface."""

    def __init__(self) -> None:
        self.running: list[tuple[str, str | None]] = []
        self.broken: errors.HepixError | None = None

    def servers(self) -> Iterator[servers.Server]:
        if self.broken is not None:
            raise self.broken
        for name, image_id in self.running:
            yield servers.Server(
                f'id of {name}',
                name,
                'a project',
                'a host',
                'ACTIVE',
                '2026-01-01T00:00:00Z',
                image_id,
            )


class Cloud:
    """A site with an account, two images on a server, and a command."""

    def __init__(self, site, server, capsys) -> None:
        self.site = site
        self.glance = glances.Glance(records.Records(site.database))
        self.nova = Nova()
        self.entries = [
            endorser.make_image(
                data, server.tell(path, image_servers.answer(data))
            )
            for path, data in (('/one', RAW), ('/two', OTHER))
        ]
        self._commands = commands.Commands(site, capsys)
        self._version = 0

    def endorse(self, *entries) -> None:
        """Publish a new list of these images."""
        self._version += 1
        self.site.publish('main', str(self._version), *entries)

    def __call__(self, *arguments: object) -> commands.Ran:
        """Run a command with an account of the cloud."""
        path = self.site.folder / 'cloud.conf'
        commands.write_configuration(self.site, path)
        with path.open('a') as file:
            file.write(
                f'[fetch]\nspool_directory = {self.site.folder / "spool"}\n'
                '[openstack]\nauth_type = none\nendpoint = http://c.test\n'
            )
        return self._commands.bare('--config-file', path, *arguments)


@pytest.fixture
def cloud(tmp_path, capsys, monkeypatch) -> Iterator[Cloud]:
    site = following.Site(tmp_path)
    site.follow()
    with image_servers.running() as server:
        made = Cloud(site, server, capsys)
        monkeypatch.setattr(client, 'Glance', lambda *_: made.glance)
        monkeypatch.setattr(servers, 'Nova', lambda *_: made.nova)
        monkeypatch.setattr(volumes.Volumes, 'volumes', lambda _: ())
        monkeypatch.setattr(volumes.Volumes, 'snapshots', lambda _: ())
        monkeypatch.setattr(projects, 'names', lambda *_: {})
        yield made
    site.close()


@pytest.fixture
def published(cloud) -> Cloud:
    """Both images are in Glance, a server runs from each."""
    cloud.endorse(*cloud.entries)
    cloud('sync')
    ran = cloud('publish', '-f', 'json')
    assert ran.status == 0, ran.err
    ids = {row['identifier']: row['image_id'] for row in ran.json}
    cloud.ids = [ids[entry.identifier] for entry in cloud.entries]
    cloud.nova.running = [
        ('first', cloud.ids[0]),
        ('second', cloud.ids[1]),
        ('from volume', None),
    ]
    return cloud


def test_publish_tells_each_image(cloud):
    cloud.endorse(*cloud.entries)
    cloud('sync')
    ran = cloud('publish', '-f', 'json')
    assert ran.status == 0
    assert [row['outcome'] for row in ran.json] == ['published', 'published']
    assert set(ran.json[0]) == {
        'identifier',
        'version',
        'title',
        'outcome',
        'image_id',
        'cloud',
        'detail',
    }
    # There is no terminal here: plain lines, on standard error.
    assert 'a test image: download' in ran.err
    assert '\r' not in ran.err
    again = cloud('publish', '-f', 'json')
    assert again.status == 0
    assert [row['outcome'] for row in again.json] == ['present', 'present']


def test_publish_of_named_images(cloud):
    cloud.endorse(*cloud.entries)
    cloud('sync')
    chosen = cloud.entries[1].identifier
    ran = cloud('publish', chosen.upper(), '-f', 'json')
    assert [row['identifier'] for row in ran.json] == [chosen]
    ran = cloud('publish', 'no-such-image')
    assert ran.status == 2
    assert 'hepix-vm image explain' in ran.err


def test_publish_that_fails_has_its_status_and_the_sentence(cloud):
    cloud.endorse(*cloud.entries)
    cloud('sync')
    cloud.glance.refusing = 'image x is refused (blocked)'
    ran = cloud('publish', '-f', 'json')
    assert ran.status == 1
    assert {row['outcome'] for row in ran.json} == {'failed'}
    assert ran.json[0]['detail'] == 'image x is refused (blocked)'


def test_sync_deactivates_and_reports_who_still_runs(published):
    published.endorse(published.entries[1])
    ran = published('sync', '-f', 'json')
    assert ran.status == 0
    assert ran.json[0]['withdrawn'] == 1
    gone, kept = published.ids
    assert published.glance.statuses == {gone: 'deactivated', kept: 'active'}
    assert f'verdict=deactivated image={gone} code=withdrawn' in ran.err
    assert 'id of first' in ran.err
    assert 'a project' in ran.err
    assert 'id of second' not in ran.err
    assert 'from volume' not in ran.err


def test_next_sync_reports_the_server_again_and_heals_the_image(published):
    published.endorse(published.entries[1])
    published('sync')
    published.glance.statuses[published.ids[0]] = 'active'
    ran = published('sync', '-f', 'json')
    assert ran.json[0]['outcome'] == 'unchanged'
    assert published.glance.statuses[published.ids[0]] == 'deactivated'
    assert 'id of first' in ran.err


def test_image_that_is_not_deactivated_fails_the_sync(published):
    published.endorse(published.entries[1])
    published.glance.broken['deactivate'] = errors.TryAgain('Glance is busy')
    ran = published('sync', '-f', 'json')
    assert ran.status == 1
    assert f'verdict=failed image={published.ids[0]}' in ran.err
    assert 'Glance is busy' in ran.err
    assert published.site.image_state(published.ids[0]).startswith('withdrawn')


def test_nova_that_is_away_fails_the_sync_after_the_deactivation(published):
    published.endorse(published.entries[1])
    published.nova.broken = errors.TryAgain('Nova is away')
    ran = published('sync', '-f', 'json')
    assert ran.status == 1
    assert 'Nova is away' in ran.err
    assert published.glance.statuses[published.ids[0]] == 'deactivated'


def test_block_acts_at_the_next_sync(published):
    ran = published('image', 'block', published.ids[0])
    assert ran.status == 0
    published('sync')
    assert published.glance.statuses[published.ids[0]] == 'deactivated'


def test_image_that_runs_anyway_returns_with_the_next_sync(published):
    gone, kept = published.ids
    published.endorse(published.entries[1])
    published('sync')
    until = published.site.now + 3600
    ran = published(
        'image',
        'run-anyway',
        gone,
        '--until',
        until,
        '--reason',
        'a test',
        '-f',
        'json',
    )
    assert ran.status == 0, ran.err
    assert ran.json['restored'] == [gone]
    ran = published('sync', '-f', 'json')
    assert ran.status == 0
    assert f'verdict=reactivated image={gone} code=run-anyway' in ran.err
    assert 'id of first' not in ran.err
    assert published.glance.statuses == {gone: 'active', kept: 'active'}
    ran = published('image', 'run-anyway', gone, '--end', '-f', 'json')
    assert ran.json['withdrawn'] == [gone]
    published('sync')
    assert published.glance.statuses[gone] == 'deactivated'


def test_image_that_is_not_reactivated_fails_the_sync(published):
    gone = published.ids[0]
    published.endorse(published.entries[1])
    published('sync')
    published(
        'image',
        'run-anyway',
        gone,
        '--until',
        published.site.now + 3600,
        '--reason',
        'a test',
    )
    published.glance.broken['reactivate'] = errors.TryAgain('Glance is busy')
    ran = published('sync')
    assert ran.status == 1
    assert f'verdict=failed image={gone}' in ran.err
    published.glance.broken.clear()
    assert published('sync').status == 0
    assert published.glance.statuses[gone] == 'active'


def test_servers_whose_image_would_not_boot_today(published):
    ran = published('server', 'list', '--not-approved', '-f', 'json')
    assert ran.status == 0
    assert [(r['name'], r['code']) for r in ran.json] == [
        ('from volume', 'no-image')
    ]
    published('image', 'block', published.ids[0])
    rows = published('server', 'list', '--not-approved', '-f', 'json').json
    (row,) = [row for row in rows if row['name'] == 'first']
    assert row == {
        'server': 'id of first',
        'name': 'first',
        'project': 'a project',
        'host': 'a host',
        'status': 'ACTIVE',
        'created': '2026-01-01T00:00:00Z',
        'image': published.ids[0],
        'code': 'blocked',
        'detail': row['detail'],
    }
    assert 'blocked the image' in json.dumps(row['detail'])


def test_nova_that_is_away_is_one_sentence(published):
    published.nova.broken = errors.TryAgain('Nova is away')
    ran = published('server', 'list', '--not-approved')
    assert ran.status == 1
    assert ran.err.strip() == 'Nova is away'

# SPDX-License-Identifier: Apache-2.0
"""What blocking an image would hit and break, before it is done."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import schema
from hepix_vm.cli import dependents
from hepix_vm import errors
from hepix_vm.nova import descent
from hepix_vm.nova import volumes
from hepix_vm.operations import foreseeing
from hepix_vm.operations import withdrawing
from tests.unit.cli import commands
from tests.unit.operations import one_cloud as one_cloud_

server = one_cloud_.server


class Site:
    """Two images in a cloud, servers on hosts, and a command."""

    def __init__(self, cloud: one_cloud_.Clouds, capsys: Any) -> None:
        self.cloud = cloud
        self.image = cloud.image()
        self.other = cloud.image(one_cloud_.OTHER)
        cloud.glance.statuses['a copy'] = 'active'
        cloud.glance.bodies['a copy'] = {'base_image_ref': self.image}
        cloud.servers = (
            server('one', self.image, host='beta'),
            server('two', self.image, host='alpha'),
            server('three', self.image, host='beta'),
            server('four', self.image, host=None, status='SHELVED_OFFLOADED'),
            server('five', 'a copy'),
            server('six', self.other, host='beta'),
            server('seven', self.image, host=None, status='BUILD'),
            server('eight', None, root_device='/dev/vda', volumes=('v',)),
        )
        cloud.volumes = (
            volumes.Volume(
                'v',
                'root',
                'a project',
                'in-use',
                True,
                self.image,
                devices={'eight': '/dev/vda'},
            ),
        )
        cloud.snapshots = (
            volumes.Snapshot('s', 'nightly', 'a project', 'available', 'v'),
        )
        self._commands = commands.Commands(cloud.made, capsys)

    def __call__(self, *arguments: object) -> commands.Ran:
        """Run a command with an account of the cloud."""
        path = self.cloud.made.folder / 'cloud.conf'
        commands.write_configuration(self.cloud.made, path)
        with path.open('a') as file:
            file.write(
                '[openstack]\nauth_type = none\nendpoint = http://c.test\n'
            )
        return self._commands.bare('--config-file', path, *arguments)

    def everything(self) -> dict[str, list[Any]]:
        """All rows of the catalogue."""
        return {
            name: self.cloud.made.rows(sa.select(table))
            for name, table in schema.metadata.tables.items()
        }


@pytest.fixture
def site(one_cloud, capsys) -> Site:
    return Site(one_cloud, capsys)


def test_dry_run_shows_everything_and_changes_nothing(site):
    before = site.everything()
    ran = site('image', 'block', site.image, '--dry-run', '-f', 'json')
    assert ran.status == 0, ran.err
    assert site.everything() == before
    assert site.cloud.glance.statuses[site.image] == 'active'
    shown = [(row['kind'], row['id']) for row in ran.json]
    # By host, then by age and id; those on no host last.
    assert shown == [
        ('endorsement', site.cloud.entry().identifier),
        ('image', site.image),
        ('server', 'eight'),
        ('server', 'five'),
        ('server', 'two'),
        ('server', 'one'),
        ('server', 'three'),
        ('server', 'four'),
        ('volume', 'v'),
        ('snapshot', 's'),
        ('copy', 'a copy'),
    ]
    (image,) = [row for row in ran.json if row['kind'] == 'image']
    assert image['code'] == 'blocked'


def test_dry_run_tells_who_where_and_how_old(site):
    ran = site('image', 'block', site.image, '--dry-run', '-f', 'json')
    rows = {row['id']: row for row in ran.json}
    one = rows['one']
    assert one['age'] > 0
    assert (one['project'], one['project_name']) == ('a project', 'atlas')
    assert (one['host'], one['status'], one['relation']) == (
        'beta',
        'ACTIVE',
        'image',
    )
    assert (one['image'], one['code']) == (site.image, 'blocked')
    assert rows['eight']['relation'] == 'volume'
    assert rows['eight']['detail'] == 'by volume v'
    assert rows['s']['detail'] == 'by volume v, by snapshot s'
    assert rows['five']['relation'] == 'copy'


def test_people_read_days(site):
    ran = site('image', 'block', site.image, '--dry-run')
    assert ' d ' in ran.out


def test_hosts_and_what_breaks_there_are_warned_of_by_name(site):
    ran = site('image', 'block', site.image, '--dry-run')
    warned = [line for line in ran.err.splitlines() if line]
    assert [line.split(' could')[0] for line in warned] == [
        'host alpha: server two',
        'host beta: servers one, three',
        'shelved server four',
        'server five, made of a snapshot,',
        '1 volumes stay as they are, and so do servers that run from them; '
        'no further volume can be made of the image itself',
    ]
    assert 'a resize, migration or evacuation to a host' in warned[0]
    assert 'rescue works only from a cached copy' in warned[0]


@pytest.mark.parametrize('by', ['identifier', 'content', 'image'])
def test_block_is_foreseen_by_each_name(site, by):
    entry = site.cloud.entry()
    named = {
        'identifier': entry.identifier.upper(),
        'content': entry.sha512,
        'image': site.image,
    }[by]
    found = foreseeing.block(site.cloud.site, site.cloud.made.now, named)
    assert [one.image_id for one in found.withdrawals] == [site.image]
    assert found.target in (entry.identifier, entry.sha512)


def test_image_of_no_name_is_wrong_use(site):
    ran = site('image', 'block', 'typo', '--dry-run')
    assert ran.status == 2
    assert 'expected an image identifier' in ran.err


def test_what_ends_anyway_is_not_the_blocks_doing(site):
    content = site.cloud.entry(one_cloud_.OTHER).sha512
    with site.cloud.made.database.writing() as transaction:
        transaction.execute(
            schema.endorsement.update()
            .where(schema.endorsement.c.sha512 == content)
            .values(withdrawn=True)
        )
    found = foreseeing.block(site.cloud.site, site.cloud.made.now, site.image)
    assert [one.image_id for one in found.withdrawals] == [site.image]


@pytest.mark.parametrize('service', ['servers', 'volumes', 'snapshots'])
def test_what_cannot_be_found_out_is_said(site, service):
    site.cloud.away[service] = errors.TryAgain(f'{service} are away')
    ran = site('image', 'block', site.image, '--dry-run', '-f', 'json')
    assert ran.status == 1
    assert f'is not known: {service} are away' in ran.err
    assert ('image', site.image) in {
        (row['kind'], row['id']) for row in ran.json
    }


def test_glance_that_is_away_is_said(site):
    site.cloud.glance.broken['images'] = errors.TryAgain('Glance is away')
    ran = site('image', 'block', site.image, '--dry-run', '-f', 'json')
    assert ran.status == 1
    assert 'is not known: Glance is away' in ran.err
    assert {row['kind'] for row in ran.json} == {'endorsement', 'image'}


def test_image_that_no_cloud_has_asks_nobody(site):
    content = site.cloud.made.images()[0]
    site.cloud.made.database.transact(
        lambda t: t.execute(schema.glance_record.delete())
    )
    ran = site('image', 'block', content.sha512, '--dry-run', '-f', 'json')
    assert ran.status == 0
    assert [row['kind'] for row in ran.json] == ['endorsement']
    assert site.cloud.asked == []


# server list --withdrawn, and what sync says


def test_all_that_was_made_of_withdrawn_images_is_listed(site):
    assert site('server', 'list', '--withdrawn', '-f', 'json').json == []
    site('image', 'block', site.image)
    ran = site('server', 'list', '--withdrawn', '-f', 'json')
    assert ran.status == 0, ran.err
    shown = {(row['kind'], row['id']) for row in ran.json}
    assert shown == {
        *(('server', one) for one in ('one', 'two', 'three', 'four')),
        *(('server', one) for one in ('five', 'eight')),
        ('volume', 'v'),
        ('snapshot', 's'),
        ('copy', 'a copy'),
    }
    assert {row['cloud'] for row in ran.json} == {'default'}
    site.cloud.away['servers'] = errors.TryAgain('Nova is away')
    ran = site('server', 'list', '--withdrawn', '-f', 'json')
    assert ran.status == 1
    assert 'Nova is away' in ran.err
    assert ('volume', 'v') in {(row['kind'], row['id']) for row in ran.json}


def test_one_of_the_two_lists_has_to_be_asked_for(site):
    for options in ((), ('--withdrawn', '--not-approved')):
        assert site('server', 'list', *options).status == 2


def test_sync_says_who_runs_and_since_when(site):
    site('image', 'block', site.image)
    ran = site('sync')
    assert ran.status == 0, ran.err
    lines = [line for line in ran.err.splitlines() if 'server one' in line]
    assert lines[0].startswith(
        'server one (name of one) of project a project (atlas) on host beta '
        f'still runs withdrawn image {site.image} (blocked), created '
    )
    assert lines[0].endswith(' d ago')
    assert (
        '1 volumes, 1 snapshots and 1 images were made of withdrawn images'
        in ran.err
    )
    assert 'server seven' not in ran.err


@pytest.mark.parametrize(
    ('seconds', 'said'),
    [
        (None, ''),
        (0, '0 s'),
        (119, '119 s'),
        (120, '2 min'),
        (7199, '119 min'),
        (7200, '2 h'),
        (172799, '47 h'),
        (172800, '2 d'),
        (400 * 86400, '400 d'),
    ],
)
def test_ages_as_people_say_them(seconds, said):
    assert dependents.age(seconds) == said
    assert dependents.Age(seconds).machine_readable() == seconds


def test_many_servers_of_a_host_are_counted():
    running = tuple(
        descent.Running(
            server(f'{number:03}', 'image'),
            descent.Link('image', 'blocked'),
            descent.Relation.IMAGE,
        )
        for number in range(30)
    )
    looked = withdrawing.Looked(descent.Affected(servers=running))
    (line,) = foreseeing.warnings(looked)
    assert '019 and 10 more could' in line

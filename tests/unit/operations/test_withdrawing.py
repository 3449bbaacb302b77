# SPDX-License-Identifier: Apache-2.0
"""Clouds do as the catalogue says, and say what still depends on an image."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hepix_vm.catalogue import schema
from hepix_vm.catalogue import withdrawal
from hepix_vm.catalogue import withdrawn_use
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.nova import volumes
from hepix_vm.operations import following as following_
from hepix_vm.operations import images
from hepix_vm.operations import site as site_
from hepix_vm.operations import withdrawing
from tests import endorser
from tests.unit.operations import one_cloud as one_cloud_

DATA, OTHER = one_cloud_.DATA, one_cloud_.OTHER
server = one_cloud_.server
DAY = 86400
ACTION = withdrawal.Action


@pytest.fixture
def cloud(one_cloud: one_cloud_.Clouds) -> one_cloud_.Clouds:
    """A cloud with the list's images to come."""
    return one_cloud


# What becomes of images


def test_without_an_account_nothing_is_done(cloud):
    image_id = cloud.image()
    cloud.withdraw()
    found = following_.follow(
        cloud.made.database,
        'default',
        site_.Cloud(session=lambda: None),
        cloud.settings,
        cloud.made.now,
    )
    assert found == following_.Followed()
    assert cloud.glance.statuses[image_id] == 'active'


def test_account_that_cannot_log_in_is_a_problem(cloud):
    cloud.image()
    cloud.withdraw()

    def broken() -> Any:
        raise errors.Misconfigured('group [openstack]: no such auth_type')

    found = following_.follow(
        cloud.made.database,
        'default',
        site_.Cloud(session=broken),
        cloud.settings,
        cloud.made.now,
    )
    assert found.problems == ('group [openstack]: no such auth_type',)


def test_while_nothing_is_withdrawn_nobody_is_asked(cloud):
    cloud.image()
    assert cloud.follow() == following_.Followed()
    assert (cloud.asked, cloud.glance.listings) == ([], 0)


def test_one_listing_of_each_service(cloud):
    cloud.image()
    cloud.withdraw(action=ACTION.DELETE, retention=0)
    cloud.follow()
    assert cloud.asked == ['servers', 'volumes', 'snapshots']
    assert cloud.glance.listings == 1


def test_by_default_an_image_is_deactivated_and_no_more(cloud):
    image_id = cloud.image()
    cloud.withdraw()
    found = cloud.follow()
    assert [one.image_id for one in found.deactivated] == [image_id]
    assert cloud.glance.statuses[image_id] == 'deactivated'
    assert (cloud.glance.changes, found.removed) == ([], ())
    again = cloud.follow(after=365 * DAY)
    assert (again.deactivated, again.removed) == ((), ())
    assert cloud.glance.statuses[image_id] == 'deactivated'


def test_hidden_at_once_and_once(cloud):
    image_id = cloud.image()
    cloud.withdraw(action=ACTION.HIDE, retention=0)
    (removed,) = cloud.follow().removed
    assert (removed.image_id, removed.fate, removed.error) == (
        image_id,
        'hidden',
        '',
    )
    expected = {'os_hidden': True, 'visibility': 'private'}
    assert cloud.glance.changes == [(image_id, expected)]
    assert cloud.follow(after=365 * DAY).removed == ()
    assert cloud.glance.statuses == {image_id: 'deactivated'}


def test_shown_again_by_hand_is_hidden_again(cloud):
    image_id = cloud.image()
    cloud.withdraw(action=ACTION.HIDE)
    cloud.follow()
    cloud.glance.bodies[image_id]['visibility'] = 'public'
    assert [one.fate for one in cloud.follow().removed] == ['hidden']


def test_deleted_when_the_retention_is_over(cloud):
    image_id = cloud.image(protected=True)
    cloud.withdraw(action=ACTION.DELETE, retention=DAY)
    assert [one.fate for one in cloud.follow().removed] == ['hidden']
    assert cloud.row(image_id).retired_at == cloud.made.now
    assert cloud.follow(after=DAY - 1).removed == ()
    (removed,) = cloud.follow(after=1).removed
    assert (removed.image_id, removed.fate) == (image_id, 'deleted')
    assert cloud.glance.statuses == {}
    assert cloud.row(image_id).state == 'gone'
    (notice,) = cloud.notices('image.deleted')
    assert notice['image_id'] == image_id
    assert 'deleted' in cloud.made.events(image_id)
    assert cloud.follow(after=DAY).removed == ()


@pytest.mark.parametrize('action', list(ACTION))
def test_images_of_others_are_deactivated_and_no_more(cloud, action):
    image_id = cloud.image(ours=False)
    cloud.withdraw(action=action, retention=0)
    found = cloud.follow()
    assert [one.image_id for one in found.deactivated] == [image_id]
    assert found.removed == ()
    cloud.follow(after=DAY)
    assert cloud.glance.statuses == {image_id: 'deactivated'}
    assert cloud.glance.changes == []


def test_images_of_ours_in_another_cloud_are_not_of_this_one(cloud):
    image_id = cloud.image()
    cloud.made.database.transact(
        lambda t: t.execute(schema.publication.update().values(cloud='x'))
    )
    cloud.withdraw(action=ACTION.DELETE, retention=0)
    cloud.follow()
    assert cloud.follow(after=DAY).removed == ()
    assert cloud.glance.statuses == {image_id: 'deactivated'}


def test_what_is_not_withdrawn_is_left_alone(cloud):
    cloud.image()
    kept = cloud.image(OTHER)
    foreign = 'an image of nobody'
    cloud.glance.statuses[foreign] = 'active'
    cloud.withdraw(action=ACTION.DELETE, retention=0)
    cloud.follow()
    cloud.follow(after=DAY)
    assert cloud.glance.statuses == {kept: 'active', foreign: 'active'}


@pytest.mark.parametrize(
    'use',
    [
        {'servers': (server('s', 'IMAGE'),)},
        {'servers': (server('s', 'IMAGE', host=None, status='BUILD'),)},
        {
            'volumes': (
                volumes.Volume(
                    'v', '', 'p', 'available', True, image_id='IMAGE'
                ),
            )
        },
        {
            'snapshots': (
                volumes.Snapshot('s', '', 'p', 'available', 'gone volume'),
            ),
            'volumes': (
                volumes.Volume(
                    'gone volume', '', 'p', 'deleting', True, 'IMAGE'
                ),
            ),
        },
    ],
    ids=['server', 'being placed', 'volume', 'snapshot'],
)
def test_image_that_is_used_is_kept_until_it_is_not(cloud, use):
    image_id = cloud.image()
    for name, values in use.items():
        swapped = [
            dataclasses.replace(one, image_id=image_id)
            if getattr(one, 'image_id', None) == 'IMAGE'
            else one
            for one in values
        ]
        setattr(cloud, name, tuple(swapped))
    cloud.withdraw(action=ACTION.DELETE, retention=0)
    cloud.follow()
    cloud.follow(after=365 * DAY)
    assert cloud.glance.statuses == {image_id: 'deactivated'}
    cloud.servers = cloud.volumes = cloud.snapshots = ()
    (removed,) = cloud.follow().removed
    assert removed.fate == 'deleted'
    assert cloud.glance.statuses == {}


def test_copy_of_a_server_keeps_its_image(cloud):
    image_id = cloud.image()
    cloud.glance.statuses['copy'] = 'active'
    cloud.glance.bodies['copy'] = {'base_image_ref': image_id}
    cloud.withdraw(action=ACTION.DELETE, retention=0)
    found = cloud.follow()
    assert [one.copy.image_id for one in found.looked.affected.copies] == [
        'copy'
    ]
    cloud.follow(after=DAY)
    assert image_id in cloud.glance.statuses
    del cloud.glance.statuses['copy']
    cloud.follow()
    assert cloud.glance.statuses == {}


@pytest.mark.parametrize('service', ['servers', 'volumes', 'snapshots'])
def test_service_that_is_away_costs_nothing_but_the_deletion(cloud, service):
    image_id = cloud.image()
    cloud.withdraw(action=ACTION.DELETE, retention=0)
    cloud.away[service] = errors.TryAgain(f'{service} are away')
    found = cloud.follow()
    assert found.problems == (f'{service} are away',)
    assert len(found.deactivated) == 1
    assert [one.fate for one in found.removed] == ['hidden']
    assert cloud.follow(after=DAY).removed == ()
    assert cloud.glance.statuses == {image_id: 'deactivated'}
    cloud.away.clear()
    assert [one.fate for one in cloud.follow().removed] == ['deleted']


def test_glance_that_is_away_does_not_hide_what_runs(cloud):
    image_id = cloud.image()
    cloud.servers = (server('s', image_id),)
    cloud.withdraw(action=ACTION.DELETE, retention=0)
    cloud.glance.broken['images'] = errors.TryAgain('Glance is away')
    found = cloud.follow()
    assert found.problems == ('Glance is away',)
    assert [one.server.server_id for one in found.looked.affected.servers] == [
        's'
    ]
    assert (found.deactivated, found.removed) == ((), ())
    # What copies there are is not known: no change is told.
    assert cloud.notices('servers.on-withdrawn') == []
    # Nothing is taken for deleted by somebody else.
    cloud.follow(after=DAY)
    assert cloud.row(image_id).state == 'active'


@pytest.mark.parametrize(
    ('call', 'fate'),
    [('change', 'hidden'), ('delete', 'deleted')],
)
def test_glance_that_does_not_obey_is_asked_again(cloud, call, fate):
    image_id = cloud.image()
    cloud.withdraw(action=ACTION.DELETE, retention=1)
    if call == 'delete':
        cloud.follow()
    cloud.glance.broken[call] = errors.TryAgain('Glance is busy')
    (removed, *_) = cloud.follow(after=1).removed
    assert (removed.fate, removed.error) == (fate, 'Glance is busy')
    cloud.glance.broken.clear()
    fates = [one.fate for one in cloud.follow(after=1).removed]
    assert fate in fates
    assert image_id


def test_protection_that_stays_keeps_the_image(cloud):
    image_id = cloud.image(protected=True)
    cloud.withdraw(action=ACTION.DELETE, retention=1)
    cloud.follow()
    cloud.glance.broken['change'] = errors.TryAgain('Glance is busy')
    (removed,) = cloud.follow(after=1).removed
    assert removed.error == 'Glance is busy'
    assert image_id in cloud.glance.statuses


def test_image_that_somebody_else_deleted_is_noted_as_gone(cloud):
    image_id = cloud.image()
    cloud.withdraw(action=ACTION.DELETE, retention=1)
    cloud.follow()
    del cloud.glance.statuses[image_id]
    cloud.follow(after=1)
    assert cloud.row(image_id).state == 'gone'
    assert cloud.notices('image.deleted') == []


def test_image_that_a_listing_missed_stays_ours(cloud, monkeypatch):
    image_id = cloud.image()
    cloud.withdraw(action=ACTION.DELETE, retention=1)
    cloud.follow()
    monkeypatch.setattr(cloud.glance, 'images', lambda: iter(()))
    cloud.follow(after=1)
    assert cloud.row(image_id).state == 'active'


def test_glance_that_goes_away_while_deleting_is_a_problem(cloud, monkeypatch):
    image_id = cloud.image()
    cloud.withdraw(action=ACTION.DELETE, retention=1)
    cloud.follow()
    monkeypatch.setattr(cloud.glance, 'images', lambda: iter(()))
    cloud.glance.broken['image'] = errors.TryAgain('Glance is away')
    assert cloud.follow(after=1).problems == ('Glance is away',)
    assert cloud.row(image_id).state == 'active'


# Races and what is good again


def test_image_withdrawn_while_it_was_imported_ends_deactivated(cloud):
    image_id = cloud.image()
    cloud.glance.statuses[image_id] = 'importing'
    cloud.withdraw()
    assert cloud.follow().deactivated == ()
    # The import ends after all.
    cloud.glance.statuses[image_id] = 'active'
    (done,) = cloud.follow().deactivated
    assert (done.image_id, done.code) == (image_id, 'withdrawn')


def test_image_that_somebody_reactivates_is_deactivated_again(cloud):
    image_id = cloud.image()
    cloud.withdraw()
    cloud.follow()
    cloud.glance.statuses[image_id] = 'active'
    assert len(cloud.follow().deactivated) == 1
    assert cloud.glance.statuses[image_id] == 'deactivated'


def restore(cloud: one_cloud_.Clouds, image_id: str) -> None:
    cloud.made.database.transact(
        lambda t: t.put(
            schema.glance_record,
            {'image_id': image_id},
            {'state': 'positive', 'reason': ''},
        )
    )
    cloud.made.database.transact(
        lambda t: t.put(
            schema.run_anyway,
            {'sha512': endorser.make_image(DATA).sha512},
            {
                'until': cloud.made.now + DAY,
                'at': cloud.made.now,
                'who': 'test',
                'reason': 'test',
            },
        )
    )


def test_reactivation_is_told_and_begins_the_retention_anew(cloud):
    image_id = cloud.image()
    cloud.withdraw(action=ACTION.HIDE)
    cloud.follow()
    assert cloud.row(image_id).retired_at is not None
    restore(cloud, image_id)
    (done,) = cloud.follow(after=1).reactivated
    assert (done.image_id, done.error) == (image_id, '')
    assert cloud.glance.statuses[image_id] == 'active'
    assert cloud.row(image_id).retired_at is None
    (notice,) = cloud.notices('image.reactivated')
    assert (notice['image_id'], notice['code']) == (image_id, 'run-anyway')
    assert 'image-reactivated' in cloud.made.events(image_id)


def test_image_of_another_cloud_is_reactivated_there(cloud):
    image_id = cloud.image()
    cloud.withdraw()
    cloud.follow()
    restore(cloud, image_id)
    del cloud.glance.statuses[image_id]
    cloud.further = {'second': site_.Cloud(session=object)}
    found = following_.follow_all(
        cloud.site, cloud.made.database, cloud.made.now
    )
    assert [one.reactivated for one in found.values()] == [(), ()]
    cloud.glance.statuses[image_id] = 'deactivated'
    found = following_.follow_all(
        cloud.site, cloud.made.database, cloud.made.now
    )
    assert len(found['default'].reactivated) == 1


def test_problems_of_several_clouds_name_them(cloud):
    cloud.image()
    cloud.withdraw()
    cloud.away['servers'] = errors.TryAgain('Nova is away')
    cloud.further = {'second': site_.Cloud(session=object)}
    found = following_.follow_all(
        cloud.site, cloud.made.database, cloud.made.now
    )
    assert [one.problems for one in found.values()] == [
        ('cloud default: Nova is away',),
        ('cloud second: Nova is away',),
    ]


# What others are told


def test_withdrawal_is_told_with_what_the_image_is(cloud):
    image_id = cloud.image()
    entry = cloud.entry()
    cloud.withdraw()
    (notice,) = cloud.notices('image.withdrawn')
    assert notice == {
        'image_id': image_id,
        'cloud': 'default',
        'subscription': 'main',
        'identifier': entry.identifier,
        'version': entry.version,
        'sha512': entry.sha512,
        'code': 'withdrawn',
        'detail': notice['detail'],
    }
    assert notice['detail']
    cloud.made.sync()
    assert len(cloud.notices('image.withdrawn')) == 1


def test_withdrawal_of_what_others_imported_is_told_by_its_bytes(cloud):
    cloud.image(ours=False)
    cloud.withdraw()
    (notice,) = cloud.notices('image.withdrawn')
    assert (notice['cloud'], notice['subscription']) == ('', 'main')


def test_servers_are_told_once_for_each_change(cloud):
    image_id = cloud.image()
    cloud.servers = (server('one', image_id),)
    cloud.withdraw()
    for _ in range(3):
        cloud.follow()
    (notice,) = cloud.notices('servers.on-withdrawn')
    assert (notice['count'], notice['cloud']) == (1, 'default')
    (told,) = notice['servers']
    assert told == {
        'server': 'one',
        'name': 'name of one',
        'project': 'a project',
        'project_name': 'atlas',
        'host': 'a host',
        'status': 'ACTIVE',
        'created': '2026-01-01T00:00:00Z',
        'age': told['age'],
        'relation': 'image',
        'through': [],
    }
    assert told['age'] > 0
    cloud.servers = (*cloud.servers, server('two', image_id))
    cloud.follow()
    cloud.follow()
    cloud.servers = ()
    cloud.follow()
    cloud.follow()
    counts = [n['count'] for n in cloud.notices('servers.on-withdrawn')]
    assert counts == [1, 2, 0]
    with cloud.made.database.reading() as connection:
        assert withdrawn_use.last(connection) == {}


def test_server_that_no_host_took_is_not_told(cloud):
    image_id = cloud.image()
    cloud.servers = (server('one', image_id, host=None, status='BUILD'),)
    cloud.withdraw()
    cloud.follow()
    assert cloud.notices('servers.on-withdrawn') == []


def test_what_is_not_known_is_not_told_as_a_change(cloud):
    image_id = cloud.image()
    cloud.servers = (server('one', image_id),)
    cloud.withdraw()
    cloud.follow()
    cloud.servers = ()
    cloud.away['volumes'] = errors.TryAgain('Cinder is away')
    cloud.follow()
    assert len(cloud.notices('servers.on-withdrawn')) == 1


def test_servers_of_an_image_that_is_good_again_are_not_kept(cloud):
    image_id = cloud.image()
    cloud.servers = (server('one', image_id),)
    cloud.withdraw()
    cloud.follow()
    restore(cloud, image_id)
    cloud.follow()
    with cloud.made.database.reading() as connection:
        assert withdrawn_use.last(connection) == {}
    told = cloud.notices('servers.on-withdrawn')
    assert [one['detail'] for one in told] == [
        '1 servers depend on it',
        'it is withdrawn no longer',
    ]


def test_what_ran_in_a_cloud_of_before_is_forgotten(cloud):
    image_id = cloud.image()
    servers = {image_id: [{'server': 'one'}]}
    withdrawn_use.seen(cloud.made.database, 'old', servers, {}, 1)
    cloud.follow()
    with cloud.made.database.reading() as connection:
        assert withdrawn_use.last(connection) == {}


def test_many_servers_are_counted_and_some_named(cloud):
    image_id = cloud.image()
    cloud.servers = tuple(
        server(f'{number:04}', image_id)
        for number in range(withdrawn_use.NAMED + 1)
    )
    cloud.withdraw()
    cloud.follow()
    cloud.follow()
    (notice,) = cloud.notices('servers.on-withdrawn')
    assert notice['count'] == withdrawn_use.NAMED + 1
    assert len(notice['servers']) == withdrawn_use.NAMED


# What is asked by others


@pytest.mark.parametrize('service', ['servers', 'volumes', 'snapshots'])
def test_what_is_unknown_is_in_use(cloud, service):
    def asked() -> frozenset[str]:
        return withdrawing.in_use(
            object(), None, 'public', {'used', 'unused'}, ()
        )

    cloud.servers = (server('one', 'used'),)
    assert asked() == {'used'}
    cloud.away[service] = errors.TryAgain('away')
    assert asked() == {'used', 'unused'}


def test_use_of_nothing_is_not_asked_for(cloud):
    used = withdrawing.in_use(object(), None, 'public', (), ())
    assert (used, cloud.asked) == (frozenset(), [])


@pytest.mark.parametrize(
    ('mapping', 'found'),
    [
        ('[{"snapshot_id": "s1"}, {"snapshot_id": "s2"}]', ('s1', 's2')),
        ('[{"snapshot_id": null}, {}, 5, "x", []]', ()),
        ('{"snapshot_id": "s1"}', ()),
        ('5', ()),
        ('no JSON', ()),
        ('[' * 100000, ()),
        ('', ()),
    ],
    ids=['two', 'odd', 'object', 'number', 'text', 'deep', 'empty'],
)
def test_snapshots_that_an_image_names(mapping, found):
    image = client.GlanceImage(
        'i',
        '',
        'active',
        0,
        None,
        properties={'block_device_mapping': mapping},
    )
    assert withdrawing.copy_of(image).snapshots == found


def test_image_that_says_to_be_its_own_copy_is_none():
    image = client.GlanceImage(
        'i', '', 'active', 0, None, properties={'base_image_ref': 'i'}
    )
    assert withdrawing.copy_of(image).made_of is None


def test_sentence_says_who_where_and_how(cloud):
    image_id = cloud.image()
    cloud.servers = (
        server('one', None, volumes=('v',), root_device='/dev/vda'),
        server('two', 'other', volumes=('w',), root_device='/dev/vda'),
        server('three', image_id, host=None, status='SHELVED_OFFLOADED'),
    )
    cloud.volumes = (
        volumes.Volume(
            'v', '', 'p', 'in-use', True, image_id, devices={'one': '/dev/vda'}
        ),
        volumes.Volume(
            'w', '', 'p', 'in-use', True, image_id, devices={'two': '/dev/vdb'}
        ),
    )
    cloud.withdraw()
    looked = cloud.follow().looked
    said = {
        one.server.server_id: withdrawing.sentence(one, looked.names)
        for one in looked.affected.servers
    }
    assert said == {
        'one': 'server one (name of one) of project a project (atlas) on '
        f'host a host still runs withdrawn image {image_id} (withdrawn, by '
        'volume v)',
        'two': 'server two (name of two) of project a project (atlas) on '
        f'host a host has a disk of withdrawn image {image_id} (withdrawn, '
        'by volume w)',
        'three': 'server three (name of three) of project a project (atlas) '
        f'on host none (shelved) still runs withdrawn image {image_id} '
        '(withdrawn)',
    }
    assert {one.server.server_id for one in withdrawing.running(cloud.site)}


def test_running_is_an_error_while_it_is_not_known(cloud):
    cloud.image()
    cloud.withdraw()
    cloud.away['volumes'] = errors.TryAgain('Cinder is away')
    with pytest.raises(errors.TryAgain, match='Cinder is away'):
        withdrawing.running(cloud.site)


def test_block_of_one_image_changes_nothing_else(cloud):
    image_id = cloud.image()
    kept = cloud.image(OTHER)
    images.block(cloud.site, cloud.made.now, image_id, 'me', 'why')
    cloud.follow()
    assert cloud.glance.statuses == {image_id: 'deactivated', kept: 'active'}
    (notice,) = cloud.notices('image.withdrawn')
    assert notice['code'] == 'blocked'

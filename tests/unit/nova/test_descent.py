# SPDX-License-Identifier: Apache-2.0
"""What descends from an image, by the links that the services keep."""

from __future__ import annotations

import dataclasses
import random

import pytest

from hepix_vm.nova import descent
from hepix_vm.nova import servers
from hepix_vm.nova import volumes

Relation = descent.Relation
SERVER = servers.Server(
    'server', 'web', 'project', 'host', 'ACTIVE', '2026-01-01T00:00:00Z', None
)


def server(server_id: str, image: str | None = None, *disks: str, **changes):
    return dataclasses.replace(
        SERVER,
        server_id=server_id,
        image_id=image,
        root_device='/dev/vda',
        volumes=disks,
        **changes,
    )


def volume(volume_id: str, **changes):
    values = {'name': '', 'project': 'project', 'status': 'in-use'}
    return volumes.Volume(volume_id, bootable=True, **(values | changes))


def snapshot(snapshot_id: str, of: str):
    return volumes.Snapshot(snapshot_id, '', 'project', 'available', of)


def copy(image_id: str, made_of: str | None = None, *snapshots: str):
    return descent.Copy(image_id, '', 'project', made_of, snapshots)


def traced(*images: str, **seen) -> descent.Affected:
    codes = dict.fromkeys(images or ('bad',), 'withdrawn')
    return descent.trace(codes, descent.Seen(**seen))


def told(affected: descent.Affected) -> list[tuple[str, str, str]]:
    return [
        (one.server.server_id, one.relation.value, ', '.join(one.link.through))
        for one in affected.servers
    ]


def test_server_that_was_made_of_the_image_and_no_other():
    affected = traced(servers=(server('a', 'bad'), server('b', 'good')))
    assert told(affected) == [('a', 'image', '')]
    assert affected.servers[0].link == descent.Link('bad', 'withdrawn')
    assert affected.used() == {'bad'}


def test_nothing_is_used_by_nobody():
    affected = traced(servers=(server('b', 'good'),), volumes=(volume('v'),))
    assert affected == descent.NOTHING
    assert affected.used() == frozenset()


def test_server_that_boots_from_a_volume_of_the_image():
    affected = traced(
        servers=(server('a', None, 'v'),),
        volumes=(volume('v', image_id='bad', devices={'a': '/dev/vda'}),),
    )
    assert told(affected) == [('a', 'volume', 'volume v')]
    assert [held.volume.volume_id for held in affected.volumes] == ['v']


def test_further_disk_of_the_image_is_told_apart():
    affected = traced(
        servers=(server('a', 'good', 'v'), server('b', None, 'root', 'v2')),
        volumes=(
            volume('v', image_id='bad', devices={'a': '/dev/vdb'}),
            volume('root', devices={'b': '/dev/vda'}),
            volume('v2', image_id='bad', devices={'b': '/dev/vdb'}),
        ),
    )
    assert told(affected) == [
        ('a', 'attached', 'volume v'),
        ('b', 'attached', 'volume v2'),
    ]


def test_root_disk_says_more_than_a_further_one():
    affected = traced(
        servers=(server('a', None, 'v1', 'v2'),),
        volumes=(
            volume('v1', image_id='bad', devices={'a': '/dev/vdb'}),
            volume('v2', image_id='bad', devices={'a': '/dev/vda'}),
        ),
    )
    assert told(affected) == [('a', 'volume', 'volume v2')]
    # The image itself as well.
    affected = traced(
        servers=(server('a', 'bad', 'v1'),),
        volumes=(volume('v1', image_id='bad', devices={'a': '/dev/vdb'}),),
    )
    assert told(affected) == [('a', 'image', '')]


@pytest.mark.parametrize(
    ('bootable', 'relation'), [(True, 'volume'), (False, 'attached')]
)
def test_shelved_server_has_no_device_but_its_volumes(bootable, relation):
    affected = traced(
        servers=(
            server('a', None, 'v', host=None, status='SHELVED_OFFLOADED'),
        ),
        volumes=(
            dataclasses.replace(
                volume('v', image_id='bad'), bootable=bootable
            ),
        ),
    )
    assert told(affected) == [('a', relation, 'volume v')]
    assert affected.servers[0].server.runs


def test_volume_of_a_snapshot_and_clone_of_that():
    affected = traced(
        servers=(server('a', None, 'v3'),),
        volumes=(
            volume('v1', image_id='bad'),
            volume('v2', snapshot_id='s'),
            volume('v3', source_id='v2', devices={'a': '/dev/vda'}),
        ),
        snapshots=(snapshot('s', 'v1'), snapshot('other', 'v9')),
    )
    assert told(affected) == [
        ('a', 'volume', 'volume v1, snapshot s, volume v2, volume v3')
    ]
    assert [one.snapshot.snapshot_id for one in affected.snapshots] == ['s']
    assert len(affected.volumes) == 3


def test_shortest_way_is_told():
    affected = traced(
        volumes=(
            volume('v1', image_id='bad'),
            volume('v2', image_id='bad', source_id='v1'),
        ),
    )
    assert [held.link.through for held in affected.volumes] == [
        ('volume v1',),
        ('volume v2',),
    ]


def test_server_of_a_copy_and_copies_of_copies():
    affected = traced(
        servers=(server('a', 'copy2'), server('b', 'from-snapshot')),
        volumes=(volume('v', image_id='bad'),),
        snapshots=(snapshot('s', 'v'),),
        copies=(
            copy('copy1', 'bad'),
            copy('copy2', 'copy1'),
            copy('from-snapshot', None, 'unknown', 's'),
            copy('bad', None),
        ),
    )
    assert told(affected) == [
        ('a', 'copy', 'image copy1, image copy2'),
        ('b', 'copy', 'volume v, snapshot s, image from-snapshot'),
    ]
    assert [held.copy.image_id for held in affected.copies] == [
        'copy1',
        'copy2',
        'from-snapshot',
    ]


def test_links_in_a_circle_end():
    affected = traced(
        servers=(server('a', 'bad'),),
        volumes=(
            volume('v1', source_id='v2', image_id='bad'),
            volume('v2', source_id='v1'),
        ),
        copies=(copy('bad', 'copy'), copy('copy', 'bad')),
    )
    assert told(affected) == [('a', 'image', '')]
    # An image is no copy of itself, whatever its owner says.
    assert [held.copy.image_id for held in affected.copies] == ['copy']


def test_server_that_depends_on_two_images_is_told_for_each():
    affected = traced(
        'bad',
        'worse',
        servers=(server('a', 'bad', 'v'),),
        volumes=(volume('v', image_id='worse', devices={'a': '/dev/vdb'}),),
    )
    assert [
        (one.link.image_id, one.relation.value) for one in affected.servers
    ] == [('bad', 'image'), ('worse', 'attached')]


@pytest.mark.parametrize(
    ('host', 'status', 'found', 'runs'),
    [
        ('host', 'ACTIVE', True, True),
        ('host', 'ERROR', True, True),
        ('host', 'SHELVED', True, True),
        (None, 'SHELVED_OFFLOADED', True, True),
        # Being placed: nothing runs yet, but the image is needed.
        (None, 'BUILD', True, False),
        # Refused: no host took it, and none will.
        (None, 'ERROR', False, False),
    ],
)
def test_server_without_a_host(host, status, found, runs):
    one = server('a', 'bad', host=host, status=status)
    affected = traced(servers=(one,))
    assert bool(affected.servers) is found
    assert affected.used() == (frozenset({'bad'}) if found else frozenset())
    assert one.runs is runs


def test_order_does_not_depend_on_what_the_services_answer():
    hosts = ['b', 'a', None]
    seen = [
        server(
            f's{number}',
            f'bad{number % 2}',
            host=hosts[number % 3],
            project=f'p{number % 5}',
        )
        for number in range(30)
    ]
    disks = [
        volume(f'v{number}', image_id='bad0', project=f'p{number % 3}')
        for number in range(10)
    ]
    expected = traced(
        'bad0', 'bad1', servers=tuple(seen), volumes=tuple(disks)
    )
    chance = random.Random(1)
    for _ in range(5):
        chance.shuffle(seen)
        chance.shuffle(disks)
        found = traced(
            'bad1', 'bad0', servers=tuple(seen), volumes=tuple(disks)
        )
        assert found == expected
    running = [one.server.runs for one in expected.servers]
    assert running == sorted(running, reverse=True)
    assert expected.projects() == {f'p{number}' for number in range(5)}


@pytest.mark.parametrize(
    ('created', 'age'),
    [
        ('2026-01-01T00:00:00Z', 86400),
        ('2026-01-01T00:00:00', 86400),
        ('2026-01-01T01:00:00+01:00', 86400),
        # Clocks differ.
        ('2026-01-02T00:00:30Z', 0),
        ('lately', None),
        ('', None),
    ],
)
def test_age_of_a_server(created, age):
    one = dataclasses.replace(SERVER, created=created)
    assert one.age(1767312000) == age

# SPDX-License-Identifier: Apache-2.0
"""What the API guard reads from the body of a request."""

from typing import Any

import pytest

from hepix_vm.nova import requested
from hepix_vm.nova.requested import Act
from hepix_vm.nova.requested import Disk
from hepix_vm.nova.requested import Source

A = 'aaaaaaaa-0000-4000-8000-000000000001'
B = 'bbbbbbbb-0000-4000-8000-000000000002'
V = 'cccccccc-0000-4000-8000-000000000003'


def boot(**fields: Any) -> requested.Requested:
    found = requested.server({'server': fields})
    assert found is not None
    return found


def disks(*items: dict[str, Any], **fields: Any) -> tuple[Disk, ...]:
    return boot(block_device_mapping_v2=list(items), **fields).disks


def test_an_image_is_named():
    assert boot(imageRef=A) == requested.Requested(Act.BOOT, image=A)
    assert boot(imageRef='').image is None
    assert boot(imageRef=None).image is None


@pytest.mark.parametrize(
    ('item', 'expected'),
    [
        (
            {'source_type': 'image', 'uuid': B, 'boot_index': 0},
            Disk(Source.IMAGE, B, boots=True),
        ),
        (
            {
                'source_type': 'image',
                'uuid': A,
                'boot_index': '0',
                'destination_type': 'local',
            },
            Disk(Source.IMAGE, A, boots=True, volume=False),
        ),
        (
            {'source_type': 'volume', 'uuid': V, 'boot_index': 0},
            Disk(Source.VOLUME, V, boots=True),
        ),
        (
            {'source_type': 'snapshot', 'uuid': V, 'boot_index': 1},
            Disk(Source.SNAPSHOT, V, boots=True),
        ),
        (
            {'source_type': 'volume', 'volume_id': V, 'boot_index': 0.0},
            Disk(Source.VOLUME, V, boots=True),
        ),
        (
            {'source_type': 'volume', 'uuid': V, 'boot_index': -1},
            Disk(Source.VOLUME, V, boots=False),
        ),
        (
            {'source_type': 'volume', 'uuid': V, 'boot_index': None},
            Disk(Source.VOLUME, V, boots=False),
        ),
        (
            {'source_type': 'volume', 'uuid': V},
            Disk(Source.VOLUME, V, boots=False),
        ),
        (
            {'source_type': 'volume', 'uuid': V, 'boot_index': 'first'},
            Disk(Source.VOLUME, V, boots=True),
        ),
        (
            {'source_type': 'volume', 'uuid': V, 'boot_index': [0]},
            Disk(Source.VOLUME, V, boots=True),
        ),
        (
            {
                'source_type': 'volume',
                'uuid': V,
                'boot_index': 0,
                'destination_type': 'local',
            },
            Disk(Source.VOLUME, V, boots=True),
        ),
        (
            {'source_type': 'blank', 'boot_index': 0},
            Disk(Source.BLANK, '', boots=True),
        ),
    ],
    ids=[
        'image to volume',
        'image to local disk',
        'volume',
        'snapshot, second to boot',
        'id under its own name, index as float',
        'data volume',
        'no index',
        'no index at all',
        'index of no number',
        'index of another type',
        'volume called local',
        'empty boot disk',
    ],
)
def test_a_block_device_of_the_second_form(
    item: dict[str, Any], expected: Disk
) -> None:
    assert disks(item, imageRef=A) == (expected,)


def test_an_empty_data_disk_is_nothing():
    assert disks({'source_type': 'blank', 'volume_size': 1}) == ()


def test_ids_under_two_names_count_both():
    found = disks(
        {
            'source_type': 'image',
            'uuid': A,
            'image_id': B,
            'volume_id': V,
            'boot_index': 0,
        }
    )
    assert {(disk.source, disk.ident) for disk in found} == {
        (Source.IMAGE, A),
        (Source.IMAGE, B),
        (Source.VOLUME, V),
    }
    assert all(disk.boots for disk in found)


def test_the_first_form_counts_as_bootable():
    found = boot(
        imageRef=A,
        block_device_mapping=[
            {'device_name': 'vdb', 'volume_id': V},
            {'device_name': 'vda', 'snapshot_id': B},
            {'device_name': 'vdc', 'virtual_name': 'swap'},
        ],
    )
    assert found.disks == (
        Disk(Source.VOLUME, V, boots=True),
        Disk(Source.SNAPSHOT, B, boots=True),
    )


def test_both_forms_at_once_are_both_read():
    found = boot(
        block_device_mapping=[{'volume_id': V}],
        block_device_mapping_v2=[{'source_type': 'image', 'uuid': A}],
    )
    assert [disk.ident for disk in found.disks] == [V, A]


@pytest.mark.parametrize(
    ('zone', 'forced', 'host'),
    [
        ('nova', False, ''),
        ('', False, ''),
        ('nova:compute-1', True, 'compute-1'),
        (':compute-1', True, 'compute-1'),
        ('nova:compute-1:node', True, 'compute-1'),
        ('nova::node', True, ''),
        ('nova:', True, ''),
    ],
)
def test_a_zone_can_name_a_host(zone: str, forced: bool, host: str) -> None:
    found = boot(imageRef=A, availability_zone=zone)
    assert (found.forced, found.host) == (forced, host)


@pytest.mark.parametrize(
    ('body', 'expected'),
    [
        ({'rebuild': {'imageRef': A}}, {'act': Act.REBUILD, 'image': A}),
        ({'rescue': None}, {'act': Act.RESCUE}),
        ({'rescue': {}}, {'act': Act.RESCUE}),
        ({'rescue': {'adminPass': 'x'}}, {'act': Act.RESCUE}),
        (
            {'rescue': {'rescue_image_ref': B}},
            {'act': Act.RESCUE, 'image': B},
        ),
        ({'unshelve': None}, {'act': Act.UNSHELVE}),
        ({'unshelve': 'anything'}, {'act': Act.UNSHELVE}),
        (
            {'unshelve': {'host': 'h', 'availability_zone': None}},
            {'act': Act.UNSHELVE, 'host': 'h'},
        ),
        (
            {'createImage': {'name': 'x', 'metadata': {'a': 'b'}}},
            {'act': Act.SNAPSHOT, 'names': frozenset({'a'})},
        ),
        ({'createImage': {'name': 'x'}}, {'act': Act.SNAPSHOT}),
        (
            {'createBackup': {'name': 'x', 'metadata': {'a': 'b'}}},
            {'act': Act.SNAPSHOT, 'names': frozenset({'a'})},
        ),
        ({'resize': {'flavorRef': '1'}}, {'act': Act.MOVE}),
        ({'migrate': None}, {'act': Act.MOVE}),
        (
            {'os-migrateLive': {'host': 'h', 'force': True}},
            {'act': Act.MOVE, 'host': 'h'},
        ),
        ({'evacuate': {'host': 'h'}}, {'act': Act.MOVE, 'host': 'h'}),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_actions(body: Any, expected: dict[str, Any]) -> None:
    assert requested.action(body) == requested.Requested(**expected)


@pytest.mark.parametrize(
    'body',
    [
        None,
        [],
        'reboot',
        7,
        {},
        {'reboot': {'type': 'HARD'}},
        {'Rebuild': {'imageRef': A}},
        {'rebuild': {'imageRef': A}, 'reboot': None},
        {'rebuild': None},
        {'rebuild': {'imageRef': 7}},
        {'rebuild': {'imageRef': ''}},
        {'rescue': 'x'},
        {'rescue': {'rescue_image_ref': [A]}},
        {'createImage': None},
        {'createImage': {'metadata': [1]}},
    ],
    ids=repr,
)
def test_what_nova_refuses_or_what_starts_nothing_is_left_to_it(
    body: Any,
) -> None:
    assert requested.action(body) is None


@pytest.mark.parametrize(
    'body',
    [
        None,
        {},
        [{'server': {}}],
        {'server': None},
        {'Server': {'imageRef': A}},
        {'server': {'imageRef': [A]}},
        {'server': {'imageRef': {'id': A}}},
        {'server': {'imageRef': A, 'availability_zone': 1}},
        {'server': {'imageRef': A, 'block_device_mapping': {}}},
        {'server': {'imageRef': A, 'block_device_mapping_v2': [None]}},
        {'server': {'block_device_mapping_v2': 'x'}},
    ],
    ids=repr,
)
def test_a_server_of_a_shape_that_nova_refuses_is_left_to_it(
    body: Any,
) -> None:
    assert requested.server(body) is None


def test_properties_of_an_image_through_nova():
    for body in ({'metadata': {'x': '1'}}, {'meta': {'x': '1'}}):
        assert requested.properties(body) == requested.Requested(
            Act.PROPERTIES, names=frozenset({'x'})
        )
    assert requested.properties({'metadata': 'x'}) is None

# SPDX-License-Identifier: Apache-2.0
"""No body of a request confuses the API guard, and it overlooks no id."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hepix_vm.nova import permitting
from hepix_vm.nova import requested

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
)
NAMES = st.sampled_from(
    [
        'server',
        'imageRef',
        'block_device_mapping',
        'block_device_mapping_v2',
        'uuid',
        'source_type',
        'image_id',
        'volume_id',
        'snapshot_id',
        'boot_index',
        'destination_type',
        'availability_zone',
        'rebuild',
        'rescue',
        'rescue_image_ref',
        'unshelve',
        'createImage',
        'createBackup',
        'evacuate',
        'metadata',
        'meta',
        'host',
    ]
)
BODIES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=25,
)


@given(BODIES)
def test_any_body_is_read_or_left_to_nova(body: Any) -> None:
    for read in (requested.server, requested.action, requested.properties):
        found = read(body)
        assert found is None or isinstance(found, requested.Requested)
        if found is not None:
            start = permitting.start_of(found)
            assert all(thing.isprintable() for thing in start.things)


IDS = st.uuids().map(str)
DEVICES = st.fixed_dictionaries(
    {
        'source_type': st.sampled_from(['image', 'volume', 'snapshot']),
        'uuid': IDS,
    },
    optional={
        'boot_index': st.sampled_from([0, '0', 1, -1, '-1', None, 0.0, True]),
        'destination_type': st.sampled_from(['local', 'volume']),
        'delete_on_termination': st.booleans(),
        'no_device': st.booleans(),
        'tag': st.text(max_size=5),
    },
)
OLD_DEVICES = st.one_of(
    st.fixed_dictionaries({'volume_id': IDS, 'device_name': st.just('vdb')}),
    st.fixed_dictionaries({'snapshot_id': IDS}),
)
SERVERS = st.fixed_dictionaries(
    {'name': st.text(max_size=5)},
    optional={
        'imageRef': IDS,
        'block_device_mapping_v2': st.lists(DEVICES, max_size=5),
        'block_device_mapping': st.lists(OLD_DEVICES, max_size=3),
        'availability_zone': st.text(max_size=10),
    },
)


def boots(device: dict[str, Any]) -> bool:
    index = device.get('boot_index')
    return index is not None and int(index) >= 0


@given(SERVERS)
def test_no_id_of_a_new_server_is_overlooked(server: dict[str, Any]) -> None:
    # As it comes over the wire.
    found = requested.server(json.loads(json.dumps({'server': server})))
    assert found is not None
    start = permitting.start_of(found)
    devices = server.get('block_device_mapping_v2', [])
    images = {
        device['uuid']
        for device in devices
        if device['source_type'] == 'image'
    }
    if 'imageRef' in server:
        images.add(server['imageRef'])
    assert set(start.images) == images
    expected = {
        (device['source_type'], device['uuid'])
        for device in devices
        if boots(device)
    } | {
        (name.removesuffix('_id'), device[name])
        for device in server.get('block_device_mapping', [])
        for name in ('volume_id', 'snapshot_id')
        if name in device
    }
    judged = {(str(disk.source), disk.ident) for disk in start.disks}
    assert judged == expected
    assert found.forced == (':' in server.get('availability_zone', ''))


@given(st.text(max_size=300))
def test_what_a_client_says_is_shown_harmless(text: str) -> None:
    shown = permitting.clean(text)
    assert shown.isprintable()
    assert len(shown) <= 64
    assert not set(shown) & set(' \n\r%"\'<>`$\\')

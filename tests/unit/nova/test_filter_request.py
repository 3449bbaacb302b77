# SPDX-License-Identifier: Apache-2.0
"""What is read of Nova's own request objects, whatever is unset in them."""

import datetime

import pytest

pytest.importorskip('nova')

from nova import objects

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import model
from hepix_vm.nova import request

objects.register_all()

IMAGE = 'aaaaaaaa-0000-4000-8000-000000000001'
SERVER = 'cccccccc-0000-4000-8000-000000000003'
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def test_a_full_request() -> None:
    spec = objects.RequestSpec(
        image=objects.ImageMeta(
            id=IMAGE,
            size=7,
            created_at=WHEN,
            min_disk=2,
            properties=objects.ImageMetaProps(
                os_command_line='root=LABEL=a',
                img_block_device_mapping=[{'boot_index': '0'}],
            ),
        ),
        instance_uuid=SERVER,
        project_id='project',
        is_bfv=True,
        scheduler_hints={'_nova_check_type': ['rebuild']},
    )
    assert request.read(spec) == request.Placement(
        image=model.ImageFacts(
            IMAGE,
            7,
            int(WHEN.timestamp()),
            boot=boot.seen(
                {
                    'bdm_v2': None,
                    'block_device_mapping': '[{"boot_index": 0}]',
                    'mappings': None,
                    'min_disk': 2,
                    'os_command_line': 'root=LABEL=a',
                    'root_device_name': '',
                }
            ),
        ),
        server=SERVER,
        project='project',
        volume_boot=True,
        rebuild=True,
    )


def test_an_empty_request() -> None:
    assert request.read(objects.RequestSpec()) == request.Placement(
        image=model.ImageFacts(None, None, None),
        server=None,
        project='',
        volume_boot=None,
        rebuild=False,
    )


@pytest.mark.parametrize(
    'spec',
    [
        objects.RequestSpec(image=None, scheduler_hints=None),
        objects.RequestSpec(image=objects.ImageMeta(), scheduler_hints={}),
        objects.RequestSpec(
            image=objects.ImageMeta(created_at=None), project_id=None
        ),
    ],
)
def test_fields_without_a_value(spec: object) -> None:
    read = request.read(spec)
    assert read.image == model.ImageFacts(None, None, None)
    assert read.rebuild is False


@pytest.mark.parametrize(
    'hints',
    [
        {'_nova_check_type': ['Rebuild']},
        {'_nova_check_type': []},
        {'group': ['rebuild']},
    ],
)
def test_other_hints_are_no_rebuild(hints: dict[str, list[str]]) -> None:
    spec = objects.RequestSpec(scheduler_hints=hints)
    assert request.read(spec).rebuild is False


@pytest.mark.parametrize('values', [{'min_disk': 0}, {'min_disk': 1}, {}])
def test_properties_that_are_absent_were_looked_for(
    values: dict[str, int],
) -> None:
    image = objects.ImageMeta(
        id=IMAGE, properties=objects.ImageMetaProps(), **values
    )
    found = request.read(objects.RequestSpec(image=image)).image.boot
    assert found is not None
    seen = dict(found)
    assert seen.pop('min_disk', '') == str(values.get('min_disk') or '')
    assert seen == dict.fromkeys(
        (
            'bdm_v2',
            'block_device_mapping',
            'mappings',
            'os_command_line',
            'root_device_name',
        ),
        '',
    )


def test_disks_of_a_server() -> None:
    mappings = objects.BlockDeviceMappingList(
        objects=[
            objects.BlockDeviceMapping(
                source_type='image',
                destination_type='local',
                boot_index=0,
                image_id=IMAGE,
            ),
            objects.BlockDeviceMapping(
                source_type='volume',
                destination_type='volume',
                boot_index=-1,
                volume_id=SERVER,
            ),
            objects.BlockDeviceMapping(
                source_type='blank', destination_type='local', boot_index=None
            ),
            objects.BlockDeviceMapping(no_device=True, image_id=IMAGE),
            objects.BlockDeviceMapping(),
        ]
    )
    assert request.devices(mappings) == (
        request.Device('image', False, True, IMAGE),
        request.Device('volume', True, False),
        request.Device('blank', False, False),
        request.Device('', False, False),
    )


def test_kernel_of_a_server() -> None:
    instance = objects.Instance(kernel_id=IMAGE, ramdisk_id=None)
    assert request.kernel(instance) == (IMAGE, '')
    assert request.kernel(objects.Instance()) == ('', '')

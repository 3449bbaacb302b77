# SPDX-License-Identifier: Apache-2.0
"""What is said in Nova's words is what the real Nova understands."""

from __future__ import annotations

import pytest

from hepix_vm.glance import hardware
from hepix_vm.glance import properties
from hepix_vm.glance import rules
from tests.unit.glance import images

pytest.importorskip('nova')

from nova import objects
from nova.objects import fields

objects.register_all()

PAIRS = sorted(
    (name, value) for name, values in rules.VALUES.items() for value in values
)


def read(found: dict[str, str]) -> objects.ImageMetaProps:
    """As nova-api reads the properties of an image from Glance."""
    return objects.ImageMetaProps.from_dict(dict(found))


def test_nova_reads_every_property_of_a_published_image():
    found = read(properties.described(images.image(), 'qemu'))
    assert found.hw_architecture == 'x86_64'
    assert found.img_hv_type == 'qemu'
    assert found.os_type == 'linux'
    assert found.os_distro == 'ubuntu'


@pytest.mark.parametrize(('name', 'value'), PAIRS)
def test_nova_knows_every_value_that_a_rule_may_set(name, value):
    found = read({name: value})
    assert value in [
        str(getattr(found, field))
        for field in found.fields
        if found.obj_attr_is_set(field)
    ]


@pytest.mark.parametrize('name', sorted(rules.BOOLEANS))
def test_nova_takes_for_a_boolean_what_a_rule_does(name):
    assert getattr(read({name: 'yes'}), name) is True


@pytest.mark.parametrize(
    'name', ['hypervisor_type', 'architecture', 'hw_disk_bus', 'os_type']
)
def test_nova_refuses_other_values(name):
    with pytest.raises(ValueError, match='nonsense'):
        read({name: 'nonsense'})


def test_nova_has_the_names_that_ours_are_turned_into():
    assert set(fields.Architecture.ALL) >= hardware.ARCHITECTURES
    assert set(fields.HVType.ALL) >= hardware.HYPERVISORS


def test_every_field_by_which_nova_boots_something_else_is_refused():
    names = set(objects.ImageMetaProps.fields) | set(
        objects.ImageMetaProps._legacy_property_map
    )
    dangerous = {
        name
        for name in names
        if any(
            word in name
            for word in (
                'mapping',
                'bdm',
                'command_line',
                'root_device',
                'signature',
                'owner',
                'secret',
            )
        )
    }
    assert len(dangerous) > 8
    assert [name for name in dangerous if not properties.refused(name)] == []

# SPDX-License-Identifier: Apache-2.0
"""What a published image says of itself, and what it can never say."""

from __future__ import annotations

import json

import pytest

from hepix_vm.catalogue import store
from hepix_vm.glance import hardware
from hepix_vm.glance import properties
from tests.unit.glance import images


def described(**entry):
    return properties.described(images.image(entry), 'qemu')


def test_accounting_and_information_systems_find_what_they_read():
    found = described(
        extra={
            'ad:base_mpuri': 'https://db.example.org/store/vm/image/1/',
            'ad:appid': '42',
            'eu.egi.cloud.image_ref': 'images/worker:1',
        }
    )
    # cASO, and cloud-info-provider
    assert (
        found['vmcatcher_event_ad_mpuri']
        == 'https://db.example.org/store/vm/image/1:2/'
    )
    assert found['vmcatcher_event_dc_description'] == 'for all jobs'
    assert found['vmcatcher_event_dc_title'] == 'Worker'
    attributes = json.loads(found['APPLIANCE_ATTRIBUTES'])
    assert (
        attributes['ad:base_mpuri']
        == 'https://db.example.org/store/vm/image/1/'
    )
    assert attributes['ad:appid'] == '42'
    assert attributes['hv:version'] == '1.0'
    # atrope
    assert found['appdb_id'] == images.IDENTIFIER
    assert found['image_list'] == 'main'
    assert found['eu.egi.cloud.image_ref'] == 'images/worker:1'


def test_nova_finds_what_it_schedules_by():
    found = described()
    assert {
        name: found[name]
        for name in (
            'architecture',
            'hypervisor_type',
            'os_distro',
            'os_type',
            'os_version',
        )
    } == {
        'architecture': 'x86_64',
        'hypervisor_type': 'qemu',
        'os_distro': 'ubuntu',
        'os_type': 'linux',
        'os_version': '22.04',
    }


def test_what_a_list_does_not_say_is_no_property():
    found = properties.described(
        images.image(
            {
                'arch': 'transputer',
                'os': 'Plan 9',
                'os_name': None,
                'os_version': '',
                'hypervisors': [],
                'mpuri': None,
                'description': '',
            },
            vo=None,
        )
    )
    assert not {
        'architecture',
        'hypervisor_type',
        'os_type',
        'os_version',
        'hepix_vo',
        'hepix_hypervisors',
        'vmcatcher_event_ad_mpuri',
        'vmcatcher_event_dc_description',
    } & set(found)
    assert all(found.values())


def test_an_accounting_uri_is_whole_or_not_there():
    assert 'vmcatcher_event_ad_mpuri' not in described(
        mpuri='https://db.example.org/' + 'x' * 255
    )


def test_attributes_are_left_out_before_json_is_cut():
    found = described(
        description='d' * 20000,
        comments='\u00fc\U0001f600' * 300,
        extra={f'ad:{number}': 'x' * 900 for number in range(60)},
    )
    text = found['APPLIANCE_ATTRIBUTES']
    assert len(text) <= properties.ATTRIBUTES_LENGTH
    assert text.isascii()
    read = json.loads(text)
    assert read['dc:identifier'] == images.IDENTIFIER
    assert 'dc:description' not in read
    assert len(found['vmcatcher_event_dc_description']) == 255


def test_an_expiry_is_written_as_lists_write_it():
    image = images.image(expires=1732233600)
    read = json.loads(properties.appliance_attributes(image))
    assert read['dc:date:expires'] == '2024-11-22T00:00:00Z'


@pytest.mark.parametrize(
    'name',
    [
        'kernel_id',
        'Kernel_ID',
        'ramdisk_id',
        'block_device_mapping',
        'img_block_device_mapping',
        'img_mappings',
        'root_device_name',
        'img_root_device_name',
        'os_command_line',
        'os_glance_importing_to_stores',
        'os_hash_value',
        'os_hash_anything',
        'id',
        'owner',
        'stores',
        'locations',
        'location',
        'status',
        'visibility',
        'tags',
        'img_signature',
        'img_signature_certificate_uuid',
        'cinder_encryption_key_id',
        'cinder_encryption_key_deletion_policy',
        'CLOUDKEEPER_expiration_date',
        '',
        'a/b',
        'a~1',
        'a b',
        'a\n',
        '-a',
        'x' * 129,
        '\u00fc',
    ],
)
def test_what_boots_and_what_is_glances_own_is_never_set(name):
    assert properties.refused(name)


@pytest.mark.parametrize(
    'name', ['hw_disk_bus', 'eu.egi.cloud.tag', 'trait:HW_CPU_X86_AVX2', 'a']
)
def test_other_properties_may_be_set(name):
    assert properties.refused(name) == ''


def test_a_list_cannot_bring_properties_of_its_choice():
    found = described(
        extra={
            'eu.egi.cloud.x/y': 'bad name',
            'ad:kernel_id': '1',
            'kernel_id': '1',
            'os_command_line': 'init=/bin/sh',
            'hw_rescue_device': 'disk',
        }
    )
    assert not any(properties.refused(name) for name in found)
    assert not {'hw_rescue_device', 'ad:kernel_id', 'eu.egi.cloud.x/y'} & set(
        found
    )


def test_an_entry_of_another_shape_is_taken_for_what_it_says():
    image = images.image()
    bare = properties.described(
        store.Image(
            **{
                name: getattr(image, name)
                for name in store.Image.__slots__
                if name != 'entry'
            },
            entry={'extra': ['not', 'an object'], 'ram_minimum': '12'},
        )
    )
    assert bare['appdb_id'] == images.IDENTIFIER
    assert properties.min_ram(images.image({'ram_minimum': '12'})) == 0


@pytest.mark.parametrize(
    ('said', 'nova'),
    [
        ('x86_64', 'x86_64'),
        ('AMD64', 'x86_64'),
        ('i386', 'i686'),
        ('arm64', 'aarch64'),
        ('ppc64el', 'ppc64le'),
        ('noarch', None),
    ],
)
def test_processors_are_called_as_nova_calls_them(said, nova):
    assert hardware.architecture(said) == nova


@pytest.mark.parametrize(
    ('named', 'offered', 'suited', 'type_'),
    [
        (['kvm'], ['qemu', 'kvm'], ('qemu', 'kvm'), None),
        (['KVM'], ['kvm'], ('kvm',), None),
        (['kvm'], ['qemu', 'kvm', 'xen'], ('qemu', 'kvm'), 'qemu'),
        (['qemu'], ['kvm', 'xen'], ('kvm',), 'kvm'),
        (['virtualbox', 'kvm'], ['kvm', 'xen'], ('kvm',), 'kvm'),
        (['xen'], ['kvm', 'xen'], ('xen',), 'xen'),
        (['kvm', 'xen'], ['kvm', 'xen'], ('kvm', 'xen'), None),
        (['hyper-v'], ['hyperv', 'kvm'], ('hyperv',), 'hyperv'),
        (['xen'], ['qemu', 'kvm'], (), None),
        (['m5'], ['m5', 'kvm'], ('m5',), None),
    ],
)
def test_hypervisors_of_a_list_and_of_a_site(named, offered, suited, type_):
    found = hardware.suited(named, offered)
    assert found == suited
    assert hardware.hypervisor_type(found, offered) == type_


@pytest.mark.parametrize(
    ('system', 'name', 'version', 'expected'),
    [
        ('Linux', 'Scientific Linux', '6.0', ('scientificlinux', '6.0')),
        ('Linux', None, 'SL 5.5', ('scientificlinux', '5.5')),
        ('Linux', None, 'SLC5', ('scientificlinuxcern', '5')),
        ('Linux', 'CentOS Stream', '9', ('centos', '9')),
        ('Linux', None, '5.5', ('linux', '5.5')),
        ('Linux', None, '', ('linux', '')),
        ('Windows', 'Windows Server', '2022', ('windows', '2022')),
    ],
)
def test_distributions_are_spelt_as_libosinfo_does(
    system, name, version, expected
):
    assert hardware.distribution(system, name, version) == expected


@pytest.mark.parametrize(
    ('said', 'expected'),
    [
        ('Linux', 'linux'),
        ('GNU/Linux', 'linux'),
        ('WINDOWS', 'windows'),
        ('FreeBSD', None),
    ],
)
def test_systems_that_nova_does_not_know_are_not_named(said, expected):
    assert hardware.os_type(said) == expected

# SPDX-License-Identifier: Apache-2.0
"""What of an image changes how it boots, in one form whoever shows it."""

import json

import pytest

from hepix_vm.catalogue import boot

MAPPING = [{'device_name': 'vda', 'boot_index': 0, 'size': None}]


def recorded(min_disk=0, **properties) -> str:
    return boot.stored(boot.of_glance(min_disk, properties))


def changed(record: str, min_disk=0, **properties) -> str:
    return boot.differs(boot.of_glance(min_disk, properties), record)


def test_an_image_with_none_of_them_needs_no_room():
    assert recorded() == ''
    assert recorded(0, os_distro='alma', kernel_id='') == ''
    assert changed('') == ''


class AsInGlance(dict):
    """``glance.domain.ExtraProperties`` inherits an empty iteration."""

    def __iter__(self):
        return iter(())

    def keys(self):
        return dict(self.items()).keys()


def test_properties_of_glance_itself_are_seen():
    found = boot.of_glance(0, AsInGlance(kernel_id='k', os_distro='alma'))
    assert boot.stored(found) == recorded(kernel_id='k')
    assert boot.stored(boot.of_glance(1, AsInGlance(a='b'))) == recorded(1)


@pytest.mark.parametrize('name', boot.NAMES)
def test_each_name_that_is_new_gone_or_another_is_noticed(name):
    def image(value):
        return (value, {}) if name == 'min_disk' else (0, {name: value})

    def shown(value):
        min_disk, properties = image(value)
        return boot.of_glance(min_disk, properties)

    one, another = (1, 2) if name == 'min_disk' else ('["a"]', '["b"]')
    assert boot.differs(shown(one), '') == name
    record = boot.stored(shown(one))
    assert boot.differs(shown(one), record) == ''
    assert boot.differs(shown(another), record) == name
    assert changed(record) == name


@pytest.mark.parametrize('name', sorted(boot.TWICE))
def test_the_second_name_counts_as_the_first(name):
    record = recorded(**{name: '[1]'})
    assert recorded(**{f'img_{name}': '[1]'}) == record
    assert changed('', **{f'img_{name}': '[1]'}) == name
    both = {name: '[1]', f'img_{name}': '[2]'}
    assert changed(record, **both) == name
    assert changed(record, **{name: '[1]', f'img_{name}': '[1]'}) == ''


def test_lists_are_compared_by_what_they_say():
    record = recorded(block_device_mapping=json.dumps(MAPPING))
    in_nova = [{'boot_index': '0', 'device_name': 'vda'}]
    seen_by_nova = boot.seen({'img_block_device_mapping': in_nova})
    assert boot.differs(seen_by_nova, record) == ''
    another = boot.seen(
        {'img_block_device_mapping': [{**in_nova[0], 'image_id': 'b'}]}
    )
    assert boot.differs(another, record) == 'block_device_mapping'
    assert recorded(mappings='[]') == ''


@pytest.mark.parametrize(
    'text', ['[', '{"a":', '[' * 60_000, '1' * 5000, '\ud800', 'no json']
)
def test_what_is_no_list_is_compared_as_it_is(text):
    record = recorded(mappings=text)
    assert changed(record, mappings=text) == ''
    assert changed(record, mappings=f'{text} ') == 'mappings'
    assert changed(record) == 'mappings'


def test_who_sees_a_part_compares_a_part():
    record = recorded(2, kernel_id='k')
    assert boot.differs(boot.seen({'min_disk': 2}), record) == ''
    assert boot.differs(boot.seen({'min_disk': 3}), record) == 'min_disk'
    assert boot.differs((), record) == ''


@pytest.mark.parametrize('gib', [0, 1, 70])
def test_min_disk_alone_is_set_in_a_record(gib):
    record = recorded(2, kernel_id='k')
    assert boot.with_min_disk(record, gib) == recorded(gib, kernel_id='k')
    assert boot.with_min_disk('', gib) == recorded(gib)

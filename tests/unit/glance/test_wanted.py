# SPDX-License-Identifier: Apache-2.0
"""How an approved image is to look, or why it does not come."""

from __future__ import annotations

import pytest

from hepix_vm.glance import audience
from hepix_vm.glance import template
from hepix_vm.glance import wanted
from tests.unit.glance import images


def names(*listed, site=None, since=None):
    found = wanted.wanted(
        listed, site or images.site(), images.known(since=since)
    )
    return [one.name for one in found]


def test_an_image_is_called_as_the_site_says():
    found = images.one(
        images.image(), images.site(name='{title} for {vo} on {os_distro}')
    )
    assert found.name == 'Worker for vo.example.org on ubuntu'


def test_all_versions_of_an_image_have_one_name():
    old = images.image(row=1, version='1', title='Worker 2020')
    new = images.image(row=2, version='2', title='Worker 2021')
    assert names(old, new) == ['Worker 2021', 'Worker 2021']
    assert names(new, old) == ['Worker 2021', 'Worker 2021']


@pytest.mark.parametrize(
    'title', ['', '\x07\x1b', '\u202e', '   '], ids=str.encode
)
def test_an_image_without_a_title_is_called_by_its_identifier(title):
    assert names(images.image(title=title)) == [images.IDENTIFIER]


def test_a_hostile_title_becomes_one_harmless_line():
    hostile = 'a\r\nb\x1b[31m\u202ec\U0001f600\ud800 ' + 'x' * 400
    (name,) = names(images.image(title=hostile))
    assert name.startswith('a b [31mc\ufffd x')
    assert len(name) == 255
    assert name.isprintable()


def test_a_title_is_no_template():
    assert names(images.image(title='{identifier} {0.__class__} %s $x')) == [
        '{identifier} {0.__class__} %s $x'
    ]


def test_images_of_one_title_are_told_apart_by_their_identifiers():
    first = images.image(first_seen=1)
    other = images.image(first_seen=2, identifier=images.OTHER)
    assert names(first, other) == ['Worker', 'Worker [f1f2f3f4]']
    assert names(other, first) == ['Worker [f1f2f3f4]', 'Worker']


def test_a_name_stays_with_who_had_it_first_when_that_has_a_new_version():
    # The newer version was first seen after the other image.
    newer = images.image(first_seen=30, version='2')
    squatter = images.image(
        first_seen=20, identifier=images.OTHER, subscription='second'
    )
    since = {
        ('main', images.IDENTIFIER): 10,
        ('second', images.OTHER): 20,
    }
    assert names(squatter, newer, since=since) == [
        'Worker [f1f2f3f4]',
        'Worker',
    ]


@pytest.mark.parametrize(
    'title',
    ['WORKER', 'W\u00f6rker', '\uff37orker', 'Worker ', 'Wor\u200dker'],
)
def test_a_name_that_people_or_mysql_take_for_the_same_is_marked(title):
    first = images.image(first_seen=1)
    other = images.image(first_seen=2, identifier=images.OTHER, title=title)
    assert names(first, other)[1].endswith(' [f1f2f3f4]')


def test_a_title_that_looks_like_a_marked_name_takes_none_away():
    first = images.image(first_seen=1)
    second = images.image(
        first_seen=2,
        identifier='aaaaaaaa-0000-4000-8000-000000000000',
        title='Worker [f1f2f3f4]',
    )
    third = images.image(first_seen=3, identifier=images.OTHER)
    assert names(first, second, third) == [
        'Worker',
        'Worker [f1f2f3f4]',
        f'Worker [{images.OTHER}]',
    ]


def test_one_identifier_in_two_lists_makes_two_names():
    listed = [
        images.image(),
        images.image(subscription='second'),
        images.image(title=f'Worker [{images.IDENTIFIER[:8]}]', row=3),
    ]
    listed[2] = images.image(
        subscription='second',
        identifier=images.OTHER,
        title=f'Worker [{images.IDENTIFIER}]',
        first_seen=1,
    )
    found = names(*listed)
    assert len({template.folded(name) for name in found}) == 3


def test_names_of_full_length_are_told_apart_within_it():
    long = 'x' * 255
    first = images.image(title=long, first_seen=1)
    other = images.image(title=long, first_seen=2, identifier=images.OTHER)
    found = names(first, other)
    assert [len(name) for name in found] == [255, 255]
    assert found[1].endswith('x [f1f2f3f4]')


def test_an_image_that_does_not_come_takes_no_name():
    unsuited = images.image({'hypervisors': ['xen']}, first_seen=1)
    other = images.image(first_seen=2, identifier=images.OTHER)
    found = wanted.wanted([unsuited, other], images.site(), images.known())
    assert isinstance(found[0], wanted.Unsuited)
    assert found[1].name == 'Worker'


def test_tags_are_filled_and_left_out_where_the_list_says_nothing():
    site = images.site(
        tags=('{identifier}', '{vo}/{os_distro}', 'grid', '{format}')
    )
    found = images.one(images.image({'format': None}), site)
    assert found.tags == {
        images.IDENTIFIER,
        'vo.example.org/ubuntu',
        'grid',
    }
    assert (
        len(max(images.one(images.image(vo='v' * 300), site).tags, key=len))
        == 255
    )


AUTO = [
    (None, None, 'public', set()),
    ({'p1', 'p2'}, None, 'shared', {'p1', 'p2'}),
    ({'p1', 'p2'}, 'p1', 'shared', {'p2'}),
    ({'p1'}, 'p1', 'private', set()),
]


@pytest.mark.parametrize(
    ('projects', 'owner', 'visibility', 'members'),
    AUTO,
    ids=['all', 'some', 'owner too', 'owner alone'],
)
def test_visibility_follows_who_may_use_it(
    projects, owner, visibility, members
):
    may = None if projects is None else frozenset(projects)
    found = images.one(
        images.image(), images.site(owner=owner), images.known(may)
    )
    assert (found.visibility, found.members) == (visibility, members)


@pytest.mark.parametrize('visibility', ['public', 'private', 'community'])
def test_a_site_may_say_another_visibility_which_has_no_members(visibility):
    found = images.one(
        images.image(),
        images.site(visibility=visibility),
        images.known(frozenset({'p1'})),
    )
    assert (found.visibility, found.members) == (visibility, frozenset())


def test_shared_with_all_projects_is_shared_with_nobody():
    found = images.one(images.image(), images.site(visibility='shared'))
    assert (found.visibility, found.members) == ('shared', frozenset())


def test_an_image_that_no_project_may_use_is_told_and_does_not_come():
    (found,) = wanted.wanted(
        [images.image()], images.site(), images.known(frozenset())
    )
    assert isinstance(found, wanted.Unsuited)
    assert 'vo.example.org' in found.reason
    assert 'vo_projects' in found.reason


def test_an_image_of_a_subscription_that_nobody_knows_does_not_come():
    (found,) = wanted.wanted(
        [images.image()], images.site(), audience.Audience({}, {})
    )
    assert isinstance(found, wanted.Unsuited)
    assert 'hepix-vm sync' in found.reason


def test_an_image_for_another_hypervisor_is_told_and_does_not_come():
    (found,) = wanted.wanted(
        [images.image({'hypervisors': ['xen', 'vmware']})],
        images.site(hypervisors=('qemu', 'kvm')),
        images.known(),
    )
    assert isinstance(found, wanted.Unsuited)
    assert 'xen, vmware' in found.reason
    assert 'qemu, kvm' in found.reason


def test_rules_act_in_order_on_the_images_of_which_they_hold():
    site = images.site(
        '* : hw_disk_bus = scsi, note = of {title}, visibility = private',
        'os_name = ubuntu os_version >= 22 : hw_disk_bus = virtio, '
        'hw_qemu_guest_agent = yes, owner = p9, protected = true',
        'os_name = ubuntu : min_disk = 20, min_ram = 512, os_type =',
        'os_name = debian : hw_disk_bus = ide',
    )
    found = images.one(images.image(), site)
    assert found.properties['hw_disk_bus'] == 'virtio'
    assert found.properties['hw_qemu_guest_agent'] == 'yes'
    assert found.properties['note'] == 'of Worker'
    assert 'os_type' not in found.properties
    assert (found.owner, found.protected) == ('p9', True)
    assert (found.min_disk, found.min_ram) == (20, 512)
    assert found.visibility == 'private'
    older = images.one(images.image({'os_version': '9.10'}), site)
    assert older.properties['hw_disk_bus'] == 'scsi'
    assert older.protected is False


def test_cores_of_a_list_are_not_taken_for_disk_and_memory_is_in_mib():
    found = images.one(images.image(), images.site())
    assert (found.min_disk, found.min_ram) == (0, 1025)
    none = images.one(images.image({'ram_minimum': None}), images.site())
    assert none.min_ram == 0


def test_what_a_list_puts_into_a_property_is_cleaned_and_cut():
    site = images.site('* : note = {title}')
    found = images.one(images.image(title='a\nb' + 'c' * 300), site)
    assert found.properties['note'].startswith('a bccc')
    assert len(found.properties['note']) == 255
    assert 'note' not in images.one(images.image(title=''), site).properties

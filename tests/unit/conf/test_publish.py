# SPDX-License-Identifier: Apache-2.0
"""The options of [publish] as the rules that they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hepix_vm import conf
from hepix_vm.conf import publish
from hepix_vm import errors
from tests.unit.glance import images


def written(folder: Path, text: str):
    path = folder / 'hepix_vm.conf'
    path.write_text(text)
    path.chmod(0o640)
    return conf.load([str(path)], ['publish'])


def test_without_options_images_are_called_and_shared_as_lists_say(tmp_path):
    rules = publish.rules(written(tmp_path, ''))
    found = images.one(images.image(), rules)
    assert found.name == 'Worker'
    assert found.tags == {images.IDENTIFIER}
    assert (found.visibility, found.owner, found.protected) == (
        'public',
        None,
        False,
    )
    assert 'hypervisor_type' not in found.properties


def test_options_are_read(tmp_path):
    rules = publish.rules(
        written(
            tmp_path,
            '[publish]\n'
            'name = {vo}/{title}\n'
            'tags = grid,{os_distro}-{os_version}\n'
            'visibility = community\n'
            'owner = 0123456789abcdef0123456789abcdef\n'
            'protected = true\n'
            'hypervisors = KVM,Xen\n'
            'rule = os = linux : hw_disk_bus = virtio\n'
            'rule = * : min_disk = 3\n',
        )
    )
    found = images.one(images.image(), rules)
    assert found.name == 'vo.example.org/Worker'
    assert found.tags == {'grid', 'ubuntu-22.04'}
    assert found.visibility == 'community'
    assert found.owner == '0123456789abcdef0123456789abcdef'
    assert found.protected
    assert found.min_disk == 3
    assert found.properties['hw_disk_bus'] == 'virtio'
    assert found.properties['hypervisor_type'] == 'kvm'


def test_a_cloud_has_what_its_own_group_says_over_the_common_one(tmp_path):
    options = written(
        tmp_path,
        '[publish]\n'
        'name = {title} (site)\n'
        'visibility = private\n'
        'protected = true\n'
        '[publish:west]\n'
        'visibility = community\n'
        'protected = false\n'
        'tags =\n',
    )
    for _ in range(2):
        west = images.one(images.image(), publish.rules(options, 'west'))
        assert (west.name, west.visibility) == ('Worker (site)', 'community')
        assert west.tags == frozenset()
        assert not west.protected
    for cloud in ('default', 'east'):
        found = images.one(images.image(), publish.rules(options, cloud))
        assert (found.visibility, found.protected) == ('private', True)


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ('name = {nonsense}', 'option name: .*expected one of {title}'),
        ('tags = {', 'option tags: .*alone'),
        ('owner = my project', 'option owner: .*the id of a project'),
        ('hypervisors = warp', "option hypervisors: .*found 'warp'"),
        ('rule = nonsense', 'option rule: .*no colon'),
        ('rule = * : kernel_id = x', 'option rule: .*what boots'),
    ],
)
@pytest.mark.parametrize('group', ['publish', 'publish:west'])
def test_a_mistake_is_told_with_its_group_and_option(
    tmp_path, group, line, said
):
    options = written(tmp_path, f'[{group}]\n{line}\n')
    with pytest.raises(errors.Misconfigured, match=said) as caught:
        publish.rules(options, 'west')
    assert str(caught.value).startswith(f'group [{group}]')


def test_a_value_of_another_kind_is_refused_in_a_clouds_group_too(tmp_path):
    options = written(tmp_path, '[publish:west]\nvisibility = secret\n')
    with pytest.raises(errors.Misconfigured, match=r'publish:west.*secret'):
        publish.rules(options, 'west')


def test_a_typing_error_in_a_clouds_group_is_told(tmp_path):
    options = written(tmp_path, '[publish:west]\nvisibilty = private\n')
    with pytest.raises(errors.Misconfigured, match='visibilty is not known'):
        publish.rules(options, 'west')

# SPDX-License-Identifier: Apache-2.0
"""What a site allows of conversion."""

from __future__ import annotations

from pathlib import Path

import pytest

from hepix_vm import conf as options
from hepix_vm.conf import conversion
from hepix_vm import errors
from hepix_vm.glance import conversion as converting
from hepix_vm.glance import formats

GIB = 2**30


def settings(tmp_path: Path, *lines: str) -> converting.Settings:
    path = tmp_path / 'hepix_vm.conf'
    path.write_text('\n'.join(['[conversion]', *lines]))
    path.chmod(0o600)
    return conversion.settings(options.load((str(path),)))


def test_nothing_is_allowed_unless_the_site_says_so(tmp_path):
    assert settings(tmp_path) == converting.Settings(
        steps=frozenset(),
        target='qcow2',
        deadline=7200,
        memory=2 * GIB,
        max_size=100 * GIB,
    )


def test_all_of_it_can_be_set(tmp_path):
    found = settings(
        tmp_path,
        'steps = gunzip, ova,vdi,vhd',
        'target = raw',
        'deadline = 60',
        'max_memory = 4096',
        'max_size = 10',
    )
    assert found == converting.Settings(
        frozenset(formats.STEPS), 'raw', 60, 4 * GIB, 10 * GIB
    )


@pytest.mark.parametrize(
    'line',
    [
        'steps = gunzip, everything',
        'target = vmdk',
        'deadline = 0',
        'max_memory = 10',
        'max_size = 0',
    ],
)
def test_a_value_that_means_nothing_is_a_mistake(tmp_path, line):
    with pytest.raises(errors.Misconfigured, match=line.partition(' ')[0]):
        settings(tmp_path, line)

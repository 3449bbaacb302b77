# SPDX-License-Identifier: Apache-2.0
"""Whom the bytes of an import have to be approved for."""

from __future__ import annotations

import pytest

pytest.importorskip('glance')

from hepix_vm.catalogue import reader
from hepix_vm.conf import inside
from hepix_vm.glance import check

SETTINGS = inside.InsideSettings(
    reader=reader.ReaderSettings('sqlite://'),
    publishing_projects=frozenset({'publisher'}),
)


@pytest.mark.parametrize(
    ('owner', 'project'),
    [
        ('somebody', 'somebody'),
        # In no list of projects: an image of nobody is for nobody.
        (None, ''),
        ('publisher', None),
    ],
)
def test_the_owner_counts_unless_it_publishes_for_others(
    owner: str | None, project: str | None
) -> None:
    assert check._project(owner, SETTINGS) == project

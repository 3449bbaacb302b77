# SPDX-License-Identifier: Apache-2.0
"""Versions compare by their numeric parts."""

from __future__ import annotations

import itertools

import pytest

from hepix_vm import imagelist

#: From old to new; names of one row are equal.
ORDER = (
    ('rc1',),
    ('v2', 'v02'),
    ('0rc1',),
    ('1rc1',),
    ('1rc1a',),
    ('1rc2',),
    ('1rc10',),
    ('0.0.1', '00.0.01'),
    ('0.0.2',),
    ('0.1',),
    ('1', '01', '001'),
    ('1,5',),
    ('1-1',),
    ('1.0rc1',),
    ('1.0', '1.00'),
    ('1.0-rc1',),
    ('1.0-1',),
    ('1.0.0',),
    ('1.9',),
    ('1.10',),
    ('1/2',),
    ('2',),
    ('3.3.0',),
    ('3.3.0-1',),
    ('3.3.0-2',),
    ('3.3.0-10',),
    ('10',),
    ('20141029',),
    ('20150618211400',),
    ('20150618211401',),
)


def test_order_is_transitive() -> None:
    keys = [imagelist.version_key(row[0]) for row in ORDER]
    assert all(a < b for a, b in itertools.combinations(keys, 2))


@pytest.mark.parametrize(
    ('older', 'newer'),
    [
        pytest.param(older, newer, id=f'{older}<{newer}')
        for older_row, newer_row in itertools.pairwise(ORDER)
        for older in older_row
        for newer in newer_row
    ],
)
def test_older_comes_before_newer(older: str, newer: str) -> None:
    assert imagelist.version_key(older) < imagelist.version_key(newer)


@pytest.mark.parametrize('row', [row for row in ORDER if len(row) > 1])
def test_leading_zeros_do_not_count(row: tuple[str, ...]) -> None:
    assert len({imagelist.version_key(name) for name in row}) == 1


def test_separator_at_either_end_compares_with_everything() -> None:
    names = ('-1', '1-', '1', '.1.', ' 1', '1é2')
    keys = sorted(imagelist.version_key(name) for name in names)
    assert len(set(keys)) == len(names)


@pytest.mark.parametrize('version', ['', 'latest', '-', '\u0661', '²'])
def test_version_without_a_digit_has_no_place(version: str) -> None:
    with pytest.raises(ValueError, match='a version contains a digit'):
        imagelist.version_key(version)


def test_version_of_more_than_255_characters_has_no_place() -> None:
    assert imagelist.version_key('1' * 255)
    with pytest.raises(ValueError, match='at most 255 characters'):
        imagelist.version_key('1' * 256)

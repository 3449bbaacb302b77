# SPDX-License-Identifier: Apache-2.0
"""Where the plugins must stand in Glance's list."""

import pytest

from hepix_vm.glance import listing

OURS = ['hepix_verify', 'hepix_record']


@pytest.mark.parametrize(
    'plugins',
    [
        OURS,
        ['no_op', *OURS],
        ['image_conversion', *OURS],
        ['hepix_verify', 'no_op', 'hepix_record'],
        ['hepix_verify', 'inject_image_metadata', 'hepix_record'],
    ],
)
def test_nothing_changes_the_bytes(plugins: list[str]) -> None:
    assert listing.converting(plugins) == ()


@pytest.mark.parametrize(
    ('between', 'expected'),
    [
        (['image_conversion'], ('image_conversion',)),
        (['image_decompression', 'no_op'], ('image_decompression',)),
        (['of_the_site'], ('of_the_site',)),
    ],
)
def test_what_may_change_the_bytes_is_found(
    between: list[str], expected: tuple[str, ...]
) -> None:
    plugins = ['hepix_verify', *between, 'hepix_record']
    assert listing.converting(plugins) == expected


def test_a_site_can_vouch_for_its_own_plugin() -> None:
    plugins = ['hepix_verify', 'of_the_site', 'hepix_record']
    assert listing.converting(plugins, {'of_the_site'}) == ()


@pytest.mark.parametrize(
    ('plugins', 'sentence'),
    [
        ([], 'must list hepix_verify exactly once'),
        (['hepix_record'], 'must list hepix_verify exactly once'),
        (['hepix_verify'], 'must list hepix_record exactly once'),
        (['hepix_verify', *OURS], 'must list hepix_verify exactly once'),
        ([*OURS, 'hepix_record'], 'must list hepix_record exactly once'),
        (['hepix_record', 'hepix_verify'], 'must list hepix_record last'),
        ([*OURS, 'image_conversion'], 'must list hepix_record last'),
        ([*OURS, 'no_op'], 'must list hepix_record last'),
    ],
)
def test_a_wrong_place_is_refused(plugins: list[str], sentence: str) -> None:
    with pytest.raises(listing.PluginsMisplaced, match=sentence):
        listing.converting(plugins)


def test_conversion_needs_the_sites_word() -> None:
    listing.require_allowed((), False)
    listing.require_allowed(('image_conversion',), True)
    with pytest.raises(
        listing.PluginsMisplaced, match=r'image_conversion.*allow_conversion'
    ):
        listing.require_allowed(('image_conversion',), False)


@pytest.mark.parametrize('missing', OURS)
def test_a_plugin_that_glance_did_not_load_is_missed(missing: str) -> None:
    listing.require_loaded(OURS)
    others = [name for name in OURS if name != missing]
    with pytest.raises(
        listing.PluginsMisplaced, match=f'{missing} but did not load it'
    ):
        listing.require_loaded(others)

# SPDX-License-Identifier: Apache-2.0
"""What a list says beyond the format, and published images pass on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hepix_vm.catalogue import store
from hepix_vm.glance import audience
from hepix_vm import imagelist
from tests import endorser
from tests.unit.catalogue import following


@pytest.fixture
def site(tmp_path) -> Iterator[following.Site]:
    made = following.Site(tmp_path)
    made.follow()
    yield made
    made.close()


def entry(site: following.Site, **extra: object) -> dict[str, object]:
    image = endorser.make_image(b'an image', extra=extra)
    site.publish('main', '1', image, dialect=imagelist.Dialect.APPDB)
    site.sync()
    with site.database.reading() as connection:
        (found,) = store.images(connection)
    return dict(found.entry)


def test_keys_of_appdb_and_of_egi_are_kept(site):
    kept = {
        'ad:appid': '42',
        'ad:base_mpuri': 'https://db.example.org/1/',
        'ad:ram_recommended': 2048,
        'eu.egi.cloud.image_ref': 'images/worker:1',
    }
    found = entry(site, **kept, other='x', **{'xx:y': 'z'})
    assert found['extra'] == kept


def test_a_list_of_another_dialect_costs_nothing(site):
    assert 'extra' not in entry(site, **{'xx:y': 'z'})


def test_what_is_kept_is_bounded(site):
    many = {f'ad:{number:03d}': 'x' for number in range(100)}
    found = entry(
        site,
        **many,
        **{
            'ad:long': 'x' * 1025,
            'ad:' + 'n' * 126: 'x',
            'ad:list': ['x'],
            'ad:object': {'x': 'y'},
        },
    )
    extra = found['extra']
    assert isinstance(extra, dict)
    assert len(extra) == 64
    assert set(extra) <= set(many)


def test_the_audience_is_who_may_use_and_who_was_first(site):
    site.change('main', vo_projects={'atlas': frozenset({'p1', 'p2'})})
    first = endorser.make_image(b'an image', version='1')
    site.publish('main', '1', first, vo='atlas')
    site.sync()
    before = site.now
    site.now += 1000
    newer = endorser.make_image(
        b'another image', version='2', identifier=first.identifier
    )
    site.publish('main', '2', newer, vo='atlas')
    site.sync()
    with site.database.reading() as connection:
        found = audience.read(connection)
    assert found.projects == {'main': frozenset({'p1', 'p2'})}
    assert found.since == {('main', first.identifier): before}

# SPDX-License-Identifier: Apache-2.0
"""Which images of a catalogue hosts are asked for."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import quarantine
from hepix_vm.catalogue import schema
from hepix_vm.nova import precache
from hepix_vm.operations import precaching
from tests import catalogue_rows
from tests.unit.nova import computes as c

NOW = 1_800_000_000
DATA = b'an image'


@pytest.fixture
def rows(tmp_path):
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    fresh = {'verified_at': NOW, 'expires': NOW + 10**6}
    made.subscription('trusted', **fresh)
    made.endorse(DATA)
    made.record(c.IMAGE, DATA)
    publish(made)
    yield made
    made.close()


def publish(rows: catalogue_rows.Rows, **changes: Any) -> None:
    values: dict[str, Any] = {
        'image_id': c.IMAGE,
        'cloud': 'default',
        'subscription': 'trusted',
        'identifier': c.IMAGE,
        'version': '1.0',
        'sha512': catalogue_rows.sha512(DATA),
        'state': 'active',
        'at': NOW,
        'published_at': NOW,
        'retired_at': None,
    } | changes
    key = {'image_id': values.pop('image_id')}
    with rows.store.writing() as transaction:
        transaction.put(schema.publication, key, values)


def asked(
    rows: catalogue_rows.Rows,
    nova: c.Compute | None = None,
    now: int = NOW,
    cloud: str = 'default',
    **changes: Any,
) -> list[str]:
    values: dict[str, Any] = {'aggregates': ('fast',), 'again_after': 1000}
    settings = precache.Settings(**(values | changes))
    return [
        one.image_id
        for one in precaching.precached(
            rows.store, nova or c.Compute(), cloud, settings, now
        )
    ]


def kept(rows: catalogue_rows.Rows) -> list[tuple[str, str, str, int]]:
    with rows.store.reading() as connection:
        return [
            tuple(row)
            for row in connection.execute(sa.select(schema.precached))
        ]


def test_released_image_is_asked_for_once_in_its_time(rows):
    assert asked(rows) == [c.IMAGE]
    assert kept(rows) == [('default', 'fast', c.IMAGE, NOW)]
    assert asked(rows, now=NOW + 999) == []
    assert asked(rows, now=NOW + 1000) == [c.IMAGE]
    assert kept(rows) == [('default', 'fast', c.IMAGE, NOW + 1000)]


def test_without_aggregates_nobody_is_asked(rows):
    nova = c.Compute()
    assert asked(rows, nova, aggregates=()) == []
    assert nova.asked == []


@pytest.mark.parametrize(
    'changes',
    [
        {'state': 'creating', 'published_at': None},
        {'state': 'quarantine', 'published_at': None},
        {'state': 'retired', 'retired_at': NOW},
        {'state': 'gone'},
        {'cloud': 'north'},
    ],
    ids=['creating', 'quarantine', 'retired', 'gone', 'elsewhere'],
)
def test_what_users_of_the_cloud_do_not_have_is_not_asked_for(rows, changes):
    publish(rows, **changes)
    assert asked(rows) == []


def test_image_that_is_held_for_the_quarantine_is_not_asked_for(rows):
    rows.store.transact(
        lambda t: quarantine.hold(t, NOW, 'default', c.IMAGE, 'trial')
    )
    assert asked(rows) == []


def test_only_images_of_the_wanted_subscriptions_are_asked_for(rows):
    assert asked(rows, subscriptions=frozenset({'other'})) == []
    assert asked(rows, subscriptions=frozenset({'trusted'})) == [c.IMAGE]


@pytest.mark.parametrize(
    'withdraw',
    [
        lambda rows: rows.withdraw(DATA),
        lambda rows: rows.block(catalogue_rows.sha512(DATA)),
        lambda rows: rows.change(
            schema.glance_record,
            schema.glance_record.c.image_id == c.IMAGE,
            state='withdrawn',
        ),
    ],
    ids=['endorser', 'site', 'record'],
)
def test_what_is_withdrawn_is_not_asked_for_and_forgotten(rows, withdraw):
    assert asked(rows) == [c.IMAGE]
    withdraw(rows)
    assert asked(rows, now=NOW + 2000) == []
    assert kept(rows) == []


def test_image_that_comes_back_is_asked_for_at_once(rows):
    assert asked(rows) == [c.IMAGE]
    publish(rows, state='retired', retired_at=NOW)
    assert asked(rows, now=NOW + 1) == []
    publish(rows)
    assert asked(rows, now=NOW + 2) == [c.IMAGE]


def test_aggregate_that_is_no_longer_named_is_forgotten(rows):
    nova = c.Compute()
    nova.known = {'fast': 1, 'big': 2}
    assert len(asked(rows, nova, aggregates=('fast', 'big'))) == 2
    assert asked(rows, nova, aggregates=('big',)) == []
    assert [row[1] for row in kept(rows)] == ['big']


def test_clouds_are_kept_apart(rows):
    assert asked(rows) == [c.IMAGE]
    assert asked(rows, cloud='north') == []
    assert len(kept(rows)) == 1


def test_refusal_is_logged_and_asked_again(rows, caplog):
    nova = c.Compute()
    nova.refused = frozenset({c.IMAGE})
    assert asked(rows, nova) == [c.IMAGE]
    assert f'verdict=not-precached image={c.IMAGE} cloud=default' in (
        caplog.text
    )
    assert kept(rows) == []

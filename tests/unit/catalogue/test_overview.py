# SPDX-License-Identifier: Apache-2.0
"""The catalogue at a glance says what a full look would."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import condition
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import model
from hepix_vm.catalogue import overview
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from tests import catalogue_rows

NOW = 1_800_000_000
DAY = 86400


@pytest.fixture
def rows(tmp_path):
    made = catalogue_rows.Rows(f'sqlite:///{tmp_path / "catalogue.sqlite"}')
    yield made
    made.close()


@pytest.fixture
def look(rows):
    def at(now: int = NOW) -> overview.Overview:
        with rows.store.reading() as connection:
            return overview.look(connection, now)

    return at


def subscribe(rows, name, **values):
    rows.subscription(
        name,
        **(
            {
                'list_id': 1,
                'verified_at': NOW - 60,
                'expires': NOW + DAY,
                'max_age': DAY,
            }
            | values
        ),
    )


def test_an_empty_catalogue(look):
    found = look()
    assert found.states == {}
    assert found.history.length == 0
    assert found.history.sha256 == chain.GENESIS
    assert found.next_expiry is None
    assert found.next_attempt is None
    assert found.last_attempt is None
    assert found.last_codes == {}
    assert found.daemon is None
    assert found.waiting == found.failing == found.anyway == ()
    assert (found.images, found.approved, found.failing_count) == (0, 0, 0)


def every_state(rows):
    """A subscription for each way in which one can fare."""
    many = itertools.product(
        (None, 1),
        [standing.value for standing in model.Standing],
        (None, NOW - 1, NOW, NOW + 1),
        (None, NOW - DAY - 1, NOW - DAY, NOW + 300, NOW + 301),
        (True, False),
    )
    names = ('list_id', 'standing', 'expires', 'verified_at', 'configured')
    with rows.store.writing() as transaction:
        transaction.connection.execute(
            schema.subscription.insert(),
            [
                dict(zip(names, values, strict=True))
                | {'name': f's{number}', 'revision': 1, 'max_age': DAY}
                for number, values in enumerate(many)
            ],
        )


def test_states_are_those_of_the_one_function_that_knows(rows):
    every_state(rows)
    with rows.store.reading() as connection:
        whole = store.subscription_states(connection)
        found = overview.states(connection, NOW)
    assert len(found) == 320
    assert found == {
        name: condition.of(state, NOW).state for name, state in whole.items()
    }
    assert set(found.values()) == set(condition.State) - {
        condition.State.MISCONFIGURED
    }


def test_the_next_expiry_is_the_first_that_is_still_to_come(rows, look):
    subscribe(rows, 'over', expires=NOW)
    subscribe(rows, 'late', expires=NOW + 9)
    subscribe(rows, 'next', expires=NOW + 5)
    subscribe(rows, 'left', expires=NOW + 3, configured=False)
    subscribe(rows, 'imported', expires=NOW + 3, list_id=None)
    assert look().next_expiry == ('next', NOW + 5)


def test_attempts_of_what_is_configured_count(rows, look):
    subscribe(
        rows, 'a', last_attempt=NOW - 9, next_attempt=NOW + 9, last_code='ok'
    )
    subscribe(rows, 'b', last_attempt=NOW - 5, next_attempt=NOW + 5)
    subscribe(rows, 'c', last_code='fetch', failures=2)
    subscribe(
        rows,
        'left',
        configured=False,
        last_attempt=NOW,
        next_attempt=NOW,
        last_code='ok',
        failures=9,
    )
    found = look()
    assert found.last_attempt == NOW - 5
    assert found.next_attempt == NOW + 5
    assert found.last_codes == {'fetch': 1, 'ok': 1}
    assert found.failing_count == 0


def test_the_worst_of_the_failing_are_named_and_all_counted(rows, look):
    for number in range(12):
        subscribe(
            rows,
            f's{number:02}',
            failures=overview.FAILING + number,
            last_code='fetch',
            next_attempt=NOW + number,
        )
    found = look()
    assert found.failing_count == 12
    assert len(found.failing) == overview.NAMED
    assert found.failing[0] == overview.Failing(
        's11', overview.FAILING + 11, 'fetch', NOW + 11
    )


def test_images_are_counted_and_those_that_wait_by_subscription(rows, look):
    rows.endorse(b'1', 'a')
    rows.endorse(b'2', 'a', approved=False)
    one = rows.endorse(b'3', 'b', held_at=NOW - 9)
    rows.endorse(b'4', 'b', identifier=one, held_at=NOW - 5, version='2')
    rows.endorse(b'5', 'c', held_at=NOW - 7)
    rows.endorse(b'6', 'd', held_at=NOW - 7, withdrawn=True)
    found = look()
    assert (found.images, found.approved) == (5, 4)
    assert found.waiting == (
        overview.Waiting('b', 1, NOW - 9),
        overview.Waiting('c', 1, NOW - 7),
    )


def test_what_runs_anyway_ends_first_comes_first(rows, look):
    for number in range(12):
        digest = hashlib.sha512(b'%d' % number).hexdigest()
        with rows.store.writing() as transaction:
            transaction.put(
                schema.run_anyway,
                {'sha512': digest},
                {
                    'until': NOW + 11 - number,
                    'at': 1,
                    'who': 'me',
                    'reason': 'x',
                },
            )
    found = look()
    assert found.anyway_count == 11
    assert len(found.anyway) == overview.NAMED
    assert found.anyway[0].until == NOW + 1


def test_who_leads_and_where_the_history_ends(rows, look):
    fence = lease.take(rows.store, 'host-1', None, NOW - 5)
    with rows.store.writing() as transaction:
        transaction.remember(1, 'me', 'event', 'subject', 'detail')
    found = look()
    assert fence is not None
    assert found.daemon == lease.Holder('host-1', fence, NOW - 5, 0)
    assert found.history.length == 1
    assert found.history.sha256 == chain.digest(
        chain.GENESIS, 1, 'me', 'event', 'subject', 'detail'
    )
    assert found.revision > 0

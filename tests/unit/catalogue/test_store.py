# SPDX-License-Identifier: Apache-2.0
"""What the site's commands read of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
import uuid

import pytest

from hepix_vm.catalogue import model
from hepix_vm.catalogue import store
from tests import catalogue_rows

CONTENT = catalogue_rows.sha512(b'an image')


@pytest.fixture
def rows(tmp_path) -> Iterator[catalogue_rows.Rows]:
    made = catalogue_rows.Rows(f'sqlite:///{tmp_path / "catalogue.sqlite"}')
    made.subscription('first')
    made.subscription('second')
    yield made
    made.close()


@pytest.fixture
def ask(rows):
    """Calls a query with a connection."""

    def call(query, *arguments, **named):
        with rows.store.reading() as connection:
            return query(connection, *arguments, **named)

    return call


def test_state_of_a_subscription_that_was_never_synced_is_none(ask):
    assert ask(store.subscription_state, 'unknown') is None
    assert ask(store.subscription_state, 'first').name == 'first'


def test_states_are_sorted_by_name(rows, ask):
    rows.subscription('a last one')
    assert list(ask(store.subscription_states)) == [
        'a last one',
        'first',
        'second',
    ]


def test_images_by_list_name_and_content(rows, ask):
    mine = rows.endorse(b'an image', 'first')
    theirs = rows.endorse(b'an image', 'second')
    gone = rows.endorse(b'gone', 'first', withdrawn=True)

    def found(**named):
        return {i.identifier for i in ask(store.images, **named)}

    assert found() == {mine, theirs}
    assert found(with_withdrawn=True) == {mine, theirs, gone}
    assert found(subscription='first') == {mine}
    assert found(named=CONTENT) == {mine, theirs}
    assert found(named=theirs) == {theirs}
    assert found(named=gone) == set()
    assert found(named=gone, with_withdrawn=True) == {gone}
    assert found(named="' OR 1=1 --") == set()


def test_identifiers_that_other_lists_hold(rows, ask):
    mine = rows.endorse(b'mine', 'first')
    theirs = rows.endorse(b'theirs', 'second')
    gone = rows.endorse(b'gone', 'second', withdrawn=True)
    asked = [mine, theirs, gone, str(uuid.uuid4())]
    assert ask(store.identifiers_held, asked, 'first') == {theirs: 'second'}
    assert ask(store.identifiers_held, asked, 'third') == {
        mine: 'first',
        theirs: 'second',
    }
    assert ask(store.identifiers_held, [], 'first') == {}


def test_list_that_left_the_configuration_holds_nothing(rows, ask):
    theirs = rows.endorse(b'theirs', 'second')
    rows.subscription('second', configured=False)
    assert ask(store.identifiers_held, [theirs], 'first') == {}


def test_more_identifiers_than_a_statement_takes(rows, ask):
    held = rows.endorse(b'theirs', 'second')
    asked = [str(uuid.uuid4()) for _ in range(2000)] + [held]
    assert ask(store.identifiers_held, asked, 'first') == {held: 'second'}


def test_records_by_state_image_and_content(rows, ask):
    rows.record('later', b'an image', recorded_at=2)
    rows.record('earlier', b'an image', recorded_at=1)
    rows.record('other', b'other', state='withdrawn', reason='blocked')

    def found(**named):
        return [r.image_id for r in ask(store.records, **named)]

    assert found()[:2] == ['earlier', 'later']
    assert found(states=[model.RecordState.WITHDRAWN]) == ['other']
    assert found(image_id='later') == ['later']
    assert found(sha512=CONTENT) == ['earlier', 'later']
    assert found(states=[]) == []


def test_history_is_the_newest_lines_in_their_order(rows, ask):
    with rows.store.writing() as transaction:
        for number in range(5):
            transaction.remember(
                number, 'me', f'event {number}', f'subject {number % 2}', ''
            )
    events = [e.event for e in ask(store.history, limit=3)]
    assert events == ['event 2', 'event 3', 'event 4']
    events = [e.event for e in ask(store.history, 'subject 0')]
    assert events == ['event 0', 'event 2', 'event 4']


def test_only_active_blocks_are_told(rows, ask):
    rows.block('one')
    rows.block('two')
    rows.block('one', active=False)
    assert list(ask(store.blocks)) == ['two']

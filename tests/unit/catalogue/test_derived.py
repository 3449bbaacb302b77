# SPDX-License-Identifier: Apache-2.0
"""Which bytes were made of which: written, found, and seen by readers."""

from __future__ import annotations

import time
import uuid

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import derived
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from tests import catalogue_rows

NOW = 1_800_000_000
MADE = 'a' * 128
ORIGIN = 'b' * 128
OTHER = 'c' * 128


@pytest.fixture
def rows(tmp_path):
    made = catalogue_rows.Rows(f'sqlite:///{tmp_path / "catalogue.sqlite"}')
    yield made
    made.close()


def remember(rows, now=NOW, origin=ORIGIN, made=MADE, step='gunzip', size=7):
    with rows.store.writing() as transaction:
        derived.remember(transaction, now, made, size, origin, 9, step)


def find(rows, origin=None):
    with rows.store.reading() as connection:
        return derived.find(connection, origin)


def look(rows, previous=None):
    with rows.store.reading() as connection:
        return loading.load(connection, previous, NOW)


def test_what_was_made_is_found_by_its_origin(rows):
    remember(rows)
    remember(rows, NOW + 1, OTHER, step='ova')
    made = derived.Made(MADE, 7, ORIGIN, 9, 'gunzip', NOW)
    assert find(rows, ORIGIN) == (made,)
    assert [one.origin_sha512 for one in find(rows)] == [OTHER, ORIGIN]
    assert find(rows, MADE) == ()


def test_the_history_tells_it_once(rows):
    remember(rows)
    remember(rows, NOW + 1)
    assert rows.events(ORIGIN) == ['image-converted']
    assert find(rows, ORIGIN)[0].at == NOW
    remember(rows, NOW + 2, step='gunzip+vdi-to-raw')
    assert rows.events(ORIGIN) == ['image-converted'] * 2
    assert find(rows, ORIGIN)[0].step == 'gunzip+vdi-to-raw'


def test_readers_see_every_origin(rows):
    first = look(rows)
    assert not first.snapshot.derived
    remember(rows)
    second = look(rows, first)
    assert second.snapshot.derived == {
        MADE: (model.Derived(7, ORIGIN, 9, 'gunzip'),)
    }
    remember(rows, origin=OTHER)
    remember(rows, step='ova')
    third = look(rows, second)
    assert set(third.snapshot.derived[MADE]) == {
        model.Derived(7, ORIGIN, 9, 'ova'),
        model.Derived(7, OTHER, 9, 'gunzip'),
    }
    assert look(rows).snapshot.derived.keys() == {MADE}
    assert look(rows, third).snapshot.derived is third.snapshot.derived


def test_the_longest_step_fits(rows):
    remember(rows, step='gunzip+vdi-to-qcow2')
    assert len('gunzip+vdi-to-qcow2') <= schema.derived.c.step.type.length


def test_a_record_keeps_both_hashes_and_the_step(rows):
    writer = records.Records(rows.store)
    image_id = str(uuid.uuid4())
    writer.verified(
        image_id, 'task', 'project', ORIGIN, 9, NOW, NOW, (MADE, 7), 'gunzip'
    )
    pending = writer.pending(image_id, 'task')
    assert (pending.sha512, pending.size) == (ORIGIN, 9)
    assert (pending.final_sha512, pending.final_size) == (MADE, 7)
    writer.positive(image_id, 'task', MADE, 7, NOW)
    row = rows.recorded(image_id)
    assert (row.sha512, row.size) == (ORIGIN, 9)
    assert (row.final_sha512, row.final_size) == (MADE, 7)
    assert row.step == 'gunzip'


@pytest.mark.parametrize('target', ['made', 'endorsed'])
def test_a_block_of_either_withdraws_the_image(rows, target):
    rows.subscription('trusted')
    rows.endorse(b'packed')
    rows.record('one', b'packed', final_sha512=MADE, final_size=7)
    rows.record('another', b'packed')

    def withdrawn():
        with rows.store.writing() as transaction:
            found = settle.records(transaction, int(time.time()))
        return {one.image_id: one.code for one in found}

    assert withdrawn() == {}
    blocked = model.Reason.BLOCKED
    if target == 'made':
        rows.block(MADE)
        assert withdrawn() == {'one': blocked}
    else:
        rows.block(catalogue_rows.sha512(b'packed'))
        assert withdrawn() == {'one': blocked, 'another': blocked}
    assert rows.recorded('one').state == 'withdrawn'


def test_an_import_of_endorsed_bytes_forgets_an_earlier_step(rows):
    writer = records.Records(rows.store)
    image_id = str(uuid.uuid4())
    writer.verified(
        image_id, 'task', '', ORIGIN, 9, NOW, NOW, (MADE, 7), 'gunzip'
    )
    writer.verified(image_id, 'task', '', ORIGIN, 9, NOW, NOW)
    row = rows.recorded(image_id)
    assert (row.final_sha512, row.final_size, row.step) == (ORIGIN, 9, '')


def test_what_an_image_is_published_as_is_asked_of_our_own_rows(rows):
    writer = records.Records(rows.store)
    image_id = str(uuid.uuid4())
    assert writer.published_as(image_id) is None
    with rows.store.writing() as transaction:
        transaction.put(
            schema.publication,
            {'image_id': image_id},
            {
                'subscription': 'main',
                'identifier': str(uuid.uuid4()),
                'version': '1',
                'sha512': ORIGIN,
                'state': 'creating',
                'at': NOW,
            },
        )
    assert writer.published_as(image_id) == ORIGIN


def test_a_reader_decides_over_the_origin(rows):
    rows.subscription('trusted')
    data = b'compressed'
    endorsed = catalogue_rows.sha512(data)
    rows.endorse(data)
    one = reader.Reader(
        reader.ReaderSettings(rows.connection, store_timeout=60)
    )
    try:
        refused = one.decide_staged(MADE, 7, None, None)
        assert refused.decision.code is model.Reason.NOT_ENDORSED
        with rows.store.writing() as transaction:
            derived.remember(
                transaction, NOW, MADE, 7, endorsed, len(data), 'gunzip'
            )
        # Named otherwise, the question is not one that was answered before.
        found = one.decide_staged(MADE, 7, endorsed, None)
        assert found.decision.approved
        assert (found.sha512, found.step) == (endorsed, 'gunzip')
    finally:
        one.close()


def test_a_reader_without_a_store_refuses(tmp_path):
    one = reader.Reader(
        reader.ReaderSettings(f'sqlite:///{tmp_path / "none"}')
    )
    try:
        found = one.decide_staged(MADE, 7, ORIGIN, None)
        assert found.decision.code is model.Reason.STORE_UNAVAILABLE
        assert found.sha512 == MADE
    finally:
        one.close()


def test_a_writer_without_a_store_says_try_again(tmp_path):
    store = database.Database(f'sqlite:///{tmp_path / "none"}')
    try:
        with pytest.raises(Exception, match='nothing was changed'):
            records.Records(store).published_as('an image')
    finally:
        store.close()

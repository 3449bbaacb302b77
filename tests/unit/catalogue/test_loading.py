# SPDX-License-Identifier: Apache-2.0
"""Rows become the values that decisions use."""

from __future__ import annotations

import shutil

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from tests import catalogue_rows

NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'catalogue.sqlite'


@pytest.fixture
def rows(path):
    made = catalogue_rows.Rows(f'sqlite:///{path}')
    yield made
    made.close()


def look(
    rows: catalogue_rows.Rows,
    previous: loading.Loaded | None = None,
    now: int = NOW,
) -> loading.Loaded:
    with rows.store.reading() as connection:
        return loading.load(connection, previous, now)


def test_empty_store_answers_with_nothing(rows):
    snapshot = look(rows).snapshot
    assert snapshot.answered_at == NOW
    assert snapshot.revision == 0
    assert not snapshot.subscriptions
    assert not snapshot.endorsements
    assert not snapshot.records
    assert not snapshot.blocked


def test_rows_are_values(rows):
    rows.subscription('trusted', projects=['p', 'q'], list_version='3')
    identifier = rows.endorse(b'bytes', expires=NOW)
    rows.record('an image', b'bytes')
    rows.block('something')
    snapshot = look(rows).snapshot
    held = snapshot.subscriptions['trusted']
    assert held.projects == frozenset({'p', 'q'})
    assert held.standing is model.Standing.TRUSTED
    assert held.list_version == '3'
    (endorsement,) = snapshot.endorsements[catalogue_rows.sha512(b'bytes')]
    assert endorsement.identifier == identifier
    assert endorsement.expires == NOW
    assert endorsement.approved is True
    assert endorsement.withdrawn is False
    assert snapshot.records['an image'].state is model.RecordState.POSITIVE
    assert snapshot.blocked == frozenset({'something'})


def test_who_signed_a_list_and_for_whom_is_known(rows):
    with rows.store.writing() as transaction:
        transaction.execute(
            sa.insert(schema.list_seen).values(
                id=7,
                subscription='trusted',
                seen_at=NOW,
                verdict='accepted',
                code='accepted',
                message_sha256='0' * 64,
                message=b'',
                signers='[{"subject": "CN=One"}, {"subject": "CN=Two"}]',
            )
        )
    rows.subscription('trusted', list_id=7)
    rows.subscription('unsigned')
    rows.endorse(b'bytes', vo='atlas')
    snapshot = look(rows).snapshot
    assert snapshot.subscriptions['trusted'].endorser == 'CN=One'
    assert snapshot.subscriptions['unsigned'].endorser == ''
    (endorsement,) = snapshot.endorsements[catalogue_rows.sha512(b'bytes')]
    assert endorsement.vo == 'atlas'


def test_subscription_without_a_list_is_not_there(rows):
    rows.subscription('trusted', list_identifier=None)
    rows.subscription('imported', verified_at=None, expires=None)
    assert not look(rows).snapshot.subscriptions


def test_subscription_that_left_the_configuration_is_unsubscribed(rows):
    rows.subscription('trusted', configured=False)
    held = look(rows).snapshot.subscriptions['trusted']
    assert held.standing is model.Standing.UNSUBSCRIBED


def test_unchanged_store_only_moves_the_time_of_its_answer(rows):
    rows.subscription('trusted')
    rows.endorse(b'bytes')
    first = look(rows)
    second = look(rows, first, NOW + 5)
    assert second.snapshot.answered_at == NOW + 5
    assert second.snapshot.endorsements is first.snapshot.endorsements
    assert first.snapshot.answered_at == NOW


def test_change_replaces_the_row_and_leaves_the_old_snapshot(rows):
    rows.subscription('trusted')
    rows.endorse(b'bytes', 'trusted')
    rows.endorse(b'bytes', 'trusted')
    first = look(rows)
    rows.withdraw(b'bytes')
    second = look(rows, first)
    content = catalogue_rows.sha512(b'bytes')
    assert [e.withdrawn for e in first.snapshot.endorsements[content]] == [
        False,
        False,
    ]
    assert [e.withdrawn for e in second.snapshot.endorsements[content]] == [
        True,
        True,
    ]


def test_lifted_block_is_noticed(rows):
    rows.block('something')
    first = look(rows)
    rows.block('something', active=False)
    assert look(rows, first).snapshot.blocked == frozenset()


def test_store_restored_from_a_backup_is_read_anew(rows, path, tmp_path):
    rows.subscription('trusted')
    rows.endorse(b'bytes')
    rows.close()
    shutil.copy(path, tmp_path / 'backup')
    rows.withdraw(b'bytes')
    rows.block('something')
    late = look(rows)
    rows.close()
    shutil.copy(tmp_path / 'backup', path)
    restored = look(rows, late)
    assert restored.snapshot.revision < late.snapshot.revision
    assert restored.snapshot.blocked == frozenset()
    (endorsement,) = restored.snapshot.endorsements[
        catalogue_rows.sha512(b'bytes')
    ]
    assert not endorsement.withdrawn


def test_another_store_behind_the_same_url_is_read_anew(rows, path):
    rows.subscription('trusted')
    rows.endorse(b'bytes')
    before = look(rows)
    rows.close()
    path.unlink()
    other = catalogue_rows.Rows(f'sqlite:///{path}')
    for _ in range(before.snapshot.revision + 1):
        other.block('something')
    after = look(other, before)
    other.close()
    assert after.store != before.store
    assert not after.snapshot.endorsements
    assert not after.snapshot.subscriptions


def test_row_of_an_unknown_kind_is_an_error_not_a_guess(rows):
    rows.record('an image', b'bytes', state='splendid')
    with pytest.raises(ValueError, match='splendid'):
        look(rows)
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == 'an image',
        state='positive',
    )
    assert look(rows).snapshot.records


@pytest.mark.parametrize('more', [2, 5])
def test_store_that_was_put_back_and_went_on_is_read_anew(rows, path, more):
    """As far as the reader had seen it before, or farther."""
    rows.subscription('trusted')
    rows.close()
    kept = path.with_suffix('.kept')
    shutil.copy(path, kept)
    rows.endorse(b'lost')
    rows.block('lost')
    before = look(rows)
    rows.close()
    shutil.copy(kept, path)
    for number in range(more):
        rows.block(f'new {number}')
    after = look(rows, before)
    assert after.snapshot.revision >= before.snapshot.revision
    assert after == look(rows)
    assert not after.snapshot.endorsements
    assert len(after.snapshot.blocked) == more


def test_marks_are_kept_for_a_while(rows, monkeypatch):
    monkeypatch.setattr(database, '_MARKS', 10)
    early = look(rows)
    for number in range(12):
        rows.block(str(number))
    seen = look(rows, early)
    for number in range(12, 35):
        rows.block(str(number))
        seen = look(rows, seen)
        assert len(seen.snapshot.blocked) == number + 1
    assert look(rows, early).snapshot == seen.snapshot
    with rows.store.reading() as connection:
        marks = len(connection.execute(sa.select(schema.mark)).all())
    assert 10 <= marks < 20

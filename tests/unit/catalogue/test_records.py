# SPDX-License-Identifier: Apache-2.0
"""The life of a Glance record."""

from __future__ import annotations

import sqlite3
import uuid

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import records
from hepix_vm import errors
from tests import catalogue_rows

IMAGE = str(uuid.uuid4())
TASK = str(uuid.uuid4())
OTHER_TASK = str(uuid.uuid4())
CONTENT = 'a' * 128
CONVERTED = 'b' * 128
NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'catalogue.sqlite'


@pytest.fixture
def rows(path):
    made = catalogue_rows.Rows(f'sqlite:///{path}')
    yield made
    made.close()


@pytest.fixture
def writer(rows):
    return records.Records(rows.store)


def verify(writer: records.Records, task: str = TASK, now: int = NOW) -> None:
    writer.verified(
        image_id=IMAGE,
        task_id=task,
        project='a project',
        sha512=CONTENT,
        size=10,
        created_at=NOW - 5,
        now=now,
    )


def test_verified_bytes_wait_for_the_end_of_the_import(writer, rows):
    verify(writer)
    row = rows.recorded(IMAGE)
    assert row.state == model.RecordState.VERIFIED
    assert (row.sha512, row.size) == (CONTENT, 10)
    assert (row.final_sha512, row.final_size) == (CONTENT, 10)
    assert (row.project, row.created_at) == ('a project', NOW - 5)
    assert rows.events(IMAGE) == ['import-verified']


def test_pending_gives_back_what_was_verified(writer):
    verify(writer)
    pending = writer.pending(IMAGE, TASK)
    assert pending == model.GlanceRecord(
        IMAGE,
        model.RecordState.VERIFIED,
        CONTENT,
        10,
        CONTENT,
        10,
        NOW - 5,
    )


def test_recorded_import_is_positive_with_the_stored_bytes(writer, rows):
    verify(writer)
    writer.positive(IMAGE, TASK, CONVERTED, 7, NOW + 1)
    row = rows.recorded(IMAGE)
    assert row.state == model.RecordState.POSITIVE
    assert (row.sha512, row.size) == (CONTENT, 10)
    assert (row.final_sha512, row.final_size) == (CONVERTED, 7)
    assert row.recorded_at == NOW + 1
    assert rows.events(IMAGE) == ['import-verified', 'import-recorded']


def test_each_step_is_a_revision_that_readers_notice(writer, rows):
    verify(writer)
    first = rows.recorded(IMAGE).revision
    writer.positive(IMAGE, TASK, CONTENT, 10, NOW)
    second = rows.recorded(IMAGE).revision
    writer.drop(IMAGE, TASK, 'reverted', NOW)
    assert first < second < rows.recorded(IMAGE).revision


def test_import_that_was_never_verified_is_not_recorded(writer, rows):
    with pytest.raises(errors.NotBelieved, match='list it before hepix_rec'):
        writer.pending(IMAGE, TASK)
    with pytest.raises(errors.NotBelieved, match='no verified record'):
        writer.positive(IMAGE, TASK, CONTENT, 10, NOW)
    assert rows.recorded(IMAGE) is None
    assert rows.events(IMAGE) == []


def test_overtaken_import_cannot_finish_the_record_of_the_later_one(
    writer, rows
):
    verify(writer)
    verify(writer, OTHER_TASK)
    with pytest.raises(errors.NotBelieved):
        writer.pending(IMAGE, TASK)
    with pytest.raises(errors.NotBelieved, match='overtaken'):
        writer.positive(IMAGE, TASK, CONVERTED, 7, NOW)
    writer.drop(IMAGE, TASK, 'reverted', NOW)
    assert rows.recorded(IMAGE).state == model.RecordState.VERIFIED
    writer.positive(IMAGE, OTHER_TASK, CONTENT, 10, NOW)
    assert rows.recorded(IMAGE).state == model.RecordState.POSITIVE


def test_record_is_made_positive_once(writer):
    verify(writer)
    writer.positive(IMAGE, TASK, CONTENT, 10, NOW)
    with pytest.raises(errors.NotBelieved):
        writer.positive(IMAGE, TASK, CONVERTED, 7, NOW)


def test_failed_import_leaves_a_withdrawn_record(writer, rows):
    verify(writer)
    writer.drop(IMAGE, TASK, 'the store was full ' * 10, NOW + 2)
    row = rows.recorded(IMAGE)
    assert row.state == model.RecordState.WITHDRAWN
    assert len(row.reason) == 64
    with pytest.raises(errors.NotBelieved):
        writer.positive(IMAGE, TASK, CONTENT, 10, NOW)
    assert rows.events(IMAGE) == ['import-verified', 'import-dropped']


@pytest.mark.parametrize('code', sorted(model.WITHDRAWING))
def test_what_was_withdrawn_since_it_was_verified_says_so(writer, rows, code):
    verify(writer)
    writer.drop(IMAGE, TASK, code, NOW)
    for call in (
        lambda: writer.pending(IMAGE, TASK),
        lambda: writer.positive(IMAGE, TASK, CONTENT, 10, NOW),
    ):
        with pytest.raises(records.Withdrawn) as caught:
            call()
        assert caught.value.code is code
        assert str(caught.value) == model.SENTENCES[code]


def test_dropping_twice_or_nothing_is_no_event(writer, rows):
    writer.drop(IMAGE, TASK, 'reverted', NOW)
    assert rows.recorded(IMAGE) is None
    verify(writer)
    writer.drop(IMAGE, TASK, 'reverted', NOW)
    writer.drop(IMAGE, TASK, 'reverted', NOW)
    assert rows.events(IMAGE).count('import-dropped') == 1


def test_what_an_import_without_an_end_left_ends_with_the_next_one(
    writer, rows
):
    verify(writer)
    writer.positive(IMAGE, TASK, CONTENT, 10, NOW)
    writer.begun(IMAGE, TASK, NOW + 1)
    assert rows.recorded(IMAGE).state == model.RecordState.POSITIVE
    writer.begun(IMAGE, OTHER_TASK, NOW + 2)
    row = rows.recorded(IMAGE)
    assert row.state == model.RecordState.WITHDRAWN
    assert row.reason == 'import-begun-anew'
    writer.begun(IMAGE, OTHER_TASK, NOW + 3)
    assert rows.events(IMAGE).count('import-dropped') == 1


def test_the_first_import_of_an_image_drops_nothing(writer, rows):
    writer.begun(IMAGE, TASK, NOW)
    assert rows.recorded(IMAGE) is None
    assert rows.events(IMAGE) == []


def test_withdrawn_image_is_positive_again_only_by_a_new_import(writer, rows):
    verify(writer)
    writer.positive(IMAGE, TASK, CONTENT, 10, NOW)
    writer.drop(IMAGE, TASK, 'reverted', NOW)
    with pytest.raises(errors.NotBelieved):
        writer.positive(IMAGE, TASK, CONTENT, 10, NOW)
    verify(writer, OTHER_TASK, NOW + 10)
    writer.positive(IMAGE, OTHER_TASK, CONTENT, 10, NOW + 10)
    assert rows.recorded(IMAGE).state == model.RecordState.POSITIVE


@pytest.mark.parametrize(
    'call',
    [
        verify,
        lambda writer: writer.begun(IMAGE, TASK, NOW),
        lambda writer: writer.pending(IMAGE, TASK),
        lambda writer: writer.positive(IMAGE, TASK, CONTENT, 10, NOW),
        lambda writer: writer.drop(IMAGE, TASK, 'reverted', NOW),
        lambda writer: writer.sets_min_disk(IMAGE, 1),
    ],
    ids=['verified', 'begun', 'pending', 'positive', 'drop', 'min-disk'],
)
def test_store_that_is_away_asks_to_try_again(call):
    away = records.Records(database.Database('sqlite:////nonexistent/x', 1))
    with pytest.raises(errors.TryAgain, match='nothing was changed'):
        call(away)


def test_store_that_another_program_locks_asks_to_try_again(path, rows):
    verify(records.Records(rows.store))
    impatient = records.Records(
        database.Database(f'sqlite:///{path}?timeout=0.1', 1)
    )
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    try:
        with pytest.raises(errors.TryAgain):
            impatient.positive(IMAGE, TASK, CONTENT, 10, NOW)
    finally:
        lock.execute('ROLLBACK')
        lock.close()
    assert rows.recorded(IMAGE).state == model.RecordState.VERIFIED
    impatient.positive(IMAGE, TASK, CONTENT, 10, NOW)


def test_what_an_image_boots_with_is_of_its_last_import(writer, rows):
    verify(writer)
    assert rows.recorded(IMAGE).boot is None
    writer.positive(IMAGE, TASK, CONTENT, 10, NOW, '{"kernel_id": "k"}')
    assert rows.recorded(IMAGE).boot == '{"kernel_id": "k"}'
    verify(writer, OTHER_TASK)
    assert rows.recorded(IMAGE).boot is None
    assert rows.recorded(IMAGE).parent == ''


@pytest.mark.parametrize(
    ('recorded', 'gib', 'after'),
    [
        (None, 2, None),
        ('', 2, '{"min_disk": "2"}'),
        ('{"min_disk": "2"}', 0, ''),
        (
            '{"kernel_id": "k", "min_disk": "2"}',
            9,
            '{"kernel_id": "k", "min_disk": "9"}',
        ),
    ],
)
def test_the_site_itself_sets_min_disk_and_nothing_else(
    writer, rows, recorded, gib, after
):
    verify(writer)
    writer.positive(IMAGE, TASK, CONTENT, 10, NOW, recorded)
    before = rows.recorded(IMAGE)
    writer.sets_min_disk(IMAGE, gib)
    now = rows.recorded(IMAGE)
    assert now.boot == after
    assert (now.revision > before.revision) is (recorded is not None)
    same = {'boot': None, 'revision': None}
    assert {**now._mapping, **same} == {**before._mapping, **same}


def test_min_disk_of_an_image_without_a_record_is_nothing(writer, rows):
    writer.sets_min_disk(IMAGE, 3)
    assert rows.recorded(IMAGE) is None

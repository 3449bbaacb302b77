# SPDX-License-Identifier: Apache-2.0
"""Rows of who fetched which context."""

from __future__ import annotations

import contextlib
import dataclasses
import functools

import hypothesis
from hypothesis import given
from hypothesis import strategies as st
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import schema

ONE, TWO = (f'{n:08}-0000-4000-8000-000000000000' for n in (1, 2))
OLD, NEW = 'a' * 64, 'b' * 64
NOW = 1_790_000_000

PROCESS = context_fetches.Process('host/1/abc', NOW, NOW, True, 0)
NOTE = context_fetches.Note(ONE, 'tgz', OLD, 3, 'p', NOW, NOW)


@pytest.fixture
def store(tmp_path):
    url = f'sqlite:///{tmp_path / "catalogue"}'
    with contextlib.closing(database.Database(url)) as made:
        migrations.upgrade(made)
        yield made


def write(store, *notes, process=PROCESS):
    context_fetches.write(store, process, notes)


def note(**values):
    return dataclasses.replace(NOTE, **values)


def rows(store, instance=None):
    with store.reading() as connection:
        return list(context_fetches.notes(connection, instance))


def processes(store):
    with store.reading() as connection:
        return context_fetches.processes(connection)


def counts(store, now=NOW):
    with store.reading() as connection:
        return context_fetches.counts(connection, now)


def revision(store):
    with store.reading() as connection:
        return connection.execute(
            sa.select(schema.catalogue.c.number)
        ).scalar_one()


# Writing


def test_what_is_written_is_there(store):
    write(store, NOTE, note(instance=TWO, what='ran'))
    assert rows(store) == [NOTE, note(instance=TWO, what='ran')]
    assert rows(store, TWO) == [note(instance=TWO, what='ran')]


def test_a_repetition_is_added_to_its_row(store):
    write(store, note(times=2))
    write(store, note(first_at=NOW + 9, last_at=NOW + 9, serial=4, times=3))
    assert rows(store) == [note(last_at=NOW + 9, serial=4, times=5)]


def test_a_note_that_comes_late_takes_nothing_back(store):
    write(store, note(first_at=NOW + 9, last_at=NOW + 9, serial=4))
    write(store, NOTE)
    assert rows(store) == [note(last_at=NOW + 9, serial=4, times=2)]


def test_a_form_and_a_digest_are_rows_of_their_own(store):
    notes = [
        note(what=what, sha256=sha256)
        for what in ('manifest', 'tgz')
        for sha256 in (OLD, NEW)
    ]
    write(store, *notes)
    assert rows(store) == notes


def test_more_notes_than_a_statement_takes(store):
    notes = [
        note(instance=f'{number:08}-0000-4000-8000-000000000000')
        for number in range(1203)
    ]
    write(store, *reversed(notes))
    assert rows(store) == notes
    write(store, *notes)
    assert {one.times for one in rows(store)} == {2}


def test_no_reader_is_told_to_look_anew(store):
    before = revision(store)
    write(store, NOTE)
    context_fetches.forget(store, [ONE], NOW + 1)
    assert revision(store) == before


NOTES = st.builds(
    note,
    serial=st.integers(0, 9),
    first_at=st.integers(NOW, NOW + 9),
    times=st.integers(1, 9),
).map(lambda made: dataclasses.replace(made, last_at=made.first_at + 5))


@hypothesis.settings(
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@given(notes=st.lists(NOTES, min_size=2, max_size=6))
def test_the_database_joins_notes_as_memory_does(store, notes):
    context_fetches.forget(store, [ONE], NOW + 100)
    for one in notes:
        write(store, one)
    (row,) = rows(store)
    joined = functools.reduce(context_fetches.Note.joined, notes)
    assert row == joined


# Processes


def test_a_process_is_seen_while_it_writes(store):
    write(store)
    later = dataclasses.replace(PROCESS, seen_at=NOW + 60, lost=4)
    write(store, process=later)
    assert processes(store) == (later,)


def test_one_that_ended_well_leaves_no_row(store):
    write(store)
    write(store, NOTE, process=dataclasses.replace(PROCESS, open=False))
    assert processes(store) == ()
    assert rows(store) == [NOTE]


def test_one_that_lost_notes_leaves_its_row(store):
    ended = dataclasses.replace(PROCESS, open=False, lost=7)
    write(store, process=ended)
    assert processes(store) == (ended,)
    assert not ended.crashed(NOW + 10 * context_fetches.GONE)
    assert counts(store).lost == 7


def test_one_that_is_not_seen_any_more_has_crashed(store):
    write(store)
    assert counts(store, NOW + context_fetches.GONE).crashed == 0
    assert counts(store, NOW + context_fetches.GONE + 1).crashed == 1


# Counting and forgetting


def test_counts_of_nothing(store):
    assert counts(store) == context_fetches.Counts(0, 0, 0, 0, 0)


def test_instances_are_counted_once(store):
    write(
        store,
        NOTE,
        note(what='tgz.b64', sha256=NEW, serial=5),
        note(instance=TWO, serial=4),
        note(instance='f' * 36, what='jobfeatures', sha256='', serial=0),
    )
    found = counts(store)
    assert (found.instances, found.superseded) == (2, 1)


def test_the_last_word_on_running_counts(store):
    write(
        store,
        NOTE,
        note(what='failed', last_at=NOW + 1),
        note(instance=TWO, what='failed', last_at=NOW + 1),
        note(instance=TWO, what='ran', last_at=NOW + 2),
    )
    assert counts(store).failed == 1


def test_silent_instances_are_those_without_any_new_row(store):
    write(
        store,
        NOTE,
        note(instance=TWO),
        note(instance=TWO, what='ran', last_at=NOW + 50),
    )
    with store.reading() as connection:
        assert context_fetches.silent(connection, NOW) == frozenset()
        assert context_fetches.silent(connection, NOW + 1) == {ONE}


def test_only_old_rows_of_named_instances_are_forgotten(store):
    write(
        store,
        NOTE,
        note(what='ran', last_at=NOW + 50),
        note(instance=TWO),
        process=dataclasses.replace(PROCESS, seen_at=NOW + 50),
    )
    context_fetches.forget(store, [ONE], NOW + 1)
    assert rows(store) == [
        note(what='ran', last_at=NOW + 50),
        note(instance=TWO),
    ]
    assert len(processes(store)) == 1
    context_fetches.forget(store, [], NOW + 51)
    assert processes(store) == ()
    assert len(rows(store)) == 2

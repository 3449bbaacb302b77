# SPDX-License-Identifier: Apache-2.0
"""The lease: a row whose number only grows, and whose holder alone writes."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import schema
from hepix_vm import errors
from tests import catalogue_rows


@pytest.fixture
def store(tmp_path) -> Iterator[database.Database]:
    catalogue_rows.new_file(tmp_path / 'catalogue.sqlite')
    made = database.Database(f'sqlite:///{tmp_path / "catalogue.sqlite"}', 60)
    with contextlib.closing(made):
        yield made


def look(store: database.Database) -> lease.Holder | None:
    with store.reading() as connection:
        return lease.look(connection)


def state(store: database.Database) -> lease.Holder | None:
    with store.reading() as connection:
        return lease.state(connection)


def revision(store: database.Database) -> int:
    with store.reading() as connection:
        return int(
            connection.execute(
                sa.select(schema.catalogue.c.number)
            ).scalar_one()
        )


def write(store: database.Database) -> int:
    with store.writing() as transaction:
        transaction.remember(1, 'somebody', 'event', 'subject', 'detail')
        return transaction.revision


def test_nobody_leads_at_first(store):
    assert look(store) is None
    assert state(store) is None


def test_who_takes_it_is_seen_with_number_and_time(store):
    assert lease.take(store, 'one', None, 1000) == 1
    assert state(store) == lease.Holder('one', 1, 1000, 0)


def test_beat_is_seen(store):
    lease.take(store, 'one', None, 1000)
    assert lease.beat(store, 1)
    assert lease.beat(store, 1)
    assert state(store) == lease.Holder('one', 1, 1000, 2)


def test_row_that_came_meanwhile_is_not_taken(store):
    lease.take(store, 'one', None, 1000)
    assert lease.take(store, 'two', None, 1000) is None
    assert state(store) == lease.Holder('one', 1, 1000, 0)


def test_silent_holder_is_followed_with_a_higher_number(store):
    lease.take(store, 'one', None, 1000)
    assert lease.take(store, 'two', look(store), 2000) == 2
    assert state(store) == lease.Holder('two', 2, 2000, 0)


def test_holder_that_has_beaten_since_is_not_followed(store):
    lease.take(store, 'one', None, 1000)
    seen = look(store)
    lease.beat(store, 1)
    assert lease.take(store, 'two', seen, 2000) is None
    assert lease.beat(store, 1)


def test_of_two_that_saw_the_same_one_takes_it(store):
    lease.take(store, 'one', None, 1000)
    seen = look(store)
    assert lease.take(store, 'two', seen, 2000) == 2
    assert lease.take(store, 'three', seen, 2000) is None


def test_former_holder_learns_of_it_at_its_next_beat(store):
    lease.take(store, 'one', None, 1000)
    lease.take(store, 'two', look(store), 2000)
    assert not lease.beat(store, 1)
    assert lease.beat(store, 2)


def test_lease_given_back_has_no_holder(store):
    lease.take(store, 'one', None, 1000)
    assert lease.release(store, 1)
    assert state(store) is None
    assert not lease.beat(store, 1)
    assert not lease.release(store, 1)
    assert lease.take(store, 'two', look(store), 2000) == 2


def test_lease_of_another_is_not_given_back(store):
    lease.take(store, 'one', None, 1000)
    lease.take(store, 'two', look(store), 2000)
    assert not lease.release(store, 1)
    assert state(store) == lease.Holder('two', 2, 2000, 0)


def test_long_name_is_cut(store):
    lease.take(store, 'x' * 1000, None, 1000)
    found = state(store)
    assert found is not None
    assert found.holder == 'x' * 255
    lease.take(store, 'y' * 1000, look(store), 1000)
    found = state(store)
    assert found is not None
    assert found.holder == 'y' * 255


def test_holder_writes_until_it_is_followed(store):
    lease.take(store, 'one', None, 1000)
    mine = store.fenced(lease.SYNC, 1)
    write(mine)
    lease.take(store, 'two', look(store), 2000)
    before = revision(store)
    with pytest.raises(errors.LeaseLost, match='taken over by two'):
        write(mine)
    assert revision(store) == before
    write(store.fenced(lease.SYNC, 2))


def test_nobody_writes_with_a_number_that_was_never_given(store):
    with pytest.raises(errors.LeaseLost):
        write(store.fenced(lease.SYNC, 1))


def test_beat_makes_no_reader_load_anything(store):
    lease.take(store, 'one', None, 1000)
    before = revision(store)
    lease.beat(store, 1)
    assert revision(store) == before


def test_take_over_meets_every_writer(store):
    # What makes Galera see that the two contradict each other.
    before = revision(store)
    lease.take(store, 'one', None, 1000)
    assert revision(store) == before + 1


# By one's own clock


def holder(fence: int, beat: int) -> lease.Holder:
    return lease.Holder('one', fence, 1000, beat)


def test_silence_begins_with_the_first_look():
    watch = lease.Watch(30)
    assert not watch.silent(holder(1, 5), 1000, 1000)
    assert not watch.silent(holder(1, 5), 1029.9, 1030)
    assert watch.silent(holder(1, 5), 1030, 1030)


@pytest.mark.parametrize(
    'later',
    [
        pytest.param(holder(1, 6), id='beat'),
        pytest.param(holder(2, 5), id='fence'),
    ],
)
def test_sign_of_life_ends_the_silence(later):
    watch = lease.Watch(30)
    watch.silent(holder(1, 5), 1000, 1000)
    assert not watch.silent(later, 1040, 1040)
    assert not watch.silent(later, 1069, 1069)
    assert watch.silent(later, 1070, 1070)


def test_slow_answers_count_for_the_holder():
    watch = lease.Watch(30)
    # Answered late: the beat may have come just before.
    watch.silent(holder(1, 5), 1000, 1010)
    assert not watch.silent(holder(1, 5), 1031, 1031)
    # Asked early: the beat may have come just after.
    assert not watch.silent(holder(1, 5), 1039, 1100)
    assert watch.silent(holder(1, 5), 1040, 1040)

# SPDX-License-Identifier: Apache-2.0
"""Notes in memory: bounded, joined, and counted where they are lost."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
import pytest

from hepix_vm.context import noted

ONE, TWO, THREE = (f'{n:08}-0000-4000-8000-000000000000' for n in (1, 2, 3))
NOW = 1_790_000_000
FETCH = noted.Fetch(ONE, 'p', 'default.tgz', 'a' * 64, 3)


def fetch(**values):
    return dataclasses.replace(FETCH, **values)


def test_a_repetition_takes_no_room_and_is_never_lost():
    notes = noted.Noted(kept=1)
    for number in range(5):
        notes.add(FETCH, NOW + number)
    notes.add(fetch(instance=TWO), NOW)
    assert notes.lost == 1
    assert notes.left() == 5
    (note,), more = notes.take(10)
    assert not more
    assert (note.times, note.first_at, note.last_at) == (5, NOW, NOW + 4)


def test_the_newest_generation_of_the_same_bytes_is_kept():
    notes = noted.Noted(kept=1)
    for serial in (4, 7, 5):
        notes.add(fetch(serial=serial), NOW)
    assert notes.take(1)[0][0].serial == 7


def test_the_oldest_are_taken_first():
    notes = noted.Noted(kept=3)
    for instance in (THREE, ONE, TWO):
        notes.add(fetch(instance=instance), NOW)
    taken, more = notes.take(2)
    assert [note.instance for note in taken] == [THREE, ONE]
    assert more
    notes.written()
    taken, more = notes.take(2)
    assert [note.instance for note in taken] == [TWO]
    assert not more


def test_what_is_being_written_takes_room_until_it_is():
    notes = noted.Noted(kept=1)
    notes.add(FETCH, NOW)
    notes.take(1)
    notes.add(fetch(instance=TWO), NOW)
    assert notes.lost == 1
    notes.written()
    notes.add(fetch(instance=TWO), NOW)
    assert notes.lost == 1
    assert notes.left() == 1


def test_what_could_not_be_written_is_joined_with_what_came_since():
    notes = noted.Noted(kept=2)
    notes.add(FETCH, NOW)
    notes.add(fetch(instance=TWO), NOW)
    notes.take(2)
    notes.add(FETCH, NOW + 9)
    notes.take_back()
    assert notes.lost == 0
    taken, _ = notes.take(2)
    by_instance = {note.instance: note for note in taken}
    assert by_instance[ONE].times == 2
    assert by_instance[ONE].first_at == NOW
    assert by_instance[ONE].last_at == NOW + 9
    assert by_instance[TWO].times == 1


@pytest.mark.parametrize(
    'values',
    [
        {'instance': ''},
        {'instance': 'x' * 36},
        {'instance': ONE + '\n'},
        {'what': ''},
        {'what': 'a' * 65},
        {'what': 'a b'},
        {'what': 'nul\0'},
        {'what': '\N{SNOWMAN}'},
        {'sha256': 'a' * 63},
        {'sha256': 'A' * 64},
        {'serial': -1},
        {'serial': 2**63},
        {'project': 'p' * 256},
        {'project': '\ud800'},
    ],
)
def test_what_a_database_may_refuse_is_lost_and_not_kept(values):
    notes = noted.Noted(kept=1)
    notes.add(fetch(**values), NOW)
    assert notes.lost == 1
    assert notes.take(1) == ((), False)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([ONE, TWO, THREE]),
            st.sampled_from(['take', 'written', 'take_back']),
        )
    )
)
def test_every_note_is_written_waits_or_is_lost(steps):
    notes = noted.Noted(kept=2)
    given_, written, taken = 0, 0, ()
    for step in steps:
        if step == 'take':
            notes.take_back()
            taken, _ = notes.take(1)
        elif step == 'written':
            notes.written()
            written += sum(note.times for note in taken)
            taken = ()
        elif step == 'take_back':
            notes.take_back()
            taken = ()
        else:
            notes.add(fetch(instance=step), NOW)
            given_ += 1
        assert len({*notes._waiting, *notes._taken}) <= 2
    notes.take_back()
    assert given_ == written + notes.left() + notes.lost

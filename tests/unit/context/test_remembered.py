# SPDX-License-Identifier: Apache-2.0
"""For how long answers of Nova count, and what looks prove."""

from __future__ import annotations

import math

import pytest

from hepix_vm.context import facts
from hepix_vm.context import identities
from hepix_vm.context import identity
from hepix_vm.context import remembered

SOON, LONGEST, LATELY = (
    remembered.SOON,
    remembered.LONGEST,
    remembered.LATELY,
)
TTL = 30.0


def _facts(name: str = 'a', **values: object) -> facts.Facts:
    known = {'host': 'h', 'launched_at': 1_800_000_000, **values}
    return facts.Facts(name, 'p', **known)


@pytest.fixture
def memory() -> remembered.Remembered:
    return remembered.Remembered(TTL, 3)


def _counts(
    memory: remembered.Remembered,
    now: float,
    at_most: float = math.inf,
    name: str = 'a',
) -> bool:
    kept = memory.get(name)
    assert kept is not None
    return memory.counts(kept, now, at_most)


def _provable(
    memory: remembered.Remembered, now: float, at_most: float = math.inf
) -> bool:
    kept = memory.get('a')
    assert kept is not None
    return memory.provable(kept, now, at_most)


def test_an_answer_counts_for_a_while(memory):
    memory.keep('a', _facts(), 0.0)
    assert _counts(memory, TTL - 1)
    assert not _counts(memory, TTL)
    assert _counts(memory, SOON - 1, SOON)
    assert not _counts(memory, SOON, SOON)


@pytest.mark.parametrize('missing', ['host', 'launched_at'])
def test_one_that_is_being_built_counts_for_a_moment(memory, missing):
    memory.keep('a', _facts(**{missing: None}), 0.0)
    assert _counts(memory, SOON - 1)
    assert not _counts(memory, SOON)


def test_one_that_has_no_place_yet_never_counts(memory):
    memory.keep('a', _facts(host=None, launched_at=None), 0.0)
    memory.looked(0.0)
    assert not _counts(memory, 0.0)
    assert not _provable(memory, 0.0)


def test_only_what_was_built_lasts_while_nova_is_away(memory):
    memory.keep('a', _facts(), 0.0)
    assert memory.lasting('a', LONGEST - 1) == _facts()
    assert memory.lasting('a', LONGEST) is None
    assert memory.lasting('b', 0.0) is None
    memory.keep('a', _facts(launched_at=None), 0.0)
    assert memory.lasting('a', 0.0) is None


def test_what_a_look_does_not_find_is_as_new_as_the_look(memory):
    memory.keep('a', _facts(), 0.0)
    memory.looked(100.0)
    assert _counts(memory, 100.0 + SOON - 1, SOON)
    assert not _counts(memory, 100.0 + SOON, SOON)
    assert _counts(memory, 100.0 + TTL - 1)
    assert not _counts(memory, 100.0 + TTL)


def test_what_a_look_finds_takes_the_place_of_what_was_known(memory):
    memory.keep('a', _facts(), 0.0)
    memory.found({'a': _facts(image='another'), 'b': _facts('b')}, 10.0)
    assert memory.get('a').answer.image == 'another'
    assert _counts(memory, 11.0, SOON)
    assert _counts(memory, 11.0, SOON, 'b')


@pytest.mark.parametrize(
    'answer',
    [
        identities.unknown('a'),
        identity.Refusal(503, identity.Reason.NOVA_FAILED, 'unreadable'),
    ],
)
def test_what_a_look_finds_gone_or_unreadable_is_not_known_any_more(
    memory, answer
):
    memory.keep('a', _facts(), 0.0)
    memory.found({'a': answer}, 10.0)
    assert memory.get('a') is None


def test_an_answer_from_before_a_look_does_not_replace_what_it_found(memory):
    memory.found({'a': _facts(image='another')}, 10.0)
    memory.keep('a', _facts(image='one'), 9.0)
    assert memory.get('a').answer.image == 'another'
    memory.keep('a', _facts(image='third'), 10.0)
    assert memory.get('a').answer.image == 'third'


def test_looks_prove_nothing_for_ever(memory):
    memory.keep('a', _facts(), 0.0)
    for moment in range(1, int(LONGEST) + 1):
        memory.looked(float(moment))
    assert _counts(memory, LONGEST - 0.5, SOON)
    assert not _counts(memory, LONGEST, SOON)
    assert not _provable(memory, LONGEST)


def test_a_look_proves_what_it_went_back_for(memory):
    assert memory.goes_back(1000.0) == LATELY
    memory.keep('a', _facts(), 1000.0 - LATELY)
    memory.keep('b', _facts('b'), 1000.0 - LATELY - 1)
    memory.looked(1000.0)
    assert not _counts(memory, 1000.0, name='b')
    # Too old to be used at all, not unproved.
    assert not _counts(memory, 1000.0 - LATELY + LONGEST)
    assert _counts(memory, 1000.0 - LATELY + LONGEST - 0.5)


def test_each_look_goes_back_to_the_begin_of_the_one_before(memory):
    memory.looked(1000.0)
    assert memory.goes_back(1003.0) == 3.0
    memory.keep('a', _facts(), 1001.0)
    memory.looked(1003.0)
    memory.looked(1010.0)
    assert _counts(memory, 1011.0, SOON)


def test_after_a_gap_looks_prove_only_what_they_went_back_for(monkeypatch):
    monkeypatch.setattr(remembered, 'LONGEST', 10 * LATELY)
    memory = remembered.Remembered(TTL, 3)
    memory.looked(1000.0)
    memory.keep('a', _facts(), 1000.0)
    later = 1000.0 + 2 * LATELY
    assert memory.goes_back(later) == LATELY
    memory.keep('b', _facts('b'), later - LATELY)
    memory.looked(later)
    assert not _counts(memory, later)
    assert _counts(memory, later, name='b')


def test_what_must_be_newer_than_a_look_can_be_is_not_proved(memory):
    memory.keep('a', _facts(), 0.0)
    assert not _provable(memory, TTL)
    memory.looked(1.0)
    assert _provable(memory, TTL, SOON)
    assert not _provable(memory, TTL, SOON / 2)
    memory.keep('a', identities.unknown('a'), 1.0)
    assert not _provable(memory, 1.0 + SOON)
    eager = remembered.Remembered(0.0, 3)
    eager.keep('a', _facts(), 0.0)
    eager.looked(1.0)
    assert not _provable(eager, 1.0)


def test_that_nova_failed_is_not_remembered(memory):
    refusal = identity.Refusal(503, identity.Reason.NOVA_FAILED, 'down')
    memory.keep('a', refusal, 0.0)
    assert memory.get('a') is None


def test_what_is_remembered_is_bounded(memory):
    for name in 'abcde':
        memory.keep(name, _facts(name), 0.0)
    assert [memory.get(name) is None for name in 'abcde'] == [
        True,
        True,
        False,
        False,
        False,
    ]

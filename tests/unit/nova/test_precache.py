# SPDX-License-Identifier: Apache-2.0
"""Which images hosts are asked for, how often, and what Nova refuses."""

from __future__ import annotations

import pytest

from hepix_vm import errors
from hepix_vm.nova import precache
from tests.unit.nova import computes as c

NOW = 1_800_000_000
SETTINGS = precache.Settings(('fast',), None, 1000)


@pytest.fixture
def nova() -> c.Compute:
    return c.Compute()


class Remembered:
    """What was asked for, as the catalogue keeps it."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], int] = {}

    def ask(
        self,
        nova: c.Compute,
        images: set[str],
        now: int = NOW,
        settings: precache.Settings = SETTINGS,
    ) -> list[precache.Asked]:
        def remember(aggregate: str, image_ids: tuple[str, ...]) -> None:
            for image_id in image_ids:
                self.rows[aggregate, image_id] = now

        return list(
            precache.ask(nova, images, self.rows, settings, now, remember)
        )


@pytest.fixture
def kept() -> Remembered:
    return Remembered()


def test_each_image_is_asked_for_once_until_its_time(nova, kept):
    assert kept.ask(nova, {'b', 'a'}) == [
        precache.Asked('fast', 'a'),
        precache.Asked('fast', 'b'),
    ]
    assert nova.cached == [(7, ('a', 'b'))]
    nova.asked.clear()
    assert kept.ask(nova, {'a', 'b'}, NOW + 999) == []
    # Nova is not asked at all.
    assert nova.asked == []
    assert kept.ask(nova, {'a', 'b', 'c'}, NOW + 999) == [
        precache.Asked('fast', 'c')
    ]
    again = kept.ask(nova, {'a', 'b', 'c'}, NOW + 1000)
    assert [one.image_id for one in again] == ['a', 'b']


def test_clock_that_was_ahead_keeps_nothing_from_being_asked_for(nova, kept):
    kept.rows['fast', 'a'] = NOW + 5
    assert kept.ask(nova, {'a'}) == [precache.Asked('fast', 'a')]


def test_many_images_are_several_requests(nova, kept):
    images = {f'{number:03}' for number in range(precache.MANY + 5)}
    assert len(kept.ask(nova, images)) == len(images)
    assert [len(ids) for _, ids in nova.cached] == [precache.MANY, 5]


def test_aggregates_are_asked_apart_and_one_that_is_not_there_is_said(
    nova, kept
):
    nova.known = {'fast': 7, 'big': 8}
    settings = precache.Settings(('fast', 'none', 'big'), None, 1000)
    found = kept.ask(nova, {'a'}, settings=settings)
    assert [(one.aggregate, bool(one.problem)) for one in found] == [
        ('fast', False),
        ('none', True),
        ('big', False),
    ]
    assert "Nova has no aggregate of the name 'none'" in found[1].problem
    assert nova.cached == [(7, ('a',)), (8, ('a',))]
    # That one is asked for again.
    assert [
        one.aggregate for one in kept.ask(nova, {'a'}, settings=settings)
    ] == ['none']


def test_one_image_that_nova_refuses_keeps_no_other_from_the_hosts(nova, kept):
    nova.refused = frozenset({'c'})
    found = kept.ask(nova, {'a', 'b', 'c', 'd', 'e'})
    problems = {one.image_id: one.problem for one in found}
    assert sorted(problems) == ['a', 'b', 'c', 'd', 'e']
    assert [i for i, problem in problems.items() if problem] == ['c']
    assert sorted(image for _, image in kept.rows) == ['a', 'b', 'd', 'e']


@pytest.mark.parametrize('call', ['aggregates', 'cache_images'])
@pytest.mark.parametrize(
    'error',
    [errors.TryAgain('Nova: away'), errors.Misconfigured('Nova: may not')],
    ids=['away', 'may-not'],
)
def test_nova_that_does_not_answer_is_asked_another_time(
    nova, kept, call, error
):
    nova.broken[call] = error
    found = kept.ask(nova, {'a', 'b'})
    assert {one.problem for one in found} == {str(error)}
    assert kept.rows == {}
    nova.broken.clear()
    assert len(kept.ask(nova, {'a', 'b'})) == 2


def test_account_that_may_not_is_told_so_once(nova, kept):
    nova.broken['cache_images'] = errors.Misconfigured('may not')
    kept.ask(nova, {'a', 'b', 'c', 'd'})
    assert nova.asked.count('cache_images') == 1

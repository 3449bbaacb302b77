# SPDX-License-Identifier: Apache-2.0
"""What a site says of its hosts and projects."""

from __future__ import annotations

import decimal
from pathlib import Path

import pytest

from hepix_vm.context import ratings
from hepix_vm import errors

SAMPLE = Path(__file__).parents[3] / 'etc' / 'hepix_vm' / 'ratings.yaml'

TABLE = b"""
ratings:
  - {host: [wn24-01, 'wn24-9*'], hs23: 1850.5}
  - {aggregate: epyc, cpu_model: EPYC-Rome*, hs06: 1200, hs23: 1300.25}
  - {cpu_model: '*', hs06: 800}
wall_limits:
  - {project: [atlas, cms], seconds: 259200}
  - {project: '*', seconds: 86400}
"""


def parsed(text: str) -> ratings.Table:
    return ratings.parse(text.encode(), 'ratings.yaml')


def hs06(
    table: ratings.Table,
    host: str,
    aggregates: tuple[str, ...] = (),
    cpu_model: str | None = None,
) -> decimal.Decimal | None:
    found = table.rating(host, aggregates, cpu_model)
    return None if found is None else found.hs06 or found.hs23


@pytest.mark.parametrize(
    ('host', 'aggregates', 'cpu_model', 'expected'),
    [
        ('wn24-01', (), None, '1850.5'),
        ('wn24-97', ('epyc',), 'EPYC-Rome', '1850.5'),
        ('wn24-02', ('other', 'epyc'), 'EPYC-Rome-v2', '1200'),
        ('wn24-02', ('epyc',), 'Cascadelake', '800'),
        ('wn24-02', (), 'EPYC-Rome', '800'),
        ('wn24-02', ('epyc',), None, None),
        ('wn24-011', (), None, None),
    ],
)
def test_the_first_rating_that_fits_counts(
    host, aggregates, cpu_model, expected
):
    table = ratings.parse(TABLE, 'ratings.yaml')
    found = hs06(table, host, aggregates, cpu_model)
    assert found == (None if expected is None else decimal.Decimal(expected))


def test_both_scales_are_kept_apart():
    found = ratings.parse(TABLE, 'f').rating('h', ('epyc',), 'EPYC-Rome')
    assert found is not None
    assert (str(found.hs06), str(found.hs23)) == ('1200', '1300.25')


def test_the_first_wall_limit_that_fits_counts():
    table = ratings.parse(TABLE, 'ratings.yaml')
    assert table.wall_limit('cms') == 259200
    assert table.wall_limit('alice') == 86400
    assert ratings.EMPTY.wall_limit('cms') is None


@pytest.mark.parametrize('text', ['', '# nothing yet\n', 'ratings: []\n'])
def test_an_empty_table_says_nothing(text):
    assert parsed(text) == ratings.EMPTY


def test_the_sample_is_a_table():
    found = ratings.parse(SAMPLE.read_bytes(), str(SAMPLE))
    assert found.ratings
    assert found.wall_limits


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('- a\n', 'expected ratings, wall_limits'),
        ('rating: []\n', "key 'rating' is unknown"),
        ('ratings: {}\n', 'expected a list under "ratings"'),
        ('ratings:\n', 'expected a list under "ratings"'),
        ('ratings: [wn1]\n', 'rating 1: expected host, aggregate'),
        ('ratings: [{host: a, hs6: 1}]\n', "rating 1: key 'hs6' is unknown"),
        ('ratings: [{host: a}]\n', 'expected hs06 or hs23'),
        ('ratings: [{hs06: 1}]\n', "write host: '*' for all hosts"),
        ('ratings: [{host: [], hs06: 1}]\n', 'rating 1, host: expected'),
        ('ratings: [{host: [[a]], hs06: 1}]\n', 'rating 1, host: expected'),
        ("ratings: [{host: '', hs06: 1}]\n", 'rating 1, host: expected'),
        ('ratings: [{host: a, hs06: 0}]\n', 'rating 1, hs06: expected'),
        ('ratings: [{host: a, hs06: -1}]\n', 'rating 1, hs06: expected'),
        ('ratings: [{host: a, hs06: 1e3}]\n', "found '1e3'"),
        ('ratings: [{host: a, hs06: nan}]\n', "found 'nan'"),
        ('ratings: [{host: a, hs06: 10000001}]\n', 'up to 10000000'),
        ('ratings: [{host: a, hs06: [1]}]\n', 'rating 1, hs06: expected'),
        ('wall_limits: [{project: a}]\n', 'wall limit 1: expected'),
        ('wall_limits: [{seconds: 1}]\n', 'wall limit 1: expected'),
        ('wall_limits: [{project: a, seconds: 0}]\n', "found seconds '0'"),
        ('wall_limits: [{project: a, seconds: 2d}]\n', "found seconds '2d'"),
        ('wall_limits: [{project: a, seconds: [1]}]\n', 'wall limit 1'),
        ('ratings: []\nratings: []\n', 'appears twice'),
        ('ratings: [&a {host: b, hs06: 1}, *a]\n', 'reference to an anchor'),
        ('ratings: [\n', 'expected YAML'),
    ],
)
def test_another_table_is_refused(text, said):
    with pytest.raises(errors.Misconfigured) as caught:
        parsed(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith('ratings.yaml')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('1', 1),
        ('259200', 259200),
        ('0', None),
        ('', None),
        ('-1', None),
        ('1.5', None),
        ('1e3', None),
        (' 1', None),
        ('1\n', None),
        ('٣', None),
        ('9999999999', None),
        ('1' * 5000, None),
    ],
)
def test_seconds_are_digits(text, expected):
    assert ratings.seconds(text) == expected

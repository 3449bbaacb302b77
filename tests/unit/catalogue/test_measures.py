# SPDX-License-Identifier: Apache-2.0
"""Limits and the notation of monitoring plug-ins."""

from __future__ import annotations

from pathlib import Path
import re

import pytest

from hepix_vm.catalogue import measures

OK, WARNING, CRITICAL = (
    measures.Grade.OK,
    measures.Grade.WARNING,
    measures.Grade.CRITICAL,
)
LIMITS = measures.Limits(
    {'stale': 2, 'next_expiry_hours': 72, 'revoked': None},
    {'stale': 5, 'next_expiry_hours': 24},
)


@pytest.mark.parametrize(
    ('name', 'value', 'grade'),
    [
        ('stale', 0, OK),
        ('stale', 2, OK),
        ('stale', 3, WARNING),
        ('stale', 5, WARNING),
        ('stale', 6, CRITICAL),
        ('next_expiry_hours', 72, OK),
        ('next_expiry_hours', 71.99, WARNING),
        ('next_expiry_hours', 24, WARNING),
        ('next_expiry_hours', -1, CRITICAL),
        ('next_expiry_hours', None, OK),
        ('revoked', 9, OK),
        ('waiting', 9, OK),
    ],
)
def test_a_value_beyond_its_limit_is_a_problem(name, value, grade):
    assert measures.grade(name, value, LIMITS) is grade


def test_grades_are_exit_statuses():
    assert [int(grade) for grade in measures.Grade] == [0, 1, 2, 3]


def test_performance_data_has_ranges():
    found = measures.performance(
        {'stale': 1, 'next_expiry_hours': 1.5, 'waiting': None, 'images': 7},
        LIMITS,
    )
    assert found == ('stale=1;2;5 next_expiry_hours=1.5;72:;24: images=7;;')


def test_large_numbers_are_not_rounded():
    assert measures.performance({'images': 1234567}, LIMITS) == (
        'images=1234567;;'
    )


@pytest.mark.parametrize(
    ('text', 'limit'),
    [('0', 0), ('1.5', 1.5), ('-3', -3), ('off', None), (' OFF ', None)],
)
def test_a_limit_is_a_number_or_off(text, limit):
    assert measures.limit(text) == limit


@pytest.mark.parametrize('text', ['', 'x', 'nan', 'inf', '-inf', '1e10'])
def test_other_limits_are_refused(text):
    with pytest.raises(ValueError):
        measures.limit(text)


def test_every_measure_has_a_default_and_a_meaning():
    assert len(measures.BY_NAME) == len(measures.MEASURES)
    for measure in measures.MEASURES:
        assert measure.meaning
        assert measure.name in measures.DEFAULTS.warning
        assert measure.name in measures.DEFAULTS.critical


def test_the_documentation_has_every_measure_and_its_limits():
    page = Path(__file__).parents[3] / 'doc/source/admin/monitoring.rst'
    rows = {}
    for row in re.split(r'\n   \* - ', page.read_text()):
        cells = [' '.join(c.split()) for c in re.split(r'\n     - ', row)]
        rows[cells[0].strip('`')] = cells[-2:]
    for measure in measures.MEASURES:
        below = 'below' if measure.less_is_worse else 'above'
        limits = [
            'off' if limit is None else f'{below} {limit}'
            for limit in (measure.warning, measure.critical)
        ]
        for cell, limit in zip(rows[measure.name], limits, strict=True):
            # Text goes on behind the table's last cell.
            assert re.match(f'{limit}( |$)', cell), measure.name

# SPDX-License-Identifier: Apache-2.0
"""A difference between two runs of Tempest has a reason, or is complained."""

import pathlib

import pytest

from tests.tempest import outcomes

STOCK = {'a.Api.test_one': 'passed', 'a.Api.test_two': 'passed'}
FILE = """
# Uploads bytes that nobody
# has endorsed.
a\\.Api\\.test_two
a\\.Api\\.test_t.*ee

# Another reason.
b\\..*
"""


def complaints(
    after: dict[str, str], text: str = '', before: dict[str, str] = STOCK
) -> list[str]:
    expected = outcomes.expectations(text)
    return list(outcomes.complaints(before, after, expected))


def test_reasons_stand_before_their_tests() -> None:
    found = outcomes.expectations(FILE)
    assert [(one.pattern.pattern, one.reason) for one in found] == [
        (r'a\.Api\.test_two', 'Uploads bytes that nobody has endorsed.'),
        (r'a\.Api\.test_t.*ee', 'Uploads bytes that nobody has endorsed.'),
        (r'b\..*', 'Another reason.'),
    ]


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('a.Api\n', "line 1: 'a.Api' has no reason before it"),
        ('# why\na\n\nb\n', "line 4: 'b' has no reason before it"),
        ('# why\na\n# again\n', 'line 3: a reason after its tests'),
        ('# why\na(\n', "line 2: 'a(' is no regular expression"),
    ],
)
def test_a_file_that_explains_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(outcomes.ExpectationError) as caught:
        outcomes.expectations(text)
    assert said in str(caught.value)


def test_two_equal_runs_leave_nothing_to_say() -> None:
    assert complaints(dict(STOCK)) == []


def test_a_difference_needs_a_reason() -> None:
    after = {**STOCK, 'a.Api.test_two': 'failed'}
    assert complaints(after) == [
        'differs without a reason (passed, failed): a.Api.test_two'
    ]
    assert complaints(after, '# why\na.Api.test_two\n') == []


def test_a_reason_is_for_whole_names() -> None:
    after = {**STOCK, 'a.Api.test_two': 'failed'}
    assert complaints(after, '# why\na.Api.test_t\n') == [
        'differs without a reason (passed, failed): a.Api.test_two',
        'expected to differ and does not: a.Api.test_t',
    ]


def test_a_test_that_does_not_run_any_more_differs() -> None:
    assert complaints({'a.Api.test_one': 'passed'}) == [
        'differs without a reason (passed, absent): a.Api.test_two'
    ]


def test_a_class_that_is_not_set_up_is_all_its_tests() -> None:
    after = {'setUpClass (a.Api)': 'failed'}
    assert outcomes.differing(STOCK, after) == {
        'a.Api.test_one': 'passed, failed',
        'a.Api.test_two': 'passed, failed',
    }
    assert complaints(after, '# why\na.Api.*\n') == []


def test_an_expected_difference_that_is_none_is_said() -> None:
    assert complaints(dict(STOCK), '# why\na.Api.test_two\n') == [
        'expected to differ and does not: a.Api.test_two'
    ]


def test_what_fails_on_the_stock_cloud_is_not_explained_by_us() -> None:
    before = {**STOCK, 'a.Api.test_two': 'failed'}
    assert complaints(dict(STOCK), '# why\na.Api.test_two\n', before) == [
        'failed on the stock cloud, so not by a reason: a.Api.test_two'
    ]


def test_a_stock_run_without_a_success_compares_nothing() -> None:
    before = {'setUpClass (a.Api)': 'skipped'}
    assert complaints(before, '', before) == [
        'no test has passed on the stock cloud: nothing was compared'
    ]


def test_runs_are_counted_by_kind() -> None:
    assert outcomes.counted({**STOCK, 'setUpClass (b.B)': 'skipped'}) == (
        '2 passed, 0 failed, 1 skipped'
    )


def test_the_differences_that_are_kept_can_be_read() -> None:
    path = pathlib.Path(outcomes.__file__).parent / 'differences.txt'
    for one in outcomes.expectations(path.read_text()):
        assert one.reason

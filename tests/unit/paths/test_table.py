# SPDX-License-Identifier: Apache-2.0
"""The table of paths is whole, and the documentation has it as it is."""

from __future__ import annotations

import pytest

from hepix_vm.catalogue import model
from tests.paths import asking
from tests.paths import document
from tests.paths import rows
from tests.paths import table
from tests.paths.table import At
from tests.paths.table import Outcome
from tests.paths.table import State
from tests.paths.table import Who


def test_documentation_has_the_table_of_the_suite() -> None:
    assert document.FILE.read_text() == document.text(), (
        'run "make paths", which writes it'
    )


def test_each_row_is_there_once() -> None:
    keys = [row.key for row in rows.ALL]
    assert len(set(keys)) == len(keys)


def test_every_state_and_every_caller_is_tried() -> None:
    assert {row.state for row in rows.ALL} == set(State)
    assert {row.who for row in rows.ALL} == set(Who)
    assert len({row.path.name for row in rows.ALL}) >= 30


def test_every_part_has_a_row_that_needs_it() -> None:
    assert {row.part for row in rows.ALL} >= set(table.Part)


def test_codes_are_those_of_the_catalogue() -> None:
    codes = {
        row.verdict.code
        for row in rows.ALL
        if row.part is not None and row.verdict.at is not At.VOLUME
    }
    ours = {code for code in codes if code and not code.startswith('HTTP')}
    assert ours <= set(model.Reason)


@pytest.mark.parametrize('state', [s for s in State if s is not s.APPROVED])
def test_image_that_is_not_approved_boots_with_a_note_only(
    state: State,
) -> None:
    for row in rows.ALL:
        if row.state is state and row.verdict.outcome is Outcome.BOOTS:
            assert row.path.note, row.key


def test_two_groups_of_a_path_cannot_have_the_same_row() -> None:
    path = table.Path('boot', 'Boot')
    with pytest.raises(ValueError, match='boot/user/approved is there twice'):
        table.rows(
            path,
            table.boots((Who.USER,), State.APPROVED),
            table.passes((Who.USER,), State.APPROVED),
        )


def test_stock_refusal_looks_like_one_of_ours() -> None:
    ours = table.Verdict(Outcome.REFUSED, At.NOVA, 'HTTP 403')
    stock = table.Verdict(Outcome.IMPOSSIBLE, At.NOVA, 'HTTP 403')
    assert ours.like(stock)
    assert not ours.like(table.Verdict(Outcome.BOOTS))


@pytest.mark.parametrize(
    ('text', 'code'),
    [
        (model.refused(model.Reason.BLOCKED, 'image 1').sentence, 'blocked'),
        ('image 1 is refused (blocked): no', 'blocked without what it means'),
        ('image 1 is refused (blocked): '.ljust(255, 'x'), 'blocked'),
        ('No valid host was found.', None),
    ],
)
def test_reason_is_read_where_the_message_says_what_to_do(
    text: str, code: str | None
) -> None:
    assert asking.reason(text) == code

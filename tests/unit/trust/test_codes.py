# SPDX-License-Identifier: Apache-2.0
"""The table of codes is closed, complete and what operators read."""

from __future__ import annotations

import pathlib
import re

from hepix_vm import errors
from hepix_vm.trust import codes
from tests.unit.trust import codes_page

_ROOT = pathlib.Path(__file__).parents[3]
_PAGE = _ROOT / 'doc' / 'source' / 'reference' / 'refusal-codes.rst'


def test_every_code_has_its_entry_in_the_order_of_the_steps():
    assert list(codes.TABLE) == list(codes.Code)


def test_codes_are_lower_case_words():
    for code in codes.Code:
        assert re.fullmatch('[a-z]+(-[a-z]+)*', code.value)
        assert code.name == code.value.upper().replace('-', '_')


def test_entries_are_sentences():
    for entry in codes.TABLE.values():
        for text in (entry.meaning, entry.remedy):
            assert text[0].isupper()
            assert text.endswith('.')
            assert '\n' not in text


def test_page_of_operators_is_written_from_the_table():
    assert _PAGE.read_text(encoding='utf-8') == codes_page.render()


def test_refusal_keeps_the_values_that_disagreed():
    refusal = codes.refused(codes.Code.PIN, 'why', expected='a', found='b')
    assert isinstance(refusal, errors.Refused)
    assert refusal.code == 'pin'
    assert refusal.values == {'expected': 'a', 'found': 'b'}
    assert str(refusal) == refusal.detail == 'why'

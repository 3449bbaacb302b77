# SPDX-License-Identifier: Apache-2.0
"""Operators find which codes stand for which state."""

from __future__ import annotations

from pathlib import Path
import re

import pytest

from hepix_vm.catalogue import expression
from hepix_vm.catalogue import model

PAGE = Path(__file__).parents[3] / 'doc/source/admin/approval.rst'
ROW = re.compile(
    r' {3}\* - ``([a-z]+)``\n {5}- (?:.+\n)(?: {7}.+\n)*'
    r' {5}- ((?:.+\n)(?: {7}.+\n)*)'
)


@pytest.mark.parametrize('state', model.State)
def test_each_state_is_documented_with_its_codes(state: model.State) -> None:
    rows = dict(ROW.findall(PAGE.read_text()))
    told = re.findall('``([a-z-]+)``', rows[state])
    assert sorted(told) == sorted(
        code for code, of in model.STATES.items() if of is state
    )


def test_each_key_of_an_expression_is_documented() -> None:
    text = PAGE.read_text()
    table = text[text.index('* - key') : text.index('``=`` and ``!=``')]
    assert set(re.findall('``([a-z_]+)``', table)) == set(expression.KEYS)

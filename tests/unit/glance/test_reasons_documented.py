# SPDX-License-Identifier: Apache-2.0
"""Operators find every reason code, with the sentence that users read."""

import pathlib
import re

import pytest

from hepix_vm.catalogue import model

PAGE = pathlib.Path('doc/source/admin/enforcement.rst')
ROW = re.compile(r' {3}\* - ``([a-z-]+)``\n {5}- ((?:.+\n)(?: {7}.+\n)*)')


@pytest.fixture(scope='module')
def rows() -> dict[str, str]:
    path = pathlib.Path(__file__).parents[3] / PAGE
    found = ROW.findall(path.read_text())
    return {code: ' '.join(text.split()) for code, text in found}


@pytest.mark.parametrize('reason', model.Reason)
def test_each_reason_is_documented(
    rows: dict[str, str], reason: model.Reason
) -> None:
    assert rows.get(reason) == model.SENTENCES[reason]


def test_nothing_else_is_documented_as_a_reason(rows: dict[str, str]) -> None:
    of_imports = {
        'misconfigured',
        'import-refused',
        'import-overtaken',
        'image-deleted',
    }
    assert set(rows) == set(model.Reason) | of_imports


def test_the_codes_of_imports_are_those_of_the_code() -> None:
    root = pathlib.Path(__file__).parents[3]
    source = (root / 'hepix_vm/glance/refusal.py').read_text()
    used = set(re.findall(r"_refused\(\s*image_id,\s*'([a-z-]+)'", source))
    assert used == {
        'misconfigured',
        'import-refused',
        'import-overtaken',
        'image-deleted',
    }

# SPDX-License-Identifier: Apache-2.0
"""The published table of results tells what the verifier says today."""

from __future__ import annotations

import pathlib
import re

from tests.unit.trust import results_page

_ROOT = pathlib.Path(__file__).parents[3]
_PAGE = _ROOT / 'doc' / 'source' / 'reference' / 'trust-results.rst'


def test_every_case_stands_there_with_our_verdict():
    published = {}
    for line in _PAGE.read_text(encoding='utf-8').splitlines():
        fields = line.strip().split(', ')
        if re.match('   [a-z0-9]', line) and len(fields) == 4:
            published[fields[0]] = fields[1]
    # That the cases get these codes is what the other tests see.
    assert published == {
        results_page.told(name): maker().code
        for _, register in results_page._registers()
        for name, maker in register.items()
    }

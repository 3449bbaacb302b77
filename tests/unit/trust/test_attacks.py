# SPDX-License-Identifier: Apache-2.0
"""Every attack is refused, with the code that tells an operator why."""

from __future__ import annotations

import pytest

from hepix_vm import errors
from hepix_vm import trust
from tests.assets import attacks_on_content
from tests.assets import attacks_on_path
from tests.unit.trust import judging

ATTACKS = {**attacks_on_content.ATTACKS, **attacks_on_path.ATTACKS}


@pytest.mark.parametrize('name', ATTACKS)
def test_attack_is_refused(name):
    case = ATTACKS[name]()
    verdict = judging.judge(case)
    assert isinstance(verdict, errors.Refused), 'accepted'
    assert verdict.code == case.code, verdict.detail
    assert verdict.code in set(trust.Code)
    assert '\n' not in verdict.detail

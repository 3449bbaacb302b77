# SPDX-License-Identifier: Apache-2.0
"""Every encoding found in the wild is accepted, its exact bytes handed on."""

from __future__ import annotations

import hashlib

import pytest

from hepix_vm import errors
from tests.assets import encodings
from tests.unit.trust import judging


@pytest.mark.parametrize('name', encodings.ENCODINGS)
def test_encoding_is_accepted(name):
    case = encodings.ENCODINGS[name]()
    verdict = judging.judge(case)
    assert not isinstance(verdict, errors.Refused), (
        verdict.code,
        verdict.detail,
    )
    assert verdict.payload == case.payload
    assert verdict.payload_sha256 == hashlib.sha256(case.payload).hexdigest()
    assert verdict.message_sha256 == hashlib.sha256(case.message).hexdigest()

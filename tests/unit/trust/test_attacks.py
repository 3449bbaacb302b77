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


BOTH = {'expected', 'found'}
# What a refusal always says besides its sentence, by its code.
VALUES = {
    'digest': {'expected'},
    'endorser-mismatch': BOTH,
    'invalid-list': {*BOTH, 'path'},
    'limit': {'limit'},
    'list-expired': {'found'},
    'list-from-future': {'found'},
    'pin': BOTH,
    'purpose': {'found'},
    'revoked': {'certificate'},
    'self-signed': {'spki_sha256'},
    'signed-in-future': {'found'},
    'threshold': BOTH,
    'too-many-signers': BOTH,
    'weak-key': {'found'},
    'wrong-identifier': BOTH,
    **{
        code: {'certificate', 'openssl'}
        for code in (
            'certificate-policy',
            'crl-expired',
            'crl-missing',
            'crl-not-yet-valid',
            'crl-unusable',
            'crl-untrusted',
            'name-constraints',
        )
    },
}


@pytest.mark.parametrize('name', ATTACKS)
def test_attack_is_refused(name):
    case = ATTACKS[name]()
    verdict = judging.judge(case)
    assert isinstance(verdict, errors.Refused), 'accepted'
    assert verdict.code == case.code, verdict.detail
    assert verdict.code in set(trust.Code)
    assert isinstance(verdict.detail, str)
    assert '\n' not in verdict.detail
    assert 'None' not in verdict.detail
    assert VALUES.get(case.code, set()) <= verdict.values.keys()
    assert None not in verdict.values.values()

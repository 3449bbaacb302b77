# SPDX-License-Identifier: Apache-2.0
"""Knobs that contradict each other are refused before they are used."""

from __future__ import annotations

import datetime

import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import names

JO = trust.Endorser(names.parse('/CN=Jo'), names.parse('/CN=CA'))
BO = trust.Endorser(names.parse('/CN=Bo'), names.parse('/CN=CA'))


@pytest.mark.parametrize(
    ('knobs', 'reason'),
    [
        ({'crl': 'maybe'}, "crl must be one of .* found 'maybe'"),
        ({'signing_policy': ''}, 'signing_policy must be one of'),
        ({'pins': frozenset({'AB'})}, '64 lower-case hex digits'),
        ({'accept_self_signed_pinned': True}, 'only with a pin'),
        ({'threshold': 0}, 'threshold must be 1 to 8'),
        ({'threshold': 9}, 'threshold must be 1 to 8'),
        ({'threshold': 2, 'endorser': JO}, 'exceeds the 1 endorsers'),
        ({'co_endorsers': (JO,)}, 'need an endorser'),
        (
            {'clock_skew': datetime.timedelta(seconds=-1)},
            'must not be negative',
        ),
    ],
)
def test_contradiction_is_refused(knobs, reason):
    with pytest.raises(errors.Misconfigured, match=reason):
        trust.Policy(**knobs)


def test_limits_are_positive():
    with pytest.raises(errors.Misconfigured, match=r'ber_depth .* at least 1'):
        trust.Limits(ber_depth=0)


def test_endorsers_are_the_endorser_and_those_beside():
    policy = trust.Policy(endorser=JO, co_endorsers=(BO, JO), threshold=2)
    assert policy.endorsers == {JO, BO}
    assert trust.Policy().endorsers == frozenset()

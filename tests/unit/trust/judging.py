# SPDX-License-Identifier: Apache-2.0
"""Verifying a case as a site would."""

from __future__ import annotations

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import anchors
from tests.assets import cases


def anchors_of(case: cases.Case) -> trust.TrustAnchors:
    return anchors.from_certificates(
        case.anchors, case.crls, case.signing_policies
    )


def judge(
    case: cases.Case, **knobs: object
) -> trust.VerifiedMessage | trust.EndorsedList | errors.Refused:
    """What the verifier says; anything but Refused is raised."""
    verify = trust.verify if case.is_list else trust.verify_message
    policy = trust.Policy(**{**case.policy, **knobs})
    try:
        return verify(case.message, anchors_of(case), policy, case.now)
    except errors.Refused as refusal:
        return refusal


def code_of(case: cases.Case, **knobs: object) -> str:
    """The code of the verdict, ``ok`` if accepted."""
    verdict = judge(case, **knobs)
    return verdict.code if isinstance(verdict, errors.Refused) else 'ok'

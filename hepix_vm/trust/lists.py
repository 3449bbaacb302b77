# SPDX-License-Identifier: Apache-2.0
"""Steps 14 to 17 of :mod:`hepix_vm.trust.verifier`: the list itself."""

from __future__ import annotations

import datetime

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.trust import codes
from hepix_vm.trust import names
from hepix_vm.trust import policy as policies
from hepix_vm.trust import signers as signer_values


def accept(
    payload: bytes,
    signers: tuple[signer_values.Signer, ...],
    policy: policies.Policy,
    now: datetime.datetime,
) -> imagelist.ImageList:
    # 14. parse
    try:
        image_list = imagelist.parse(payload, _limits(policy.limits))
    except errors.InvalidList as error:
        raise codes.refused(
            codes.Code.INVALID_LIST,
            str(error),
            path=error.path,
            expected=error.expected,
            found=error.found,
        ) from error
    # 15. identifier
    expected = policy.list_identifier
    if expected is not None and image_list.identifier != expected:
        raise codes.refused(
            codes.Code.WRONG_IDENTIFIER,
            f'the list is {image_list.identifier}, subscribed is {expected}',
            expected=expected,
            found=image_list.identifier,
        )
    # 16. endorser
    _require_endorser(image_list, signers)
    # 17. validity
    _require_valid(image_list, policy, now)
    return image_list


def _limits(limits: policies.Limits) -> imagelist.Limits:
    return imagelist.Limits(
        size=limits.message_bytes,
        depth=limits.json_depth,
        number=limits.json_number,
        values=limits.json_values,
        images=limits.images,
    )


def _require_endorser(
    image_list: imagelist.ImageList, signers: tuple[signer_values.Signer, ...]
) -> None:
    """Every signer stands in the list; the list alone proves nobody."""
    stated = []
    for endorser in image_list.endorsers:
        try:
            stated.append(
                policies.Endorser(
                    names.parse(endorser.subject), names.parse(endorser.issuer)
                )
            )
        except names.NotAName as error:
            raise codes.refused(
                codes.Code.AMBIGUOUS_NAME
                if error.ambiguous
                else codes.Code.ENDORSER_DIFFERS,
                f'hv:endorser of the list: {error}',
            ) from error
    for signer in signers:
        if signer.identity not in stated:
            found = [f'{e.subject} (issued by {e.issuer})' for e in stated]
            raise codes.refused(
                codes.Code.ENDORSER_DIFFERS,
                f'the signer is {signer}, but hv:endorser of the list names '
                + ' and '.join(found),
                expected=str(signer),
                found=found,
                signer=signer,
            )


def _require_valid(
    image_list: imagelist.ImageList,
    policy: policies.Policy,
    now: datetime.datetime,
) -> None:
    if image_list.created > now + policy.clock_skew:
        raise codes.refused(
            codes.Code.LIST_FROM_FUTURE,
            f'the list was created at {image_list.created.isoformat()}, now '
            f'is {now.isoformat()}',
            found=image_list.created.isoformat(),
        )
    if image_list.expires <= now:
        raise codes.refused(
            codes.Code.LIST_EXPIRED,
            f'the list expired at {image_list.expires.isoformat()}, now is '
            f'{now.isoformat()}',
            found=image_list.expires.isoformat(),
        )

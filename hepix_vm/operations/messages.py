# SPDX-License-Identifier: Apache-2.0
"""Signed messages from files: verifying and showing them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import cms
from hepix_vm.trust import mime


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What came of verifying one message.

    :ivar code: one of the closed table, ``ok`` when accepted
    :ivar signer: None until a signature has verified
    :ivar payload: the verified bytes; None when refused
    :ivar payload_sha256: of exactly these bytes
    """

    accepted: bool
    code: str
    detail: str
    signer: trust.Signer | None
    payload: bytes | None
    payload_sha256: str | None


def verify_message(
    message: bytes,
    anchors: trust.TrustAnchors,
    policy: trust.Policy,
    now: datetime.datetime,
) -> Verdict:
    """Verify any signed message, without reading its payload."""
    try:
        verified = trust.verify_message(message, anchors, policy, now)
    except errors.Refused as exc:
        return refused(exc)
    return accepted(verified.payload, verified.signers)


def verify_list(
    message: bytes,
    anchors: trust.TrustAnchors,
    policy: trust.Policy,
    now: datetime.datetime,
) -> Verdict:
    """Verify a signed image list."""
    try:
        endorsed = trust.verify(message, anchors, policy, now)
    except errors.Refused as exc:
        return refused(exc)
    return accepted(endorsed.payload, endorsed.signers)


def accepted(payload: bytes, signers: tuple[trust.Signer, ...]) -> Verdict:
    """The verdict over bytes that somebody signed."""
    return Verdict(
        accepted=True,
        code=str(trust.Code.OK),
        detail='accepted',
        signer=signers[0],
        payload=payload,
        payload_sha256=hashlib.sha256(payload).hexdigest(),
    )


def refused(exc: errors.Refused) -> Verdict:
    """The verdict over a message that is not believed."""
    signer = exc.values.get('signer')
    return Verdict(
        accepted=False,
        code=str(exc.code),
        detail=exc.detail,
        signer=signer if isinstance(signer, trust.Signer) else None,
        payload=None,
        payload_sha256=None,
    )


def show(content: bytes) -> imagelist.ImageList:
    """The list in a file, signed or not; nothing of it is believed.

    :raises errors.NotBelieved: when there is none
    """
    if content.lstrip()[:1] in (b'{', b'['):
        return imagelist.parse(content)
    policy = trust.Policy(
        allow_sha1_dangerous=True, threshold=trust.Limits().signers
    )
    envelope = mime.open_envelope(content, policy.limits)
    payload = envelope.part
    if payload is None:
        payload = cms.parse(envelope.signature, policy).content
    return imagelist.parse(mime.inner_payload(payload or b'', policy.limits))

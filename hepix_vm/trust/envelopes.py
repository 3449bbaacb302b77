# SPDX-License-Identifier: Apache-2.0
"""Lists that are signed in another form than S/MIME.

An :class:`Envelope` knows a form: it does the steps 2 to 5 of
:mod:`hepix_vm.trust.verifier`, that is, it finds out whose key signed which
bytes, and says the same as an image list. Everything else is done here, with
the same code as for S/MIME: size, key, certificate, path, revocation, pins,
the subscribed endorser and the rules of lists. So a form that is added, also
by another package, decides about arithmetic and never about trust.

Envelopes are registered in the namespace ``hepix_vm.envelopes`` under the
scheme of the URLs whose lists have that form.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from typing import Protocol

from hepix_vm import errors
from hepix_vm.trust import anchors as trust_anchors
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import lists
from hepix_vm.trust import policy as policies
from hepix_vm.trust import signers as signer_checks
from hepix_vm.trust import verifier


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A message whose signature is arithmetically right.

    :param payload: exactly the bytes that were signed
    :param document: the image list (HEPiX JSON) that says the same, made
        from ``payload`` and the certificate alone
    :param certificate: DER of the certificate whose key made the signature
    :param candidates: DER of further certificates of the message
    :param signing_time: what the signer claims, UTC; None if nothing
    """

    payload: bytes
    document: bytes
    certificate: bytes
    candidates: tuple[bytes, ...] = ()
    signing_time: datetime.datetime | None = None


class Envelope(Protocol):
    """A form of signed messages."""

    def __call__(self, message: bytes, policy: policies.Policy) -> Opened:
        """Open a message.

        Pure: no file, network or clock.

        :param policy: which digests count, and the limits; the rest is not
            for the envelope
        :raises hepix_vm.errors.Refused: a code of the steps 2 to 5, or
            ``invalid-list``
        """


def verify_enveloped(
    message: bytes,
    envelope: Envelope,
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    now: datetime.datetime,
) -> verifier.EndorsedList:
    """Verify a signed image list of another form: steps 1 to 17.

    :param message: the message as it was fetched or stored
    :param envelope: its form
    :param now: time of the verification, with a time zone
    :raises hepix_vm.errors.Refused: the code names the step
    :raises ValueError: ``now`` has no time zone
    """
    moment = signer_checks.utc(now)
    try:
        return _verify(message, envelope, anchors, policy, moment)
    except errors.Refused:
        raise
    except Exception as error:
        raise codes.unforeseen(error) from error


def _verify(
    message: bytes,
    envelope: Envelope,
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    now: datetime.datetime,
) -> verifier.EndorsedList:
    # 1. size
    if len(message) > policy.limits.message_bytes:
        raise codes.refused(
            codes.Code.LIMIT,
            f'the message has {len(message)} bytes, at most '
            f'{policy.limits.message_bytes} allowed (limit message_bytes)',
            limit='message_bytes',
        )
    # 2. to 5. envelope, digest and signature
    opened = envelope(message, policy)
    try:
        certificate = certificates.read(opened.certificate)
    except certificates.Unreadable as error:
        raise codes.refused(
            codes.Code.NO_CERTIFICATE,
            f"the signer's certificate cannot be read: {error}",
        ) from error
    certificate.public_key()
    # 6. to 12. whose signature it is
    check = signer_checks.Check(opened.candidates, anchors, policy, now)
    signers = (check.alone(certificate, opened.signing_time),)
    signer_checks.require_threshold(signers, policy)
    # 14. to 17. the list; 13. has nothing to take off
    try:
        image_list = lists.accept(opened.document, signers, policy, now)
    except errors.Refused as refusal:
        refusal.values.setdefault('signer', signers[0])
        raise
    warnings = (
        ('SHA-1 was allowed to protect this message',)
        if policy.allow_sha1_dangerous
        else ()
    )
    return verifier.EndorsedList(
        image_list,
        opened.payload,
        hashlib.sha256(opened.payload).hexdigest(),
        hashlib.sha256(message).hexdigest(),
        signers,
        warnings,
        seal=verifier._SEAL,
    )

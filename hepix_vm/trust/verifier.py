# SPDX-License-Identifier: Apache-2.0
"""From signed bytes to a list that is believed, in numbered steps.

A message is accepted when every step passes; the first step that fails
gives the code (:mod:`hepix_vm.trust.codes`):

 1. The message is not too large: ``limit``.
 2. The envelope is S/MIME: ``not-signed``, ``malformed``.
 3. The signature structure is CMS SignedData with signed attributes and
    the expected number of signers; its algorithms are known, strong and
    agree: ``malformed``, ``limit``, ``not-signed``, ``no-signer``,
    ``too-many-signers``, ``algorithm``, ``weak-digest``.
 4. The content has the digest that was signed: ``digest``.
 5. The signer's certificate is in the message and its key made the
    signature: ``no-certificate``, ``weak-key``, ``signature``.
 6. The claimed time of signing is not in the future:
    ``signed-in-future``.
 7. The certificate may sign lists: ``proxy``, ``self-signed``,
    ``ca-signer``, ``key-usage``, ``purpose``.
 8. Its issuers lead to an anchor: ``no-anchor``, ``issuer-signature``,
    ``weak-digest``, ``weak-key``, ``not-a-ca``.
 9. The path is valid now: ``expired-certificate``, ``not-yet-valid``,
    ``critical-extension``, ``name-constraints``, ``certificate-policy``,
    ``not-a-ca``, ``chain``.
10. Nothing on the path is revoked, by current CRLs of the site:
    ``crl-missing``, ``crl-expired``, ``crl-not-yet-valid``,
    ``crl-untrusted``, ``crl-unusable``, ``weak-digest``, ``revoked``.
11. The path fits the CAs' own rules: ``limit``, ``purpose``,
    ``signing-policy``.
12. The signer is the one that was subscribed: ``pin``,
    ``endorser-mismatch``; enough distinct ones signed: ``threshold``.
    Steps 4 to 12 hold for every signature of the message.
13. Exactly the bytes that were signed, without MIME headers inside, are
    the payload: ``malformed``. Here :func:`verify_message` ends.
14. The payload is an image list: ``invalid-list``.
15. It is the subscribed list: ``wrong-identifier``.
16. Its ``hv:endorser`` names every signer: ``ambiguous-name``,
    ``endorser-differs``.
17. It is valid now: ``list-from-future``, ``list-expired``.

Within steps 9 and 10 the order is OpenSSL's. Whether a list is older than
one that was seen is for :mod:`hepix_vm.trust.replay`.

The functions are pure: no file, network or clock. Certificates of the
message are candidates, its CRLs are ignored, its time of signing is a
claim. A refusal carries ``values['signer']``, a
:class:`~hepix_vm.trust.signers.Signer`, once that
signer's signature has verified (after step 5).
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import datetime
import hashlib

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.trust import anchors as trust_anchors
from hepix_vm.trust import cms
from hepix_vm.trust import codes
from hepix_vm.trust import lists
from hepix_vm.trust import mime
from hepix_vm.trust import policy as policies
from hepix_vm.trust import signers as signer_checks

_SEAL = object()


@dataclasses.dataclass(frozen=True, slots=True)
class VerifiedMessage:
    """A message that passed steps 1 to 13.

    :param payload: exactly what was signed, inner MIME headers taken off
    :param payload_sha256: hex digest of the payload
    :param message_sha256: hex digest of the message
    :param signers: in the order of the message, at least one
    :param warnings: what was tolerated, in words
    """

    payload: bytes
    payload_sha256: str
    message_sha256: str
    signers: tuple[signer_checks.Signer, ...]
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class EndorsedList:
    """An image list that passed all steps; only :func:`verify` makes one.

    :param image_list: the list
    :param payload: the bytes that it was parsed from
    :param payload_sha256: hex digest of the payload
    :param message_sha256: hex digest of the signed message
    :param signers: who endorsed it, at least one
    :param warnings: what was tolerated, in words
    """

    image_list: imagelist.ImageList
    payload: bytes
    payload_sha256: str
    message_sha256: str
    signers: tuple[signer_checks.Signer, ...]
    warnings: tuple[str, ...] = ()
    seal: dataclasses.InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError('an EndorsedList comes from trust.verify() alone')


def verify_message(
    message: bytes,
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    now: datetime.datetime,
) -> VerifiedMessage:
    """Verify any S/MIME signed message: steps 1 to 13.

    :param message: the message as it was fetched
    :param now: time of the verification, with a time zone
    :raises hepix_vm.errors.Refused: the code names the step
    :raises ValueError: ``now`` has no time zone
    """
    moment = signer_checks.utc(now)
    try:
        return _verify_message(message, anchors, policy, moment)
    except errors.Refused:
        raise
    except Exception as error:
        raise codes.unforeseen(error) from error


def verify(
    message: bytes,
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    now: datetime.datetime,
) -> EndorsedList:
    """Verify a signed image list: steps 1 to 17.

    Sync calls it again with the stored message and a later ``now``, so
    that expiry and revocation act while the endorser's server is silent.

    :param message: the message as it was fetched or stored
    :param now: time of the verification, with a time zone
    :raises hepix_vm.errors.Refused: the code names the step
    :raises ValueError: ``now`` has no time zone
    """
    moment = signer_checks.utc(now)
    verified = verify_message(message, anchors, policy, moment)
    try:
        image_list = lists.accept(
            verified.payload, verified.signers, policy, moment
        )
    except errors.Refused as refusal:
        refusal.values.setdefault('signer', verified.signers[0])
        raise
    except Exception as error:
        raise codes.unforeseen(error) from error
    return EndorsedList(
        image_list,
        verified.payload,
        verified.payload_sha256,
        verified.message_sha256,
        verified.signers,
        verified.warnings,
        seal=_SEAL,
    )


def _verify_message(
    message: bytes,
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    now: datetime.datetime,
) -> VerifiedMessage:
    limits = policy.limits
    # 1. size
    if len(message) > limits.message_bytes:
        raise codes.refused(
            codes.Code.LIMIT,
            f'the message has {len(message)} bytes, at most '
            f'{limits.message_bytes} allowed (limit message_bytes)',
            limit='message_bytes',
        )
    # 2. envelope
    envelope = mime.open_envelope(message, limits)
    # 3. signature structure
    signed = cms.parse(envelope.signature, policy)
    # 4. digest of the content, one form for all signatures
    content = _signed_content(envelope, signed)
    # 5. to 12. for every signature
    check = signer_checks.Check(signed.certificates, anchors, policy, now)
    signers = tuple(check.signer(info) for info in signed.signers)
    signer_checks.require_threshold(signers, policy)
    # 13. payload
    try:
        payload = mime.inner_payload(content, limits)
    except errors.Refused as refusal:
        refusal.values.setdefault('signer', signers[0])
        raise
    warnings = (
        ('SHA-1 was allowed to protect this message',)
        if policy.allow_sha1_dangerous
        else ()
    )
    return VerifiedMessage(
        payload,
        hashlib.sha256(payload).hexdigest(),
        hashlib.sha256(message).hexdigest(),
        signers,
        warnings,
    )


def _signed_content(envelope: mime.Envelope, signed: cms.SignedData) -> bytes:
    """Step 4: the form of the content that every signer signed."""
    if envelope.part is None and signed.content is None:
        raise codes.refused(
            codes.Code.MALFORMED, 'the message holds no content'
        )
    if envelope.part is not None and signed.content is not None:
        raise codes.refused(
            codes.Code.MALFORMED,
            'the message holds content twice: as a part and in the signature',
        )
    candidates: Iterable[bytes] = envelope.candidates()
    if signed.content is not None:
        candidates = (signed.content,)
    matching = None
    for info in signed.signers:
        matching = info.matches(candidates)
        if matching is None:
            raise codes.refused(
                codes.Code.DIGEST,
                f'the content has another {info.digest} digest than was '
                'signed',
                expected=info.message_digest.hex(),
            )
        candidates = (matching,)
    assert matching is not None  # noqa: S101 - step 3 saw a signer
    return matching

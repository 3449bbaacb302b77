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
    ``crl-untrusted``, ``crl-unusable``, ``revoked``.
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
claim. A refusal carries ``values['signer']``, a :class:`Signer`, once that
signer's signature has verified (after step 5).
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib

from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.trust import anchors as trust_anchors
from hepix_vm.trust import budget as budgets
from hepix_vm.trust import certificates
from hepix_vm.trust import chain
from hepix_vm.trust import cms
from hepix_vm.trust import codes
from hepix_vm.trust import mime
from hepix_vm.trust import names
from hepix_vm.trust import policy as policies
from hepix_vm.trust import purpose

_SEAL = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Signer:
    """Whose key made a signature.

    :param subject: subject of the certificate
    :param issuer: issuer of the certificate
    :param sha256: hex digest of the certificate's DER
    :param spki_sha256: hex digest of its SubjectPublicKeyInfo, for pins
    :param not_after: end of the certificate's validity, UTC
    :param signing_time: what the signer claims, UTC; None if absent
    :param path: ``sha256`` of each certificate from the signer to the
        anchor; empty while the path is not validated
    :param crl_next_update: when the first CRL that was needed runs out,
        UTC; None if none was looked at
    """

    subject: names.Name
    issuer: names.Name
    sha256: str
    spki_sha256: str
    not_after: datetime.datetime
    signing_time: datetime.datetime | None
    path: tuple[str, ...] = ()
    crl_next_update: datetime.datetime | None = None

    @property
    def identity(self) -> policies.Endorser:
        """Subject and issuer."""
        return policies.Endorser(self.subject, self.issuer)

    def __str__(self) -> str:
        return f'{self.subject} (issued by {self.issuer})'


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
    signers: tuple[Signer, ...]
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
    signers: tuple[Signer, ...]
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
    moment = _utc(now)
    try:
        return _verify_message(message, anchors, policy, moment)
    except errors.Refused:
        raise
    except Exception as error:
        raise _unforeseen(error) from error


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
    moment = _utc(now)
    verified = verify_message(message, anchors, policy, moment)
    try:
        image_list = _accept_list(verified, policy, moment)
    except errors.Refused as refusal:
        refusal.values.setdefault('signer', verified.signers[0])
        raise
    except Exception as error:
        raise _unforeseen(error) from error
    return EndorsedList(
        image_list,
        verified.payload,
        verified.payload_sha256,
        verified.message_sha256,
        verified.signers,
        verified.warnings,
        seal=_SEAL,
    )


def _utc(now: datetime.datetime) -> datetime.datetime:
    if now.tzinfo is None:
        raise ValueError('the time of a verification needs a time zone')
    return now.astimezone(datetime.UTC)


def _unforeseen(error: Exception) -> errors.Refused:
    return codes.refused(
        codes.Code.MALFORMED,
        f'the message could not be read: {type(error).__name__}: {error}'[
            :200
        ],
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
    check = _Check(
        signed,
        anchors,
        policy,
        now,
        budgets.SignatureBudget(limits.signature_checks),
    )
    signers = tuple(check.signer(info) for info in signed.signers)
    _require_threshold(signers, policy)
    # 13. payload
    payload = mime.inner_payload(content, limits)
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
    candidates = (
        envelope.candidates() if signed.content is None else (signed.content,)
    )
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


class _Check:
    """Steps 5 to 12 for one signature after the other."""

    def __init__(
        self,
        signed: cms.SignedData,
        anchors: trust_anchors.TrustAnchors,
        policy: policies.Policy,
        now: datetime.datetime,
        budget: budgets.SignatureBudget,
    ) -> None:
        self._anchors = anchors
        self._policy = policy
        self._now = now
        self._budget = budget
        self._unreadable = 0
        self._certificates: list[certificates.Certificate] = []
        for encoded in signed.certificates:
            try:
                self._certificates.append(certificates.read(encoded))
            except certificates.Unreadable:
                self._unreadable += 1

    def signer(self, info: cms.SignerInfo) -> Signer:
        """The signer of one signature, accepted.

        Where several certificates of one key are named, one that is
        accepted is enough.

        :raises hepix_vm.errors.Refused: the code names the step
        """
        # 5. signature
        holders = self._holders(info)
        refusals = []
        for certificate in holders:
            signer = Signer(
                certificate.subject,
                certificate.issuer,
                certificate.sha256,
                certificate.spki_sha256,
                certificate.x509.not_valid_after_utc,
                info.signing_time,
            )
            try:
                return self._accept(certificate, signer)
            except errors.Refused as refusal:
                refusal.values.setdefault('signer', signer)
                refusals.append(refusal)
        raise refusals[0]

    def _holders(
        self, info: cms.SignerInfo
    ) -> tuple[certificates.Certificate, ...]:
        """Certificates that are named and whose key made the signature."""
        named = [c for c in self._certificates if _is_named(info, c)]
        if not named:
            raise codes.refused(
                codes.Code.NO_CERTIFICATE,
                "the message does not carry its signer's certificate"
                + (
                    f' ({self._unreadable} that it carries cannot be read)'
                    if self._unreadable
                    else ''
                ),
            )
        keys = [
            (certificate, certificate.public_key()) for certificate in named
        ]
        found = []
        for certificate, key in keys:
            self._budget.spend()
            if info.verified_by(key, certificate.key_algorithm):
                found.append(certificate)
        if not found:
            raise codes.refused(
                codes.Code.SIGNATURE,
                'the signature was not made with the key of the certificate '
                f'of {named[0]}',
            )
        return tuple(found)

    def _accept(
        self, certificate: certificates.Certificate, signer: Signer
    ) -> Signer:
        policy = self._policy
        # 6. time of signing
        if (
            signer.signing_time is not None
            and signer.signing_time > self._now + policy.clock_skew
        ):
            raise codes.refused(
                codes.Code.SIGNED_IN_FUTURE,
                'the signature claims to be made at '
                f'{signer.signing_time:%Y-%m-%dT%H:%M:%SZ}',
                found=signer.signing_time.isoformat(),
            )
        # 7. role of the certificate
        if certificates.is_proxy(certificate):
            raise codes.refused(
                codes.Code.PROXY, f'{certificate} is a proxy certificate'
            )
        if certificate.self_signed:
            path = self._pinned_path(certificate)
        else:
            if certificates.is_ca(certificate):
                raise codes.refused(
                    codes.Code.CA_SIGNER, f'{certificate} is a CA'
                )
            purpose.require_signer(certificate, policy)
            # 8. to 11. path
            path = chain.validate(
                certificate,
                self._certificates,
                self._anchors,
                policy,
                self._now,
                self._budget,
            )
        # 12. identity
        _require_identity(signer, policy)
        return dataclasses.replace(
            signer,
            path=tuple(c.sha256 for c in path.certificates),
            crl_next_update=path.crl_next_update,
        )

    def _pinned_path(
        self, certificate: certificates.Certificate
    ) -> chain.Path:
        """The path of a self-signed signer, if its pin vouches for it.

        Its CA flag is tolerated and no CRL can apply.
        """
        policy = self._policy
        if not policy.accept_self_signed_pinned:
            raise codes.refused(
                codes.Code.SELF_SIGNED,
                f'{certificate} certified itself; that is accepted only '
                'with a pin of its key',
                spki_sha256=certificate.spki_sha256,
            )
        _require_pin(certificate.spki_sha256, policy)
        purpose.require_signer(certificate, policy)
        if self._anchors.holds(certificate) is None:
            raise codes.refused(
                codes.Code.NO_ANCHOR,
                f'{certificate} certified itself and is not among the anchors',
            )
        chain.require_current(certificate, self._now)
        return chain.Path((certificate,), None)


def _is_named(
    info: cms.SignerInfo, certificate: certificates.Certificate
) -> bool:
    if info.key_identifier is not None:
        return certificate.key_identifier == info.key_identifier
    return (
        certificate.x509.serial_number == info.serial
        and certificate.issuer_der == info.issuer
    )


def _require_pin(spki_sha256: str, policy: policies.Policy) -> None:
    if policy.pins and spki_sha256 not in policy.pins:
        raise codes.refused(
            codes.Code.PIN,
            f"the signer's key {spki_sha256} is not pinned",
            expected=sorted(policy.pins),
            found=spki_sha256,
        )


def _require_identity(signer: Signer, policy: policies.Policy) -> None:
    _require_pin(signer.spki_sha256, policy)
    if not policy.endorsers or signer.identity in policy.endorsers:
        return
    expected = [
        f'{e.subject} (issued by {e.issuer})' for e in policy.endorsers
    ]
    alike = any(
        e.subject.slash() == signer.subject.slash()
        and e.issuer.slash() == signer.issuer.slash()
        for e in policy.endorsers
    )
    raise codes.refused(
        codes.Code.ENDORSER_MISMATCH,
        f'the signer is {signer}, subscribed is {" or ".join(expected)}'
        + (
            '; the two look alike in slash form only, write RFC 4514'
            if alike
            else ''
        ),
        expected=expected,
        found=str(signer),
    )


def _require_threshold(
    signers: tuple[Signer, ...], policy: policies.Policy
) -> None:
    distinct = {signer.identity for signer in signers}
    if len(distinct) < policy.threshold:
        raise codes.refused(
            codes.Code.THRESHOLD,
            f'{len(distinct)} endorsers signed, {policy.threshold} are '
            'required',
            expected=policy.threshold,
            found=len(distinct),
            signer=signers[0],
        )


def _accept_list(
    verified: VerifiedMessage,
    policy: policies.Policy,
    now: datetime.datetime,
) -> imagelist.ImageList:
    # 14. parse
    try:
        image_list = imagelist.parse(verified.payload)
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
    _require_endorser(image_list, verified.signers)
    # 17. validity
    _require_valid(image_list, policy, now)
    return image_list


def _require_endorser(
    image_list: imagelist.ImageList, signers: tuple[Signer, ...]
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

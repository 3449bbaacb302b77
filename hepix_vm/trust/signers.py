# SPDX-License-Identifier: Apache-2.0
"""Steps 5 to 12 of :mod:`hepix_vm.trust.verifier`: whose signature it is."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import datetime

from cryptography import x509

from hepix_vm import errors
from hepix_vm.trust import anchors as trust_anchors
from hepix_vm.trust import budget as budgets
from hepix_vm.trust import certificates
from hepix_vm.trust import chain
from hepix_vm.trust import cms
from hepix_vm.trust import codes
from hepix_vm.trust import names
from hepix_vm.trust import policy as policies
from hepix_vm.trust import purpose


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
    :param path_ends: when the first certificate of the path runs out, UTC;
        None while the path is not validated
    """

    subject: names.Name
    issuer: names.Name
    sha256: str
    spki_sha256: str
    not_after: datetime.datetime
    signing_time: datetime.datetime | None
    path: tuple[str, ...] = ()
    crl_next_update: datetime.datetime | None = None
    path_ends: datetime.datetime | None = None

    @property
    def identity(self) -> policies.Endorser:
        """Subject and issuer."""
        return policies.Endorser(self.subject, self.issuer)

    def __str__(self) -> str:
        return f'{self.subject} (issued by {self.issuer})'


def utc(now: datetime.datetime) -> datetime.datetime:
    """A time in UTC.

    :raises ValueError: it has no time zone
    """
    if now.tzinfo is None:
        raise ValueError('the time of a verification needs a time zone')
    return now.astimezone(datetime.UTC)


class Check:
    """Steps 5 to 12 for one signature after the other.

    :param embedded: DER of the certificates that the message carries
    """

    def __init__(
        self,
        embedded: Iterable[bytes],
        anchors: trust_anchors.TrustAnchors,
        policy: policies.Policy,
        now: datetime.datetime,
    ) -> None:
        self._anchors = anchors
        self._policy = policy
        self._now = now
        self._budget = budgets.SignatureBudget(policy.limits.signature_checks)
        self._unreadable = 0
        self._certificates: list[certificates.Certificate] = []
        for encoded in embedded:
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
            try:
                return self.alone(certificate, info.signing_time)
            except errors.Refused as refusal:
                refusals.append(refusal)
        raise refusals[0]

    def alone(
        self,
        certificate: certificates.Certificate,
        signing_time: datetime.datetime | None = None,
    ) -> Signer:
        """Steps 6 to 12 for a certificate whose key signed.

        :raises hepix_vm.errors.Refused: the code names the step
        """
        signer = Signer(
            certificate.subject,
            certificate.issuer,
            certificate.sha256,
            certificate.spki_sha256,
            certificate.x509.not_valid_after_utc,
            signing_time,
        )
        try:
            return self._accept(certificate, signer)
        except errors.Refused as refusal:
            refusal.values.setdefault('signer', signer)
            raise

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
            path_ends=min(
                c.x509.not_valid_after_utc for c in path.certificates
            ),
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
        _require_understood(certificate)
        return chain.Path((certificate,), None)


def _require_understood(certificate: certificates.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and isinstance(
            extension.value, x509.UnrecognizedExtension
        ):
            raise codes.refused(
                codes.Code.CRITICAL_EXTENSION,
                f'{certificate} has the unknown critical extension '
                f'{extension.oid.dotted_string}',
            )


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


def require_threshold(
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

# SPDX-License-Identifier: Apache-2.0
"""From a signer's certificate to a trust anchor.

The path is found and validated in three steps:

1. Certificates that really issued the signer, one above the other, are
   picked from the anchors and from the message: name, signature, digest
   and key of each link are checked here, so that look-alikes never
   reach step 2.
2. OpenSSL validates the path (RFC 5280) with CRLs of the site, at the
   given time, through pyOpenSSL's ``X509StoreContext``. It knows nothing
   but what step 1 picked: no directory, no network.
3. What OpenSSL does not judge is held against the returned path: length,
   extended key usage of the CAs, signing_policy.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import datetime
import itertools

from OpenSSL import crypto

from hepix_vm.trust import algorithms
from hepix_vm.trust import anchors as trust_anchors
from hepix_vm.trust import budget as budgets
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import crls
from hepix_vm.trust import picking
from hepix_vm.trust import policy as policies
from hepix_vm.trust import purpose
from hepix_vm.trust import signing_policy
from hepix_vm.trust import verdicts


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """A validated path.

    :param certificates: from the signer to the anchor, both included
    :param crl_next_update: when the first of the CRLs that were needed
        runs out, UTC; None if none was looked at
    """

    certificates: tuple[certificates.Certificate, ...]
    crl_next_update: datetime.datetime | None


def validate(
    signer: certificates.Certificate,
    candidates: Iterable[certificates.Certificate],
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    now: datetime.datetime,
    budget: budgets.SignatureBudget,
) -> Path:
    """The path from a signer to an anchor, valid at a time.

    :param candidates: certificates of the message, believed in nothing
    :param now: time of the validation, UTC
    :raises hepix_vm.errors.Refused: a code of the steps 8 to 11 of
        :mod:`hepix_vm.trust.verifier`
    """
    picked = picking.pick(signer, tuple(candidates), anchors, policy, budget)
    usable, flawed = _crls(picked, anchors, policy)
    judge = _Judge(picked, usable, flawed, now)
    path = judge.validate(signer, require_crls=policy.crl == 'require')
    if len(path) > policy.limits.chain_depth:
        raise codes.refused(
            codes.Code.LIMIT,
            f'the path has {len(path)} certificates, at most '
            f'{policy.limits.chain_depth} allowed (limit chain_depth)',
            limit='chain_depth',
        )
    if policy.crl == 'if-present':
        judge.check_present_crls(path)
    judge.check_deltas(path)
    purpose.require_nesting(path, policy)
    _require_signing_policy(path, anchors, policy)
    next_update = None
    if policy.crl != 'off':
        next_update = min(
            (judge.runs_out(link) for link in path[:-1] if judge.covers(link)),
            default=None,
        )
    return Path(path, next_update)


def require_current(
    value: certificates.Certificate, now: datetime.datetime
) -> None:
    """Refuse a certificate outside its validity.

    :raises hepix_vm.errors.Refused: ``not-yet-valid``,
        ``expired-certificate``
    """
    start, end = (
        value.x509.not_valid_before_utc,
        value.x509.not_valid_after_utc,
    )
    if now < start:
        raise codes.refused(
            codes.Code.NOT_YET_VALID,
            f'the certificate of {value} is valid from {start.isoformat()}',
        )
    if now > end:
        raise codes.refused(
            codes.Code.EXPIRED_CERTIFICATE,
            f'the certificate of {value} expired at {end.isoformat()}',
        )


def _crls(
    picked: picking.Picked,
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
) -> tuple[list[crls.Crl], list[crls.Crl]]:
    """CRLs of the picked CAs: those that count, and those that do not."""
    usable: list[crls.Crl] = []
    flawed: list[crls.Crl] = []
    if policy.crl == 'off':
        return usable, flawed
    subjects = {value.chaining_subject for value in picked.values()}
    for subject in subjects:
        for crl in anchors.crls_of(subject):
            sha1 = (
                policy.allow_sha1_dangerous
                and crl.flaw is not None
                and crl.flaw.code == codes.Code.WEAK_DIGEST
                and certificates.digest_of(crl.x509) == algorithms.SHA1
            )
            (usable if crl.flaw is None or sha1 else flawed).append(crl)
    return crls.without_superseded(usable), flawed


class _Judge:
    """Step 2: OpenSSL with exactly what was picked."""

    def __init__(
        self,
        picked: picking.Picked,
        usable: list[crls.Crl],
        flawed: list[crls.Crl],
        now: datetime.datetime,
    ) -> None:
        self._picked = picked
        self._usable = usable
        self._flawed = flawed
        self._now = now

    def validate(
        self, leaf: certificates.Certificate, *, require_crls: bool
    ) -> tuple[certificates.Certificate, ...]:
        """The path of a certificate.

        :param require_crls: check every certificate against a CRL
        :raises hepix_vm.errors.Refused: the path is not valid
        """
        flags = crypto.X509StoreFlags.POLICY_CHECK
        if require_crls:
            flags |= crypto.X509StoreFlags.CRL_CHECK
            flags |= crypto.X509StoreFlags.CRL_CHECK_ALL
        return self._run(leaf, flags, self._usable if require_crls else [])

    def check_present_crls(
        self, path: tuple[certificates.Certificate, ...]
    ) -> None:
        """Check each certificate whose issuer's CRL is here."""
        flags = (
            crypto.X509StoreFlags.POLICY_CHECK
            | crypto.X509StoreFlags.CRL_CHECK
        )
        for link in path[:-1]:
            if self.covers(link):
                self._run(link, flags, self._usable)

    def check_deltas(self, path: tuple[certificates.Certificate, ...]) -> None:
        """Refuse what a delta CRL revokes.

        A delta proves nothing good without its base, but it is the CA's
        word that a certificate is revoked.
        """
        for link, issuer in itertools.pairwise(path):
            for crl in self._flawed:
                if (
                    crl.is_delta
                    and crl.chaining_issuer == link.chaining_issuer
                    and crl.revokes(link.x509.serial_number)
                    and crl.signed_by(issuer)
                ):
                    raise codes.refused(
                        codes.Code.REVOKED,
                        f'a delta CRL revokes the certificate of {link}',
                        certificate=str(link),
                    )

    def covers(self, link: certificates.Certificate) -> bool:
        """Whether its issuer has a CRL here, usable or not."""
        return any(
            crl.chaining_issuer == link.chaining_issuer
            for crl in (*self._usable, *self._flawed)
        )

    def runs_out(self, link: certificates.Certificate) -> datetime.datetime:
        """When the newest CRL of its issuer runs out."""
        return max(
            crl.next_update
            for crl in self._usable
            if crl.chaining_issuer == link.chaining_issuer
            and crl.next_update is not None
        )

    def _run(
        self,
        leaf: certificates.Certificate,
        flags: int,
        revocation: list[crls.Crl],
    ) -> tuple[certificates.Certificate, ...]:
        store = crypto.X509Store()
        for value in self._picked.trusted.values():
            store.add_cert(crypto.X509.from_cryptography(value.x509))
        for crl in revocation:
            store.add_crl(crl.x509)
        store.set_flags(flags)
        store.set_time(self._now)
        context = crypto.X509StoreContext(
            store,
            crypto.X509.from_cryptography(leaf.x509),
            [
                crypto.X509.from_cryptography(value.x509)
                for value in self._picked.untrusted.values()
                if value.sha256 != leaf.sha256
            ],
        )
        known = {value.der: value for value in self._picked.values()}
        try:
            chain = context.get_verified_chain()
        except crypto.X509StoreContextError as error:
            number, _, text = error.errors
            culprit = known.get(_blamed(error) or b'', leaf)
            raise verdicts.refusal(
                number, text, culprit, self._flawed
            ) from None
        return tuple(known[_encoded(value)] for value in chain)


def _blamed(error: crypto.X509StoreContextError) -> bytes | None:
    """The certificate at which OpenSSL stopped, DER.

    For the policies of the path as a whole it names none, which pyOpenSSL
    shows as a certificate that cannot be written.
    """
    try:
        return _encoded(error.certificate)
    except crypto.Error:
        return None


def _encoded(value: crypto.X509) -> bytes:
    data: bytes = crypto.dump_certificate(crypto.FILETYPE_ASN1, value)
    return data


def _require_signing_policy(
    path: tuple[certificates.Certificate, ...],
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
) -> None:
    """Step 3: each subject lies where its CA may certify."""
    if policy.signing_policy == 'off':
        return
    for subject, issuer in itertools.pairwise(path):
        anchor = anchors.holds(issuer)
        patterns = anchor.patterns if anchor else None
        if patterns is None:
            if policy.signing_policy == 'require':
                raise codes.refused(
                    codes.Code.SIGNING_POLICY,
                    f'there is no signing_policy file for {issuer}',
                )
        elif not signing_policy.allows(patterns, subject.subject):
            raise codes.refused(
                codes.Code.SIGNING_POLICY,
                f'{subject} lies outside the signing_policy of {issuer}',
                expected=list(patterns),
                found=subject.subject.slash(),
            )

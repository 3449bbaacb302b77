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
from collections.abc import Iterator
import dataclasses
import datetime
import itertools

from cryptography import x509
from OpenSSL import crypto

from hepix_vm import errors
from hepix_vm.trust import algorithms
from hepix_vm.trust import anchors as trust_anchors
from hepix_vm.trust import budget as budgets
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import crls
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


@dataclasses.dataclass(slots=True)
class _Picked:
    """What step 1 found."""

    trusted: dict[str, certificates.Certificate]
    untrusted: dict[str, certificates.Certificate]
    obstacles: list[errors.Refused]

    def __contains__(self, value: certificates.Certificate) -> bool:
        return value.sha256 in self.trusted or value.sha256 in self.untrusted

    def __len__(self) -> int:
        return len(self.trusted) + len(self.untrusted)

    def values(self) -> Iterator[certificates.Certificate]:
        yield from self.trusted.values()
        yield from self.untrusted.values()


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
    picked = _pick(signer, tuple(candidates), anchors, policy, budget)
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


def _pick(
    signer: certificates.Certificate,
    candidates: tuple[certificates.Certificate, ...],
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    budget: budgets.SignatureBudget,
) -> _Picked:
    """Step 1: the certificates of which each issued one below it."""
    picked = _Picked({}, {signer.sha256: signer}, [])
    frontier = [signer]
    while frontier:
        subject = frontier.pop()
        if anchors.holds(subject) and subject.self_issued:
            continue  # an end, whatever its own signature says
        for issuer in _issuers(subject, candidates, anchors):
            if issuer in picked:
                continue
            try:
                _require_issued(subject, issuer, anchors, policy, budget)
            except errors.Refused as refusal:
                if refusal.code == codes.Code.LIMIT:
                    raise
                picked.obstacles.append(refusal)
                continue
            shelf = (
                picked.trusted if anchors.holds(issuer) else picked.untrusted
            )
            shelf[issuer.sha256] = issuer
            frontier.append(issuer)
            if len(picked) > policy.limits.certificates:
                raise codes.refused(
                    codes.Code.LIMIT,
                    f'more than {policy.limits.certificates} certificates '
                    'could be part of the path (limit certificates)',
                    limit='certificates',
                )
    if not any(value.self_issued for value in picked.trusted.values()):
        raise _no_way(signer, picked)
    return picked


def _issuers(
    subject: certificates.Certificate,
    candidates: tuple[certificates.Certificate, ...],
    anchors: trust_anchors.TrustAnchors,
) -> Iterator[certificates.Certificate]:
    """Certificates that bear the issuer's name, anchors first."""
    seen = {subject.sha256}
    known = anchors.named(subject.chaining_issuer)
    for value in (*(a.certificate for a in known), *candidates):
        if (
            value.sha256 not in seen
            and value.chaining_subject == subject.chaining_issuer
        ):
            seen.add(value.sha256)
            yield value


def _require_issued(
    subject: certificates.Certificate,
    issuer: certificates.Certificate,
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    budget: budgets.SignatureBudget,
) -> None:
    """Refuse a link whose digest, key, role or signature is not right."""
    algorithms.require_digest(
        certificates.digest_of(subject.x509),
        f'the certificate of {subject}',
        sha1=policy.allow_sha1_dangerous,
    )
    issuer.public_key()
    _require_ca(issuer, is_anchor=anchors.holds(issuer) is not None)
    budget.spend()
    if not certificates.signed_by(subject.x509, issuer):
        raise codes.refused(
            codes.Code.ISSUER_SIGNATURE,
            f'the certificate of {subject} was not signed with the key of '
            f'{issuer} that is known',
        )


def _require_ca(value: certificates.Certificate, *, is_anchor: bool) -> None:
    constraints = value.extension(x509.BasicConstraints)
    if constraints is None:
        # Old roots have no extensions; that they lie among the anchors
        # says what they are.
        is_ca = is_anchor and value.self_issued
    else:
        is_ca = constraints.ca
    usage = value.extension(x509.KeyUsage)
    if not is_ca or (usage is not None and not usage.key_cert_sign):
        raise codes.refused(
            codes.Code.NOT_A_CA, f'{value} may not issue certificates'
        )


def _no_way(
    signer: certificates.Certificate, picked: _Picked
) -> errors.Refused:
    """Why no anchor was reached: the worst that was met on the way."""
    for code in (
        codes.Code.WEAK_DIGEST,
        codes.Code.WEAK_KEY,
        codes.Code.NOT_A_CA,
        codes.Code.MALFORMED,
        codes.Code.ISSUER_SIGNATURE,
    ):
        for obstacle in picked.obstacles:
            if obstacle.code == code:
                return obstacle
    subjects = {value.chaining_subject for value in picked.values()}
    missing = [
        value.issuer
        for value in picked.values()
        if value.chaining_issuer not in subjects
    ] or [signer.issuer]
    return codes.refused(
        codes.Code.NO_ANCHOR,
        f'no trust anchor for {signer}: {missing[0]} is not known',
        missing=str(missing[0]),
    )


def _crls(
    picked: _Picked,
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
    return usable, flawed


class _Judge:
    """Step 2: OpenSSL with exactly what was picked."""

    def __init__(
        self,
        picked: _Picked,
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
            culprit = known.get(_encoded(error.certificate), leaf)
            raise verdicts.refusal(
                number, text, culprit, self._flawed
            ) from None
        return tuple(known[_encoded(value)] for value in chain)


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

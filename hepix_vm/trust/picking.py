# SPDX-License-Identifier: Apache-2.0
"""Which certificates issued a signer, one above the other.

Name, signature, digest, key and role of each link are checked here, so
that look-alikes never reach OpenSSL.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses

from cryptography import x509

from hepix_vm import errors
from hepix_vm.trust import algorithms
from hepix_vm.trust import anchors as trust_anchors
from hepix_vm.trust import budget as budgets
from hepix_vm.trust import certificates
from hepix_vm.trust import codes
from hepix_vm.trust import policy as policies


@dataclasses.dataclass(slots=True)
class Picked:
    """Certificates of which each issued one below it.

    :param trusted: those that lie among the anchors, by ``sha256``
    :param untrusted: the signer and those of the message, by ``sha256``
    :param obstacles: why others were not picked
    """

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


def pick(
    signer: certificates.Certificate,
    candidates: tuple[certificates.Certificate, ...],
    anchors: trust_anchors.TrustAnchors,
    policy: policies.Policy,
    budget: budgets.SignatureBudget,
) -> Picked:
    """The certificates that lead from a signer to a self-signed anchor.

    :param candidates: certificates of the message
    :raises hepix_vm.errors.Refused: a code of step 8 of
        :mod:`hepix_vm.trust.verifier`
    """
    picked = Picked({}, {signer.sha256: signer}, [])
    frontier = [signer]
    while frontier:
        subject = frontier.pop()
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
    signer: certificates.Certificate, picked: Picked
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

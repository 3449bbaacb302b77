# SPDX-License-Identifier: Apache-2.0
"""The trust anchors of a directory: CAs, CRLs and signing policies.

Read are ``HASH.N``, ``HASH.rN`` for every N and ``HASH.signing_policy`` as
the IGTF distributes them, and ``*.pem`` with certificates and CRLs by their
content. Other names are ignored. HASH is eight hex digits. A broken file
is a problem that the result names, and not the end; it never makes
anything acceptable.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import functools
import pathlib

from cryptography import x509
from OpenSSL import crypto

from hepix_vm import errors
from hepix_vm.trust import anchor_files
from hepix_vm.trust import certificates
from hepix_vm.trust import crls as crl_values
from hepix_vm.trust import names
from hepix_vm.trust import signing_policy


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """A certificate that is trusted because it lies there.

    :param certificate: the certificate; the end of a path if self-signed
    :param files: names of the files that hold it
    :param patterns: subjects that it may certify; None if there is no
        signing_policy, empty if there is one that allows nothing
    """

    certificate: certificates.Certificate
    files: tuple[str, ...] = ()
    patterns: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class TrustAnchors:
    """What a site trusts; never changes, load again to see new files.

    :param anchors: each certificate once
    :param crls: each CRL once
    :param problems: files that could not be used
    :param fingerprint: word that changes when a file of the directory does
    """

    anchors: tuple[Anchor, ...]
    crls: tuple[crl_values.Crl, ...] = ()
    problems: tuple[anchor_files.Problem, ...] = ()
    fingerprint: str = ''

    @functools.cached_property
    def _by_subject(self) -> dict[names.Name, tuple[Anchor, ...]]:
        found: dict[names.Name, tuple[Anchor, ...]] = {}
        for anchor in self.anchors:
            key = anchor.certificate.chaining_subject
            found[key] = (*found.get(key, ()), anchor)
        return found

    @functools.cached_property
    def _by_sha256(self) -> dict[str, Anchor]:
        return {a.certificate.sha256: a for a in self.anchors}

    @functools.cached_property
    def _crls_by_issuer(self) -> dict[names.Name, tuple[crl_values.Crl, ...]]:
        found: dict[names.Name, tuple[crl_values.Crl, ...]] = {}
        for crl in self.crls:
            key = crl.chaining_issuer
            found[key] = (*found.get(key, ()), crl)
        return found

    def named(self, subject: names.Name) -> tuple[Anchor, ...]:
        """The anchors of a normalised subject."""
        return self._by_subject.get(subject, ())

    def holds(self, certificate: certificates.Certificate) -> Anchor | None:
        """The anchor that is this certificate."""
        return self._by_sha256.get(certificate.sha256)

    def crls_of(self, issuer: names.Name) -> tuple[crl_values.Crl, ...]:
        """The CRLs of a normalised issuer, unusable ones included."""
        return self._crls_by_issuer.get(issuer, ())


def from_certificates(
    anchors: Iterable[x509.Certificate],
    crls: Iterable[x509.CertificateRevocationList] = (),
    policies: Iterable[str] = (),
) -> TrustAnchors:
    """Anchors from loaded objects.

    :param policies: texts of signing_policy files
    :raises hepix_vm.trust.certificates.Unreadable: one cannot be used
    """
    patterns: dict[str, tuple[str, ...]] = {}
    for text in policies:
        patterns.update(signing_policy.parse(text))
    values = (certificates.of(loaded) for loaded in anchors)
    return TrustAnchors(
        tuple(
            Anchor(
                value,
                (),
                patterns.get(signing_policy.canonical(value.subject.slash())),
            )
            for value in values
        ),
        tuple(crl_values.of(crl, '') for crl in crls),
    )


def load(
    directory: pathlib.Path, previous: TrustAnchors | None = None
) -> TrustAnchors:
    """Read a directory of trust anchors.

    :param previous: what was in use so far: a CRL that is older than the
        one there is not taken, the newer one stays
    :raises hepix_vm.errors.Misconfigured: the directory is unreadable or
        holds no anchor
    """
    paths = anchor_files.entries(directory)
    state = anchor_files.state_of(paths)
    collected = anchor_files.Collected()
    for path in paths:
        collected.add(path)
    if not collected.certificates:
        shown = '; '.join(str(p) for p in collected.problems[:3])
        raise errors.Misconfigured(
            f'trust anchor directory {directory} holds no certificate as '
            f'HASH.N or *.pem{": " + shown if shown else ""}'
        )
    anchors = tuple(_anchors(collected))
    crls = tuple(_newest(collected, previous))
    return TrustAnchors(anchors, crls, tuple(collected.problems), state)


def _anchors(collected: anchor_files.Collected) -> Iterator[Anchor]:
    """The anchors, each with the signing_policy of its hashes."""
    for sha256, value in collected.certificates.items():
        files = tuple(collected.files[sha256])
        yield Anchor(value, files, _patterns(collected, value, files))


def _patterns(
    collected: anchor_files.Collected,
    value: certificates.Certificate,
    files: tuple[str, ...],
) -> tuple[str, ...] | None:
    if not collected.policies:
        return None
    stems = {name.partition('.')[0] for name in files}
    subject_hash = crypto.X509.from_cryptography(
        value.x509
    ).subject_name_hash()
    stems.add(f'{subject_hash:08x}')
    found = stems & collected.policies.keys()
    if not found:
        return None
    own = signing_policy.canonical(value.subject.slash())
    patterns = tuple(
        pattern
        for stem in sorted(found)
        for pattern in collected.policies[stem].get(own, ())
    )
    if not patterns:
        collected.problems.append(
            anchor_files.Problem(
                f'{min(found)}.signing_policy',
                f'it does not say what {value} may certify',
            )
        )
    return tuple(dict.fromkeys(patterns))


def _newest(
    collected: anchor_files.Collected, previous: TrustAnchors | None
) -> Iterator[crl_values.Crl]:
    """The CRLs, none of them older than what was in use."""
    before = {
        crl.line: crl
        for crl in (previous.crls if previous else ())
        if crl.flaw is None
    }
    kept: set[str] = set()
    for crl in collected.crls.values():
        earlier = before.get(crl.line)
        if earlier is None or crl.flaw or not crl.older_than(earlier):
            yield crl
            continue
        collected.problems.append(
            anchor_files.Problem(
                crl.file,
                f'the CRL of {crl.issuer} went back to '
                f'{crl.this_update:%Y-%m-%dT%H:%M:%SZ}; the one of '
                f'{earlier.this_update:%Y-%m-%dT%H:%M:%SZ} stays in use',
            )
        )
        if earlier.sha256 not in collected.crls.keys() | kept:
            kept.add(earlier.sha256)
            yield earlier

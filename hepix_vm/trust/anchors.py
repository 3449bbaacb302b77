# SPDX-License-Identifier: Apache-2.0
"""The trust anchors of a directory: CAs, CRLs and signing policies.

Read are ``HASH.N``, ``HASH.rN`` for every N and ``HASH.signing_policy`` as
the IGTF distributes them, and ``*.pem`` with certificates and CRLs by their
content. Other names are ignored. HASH is eight hex digits. A broken file
is a problem that the result names, and not the end; it never makes
anything acceptable.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import functools
import hashlib
import pathlib
import re

from cryptography import x509
from OpenSSL import crypto

from hepix_vm import errors
from hepix_vm.trust import certificates
from hepix_vm.trust import crls as crl_values
from hepix_vm.trust import names
from hepix_vm.trust import signing_policy

_NAME = re.compile(
    r'(?P<hash>[0-9a-f]{8})\.(?:(?P<anchor>\d+)|r(?P<crl>\d+)|'
    r'(?P<policy>signing_policy))|.+\.pem',
    re.ASCII,
)
_PEM = re.compile(
    rb'-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?\n(.*?)-----END \1-----', re.DOTALL
)
_BEGIN = re.compile(rb'^-----BEGIN (?:X509 )?(?:CERTIFICATE|CRL)-----', re.M)
_CERTIFICATE = (b'CERTIFICATE', b'X509 CERTIFICATE')
_CRL = (b'X509 CRL', b'CRL')
# CRLs of large CAs have some MiB; nothing else comes near.
LARGEST_FILE = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A file that could not be used.

    :param file: name of the file in the directory
    :param text: what is wrong with it
    """

    file: str
    text: str

    def __str__(self) -> str:
        return f'{self.file}: {self.text}'


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
    :param fingerprint: of the directory, see :func:`fingerprint`
    """

    anchors: tuple[Anchor, ...]
    crls: tuple[crl_values.Crl, ...] = ()
    problems: tuple[Problem, ...] = ()
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


def _entries(directory: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(
            path
            for path in directory.iterdir()
            if _NAME.fullmatch(path.name) and path.is_file()
        )
    except OSError as error:
        raise errors.Misconfigured(
            f'trust anchor directory {directory} cannot be read: '
            f'{error.strerror}'
        ) from error


def fingerprint(directory: pathlib.Path) -> str:
    """A word that changes when a file of the directory changes.

    Names, sizes, inodes and times count; contents are not read.

    :raises hepix_vm.errors.Misconfigured: the directory is unreadable
    """
    return _fingerprint(_entries(directory))


def _fingerprint(entries: Iterable[pathlib.Path]) -> str:
    digest = hashlib.sha256()
    for path in entries:
        try:
            state = path.stat()
            fields = (state.st_size, state.st_mtime_ns, state.st_ino)
        except OSError:
            fields = (-1, -1, -1)  # went away in between
        digest.update(repr((path.name, fields)).encode())
    return digest.hexdigest()


def load(
    directory: pathlib.Path, previous: TrustAnchors | None = None
) -> TrustAnchors:
    """Read a directory of trust anchors.

    :param previous: what was in use so far: a CRL that is older than the
        one there is not taken, the newer one stays
    :raises hepix_vm.errors.Misconfigured: the directory is unreadable or
        holds no anchor
    """
    entries = _entries(directory)
    state = _fingerprint(entries)
    collected = _Collected()
    for path in entries:
        collected.add(path)
    if not collected.certificates:
        shown = '; '.join(str(p) for p in collected.problems[:3])
        raise errors.Misconfigured(
            f'trust anchor directory {directory} holds no certificate as '
            f'HASH.N or *.pem{": " + shown if shown else ""}'
        )
    anchors = tuple(collected.anchors())
    crls = tuple(_newest(collected, previous))
    return TrustAnchors(anchors, crls, tuple(collected.problems), state)


class _Collected:
    """What has been read so far."""

    def __init__(self) -> None:
        self.certificates: dict[str, certificates.Certificate] = {}
        self.files: dict[str, list[str]] = {}
        self.crls: dict[str, crl_values.Crl] = {}
        self.policies: dict[str, dict[str, tuple[str, ...]]] = {}
        self.problems: list[Problem] = []

    def add(self, path: pathlib.Path) -> None:
        name = _NAME.fullmatch(path.name)
        policy_of = name['hash'] if name and name['policy'] else None
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise certificates.Unreadable(
                    f'it exceeds {LARGEST_FILE} bytes'
                )
            data = path.read_bytes()
            if policy_of:
                self.policies[policy_of] = signing_policy.parse(data.decode())
                return
        except (OSError, ValueError) as error:
            if policy_of:
                self.policies[policy_of] = {}
            self._problem(path, str(error))
            return
        self._add_blocks(path, data)

    def _problem(self, path: pathlib.Path, text: str) -> None:
        self.problems.append(Problem(path.name, text))

    def _add_blocks(self, path: pathlib.Path, data: bytes) -> None:
        count = 0
        for label, block in _blocks(data):
            count += 1
            try:
                if label in _CERTIFICATE:
                    self._add_certificate(path, block)
                elif label in _CRL:
                    self._add_crl(path, block)
            except (ValueError, binascii.Error) as error:
                self._problem(path, str(error) or 'it is broken')
        if len(_BEGIN.findall(data)) > count or not count:
            self._problem(path, 'it holds no complete certificate or CRL')

    def _add_certificate(self, path: pathlib.Path, block: bytes) -> None:
        value = certificates.read(block)
        self.certificates.setdefault(value.sha256, value)
        self.files.setdefault(value.sha256, []).append(path.name)

    def _add_crl(self, path: pathlib.Path, block: bytes) -> None:
        value = crl_values.of(x509.load_der_x509_crl(block), path.name)
        self.crls.setdefault(value.sha256, value)
        if value.flaw is not None:
            self._problem(
                path,
                f'the CRL of {value.issuer} does not count: {value.flaw.text}',
            )

    def anchors(self) -> Iterator[Anchor]:
        """The anchors, each with the signing_policy of its hashes."""
        for sha256, value in self.certificates.items():
            files = tuple(self.files[sha256])
            yield Anchor(value, files, self._patterns(value, files))

    def _patterns(
        self, value: certificates.Certificate, files: tuple[str, ...]
    ) -> tuple[str, ...] | None:
        if not self.policies:
            return None
        stems = {name.partition('.')[0] for name in files}
        subject_hash = crypto.X509.from_cryptography(
            value.x509
        ).subject_name_hash()
        stems.add(f'{subject_hash:08x}')
        found = stems & self.policies.keys()
        if not found:
            return None
        own = signing_policy.canonical(value.subject.slash())
        patterns = tuple(
            pattern
            for stem in sorted(found)
            for pattern in self.policies[stem].get(own, ())
        )
        if not patterns:
            self.problems.append(
                Problem(
                    f'{min(found)}.signing_policy',
                    f'it does not say what {value} may certify',
                )
            )
        return tuple(dict.fromkeys(patterns))


def _blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Label and DER of each PEM block, or of the file as DER."""
    if not data.startswith(b'\x30'):
        for match in _PEM.finditer(data):
            text = match[2].translate(None, b' \t\r\n')
            try:
                yield match[1], base64.b64decode(text, validate=True)
            except binascii.Error:
                yield match[1], b''
        return
    try:
        x509.load_der_x509_crl(data)
    except ValueError:
        yield _CERTIFICATE[0], data
    else:
        yield _CRL[0], data


def _newest(
    collected: _Collected, previous: TrustAnchors | None
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
            Problem(
                crl.file,
                f'the CRL of {crl.issuer} went back to '
                f'{crl.this_update:%Y-%m-%dT%H:%M:%SZ}; the one of '
                f'{earlier.this_update:%Y-%m-%dT%H:%M:%SZ} stays in use',
            )
        )
        if earlier.sha256 not in collected.crls.keys() | kept:
            kept.add(earlier.sha256)
            yield earlier

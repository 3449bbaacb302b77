# SPDX-License-Identifier: Apache-2.0
"""What a bundle is, as text that survives every way of carrying it.

One ``key: value`` a line, ASCII, a line end after each::

    hepix-context-manifest: 1
    serial: 7
    created: 2026-11-22T13:00:00Z
    expires: 2026-12-22T13:00:00Z
    sha256-tar: <64 hexadecimal digits>
    size-tar: 10240
    file: <64 hexadecimal digits> 0755 35 prolog.sh
    directory: spool

``created`` is absent for what was never published, ``expires`` for what
never expires. Files are sorted by the parts of their names, and after them
the directories that hold nothing; others follow from the files. The site signs
these bytes (ECDSA, P-256, SHA-256); a guest checks that with ``openssl dgst
-sha256 -verify``.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import datetime
import itertools
import re
from typing import TypeVar

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm import errors

#: UNIX seconds, the last that a manifest can tell: 9999-12-31T23:59:59Z.
LAST = 253402300799

_T = TypeVar('_T')

_FIRST = 'hepix-context-manifest: 1'
_SHA256 = re.compile(r'[0-9a-f]{64}')
_NUMBER = re.compile(r'0|[1-9][0-9]{0,17}')
_TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', re.ASCII)
_MODES = {'0644': 0o644, '0755': 0o755}
_ISO = '%Y-%m-%dT%H:%M:%SZ'


class ManifestRefused(errors.NotBelieved):
    """A text is no manifest, or not signed by the key; it says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says.

    :param serial: of the generation, which never goes back; 0: unpublished
    :param created: UNIX seconds; None: unpublished
    :param expires: UNIX seconds; None: never
    :param sha256_tar: hexadecimal digest of the uncompressed bundle
    :param size_tar: bytes of the uncompressed bundle
    :param files: sorted by the parts of their names
    :param directories: that are empty, sorted likewise
    """

    serial: int
    created: int | None
    expires: int | None
    sha256_tar: str
    size_tar: int
    files: tuple[bundle.BundleFile, ...]
    directories: tuple[str, ...] = ()


def render(manifest: Manifest) -> bytes:
    """The text."""
    lines = [_FIRST, f'serial: {manifest.serial}']
    if manifest.created is not None:
        lines.append(f'created: {_moment(manifest.created)}')
    if manifest.expires is not None:
        lines.append(f'expires: {_moment(manifest.expires)}')
    lines += [
        f'sha256-tar: {manifest.sha256_tar}',
        f'size-tar: {manifest.size_tar}',
    ]
    lines += [
        f'file: {file.sha256} {file.mode:04o} {file.size} {file.path}'
        for file in manifest.files
    ]
    lines += [f'directory: {path}' for path in manifest.directories]
    return ('\n'.join(lines) + '\n').encode('ascii')


def parse(text: bytes) -> Manifest:
    """The one manifest that :func:`render` makes into this text.

    :raises ManifestRefused: there is none
    """
    try:
        lines = text.decode('ascii').split('\n')
    except UnicodeDecodeError as error:
        raise ManifestRefused('manifest: expected ASCII') from error
    rest = _Lines(lines)
    rest.expect(_FIRST)
    found = Manifest(
        serial=rest.needed('serial', _number),
        created=rest.optional('created', _seconds),
        expires=rest.optional('expires', _seconds),
        sha256_tar=rest.needed('sha256-tar', _digest),
        size_tar=rest.needed('size-tar', _number),
        files=tuple(iter(lambda: rest.optional('file', _file), None)),
        directories=tuple(
            iter(lambda: rest.optional('directory', _name), None)
        ),
    )
    rest.expect('')
    if (
        render(found) != text
        or not _sorted([file.path for file in found.files])
        or not _sorted(found.directories)
    ):
        raise ManifestRefused(
            'manifest: expected one form of each value, files and then'
            ' directories in their order, and nothing after them'
        )
    return found


def sign(manifest: bytes, key_pem: bytes) -> bytes:
    """Sign a manifest: an ECDSA signature over SHA-256, in DER.

    The same text and key give the same signature where OpenSSL can do so.

    :param key_pem: private key on the curve P-256, PEM without passphrase
    :raises errors.Misconfigured: it is no such key
    """
    # Only who signs needs it, and it takes its time to load.
    from cryptography import exceptions
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm) as error:
        raise errors.Misconfigured(
            'context signing key: expected a private key in PEM without a'
            ' passphrase; make one with "openssl ecparam -name prime256v1'
            ' -genkey -noout"'
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise errors.Misconfigured(
            'context signing key: expected the curve P-256 (prime256v1),'
            ' found another kind of key'
        )
    try:
        way = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except exceptions.UnsupportedAlgorithm:
        way = ec.ECDSA(hashes.SHA256())
    return key.sign(manifest, way)


def verify(manifest: bytes, signature: bytes, key_pem: bytes) -> None:
    """Check a signature that :func:`sign` made.

    :param signature: DER
    :param key_pem: the public key, PEM
    :raises ManifestRefused: the key did not sign this text
    :raises errors.Misconfigured: it is no public key on P-256
    """
    from cryptography import exceptions
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(key_pem)
    except (ValueError, exceptions.UnsupportedAlgorithm) as error:
        raise errors.Misconfigured(
            'context public key: expected a public key in PEM; make it with'
            ' "openssl ec -pubout"'
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise errors.Misconfigured(
            'context public key: expected the curve P-256 (prime256v1),'
            ' found another kind of key'
        )
    try:
        key.verify(signature, manifest, ec.ECDSA(hashes.SHA256()))
    except exceptions.InvalidSignature as error:
        raise ManifestRefused(
            'manifest: the signature is not of this text and this key'
        ) from error


class _Lines:
    """Takes lines from the front, each once."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._next = 0

    def expect(self, line: str) -> None:
        if self._peek() != line:
            raise self._refused(repr(line) if line else 'the end')
        self._next += 1

    def needed(self, key: str, value: Callable[[str], _T | None]) -> _T:
        found = self.optional(key, value)
        if found is None:
            raise self._refused(f'"{key}: ..."')
        return found

    def optional(
        self, key: str, value: Callable[[str], _T | None]
    ) -> _T | None:
        line = self._peek()
        if not line.startswith(f'{key}: '):
            return None
        found = value(line[len(key) + 2 :])
        if found is None:
            raise self._refused(f'another value of "{key}"')
        self._next += 1
        return found

    def _peek(self) -> str:
        return self._lines[self._next] if self._next < len(self._lines) else ''

    def _refused(self, expected: str) -> ManifestRefused:
        return ManifestRefused(
            f'manifest:{self._next + 1}: expected {expected}, found'
            f' {self._peek()[:80]!a}'
        )


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _digest(text: str) -> str | None:
    return text if _SHA256.fullmatch(text) else None


def _seconds(text: str) -> int | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        found = datetime.datetime.strptime(text, _ISO)  # noqa: DTZ007
    except ValueError:
        return None
    return int(found.replace(tzinfo=datetime.UTC).timestamp())


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(
        _ISO
    )


def _file(text: str) -> bundle.BundleFile | None:
    parts = text.split(' ')
    if len(parts) != 4:
        return None
    digest, mode, size, path = parts
    if (
        not _SHA256.fullmatch(digest)
        or mode not in _MODES
        or not _NUMBER.fullmatch(size)
    ):
        return None
    if _name(path) is None:
        return None
    return bundle.BundleFile(path, _MODES[mode], int(size), digest)


def _name(text: str) -> str | None:
    try:
        archive.check_name(text, 'manifest')
    except archive.BundleRefused:
        return None
    return text


def _sorted(paths: Sequence[str]) -> bool:
    parts = [path.split('/') for path in paths]
    return all(one < two for one, two in itertools.pairwise(parts))

# SPDX-License-Identifier: Apache-2.0
"""The files of a trust anchor directory, read one by one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import hashlib
import pathlib
import re

from cryptography import x509

from hepix_vm import errors
from hepix_vm.trust import certificates
from hepix_vm.trust import crls as crl_values
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


def entries(directory: pathlib.Path) -> list[pathlib.Path]:
    """The files that count, by name.

    :raises hepix_vm.errors.Misconfigured: the directory is unreadable
    """
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
    return state_of(entries(directory))


def state_of(paths: Iterable[pathlib.Path]) -> str:
    """A word for names, sizes, inodes and times of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            state = path.stat()
            fields = (state.st_size, state.st_mtime_ns, state.st_ino)
        except OSError:
            fields = (-1, -1, -1)  # went away in between
        digest.update(repr((path.name, fields)).encode())
    return digest.hexdigest()


class Collected:
    """What the files hold; problems are named and do not stop."""

    def __init__(self) -> None:
        self.certificates: dict[str, certificates.Certificate] = {}
        self.files: dict[str, list[str]] = {}
        self.crls: dict[str, crl_values.Crl] = {}
        self.policies: dict[str, dict[str, tuple[str, ...]]] = {}
        self.problems: list[Problem] = []

    def add(self, path: pathlib.Path) -> None:
        """Read one file."""
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

# SPDX-License-Identifier: Apache-2.0
"""Who endorses: from a certificate to the list's ``hv:endorser``."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import itertools
from pathlib import Path

from cryptography import x509

from hepix_vm.endorse import files
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm.trust import certificates
from hepix_vm.trust import names

_COMMON_NAME = '2.5.4.3'
_EMAIL = '1.2.840.113549.1.9.1'


def load(path: Path) -> tuple[x509.Certificate, ...]:
    """Certificates of a PEM file, the endorser's own first.

    :raises hepix_vm.errors.Misconfigured: there is none
    """
    try:
        found = x509.load_pem_x509_certificates(files.read(path))
        for one in found:
            certificates.of(one)
    # The loader's errors share no base but Exception.
    except errors.HepixError:
        raise
    except Exception as exc:
        raise errors.Misconfigured(
            f'{path}: expected certificates in PEM, found: '
            f'{type(exc).__name__}: {exc}'
        ) from exc
    return tuple(found)


def identity(certificate: x509.Certificate) -> tuple[names.Name, names.Name]:
    """Subject and issuer."""
    value = certificates.of(certificate)
    return value.subject, value.issuer


def stated(endorser: imagelist.Endorser) -> tuple[names.Name, names.Name]:
    """Subject and issuer as a list states them.

    :raises hepix_vm.errors.Misconfigured: they are no names
    """
    try:
        return names.parse(endorser.subject), names.parse(endorser.issuer)
    except names.NotAName as exc:
        raise errors.Misconfigured(f'hv:endorser of the list: {exc}') from exc


def endorser(
    certificate: x509.Certificate,
    creator: str | None = None,
    email: str | None = None,
) -> imagelist.Endorser:
    """What a list says of the certificate's holder.

    :param creator: the person's name; default: the certificate's last CN
    :param email: where sites report problems; default: the certificate's
    :raises hepix_vm.errors.Misconfigured: the certificate tells no address
    """
    subject, issuer = identity(certificate)
    if creator is None:
        told = [v for oid, v in _values(subject) if oid == _COMMON_NAME]
        creator = told[-1] if told else str(subject)
    if email is None:
        email = next(_addresses(certificate, subject), None)
    if email is None:
        raise errors.Misconfigured(
            f'the certificate of {subject} has no e-mail address; say where '
            'sites report problems with --email'
        )
    return imagelist.Endorser(creator, text(subject), text(issuer), email)


def text(name: names.Name) -> str:
    """A name as old consumers compare it, where that is unambiguous.

    They compare strings in OpenSSL's one-line form, in which bytes outside
    of printable ASCII are ``\\xHH``. A name that cannot be read back from
    that form is written as RFC 4514, which old consumers do not know.
    """
    line = ''.join(
        char if ' ' <= char <= '~' else _hex(char) for char in name.slash()
    )
    with contextlib.suppress(names.NotAName):
        if names.parse(line) == name:
            return line
    return name.rfc4514()


def old_consumers_understand(endorser: imagelist.Endorser) -> bool:
    """Whether both names are in the only form that old consumers know."""
    return endorser.subject.startswith('/') and endorser.issuer.startswith('/')


def _hex(char: str) -> str:
    return ''.join(f'\\x{octet:02X}' for octet in char.encode())


def _values(name: names.Name) -> Iterator[tuple[str, str]]:
    return itertools.chain.from_iterable(sorted(p) for p in name.parts)


def _addresses(
    certificate: x509.Certificate, subject: names.Name
) -> Iterator[str]:
    # An extension that cannot be read tells no address.
    with contextlib.suppress(errors.Refused):
        alternative = certificates.of(certificate).extension(
            x509.SubjectAlternativeName
        )
        if alternative is not None:
            yield from alternative.get_values_for_type(x509.RFC822Name)
    yield from (value for oid, value in _values(subject) if oid == _EMAIL)

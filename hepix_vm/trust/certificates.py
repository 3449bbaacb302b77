# SPDX-License-Identifier: Apache-2.0
"""A certificate with what verification needs, read once.

Public key and names are taken from the bytes that the issuer signed: the
loader of cryptography turns explicit curve parameters into a named curve
and hides the algorithm identifier.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import cast
from typing import TypeVar
import warnings

from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives import serialization
from cryptography import utils
from cryptography import x509
from cryptography.x509.extensions import Extensions

from hepix_vm import errors
from hepix_vm.trust import algorithms
from hepix_vm.trust import codes
from hepix_vm.trust import der
from hepix_vm.trust import names

_Extension = TypeVar('_Extension', bound=x509.ExtensionType)

# RFC 3820, and the draft that Globus Toolkit 3 implemented.
_PROXY_EXTENSIONS = frozenset({'1.3.6.1.5.5.7.1.14', '1.3.6.1.4.1.3536.1.222'})
_LEGACY_PROXY = frozenset({'proxy', 'limited proxy'})
_COMMON_NAME = '2.5.4.3'
# Real names have ten or so.
_NAME_PARTS = 64

# Serial numbers <= 0 exist among real anchors, and anybody can send a
# certificate with an odd country; nothing is to be done about either.
warnings.filterwarnings(
    'ignore',
    message='Parsed a serial number which was',
    category=utils.CryptographyDeprecationWarning,
)
warnings.filterwarnings('ignore', message="Attribute's length must be")


class Unreadable(ValueError):
    """Bytes are no certificate, or one that cannot be used."""


@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """One certificate; compare by ``sha256``.

    :param x509: as cryptography loaded it
    :param der: its encoding
    :param sha256: lower-case hex digest of the encoding
    :param subject: who it is about
    :param issuer: who issued it
    :param issuer_der: the encoded issuer
    :param key_algorithm: OID of the public key, with ``explicit`` appended
        when an elliptic curve is spelt out
    :param spki_sha256: lower-case hex digest of SubjectPublicKeyInfo
    """

    x509: x509.Certificate
    der: bytes
    sha256: str
    subject: names.Name
    issuer: names.Name
    issuer_der: bytes
    key_algorithm: str
    spki_sha256: str

    @functools.cached_property
    def chaining_subject(self) -> names.Name:
        """The subject in the form in which chaining compares."""
        return self.subject.normalised()

    @functools.cached_property
    def chaining_issuer(self) -> names.Name:
        """The issuer in the form in which chaining compares."""
        return self.issuer.normalised()

    @property
    def self_issued(self) -> bool:
        """Whether subject and issuer are the same name."""
        return self.chaining_subject == self.chaining_issuer

    @functools.cached_property
    def self_signed(self) -> bool:
        """Whether its own key signed it."""
        return self.self_issued and signed_by(self.x509, self)

    def __str__(self) -> str:
        return str(self.subject)

    @functools.cached_property
    def extensions(self) -> Extensions:
        """All extensions.

        :raises hepix_vm.errors.Refused: ``malformed``: one of them cannot
            be read
        """
        try:
            return self.x509.extensions
        # DuplicateExtension and its kin share no base but Exception.
        except Exception as error:
            raise codes.refused(
                codes.Code.MALFORMED,
                f'an extension of the certificate of {self} cannot be '
                f'read: {_reason(error)}',
            ) from error

    def extension(self, kind: type[_Extension]) -> _Extension | None:
        """The value of an extension, None if absent.

        :raises hepix_vm.errors.Refused: ``malformed``
        """
        try:
            found = self.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            return None
        return found.value

    @property
    def key_identifier(self) -> bytes | None:
        """The subject key identifier; None if absent or unreadable."""
        try:
            value = self.extension(x509.SubjectKeyIdentifier)
        except errors.Refused:
            return None
        return None if value is None else value.digest

    def public_key(self) -> algorithms.PublicKey:
        """The key, if it is of a kind and size that counts.

        :raises hepix_vm.errors.Refused: ``weak-key``
        """
        try:
            key: object = self.x509.public_key()
        except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
            key = None
        return algorithms.require_key(
            key, self.key_algorithm, f'the certificate of {self}'
        )


def _reason(error: BaseException) -> str:
    return f'{type(error).__name__}: {error}'[:200]


def read(data: bytes) -> Certificate:
    """A certificate from its DER encoding.

    :raises Unreadable: it is broken or its names cannot be read
    """
    try:
        return of(x509.load_der_x509_certificate(data))
    except Unreadable:
        raise
    # InvalidVersion, UnsupportedGeneralNameType and others share no base.
    except Exception as error:
        raise Unreadable(_reason(error)) from error


def of(loaded: x509.Certificate) -> Certificate:
    """A certificate from one that cryptography has loaded.

    :raises Unreadable: its names cannot be read
    """
    data = loaded.public_bytes(serialization.Encoding.DER)
    try:
        issuer_der, spki, algorithm = _raw_fields(data)
        subject = names.from_x509(loaded.subject)
        issuer = names.from_x509(loaded.issuer)
    except (ValueError, errors.Refused) as error:
        raise Unreadable(f'its names cannot be read: {error}') from error
    return Certificate(
        loaded,
        data,
        hashlib.sha256(data).hexdigest(),
        subject,
        issuer,
        issuer_der,
        algorithm,
        hashlib.sha256(spki).hexdigest(),
    )


def _raw_fields(data: bytes) -> tuple[bytes, bytes, str]:
    """Encoded issuer and SubjectPublicKeyInfo, and the key's algorithm."""
    reader = der.Reader(data)
    tbs = reader.children(reader.children(reader.root('certificate'))[0])
    offset = 1 if tbs[0].tag == der.context(0) else 0
    for name in (tbs[offset + 2], tbs[offset + 4]):
        # Before anything is made of them: thousands would cost seconds.
        parts = sum(len(reader.children(p)) for p in reader.children(name))
        if parts > _NAME_PARTS:
            raise Unreadable(f'one has {parts} parts')
    spki = tbs[offset + 5]
    oid, parameters = algorithms.identifier(reader, reader.children(spki)[0])
    if (
        oid == algorithms.EC_PUBLIC_KEY
        and parameters is not None
        and parameters.tag != der.OBJECT_IDENTIFIER
    ):
        oid += ' explicit'
    return reader.raw(tbs[offset + 2]), reader.raw(spki), oid


def signed_by(signed: x509.Certificate, issuer: Certificate) -> bool:
    """Whether an issuer's key signed a certificate.

    :raises hepix_vm.errors.Refused: ``weak-key``: the issuer's
    """
    key = issuer.public_key()
    scheme = _scheme(signed)
    return scheme is not None and algorithms.verifies(
        key,
        scheme,
        signed.signature,
        signed.tbs_certificate_bytes,
        key_algorithm=issuer.key_algorithm,
    )


def digest_of(
    signed: x509.Certificate | x509.CertificateRevocationList,
) -> str:
    """hashlib's name of the digest under a signature.

    It is another word if it is none that can count.
    """
    try:
        algorithm = signed.signature_hash_algorithm
    except (ValueError, exceptions.UnsupportedAlgorithm):
        return signed.signature_algorithm_oid.dotted_string
    # Ed25519 hashes with SHA-512 inside.
    return 'sha512' if algorithm is None else algorithm.name


def _scheme(signed: x509.Certificate) -> algorithms.Scheme | None:
    digest = digest_of(signed)
    if digest not in algorithms.HASHES:
        return None
    parameters = signed.signature_algorithm_parameters
    if isinstance(parameters, padding.PSS):
        # Of a certificate that was read it is always a number.
        return algorithms.Scheme(
            'pss', digest, cast(int, parameters._salt_length)
        )
    if isinstance(parameters, padding.PKCS1v15):
        return algorithms.Scheme('rsa', digest)
    if isinstance(parameters, ec.ECDSA):
        return algorithms.Scheme('ecdsa', digest)
    return algorithms.Scheme('ed25519', digest)


def is_proxy(certificate: Certificate) -> bool:
    """Whether it is an RFC 3820, draft or legacy Globus proxy."""
    kinds = {e.oid.dotted_string for e in certificate.extensions}
    if kinds & _PROXY_EXTENSIONS:
        return True
    *above, last = certificate.subject.parts
    return tuple(above) == certificate.issuer.parts and any(
        oid == _COMMON_NAME and value.lower() in _LEGACY_PROXY
        for oid, value in last
    )


def is_ca(certificate: Certificate) -> bool:
    """Whether basicConstraints says that it is a CA."""
    constraints = certificate.extension(x509.BasicConstraints)
    return constraints is not None and constraints.ca

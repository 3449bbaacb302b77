# SPDX-License-Identifier: Apache-2.0
"""Certification authorities, certificates and CRLs."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import datetime
import functools
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509 import oid
from cryptography.x509.oid import NameOID

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
START = NOW - 400 * DAY
END = NOW + 400 * DAY
_TYPES = {
    'C': NameOID.COUNTRY_NAME,
    'O': NameOID.ORGANIZATION_NAME,
    'OU': NameOID.ORGANIZATIONAL_UNIT_NAME,
    'CN': NameOID.COMMON_NAME,
    'DC': NameOID.DOMAIN_COMPONENT,
    'UID': NameOID.USER_ID,
    'emailAddress': NameOID.EMAIL_ADDRESS,
    'ST': NameOID.STATE_OR_PROVINCE_NAME,
}
Extension = tuple[x509.ExtensionType, bool]


@functools.cache
def key(label: str) -> Any:
    """A private key; the same label gives the same key in one process.

    The label's first word is the kind: ``ec``, ``p384``, ``p521``,
    ``k256``, ``rsa``, ``rsa1024``, ``ed``.
    """
    kind = label.partition(' ')[0]
    if kind.startswith('rsa'):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    if kind == 'x25519':
        return x25519.X25519PrivateKey.generate()
    if kind == 'ed':
        return ed25519.Ed25519PrivateKey.generate()
    curve = {
        'p384': ec.SECP384R1,
        'p521': ec.SECP521R1,
        'k256': ec.SECP256K1,
    }.get(kind, ec.SECP256R1)
    return ec.generate_private_key(curve())


def name(text: str) -> x509.Name:
    """A name from ``C=DE/O=Grid/CN=Jo``; no escapes."""
    return x509.Name(
        [
            x509.NameAttribute(_TYPES[word], value)
            for word, _, value in (p.partition('=') for p in text.split('/'))
        ]
    )


def ca_extensions(
    path_length: int | None = None,
    *,
    cert_sign: bool = True,
    crl_sign: bool = True,
) -> tuple[Extension, ...]:
    """What makes a CA."""
    return (
        (x509.BasicConstraints(True, path_length), True),
        (usage(key_cert_sign=cert_sign, crl_sign=crl_sign), True),
    )


def usage(**bits: bool) -> x509.KeyUsage:
    """A keyUsage with these bits only."""
    every = (
        'digital_signature',
        'content_commitment',
        'key_encipherment',
        'data_encipherment',
        'key_agreement',
        'key_cert_sign',
        'crl_sign',
        'encipher_only',
        'decipher_only',
    )
    return x509.KeyUsage(**{bit: bits.get(bit, False) for bit in every})


def signing_hash(private: Any) -> Any:
    """The hash to sign with a key, None for Ed25519."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return None
    return hashes.SHA256()


@dataclasses.dataclass(frozen=True, eq=False)
class Holder:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def slash(self) -> str:
        """The subject in slash form."""
        return _slash(self.certificate.subject)

    @property
    def issuer_slash(self) -> str:
        """The issuer in slash form."""
        return _slash(self.certificate.issuer)

    def issue(
        self,
        subject: x509.Name | str,
        label: str,
        extensions: Iterable[Extension] = (),
        *,
        start: datetime.datetime = START,
        end: datetime.datetime = END,
        serial: int | None = None,
        digest: Any = None,
        issuer: x509.Name | None = None,
        signing_key: Any = None,
        **sign: Any,
    ) -> Holder:
        """Issue a certificate.

        :param signing_key: another key than the own, for look-alikes
        :param sign: further arguments of ``CertificateBuilder.sign``
        """
        private = key(label)
        if isinstance(subject, str):
            subject = name(subject)
        own = signing_key or self.key
        builder = x509.CertificateBuilder(
            issuer or self.certificate.subject,
            subject,
            private.public_key(),
            serial or x509.random_serial_number(),
            start.replace(tzinfo=None),
            end.replace(tzinfo=None),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        algorithm = digest or signing_hash(own)
        return Holder(builder.sign(own, algorithm, **sign), private)

    def crl(
        self,
        revoked: Iterable[Holder | int] = (),
        *,
        start: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + 30 * DAY,
        number: int | None = 1,
        extensions: Iterable[Extension] = (),
        signing_key: Any = None,
        digest: Any = None,
    ) -> x509.CertificateRevocationList:
        """Issue a CRL."""
        own = signing_key or self.key
        builder = x509.CertificateRevocationListBuilder(
            self.certificate.subject,
            start.replace(tzinfo=None),
            end.replace(tzinfo=None),
        )
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        for item in revoked:
            serial = (
                item
                if isinstance(item, int)
                else item.certificate.serial_number
            )
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder(
                    serial, start.replace(tzinfo=None)
                ).build()
            )
        return builder.sign(own, digest or signing_hash(own))


def _slash(value: x509.Name) -> str:
    words = {oid: word for word, oid in _TYPES.items()}
    return ''.join(f'/{words[a.oid]}={a.value}' for a in value)


def root(
    subject: str = 'C=DE/O=Grid/CN=Root CA',
    label: str = 'ec root',
    extensions: Iterable[Extension] | None = None,
    **more: Any,
) -> Holder:
    """A self-signed CA."""
    return self_signed(
        subject,
        label,
        ca_extensions() if extensions is None else extensions,
        **more,
    )


def self_signed(
    subject: str,
    label: str,
    extensions: Iterable[Extension] = (),
    **more: Any,
) -> Holder:
    """A certificate that its own key signed."""
    private = key(label)
    seed = Holder(_seed(subject, private), private)
    return seed.issue(subject, label, extensions, **more)


def _seed(subject: str, private: Any) -> x509.Certificate:
    return x509.CertificateBuilder(
        name(subject),
        name(subject),
        private.public_key(),
        1,
        START.replace(tzinfo=None),
        END.replace(tzinfo=None),
    ).sign(private, signing_hash(private))


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """A root, an intermediate CA and an endorser, as most cases need."""

    root: Holder
    issuing: Holder
    endorser: Holder
    root_crl: x509.CertificateRevocationList
    issuing_crl: x509.CertificateRevocationList

    @property
    def crls(self) -> tuple[x509.CertificateRevocationList, ...]:
        return self.root_crl, self.issuing_crl


@functools.cache
def site() -> Site:
    """The usual PKI; the endorser has an RSA key."""
    top = root()
    issuing = top.issue(
        'C=DE/O=Grid/CN=Issuing CA', 'ec issuing', ca_extensions(0)
    )
    endorser = issuing.issue(
        'C=DE/O=Grid/OU=DESY/CN=Jo Endorser',
        'rsa endorser',
        endorser_extensions('rsa endorser'),
    )
    return Site(top, issuing, endorser, top.crl(), issuing.crl())


def endorser_extensions(label: str) -> tuple[Extension, ...]:
    """What a personal certificate of a grid CA carries."""
    return (
        (x509.BasicConstraints(False, None), True),
        (usage(digital_signature=True, content_commitment=True), True),
        (
            x509.ExtendedKeyUsage(
                [
                    oid.ExtendedKeyUsageOID.CLIENT_AUTH,
                    oid.ExtendedKeyUsageOID.EMAIL_PROTECTION,
                ]
            ),
            False,
        ),
        (
            x509.SubjectKeyIdentifier.from_public_key(key(label).public_key()),
            False,
        ),
    )

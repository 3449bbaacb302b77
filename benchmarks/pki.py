# SPDX-License-Identifier: Apache-2.0
"""A trust anchor directory of the size of a grid's, made on the spot."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import pathlib

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509 import oid
from OpenSSL import crypto

#: Certification authorities in the distribution of the IGTF.
ANCHORS = 88
_REVOKED = 200
_SHARED_KEYS = 4
_PEM = serialization.Encoding.PEM


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """A certification authority with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


@dataclasses.dataclass(frozen=True, slots=True)
class Endorser:
    """A signer whose issuer is certified by an anchor.

    :param folder: anchors and CRLs by OpenSSL's hash names
    :param subject: of the signer's certificate, slash form
    :param issuer: likewise
    """

    folder: pathlib.Path
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    subject: str
    issuer: str


def make(
    folder: pathlib.Path, now: datetime.datetime, anchors: int = ANCHORS
) -> Endorser:
    """Fill a folder with anchors and CRLs, and certify an endorser.

    Keys are RSA of 2048 bits. The authorities that certify nobody share a
    few keys, since making one takes longer than any use of it.

    :param folder: exists and is empty
    :param anchors: authorities in the folder, at least 2: the root and the
        intermediate of the endorser, and others
    """
    root = _authority('Root', _key(), now, None)
    middle = _authority('Intermediate', _key(), now, root)
    shared = itertools.cycle([_key() for _ in range(_SHARED_KEYS)])
    others = [
        _authority(f'Other {number}', next(shared), now, None)
        for number in range(anchors - 2)
    ]
    for authority in (root, middle, *others):
        _store(folder, authority, now)
    key = _key()
    certificate = (
        _builder('Endorser', key, middle.certificate.subject, now)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage(signer=True), critical=True)
        .add_extension(_issued_by(middle), critical=False)
        .sign(middle.key, hashes.SHA256())
    )
    return Endorser(
        folder, certificate, key, _slash('Endorser'), _slash('Intermediate')
    )


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(oid.NameOID.COUNTRY_NAME, 'CH'),
            x509.NameAttribute(oid.NameOID.ORGANIZATION_NAME, 'Benchmark'),
            x509.NameAttribute(oid.NameOID.COMMON_NAME, common),
        ]
    )


def _slash(common: str) -> str:
    return f'/C=CH/O=Benchmark/CN={common}'


def _builder(
    common: str,
    key: rsa.RSAPrivateKey,
    issuer: x509.Name,
    now: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            critical=False,
        )
    )


def _authority(
    common: str,
    key: rsa.RSAPrivateKey,
    now: datetime.datetime,
    issuer: Authority | None,
) -> Authority:
    above = _name(common) if issuer is None else issuer.certificate.subject
    builder = _builder(common, key, above, now)
    if issuer is not None:
        builder = builder.add_extension(_issued_by(issuer), critical=False)
    certificate = (
        builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(_usage(signer=False), critical=True)
        .sign(key if issuer is None else issuer.key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _issued_by(issuer: Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(
        issuer.key.public_key()
    )


def _usage(*, signer: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signer,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signer,
        crl_sign=not signer,
        encipher_only=False,
        decipher_only=False,
    )


def _store(
    folder: pathlib.Path, authority: Authority, now: datetime.datetime
) -> None:
    certificate = authority.certificate
    loaded = crypto.X509.from_cryptography(certificate)
    stem = f'{loaded.subject_name_hash():08x}'
    (folder / f'{stem}.0').write_bytes(certificate.public_bytes(_PEM))
    (folder / f'{stem}.r0').write_bytes(_crl(authority, now))


def _crl(authority: Authority, now: datetime.datetime) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - datetime.timedelta(hours=1))
        .next_update(now + datetime.timedelta(days=7))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(_issued_by(authority), critical=False)
    )
    for serial in range(1, _REVOKED + 1):
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(now - datetime.timedelta(days=1))
            .build()
        )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(_PEM)

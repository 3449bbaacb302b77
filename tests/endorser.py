# SPDX-License-Identifier: Apache-2.0
"""An endorser with a CA of its own, for tests and the demonstration.

Everything is made on the spot: a root CA, the endorser's certificate, the
CA's revocation list, and signed image lists. Real keys, real signatures and
the project's own signing; only the people are invented.
"""

from __future__ import annotations

from collections.abc import Iterable
import datetime
import hashlib
from pathlib import Path
from typing import Any
import uuid

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

from hepix_vm import imagelist
from hepix_vm import trust
from hepix_vm.trust import names

DAY = datetime.timedelta(days=1)

#: Seconds of a day, for clocks that count seconds.
DAY_SECONDS = 86400


def utc(seconds: float) -> datetime.datetime:
    """UNIX seconds as an aware time of whole seconds."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def now_utc() -> datetime.datetime:
    """This moment in whole seconds."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def make_image(
    data: bytes,
    uri: str = 'http://127.0.0.1/image',
    identifier: str | None = None,
    version: str = '1.0',
    **changes: Any,
) -> imagelist.ImageEntry:
    """An entry that endorses exactly these bytes.

    :param changes: further fields of :class:`imagelist.ImageEntry`
    """
    values: dict[str, Any] = {
        'identifier': identifier or str(uuid.uuid4()),
        'title': 'a test image',
        'description': 'made for a test',
        'uri': uri,
        'size': len(data),
        'version': version,
        'sha512': hashlib.sha512(data).hexdigest(),
        'arch': 'x86_64',
        'os': 'Linux',
        'os_version': '1',
    }
    return imagelist.ImageEntry(**(values | changes))


class Endorser:
    """Signs image lists; made by :meth:`create`.

    :ivar subject: DN of the endorser's certificate, RFC 4514
    :ivar issuer: DN of its CA, RFC 4514
    :ivar now: the time at which this endorser lives; tests may move it,
        but a signature carries the real time, so not into the past
    """

    def __init__(self, name: str, now: datetime.datetime) -> None:
        self.now = now
        self._name = name
        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        self._ca_name = _dn(f'{name} CA')
        self._revoked: list[int] = []
        self._crl_number = 0
        self._anchors: list[tuple[Path, datetime.timedelta]] = []
        self.ca = self._certify(
            self._ca_name, self._ca_key.public_key(), authority=True
        )
        self.renew()

    @classmethod
    def create(
        cls,
        directory: Path | None = None,
        name: str = 'Test Endorser',
        now: datetime.datetime | None = None,
    ) -> Endorser:
        """Make a CA and an endorser.

        :param directory: where key and certificates are written as PEM, for
            people who want to look at them or to sign by hand
        :param now: the endorser's time; default: the real one
        """
        endorser = cls(name, now or now_utc())
        if directory is not None:
            endorser.write(directory)
        return endorser

    @property
    def subject(self) -> str:
        """DN of the endorser, as configuration takes it."""
        return names.from_x509(self.certificate.subject).rfc4514()

    @property
    def issuer(self) -> str:
        """DN of the endorser's CA, as configuration takes it."""
        return names.from_x509(self.certificate.issuer).rfc4514()

    @property
    def pin(self) -> str:
        """SHA-256 (hex) of the endorser's SubjectPublicKeyInfo."""
        return hashlib.sha256(
            self.certificate.public_key().public_bytes(
                serialization.Encoding.DER,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            )
        ).hexdigest()

    def renew(self, lifetime: datetime.timedelta = 400 * DAY) -> None:
        """Give the endorser a new key and certificate of the same name."""
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._certify(
            _dn(self._name), self.key.public_key(), lifetime=lifetime
        )

    def revoke(self) -> None:
        """Revoke the certificate; written anchors get the new CRL."""
        self._revoked.append(self.certificate.serial_number)
        for directory, lifetime in self._anchors:
            self._write_crl(directory, lifetime)

    def write(self, directory: Path) -> None:
        """Write ``endorser.key``, ``endorser.pem`` and ``ca.pem``."""
        directory.mkdir(parents=True, exist_ok=True)
        key = directory / 'endorser.key'
        key.touch(mode=0o600)
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (directory / 'endorser.pem').write_bytes(_pem(self.certificate))
        (directory / 'ca.pem').write_bytes(_pem(self.ca))

    def write_trust_anchors(
        self,
        directory: Path,
        crl_lifetime: datetime.timedelta = 30 * DAY,
        signing_policy: bool = True,
    ) -> None:
        """Write CA, CRL and signing_policy as IGTF lays them out.

        Other CAs may lie in the same directory.
        """
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f'{self.ca_hash}.0').write_bytes(_pem(self.ca))
        self._write_crl(directory, crl_lifetime)
        self._anchors.append((directory, crl_lifetime))
        if signing_policy:
            (directory / f'{self.ca_hash}.signing_policy').write_text(
                _SIGNING_POLICY.format(
                    ca=names.from_x509(self.ca.subject).slash()
                )
            )

    def remove_trust_anchors(self, directory: Path) -> None:
        """Take our CA out of a directory."""
        for path in directory.glob(f'{self.ca_hash}.*'):
            path.unlink()
        self._anchors = [
            written for written in self._anchors if written[0] != directory
        ]

    @property
    def ca_hash(self) -> str:
        """What OpenSSL calls the CA's files."""
        subject_hash = crypto.X509.from_cryptography(
            self.ca
        ).subject_name_hash()
        return f'{subject_hash:08x}'

    def make_list(
        self,
        identifier: str,
        version: str = '1',
        images: Iterable[imagelist.ImageEntry] = (),
        created: datetime.datetime | None = None,
        expires: datetime.datetime | None = None,
        **changes: Any,
    ) -> imagelist.ImageList:
        """A list that this endorser may sign.

        :param created: default: a minute ago
        :param expires: default: in 28 days
        :param changes: further fields of :class:`imagelist.ImageList`
        """
        values: dict[str, Any] = {
            'identifier': identifier,
            'title': 'test images',
            'description': 'images made for tests',
            'created': created or self.now - datetime.timedelta(minutes=1),
            'expires': expires or self.now + 28 * DAY,
            'source': 'example.org',
            'version': version,
            'uri': 'http://127.0.0.1/list',
            'endorsers': (
                imagelist.Endorser(
                    creator=self._name,
                    subject=self.subject,
                    issuer=self.issuer,
                    email='endorser@example.org',
                ),
            ),
            'images': tuple(images),
        } | changes
        if values.get('vo') is not None:
            values.setdefault('dialect', imagelist.Dialect.APPDB)
        return imagelist.ImageList(**values)

    def sign(self, payload: imagelist.ImageList | bytes) -> bytes:
        """Sign a list, or any payload, as S/MIME."""
        if isinstance(payload, imagelist.ImageList):
            payload = imagelist.render(payload)
        return trust.sign(payload, self.certificate, self.key)

    def signed_list(
        self, identifier: str, version: str = '1', *images: Any, **changes: Any
    ) -> bytes:
        """:meth:`make_list` and :meth:`sign` at once."""
        return self.sign(
            self.make_list(identifier, version, images, **changes)
        )

    def _certify(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        authority: bool = False,
        lifetime: datetime.timedelta = 800 * DAY,
    ) -> x509.Certificate:
        usage = dict.fromkeys(
            (
                'digital_signature',
                'content_commitment',
                'key_encipherment',
                'data_encipherment',
                'key_agreement',
                'key_cert_sign',
                'crl_sign',
                'encipher_only',
                'decipher_only',
            ),
            False,
        )
        for name in (
            ('key_cert_sign', 'crl_sign')
            if authority
            else ('digital_signature', 'content_commitment')
        ):
            usage[name] = True
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._ca_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - 2 * DAY)
            .not_valid_after(self.now + lifetime)
            .add_extension(
                x509.BasicConstraints(authority, None), critical=True
            )
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(public_key),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self._ca_key.public_key()
                ),
                critical=False,
            )
            .sign(self._ca_key, hashes.SHA256())
        )

    def _write_crl(
        self, directory: Path, lifetime: datetime.timedelta
    ) -> None:
        self._crl_number += 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._ca_name)
            .last_update(self.now - datetime.timedelta(minutes=1))
            .next_update(self.now + lifetime)
            .add_extension(x509.CRLNumber(self._crl_number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self._ca_key.public_key()
                ),
                critical=False,
            )
        )
        for serial in self._revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(serial)
                .revocation_date(self.now - datetime.timedelta(minutes=1))
                .build()
            )
        (directory / f'{self.ca_hash}.r0').write_bytes(
            _pem(builder.sign(self._ca_key, hashes.SHA256()))
        )


_SIGNING_POLICY = """\
access_id_CA      X509         '{ca}'
pos_rights        globus       CA:sign
cond_subjects     globus       '"/C=CH/O=Example Grid/*"'
"""


def _dn(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, 'CH'),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Example Grid'),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _pem(
    value: x509.Certificate | x509.CertificateRevocationList,
) -> bytes:
    return value.public_bytes(serialization.Encoding.PEM)

# SPDX-License-Identifier: Apache-2.0
"""Signing a payload as S/MIME, in the form that every subscriber reads.

``multipart/signed`` with a detached signature, the content without MIME
headers and LF line ends in the file; the digest is over CRLF line ends.
A further signer joins a message without touching what was signed before.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
import hashlib
import re
import textwrap

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography import x509

from hepix_vm import errors
from hepix_vm.trust import certificates
from hepix_vm.trust import cms
from hepix_vm.trust import joining
from hepix_vm.trust import unchained

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_HASHES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    'secp384r1': hashes.SHA384,
    'secp521r1': hashes.SHA512,
}
_MESSAGE = """\
MIME-Version: 1.0
Content-Type: multipart/signed; protocol="application/x-pkcs7-signature"; \
micalg="{micalg}"; boundary="{boundary}"

This is an S/MIME signed message

--{boundary}
"""
_SIGNATURE = """
--{boundary}
Content-Type: application/x-pkcs7-signature; name="smime.p7s"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="smime.p7s"

{signature}
--{boundary}--

"""
_OPAQUE = """\
MIME-Version: 1.0
Content-Disposition: attachment; filename="smime.p7m"
Content-Type: application/x-pkcs7-mime; smime-type=signed-data; \
name="smime.p7m"
Content-Transfer-Encoding: base64

{signature}

"""


def sign(
    payload: bytes,
    certificate: x509.Certificate,
    key: object,
    others: Iterable[x509.Certificate] = (),
) -> bytes:
    """Sign a payload; the result has been verified before it returns.

    :param payload: UTF-8 text; LF and CRLF line ends count as the same
    :param certificate: of the signer
    :param key: private key of the certificate, RSA or EC; also one that
        asks a token
    :param others: certificates to embed, such as intermediate CAs
    :returns: an S/MIME message
    :raises hepix_vm.errors.Misconfigured: key and certificate do not
        belong together, or cannot sign in this form
    """
    private = require_key(certificate, key)
    _require_payload(payload)
    extra = tuple(others)
    lines = payload.replace(b'\r\n', b'\n')
    signature = _signature(
        lines.replace(b'\n', b'\r\n'), certificate, private, extra
    )
    message = _wrap(lines, signature)
    _check(message, payload, (certificate,), extra)
    return message


def add_signature(
    message: bytes,
    certificate: x509.Certificate,
    key: object,
    others: Iterable[x509.Certificate] = (),
) -> bytes:
    """Join the signers of a message; their signatures stay as they are.

    The result has been verified before it returns. Old consumers read
    messages of one signer only.

    :param message: S/MIME that somebody else has signed
    :param certificate: of the further signer
    :param key: as for :func:`sign`
    :param others: certificates to embed
    :raises hepix_vm.errors.Refused: the message's own signatures are not
        right
    :raises hepix_vm.errors.Misconfigured: as for :func:`sign`, or the same
        endorser has signed already
    """
    private = require_key(certificate, key)
    before = unchained.read(message)
    mine = certificates.of(certificate)
    if any(
        (one.subject, one.issuer) == (mine.subject, mine.issuer)
        for one in before.claimed
    ):
        raise errors.Misconfigured(f'{mine} has signed this message already')
    extra = tuple(others)
    signature = joining.join(
        before.envelope.signature,
        _signature(before.content, certificate, private, extra),
    )
    part = before.envelope.part
    joined = (
        _OPAQUE.format(signature=_lines(signature)).encode()
        if part is None
        else _wrap(part, signature)
    )
    signers = (*(one.x509 for one in before.certificates), certificate)
    _check(joined, before.payload, signers, extra)
    return joined


def require_key(certificate: x509.Certificate, key: object) -> PrivateKey:
    """The key, if it is the certificate's and of a kind that can sign.

    :raises hepix_vm.errors.Misconfigured: it is not
    """
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise errors.Misconfigured(
            f'a key of kind {type(key).__name__} cannot sign image lists; '
            'RSA or EC is needed'
        )
    form = (
        serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    own = key.public_key().public_bytes(*form)
    if own != certificate.public_key().public_bytes(*form):
        raise errors.Misconfigured(
            'the key does not belong to the certificate of '
            f'{certificate.subject.rfc4514_string()}'
        )
    return key


def digest_for(
    key: PrivateKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """The digest to sign with: as strong as the key's curve."""
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return _HASHES.get(key.curve.name, hashes.SHA256)()
    return hashes.SHA256()


def _require_payload(payload: bytes) -> None:
    if re.search(rb'\r(?!\n)', payload):
        raise errors.Misconfigured(
            'the payload has a carriage return that ends no line; mail '
            'software would change it'
        )


def _signature(
    content: bytes,
    certificate: x509.Certificate,
    key: PrivateKey,
    others: tuple[x509.Certificate, ...],
) -> bytes:
    """A detached SignedData over exactly these bytes."""
    builder = pkcs7.PKCS7SignatureBuilder()
    builder = builder.set_data(content).add_signer(
        certificate, key, digest_for(key)
    )
    # Certificates added before the signer would be dropped silently.
    for other in others:
        builder = builder.add_certificate(other)
    # Binary, so that the library leaves the line ends alone; OpenSSL
    # rejects it in the library's own S/MIME output only.
    return builder.sign(
        serialization.Encoding.DER,
        [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary],
    )


def _lines(signature: bytes) -> str:
    return '\n'.join(textwrap.wrap(base64.b64encode(signature).decode(), 64))


def _wrap(part: bytes, signature: bytes) -> bytes:
    boundary = '----' + hashlib.sha256(signature).hexdigest()[:32].upper()
    digests = {
        info.digest.replace('sha', 'sha-')
        for info in cms.parse(signature, unchained.several_signers()).signers
    }
    head = _MESSAGE.format(micalg=','.join(sorted(digests)), boundary=boundary)
    tail = _SIGNATURE.format(boundary=boundary, signature=_lines(signature))
    return head.encode() + part + tail.encode()


def _check(
    message: bytes,
    payload: bytes,
    signers: tuple[x509.Certificate, ...],
    others: tuple[x509.Certificate, ...],
) -> None:
    """Read the own output as a subscriber would, chain aside."""
    try:
        found = unchained.read(message)
        embedded = cms.parse(
            found.envelope.signature, unchained.several_signers()
        ).certificates
        expected = {
            one.public_bytes(serialization.Encoding.DER)
            for one in (*signers, *others)
        }
        if {one.der for one in found.certificates} != {
            one.public_bytes(serialization.Encoding.DER) for one in signers
        } or not expected <= set(embedded):
            raise errors.Misconfigured('the signature is not complete')
        if _plain(found.payload) != _plain(payload):
            raise errors.Misconfigured('the content reads as MIME headers')
    except (errors.NotBelieved, certificates.Unreadable) as error:
        raise errors.Misconfigured(
            f'the signed message would be refused: {error}'
        ) from error


def _plain(payload: bytes) -> bytes:
    """A payload as all its line ends are compared: LF."""
    return payload.replace(b'\r\n', b'\n')

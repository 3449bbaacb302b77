# SPDX-License-Identifier: Apache-2.0
"""Signing a payload as S/MIME, in the form that every subscriber reads.

``multipart/signed`` with a detached signature, the content without MIME
headers and LF line ends in the file; the digest is over CRLF line ends.
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
from hepix_vm.trust import mime
from hepix_vm.trust import policy as policies

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


def sign(
    payload: bytes,
    certificate: x509.Certificate,
    key: object,
    others: Iterable[x509.Certificate] = (),
) -> bytes:
    """Sign a payload; the result has been verified before it returns.

    :param payload: UTF-8 text; LF and CRLF line ends count as the same
    :param certificate: of the signer
    :param key: private key of the certificate, RSA or EC
    :param others: certificates to embed, such as intermediate CAs
    :returns: an S/MIME message
    :raises hepix_vm.errors.Misconfigured: key and certificate do not
        belong together, or cannot sign in this form
    """
    private = _require_key(certificate, key)
    _require_payload(payload)
    extra = tuple(others)
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 = hashes.SHA256()
    if isinstance(private, ec.EllipticCurvePrivateKey):
        digest = _HASHES.get(private.curve.name, hashes.SHA256)()
    builder = pkcs7.PKCS7SignatureBuilder()
    builder = builder.set_data(payload).add_signer(
        certificate, private, digest
    )
    # Certificates added before the signer would be dropped silently.
    for other in extra:
        builder = builder.add_certificate(other)
    # No other option: Binary would write what OpenSSL rejects.
    signature = builder.sign(
        serialization.Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature]
    )
    message = _wrap(payload, signature, digest.name)
    _check(message, payload, certificate, extra)
    return message


def _require_key(
    certificate: x509.Certificate, key: object
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
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


def _require_payload(payload: bytes) -> None:
    if re.search(rb'\r(?!\n)', payload):
        raise errors.Misconfigured(
            'the payload has a carriage return that ends no line; mail '
            'software would change it'
        )


def _wrap(payload: bytes, signature: bytes, digest: str) -> bytes:
    boundary = '----' + hashlib.sha256(signature).hexdigest()[:32].upper()
    encoded = base64.b64encode(signature).decode()
    head = _MESSAGE.format(
        micalg=digest.replace('sha', 'sha-'), boundary=boundary
    )
    tail = _SIGNATURE.format(
        boundary=boundary,
        signature='\n'.join(textwrap.wrap(encoded, 64)),
    )
    lines = payload.replace(b'\r\n', b'\n')
    return head.encode() + lines + tail.encode()


def _check(
    message: bytes,
    payload: bytes,
    certificate: x509.Certificate,
    others: tuple[x509.Certificate, ...],
) -> None:
    """Read the own output as a subscriber would, chain aside."""
    try:
        limits = policies.Limits()
        envelope = mime.open_envelope(message, limits)
        signed = cms.parse(envelope.signature, policies.Policy())
        content = signed.signers[0].matches(envelope.candidates())
        own = certificates.of(certificate)
        verified = signed.signers[0].verified_by(
            own.public_key(), own.key_algorithm
        )
        complete = {
            other.public_bytes(serialization.Encoding.DER)
            for other in (certificate, *others)
        } <= set(signed.certificates)
        if content is None or not verified or not complete:
            raise errors.Misconfigured('the signature is not complete')
        if mime.inner_payload(content, limits).replace(
            b'\r\n', b'\n'
        ) != payload.replace(b'\r\n', b'\n'):
            raise errors.Misconfigured('the content reads as MIME headers')
    except (errors.NotBelieved, certificates.Unreadable) as error:
        raise errors.Misconfigured(
            f'the signed message would be refused: {error}'
        ) from error

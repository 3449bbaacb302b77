# SPDX-License-Identifier: Apache-2.0
"""Writing CMS and S/MIME, right or wrong in any single place.

This shares no code with the reader under test.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
import datetime
import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives import hashes
from cryptography import x509

from tests.assets import pki

DATA = '1.2.840.113549.1.7.1'
SIGNED_DATA = '1.2.840.113549.1.7.2'
CONTENT_TYPE = '1.2.840.113549.1.9.3'
MESSAGE_DIGEST = '1.2.840.113549.1.9.4'
SIGNING_TIME = '1.2.840.113549.1.9.5'
PROTECTION = '1.2.840.113549.1.9.52'
DIGESTS = {
    'sha256': '2.16.840.1.101.3.4.2.1',
    'sha384': '2.16.840.1.101.3.4.2.2',
    'sha512': '2.16.840.1.101.3.4.2.3',
    'sha1': '1.3.14.3.2.26',
    'md5': '1.2.840.113549.2.5',
    'sha224': '2.16.840.1.101.3.4.2.4',
}
RSA = '1.2.840.113549.1.1.1'
PSS = '1.2.840.113549.1.1.10'
MGF1 = '1.2.840.113549.1.1.8'
ED25519 = '1.3.101.112'
ECDSA = {
    'sha256': '1.2.840.10045.4.3.2',
    'sha384': '1.2.840.10045.4.3.3',
    'sha512': '1.2.840.10045.4.3.4',
}
NULL = b'\x05\x00'


def tlv(tag: int, *parts: bytes) -> bytes:
    """An element of definite length."""
    body = b''.join(parts)
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, 'big')
    return bytes([tag, 0x80 | len(octets)]) + octets + body


def body(element: bytes) -> bytes:
    """The content of an element of definite length."""
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0) :]


def indefinite(tag: int, *parts: bytes) -> bytes:
    """A constructed element of indefinite length."""
    return bytes([tag, 0x80]) + b''.join(parts) + b'\0\0'


def seq(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return tlv(0x31, *sorted(parts))


def octets(data: bytes) -> bytes:
    return tlv(0x04, data)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, 'big'))


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(n) for n in dotted.split('.'))
    body = bytearray()
    for arc in (40 * first + second, *rest):
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.append(arc & 0x7F | 0x80)
        body += bytes(reversed(group))
    return tlv(0x06, bytes(body))


def algorithm(dotted: str, parameters: bytes = b'') -> bytes:
    return seq(oid(dotted), parameters)


def digest_algorithm(name: str) -> bytes:
    return algorithm(DIGESTS[name], NULL)


def attribute(kind: str, *values: bytes) -> bytes:
    return seq(oid(kind), set_of(*values))


def utc_time(moment: datetime.datetime) -> bytes:
    return tlv(0x17, f'{moment:%y%m%d%H%M%SZ}'.encode())


def general_time(moment: datetime.datetime) -> bytes:
    return tlv(0x18, f'{moment:%Y%m%d%H%M%SZ}'.encode())


def usual_attributes(
    content: bytes, digest: str = 'sha256', kind: str = DATA
) -> list[bytes]:
    """content-type, message-digest and signing-time."""
    return [
        attribute(CONTENT_TYPE, oid(kind)),
        attribute(
            MESSAGE_DIGEST, octets(hashlib.new(digest, content).digest())
        ),
        attribute(SIGNING_TIME, utc_time(pki.NOW - pki.DAY)),
    ]


def pss_parameters(
    digest: str, salt: int, *, mask: str | None = None, trailer: bytes = b''
) -> bytes:
    """RSASSA-PSS-params."""
    return seq(
        tlv(0xA0, digest_algorithm(digest)),
        tlv(0xA1, algorithm(MGF1, digest_algorithm(mask or digest))),
        tlv(0xA2, integer(salt)),
        trailer,
    )


def signature_algorithm(key: Any, digest: str) -> bytes:
    """The usual signatureAlgorithm of a key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return algorithm(ECDSA[digest])
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return algorithm(ED25519)
    return algorithm(RSA, NULL)


_HASHES: dict[str, Any] = {
    'sha1': hashes.SHA1,
    'md5': hashes.MD5,
    'sha224': hashes.SHA224,
    'sha256': hashes.SHA256,
    'sha384': hashes.SHA384,
    'sha512': hashes.SHA512,
}


def raw_signature(
    key: Any, signed: bytes, digest: str, salt: int | None = None
) -> bytes:
    """A signature over bytes."""
    chosen = _HASHES[digest]()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(signed, ec.ECDSA(chosen))
    if salt is not None:
        return key.sign(
            signed, padding.PSS(padding.MGF1(chosen), salt), chosen
        )
    return key.sign(signed, padding.PKCS1v15(), chosen)


def signer_info(
    content: bytes,
    holder: pki.Holder,
    digest: str = 'sha256',
    *,
    attributes: list[bytes] | None = None,
    wire_attributes: bytes | None = None,
    signed: bytes | None = None,
    by_key: bool = False,
    identity: bytes | None = None,
    key: Any = None,
    salt: int | None = None,
    algorithm: bytes | None = None,
    digest_identifier: bytes | None = None,
    signature: bytes | None = None,
    unsigned: bytes = b'',
    version: int | None = None,
) -> bytes:
    """A SignerInfo; each argument replaces what would be right.

    :param attributes: the signed attributes
    :param wire_attributes: the encoded field, empty to leave it out
    :param signed: what is signed instead of the attributes
    """
    if attributes is None:
        attributes = usual_attributes(content, digest)
    if wire_attributes is None:
        wire_attributes = b'\xa0' + set_of(*attributes)[1:]
    if signed is None:
        signed = set_of(*attributes)
    private = key or holder.key
    if signature is None:
        signature = raw_signature(private, signed, digest, salt)
    if algorithm is None:
        algorithm = signature_algorithm(private, digest)
    if identity is None:
        identity = _identity(holder.certificate, by_key=by_key)
    return seq(
        integer(version or (3 if by_key else 1)),
        identity,
        digest_identifier or digest_algorithm(digest),
        wire_attributes,
        algorithm,
        octets(signature),
        unsigned,
    )


def _identity(certificate: x509.Certificate, *, by_key: bool) -> bytes:
    if by_key:
        value = certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        ).value
        return tlv(0x80, value.digest)
    return seq(
        certificate.issuer.public_bytes(), integer(certificate.serial_number)
    )


def signed_data(
    signers: Iterable[bytes],
    certificates: Iterable[bytes],
    *,
    content: bytes | None = None,
    content_field: bytes | None = None,
    content_kind: str = DATA,
    kind: str = SIGNED_DATA,
    crls: Iterable[bytes] = (),
    digests: Iterable[str] = ('sha256',),
    version: int = 1,
    extra: bytes = b'',
) -> bytes:
    """A ContentInfo with SignedData.

    :param content: to encapsulate; None for detached
    :param content_field: the encoded ``[0]`` instead
    """
    if content_field is None:
        content_field = b'' if content is None else tlv(0xA0, octets(content))
    held = b''.join(certificates)
    lists = b''.join(crls)
    return seq(
        oid(kind),
        tlv(
            0xA0,
            seq(
                integer(version),
                set_of(*(digest_algorithm(d) for d in digests)),
                seq(oid(content_kind), content_field),
                tlv(0xA0, held) if held else b'',
                tlv(0xA1, lists) if lists else b'',
                tlv(0x31, *signers),
                extra,
            ),
        ),
    )


BOUNDARY = '----0123456789ABCDEF0123456789ABCDEF'


def multipart(
    part: bytes,
    cms: bytes,
    *,
    eol: bytes = b'\n',
    head: bytes | None = None,
    preamble: bytes = b'This is an S/MIME signed message\n\n',
    protocol: str = 'application/x-pkcs7-signature',
    kind: str = 'application/x-pkcs7-signature',
    encoding: str | None = 'base64',
    micalg: str | None = 'sha-256',
    part_headers: bytes | None = None,
    after: bytes = b'\n',
    boundary: str = BOUNDARY,
) -> bytes:
    """A multipart/signed message; ``part`` goes in as it is."""
    if head is None:
        advice = '' if micalg is None else f' micalg="{micalg}";'
        head = (
            'MIME-Version: 1.0\n'
            f'Content-Type: multipart/signed; protocol="{protocol}";'
            f'{advice} boundary="{boundary}"\n\n'
        ).encode()
    if part_headers is None:
        part_headers = f'Content-Type: {kind}; name="smime.p7s"\n'.encode()
        if encoding is not None:
            part_headers += f'Content-Transfer-Encoding: {encoding}\n'.encode()
    line = b'--' + boundary.encode()
    return b''.join(
        (
            (head + preamble + line + b'\n').replace(b'\n', eol),
            part,
            (
                b'\n'
                + line
                + b'\n'
                + part_headers
                + b'\n'
                + armour(cms)
                + b'\n'
                + line
                + b'--\n'
                + after
            ).replace(b'\n', eol),
        )
    )


def armour(data: bytes) -> bytes:
    """base64 in lines of 64, each with its line end."""
    text = base64.b64encode(data)
    return b''.join(text[i : i + 64] + b'\n' for i in range(0, len(text), 64))


def opaque(
    cms: bytes,
    *,
    kind: str = 'application/x-pkcs7-mime',
    smime_type: str | None = 'signed-data',
    encoding: str = 'base64',
) -> bytes:
    """An application/pkcs7-mime message."""
    advice = '' if smime_type is None else f' smime-type={smime_type};'
    return (
        'MIME-Version: 1.0\n'
        'Content-Disposition: attachment; filename="smime.p7m"\n'
        f'Content-Type: {kind};{advice} name="smime.p7m"\n'
        f'Content-Transfer-Encoding: {encoding}\n\n'
    ).encode() + armour(cms)


def crlf(data: bytes) -> bytes:
    """Line ends as CRLF."""
    return data.replace(b'\r\n', b'\n').replace(b'\n', b'\r\n')


def usual(
    payload: bytes,
    holder: pki.Holder,
    chain: Iterable[pki.Holder] = (),
    **info: Any,
) -> bytes:
    """A detached message as OpenSSL writes it, with one signer.

    :param info: arguments of :func:`signer_info`
    """
    content = crlf(payload)
    cms = signed_data(
        [signer_info(content, holder, **info)],
        [holder.der, *(other.der for other in chain)],
        digests=(info.get('digest', 'sha256'),),
    )
    return multipart(payload, cms)

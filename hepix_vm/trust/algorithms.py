# SPDX-License-Identifier: Apache-2.0
"""Digests, keys and signatures that count, and checking one signature.

Object identifiers are those of RFC 3370, 4055, 4056, 5753, 5754 and 8419.
"""

from __future__ import annotations

import dataclasses

from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives import hashes

from hepix_vm.trust import codes
from hepix_vm.trust import der

PublicKey = (
    rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
)

RSA_ENCRYPTION = '1.2.840.113549.1.1.1'
RSASSA_PSS = '1.2.840.113549.1.1.10'
_MGF1 = '1.2.840.113549.1.1.8'
EC_PUBLIC_KEY = '1.2.840.10045.2.1'
ED25519 = '1.3.101.112'
RSA_BITS = range(2048, 8193)
_CURVES = frozenset({'secp256r1', 'secp384r1', 'secp521r1'})

SHA1 = 'sha1'
STRONG = ('sha256', 'sha384', 'sha512')
_DIGESTS = {
    '2.16.840.1.101.3.4.2.1': 'sha256',
    '2.16.840.1.101.3.4.2.2': 'sha384',
    '2.16.840.1.101.3.4.2.3': 'sha512',
    '1.3.14.3.2.26': SHA1,
    '1.2.840.113549.2.5': 'md5',
}
HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    'sha256': hashes.SHA256,
    'sha384': hashes.SHA384,
    'sha512': hashes.SHA512,
    SHA1: hashes.SHA1,
}
# signatureAlgorithm -> (family, digest that it implies)
_SIGNATURES: dict[str, tuple[str, str | None]] = {
    RSA_ENCRYPTION: ('rsa', None),
    '1.2.840.113549.1.1.4': ('rsa', 'md5'),
    '1.2.840.113549.1.1.5': ('rsa', SHA1),
    '1.2.840.113549.1.1.11': ('rsa', 'sha256'),
    '1.2.840.113549.1.1.12': ('rsa', 'sha384'),
    '1.2.840.113549.1.1.13': ('rsa', 'sha512'),
    RSASSA_PSS: ('pss', None),
    '1.2.840.10045.4.1': ('ecdsa', SHA1),
    '1.2.840.10045.4.3.2': ('ecdsa', 'sha256'),
    '1.2.840.10045.4.3.3': ('ecdsa', 'sha384'),
    '1.2.840.10045.4.3.4': ('ecdsa', 'sha512'),
    ED25519: ('ed25519', 'sha512'),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Scheme:
    """How a signature was made.

    :param family: ``rsa``, ``pss``, ``ecdsa`` or ``ed25519``
    :param digest: hashlib's name
    :param salt: length of the PSS salt, bytes
    """

    family: str
    digest: str
    salt: int = 0


def digest_name(reader: der.Reader, node: der.Node) -> str:
    """The digest that an AlgorithmIdentifier names.

    :raises hepix_vm.errors.Refused: ``algorithm`` or ``malformed``
    """
    oid, parameters = identifier(reader, node)
    name = _DIGESTS.get(oid)
    if name is None:
        raise codes.refused(
            codes.Code.ALGORITHM, f'digest algorithm {oid} is not known'
        )
    _require_null(reader, parameters, oid)
    return name


def require_digest(name: str, what: str, *, sha1: bool) -> None:
    """Refuse a digest that is too weak.

    :param sha1: whether SHA-1 is allowed
    :raises hepix_vm.errors.Refused: ``weak-digest``
    """
    if name not in STRONG and not (sha1 and name == SHA1):
        raise codes.refused(
            codes.Code.WEAK_DIGEST,
            f'{what} uses {name.upper()}; SHA-256, SHA-384 or SHA-512 is '
            'required',
            found=name,
        )


def signature_scheme(
    reader: der.Reader, node: der.Node, digest: str
) -> Scheme:
    """The signature algorithm, held against the declared digest.

    :raises hepix_vm.errors.Refused: ``algorithm`` or ``malformed``
    """
    oid, parameters = identifier(reader, node)
    if oid not in _SIGNATURES:
        raise codes.refused(
            codes.Code.ALGORITHM, f'signature algorithm {oid} is not known'
        )
    family, implied = _SIGNATURES[oid]
    if implied is not None and implied != digest:
        raise codes.refused(
            codes.Code.ALGORITHM,
            f'the signature algorithm implies {implied}, but the digest '
            f'algorithm is {digest}',
            expected=implied,
            found=digest,
        )
    if family == 'pss':
        return Scheme(family, digest, _pss_salt(reader, parameters, digest))
    _require_null(reader, parameters, oid)
    return Scheme(family, digest)


def identifier(
    reader: der.Reader, node: der.Node
) -> tuple[str, der.Node | None]:
    """OID and parameters of an AlgorithmIdentifier."""
    reader.expect(node, der.SEQUENCE)
    fields = reader.children(node)
    if not 1 <= len(fields) <= 2:
        raise codes.refused(
            codes.Code.MALFORMED, 'an AlgorithmIdentifier is malformed'
        )
    return reader.oid(fields[0]), fields[1] if len(fields) == 2 else None


def _require_null(
    reader: der.Reader, parameters: der.Node | None, oid: str
) -> None:
    if parameters is not None and (
        parameters.tag != der.NULL or reader.content(parameters)
    ):
        raise codes.refused(
            codes.Code.ALGORITHM, f'algorithm {oid} has odd parameters'
        )


def _pss_salt(
    reader: der.Reader, parameters: der.Node | None, digest: str
) -> int:
    """Salt length of RSASSA-PSS-params (RFC 4055); the digests agree."""
    fields: dict[int, der.Node] = {}
    if parameters is not None:
        reader.expect(parameters, der.SEQUENCE)
        for field in reader.children(parameters):
            inner = reader.children(field)
            if len(inner) != 1 or field.tag in fields:
                raise _odd_pss('its parameters are malformed')
            fields[field.tag] = inner[0]
    if fields.keys() - {der.context(n) for n in range(4)}:
        raise _odd_pss('it has unknown parameters')
    hashed, masked, salt, trailer = (
        fields.get(der.context(n)) for n in range(4)
    )
    found = {SHA1 if hashed is None else digest_name(reader, hashed)}
    if masked is None:
        found.add(SHA1)
    else:
        oid, inner_hash = identifier(reader, masked)
        if oid != _MGF1 or inner_hash is None:
            raise _odd_pss('its mask generation is not MGF1')
        found.add(digest_name(reader, inner_hash))
    if found != {digest}:
        raise _odd_pss(
            f'it uses {" and ".join(sorted(found))}, but the digest '
            f'algorithm is {digest}'
        )
    if trailer is not None and reader.integer(trailer) != 1:
        raise _odd_pss('its trailer is unknown')
    length = 20 if salt is None else reader.integer(salt)
    if not 0 <= length <= 1024:
        raise _odd_pss(f'its salt has {length} bytes')
    return length


def _odd_pss(why: str) -> Exception:
    return codes.refused(
        codes.Code.ALGORITHM, f'the RSA-PSS signature is refused: {why}'
    )


def require_key(key: object, algorithm: str, what: str) -> PublicKey:
    """The key, if it is of a kind and size that counts.

    :param key: public key as cryptography loaded it
    :param algorithm: OID of the SubjectPublicKeyInfo
    :raises hepix_vm.errors.Refused: ``weak-key``
    """
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size in RSA_BITS:
            return key
        found = f'RSA of {key.key_size} bits'
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if algorithm == EC_PUBLIC_KEY and key.curve.name in _CURVES:
            return key
        found = f'the curve {key.curve.name}'
    elif isinstance(key, ed25519.Ed25519PublicKey):
        return key
    else:
        found = f'a key of kind {algorithm}'
    raise codes.refused(
        codes.Code.WEAK_KEY,
        f'{what} has {found}; RSA of 2048 to 8192 bits, P-256, P-384, '
        'P-521 or Ed25519 is required',
        found=found,
    )


def verifies(
    key: PublicKey,
    scheme: Scheme,
    signature: bytes,
    signed: bytes,
    *,
    key_algorithm: str = RSA_ENCRYPTION,
) -> bool:
    """Whether a key made a signature over some bytes.

    :param key_algorithm: OID of the SubjectPublicKeyInfo: an RSA-PSS key
        makes no PKCS #1 v1.5 signatures
    """
    try:
        if isinstance(key, rsa.RSAPublicKey):
            algorithm = HASHES[scheme.digest]()
            if scheme.family == 'pss':
                pad: padding.AsymmetricPadding = padding.PSS(
                    padding.MGF1(algorithm), scheme.salt
                )
            elif scheme.family == 'rsa' and key_algorithm != RSASSA_PSS:
                pad = padding.PKCS1v15()
            else:
                return False
            key.verify(signature, signed, pad, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            if scheme.family != 'ecdsa':
                return False
            key.verify(signature, signed, ec.ECDSA(HASHES[scheme.digest]()))
        else:
            if scheme.family != 'ed25519':
                return False
            key.verify(signature, signed)
    except (exceptions.InvalidSignature, ValueError):
        return False
    return True

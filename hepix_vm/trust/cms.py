# SPDX-License-Identifier: Apache-2.0
"""The signature structure: CMS SignedData (RFC 5652), strictly.

Signed attributes are required. The message's CRLs are not looked at; its
certificates are handed on as bytes, as candidates.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import datetime
import hashlib

from hepix_vm.trust import algorithms
from hepix_vm.trust import codes
from hepix_vm.trust import der
from hepix_vm.trust import policy as policies
from hepix_vm.trust import signed_attributes

DATA = signed_attributes.DATA
SIGNED_DATA = '1.2.840.113549.1.7.2'


@dataclasses.dataclass(frozen=True, slots=True)
class SignerInfo:
    """One signature.

    :param issuer: DER of the issuer's name, with ``serial``; else None
    :param serial: serial number of the certificate; else None
    :param key_identifier: subject key identifier; else None
    :param digest: hashlib's name of the digest
    :param message_digest: the digest of the content that was signed
    :param signing_time: what the signer claims, UTC; None if absent
    :param scheme: how the signature was made
    :param signed: the bytes under the signature
    :param signature: the signature
    """

    issuer: bytes | None
    serial: int | None
    key_identifier: bytes | None
    digest: str
    message_digest: bytes
    signing_time: datetime.datetime | None
    scheme: algorithms.Scheme
    signed: bytes
    signature: bytes

    def matches(self, candidates: Iterable[bytes]) -> bytes | None:
        """The first candidate that has the signed digest."""
        for content in candidates:
            found = hashlib.new(
                self.digest, content, usedforsecurity=False
            ).digest()
            if found == self.message_digest:
                return content
        return None

    def verified_by(
        self, key: algorithms.PublicKey, key_algorithm: str
    ) -> bool:
        """Whether a key made this signature.

        :param key_algorithm: OID of the SubjectPublicKeyInfo
        """
        return algorithms.verifies(
            key,
            self.scheme,
            self.signature,
            self.signed,
            key_algorithm=key_algorithm,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class SignedData:
    """What a signature structure holds.

    :param content: the encapsulated content; None if detached
    :param certificates: DER of each embedded certificate
    :param signers: at least one
    """

    content: bytes | None
    certificates: tuple[bytes, ...]
    signers: tuple[SignerInfo, ...]


def parse(data: bytes, policy: policies.Policy) -> SignedData:
    """Read a ContentInfo with SignedData.

    :param data: BER or DER
    :raises hepix_vm.errors.Refused: ``malformed``, ``limit``,
        ``not-signed``, ``no-signer``, ``too-many-signers``, ``algorithm``,
        ``weak-digest``
    """
    reader = der.Reader(
        data, depth=policy.limits.ber_depth, nodes=policy.limits.ber_nodes
    )
    version, digests, content, *rest = _signed_data(reader)
    if reader.integer(version) not in (1, 3, 4, 5):
        raise _malformed('the version of the signature is unknown')
    reader.expect(digests, der.SET)
    certificates: tuple[bytes, ...] = ()
    if rest and rest[0].tag == der.context(0):
        certificates = _certificates(reader, rest.pop(0), policy.limits)
    if rest and rest[0].tag == der.context(1):
        rest.pop(0)  # CRLs of the message prove nothing
    if len(rest) != 1:
        raise _malformed('expected one SET of SignerInfo')
    reader.expect(rest[0], der.SET)
    infos = reader.children(rest[0])
    _require_count(len(infos), policy)
    declared = {
        algorithms.digest_name(reader, node)
        for node in reader.children(digests)
    }
    return SignedData(
        _content(reader, content),
        certificates,
        tuple(_signer(reader, info, declared, policy) for info in infos),
    )


def _malformed(detail: str) -> Exception:
    return codes.refused(codes.Code.MALFORMED, detail)


def _signed_data(reader: der.Reader) -> tuple[der.Node, ...]:
    outer = reader.root('signature')
    reader.expect(outer, der.SEQUENCE)
    fields = reader.children(outer)
    if len(fields) != 2:
        raise _malformed('the signature is no ContentInfo')
    kind = reader.oid(fields[0])
    if kind != SIGNED_DATA:
        raise codes.refused(
            codes.Code.NOT_SIGNED,
            f'the structure is of type {kind}, not signedData',
            expected=SIGNED_DATA,
            found=kind,
        )
    inner = _explicit(reader, fields[1], 0)
    reader.expect(inner, der.SEQUENCE)
    parts = reader.children(inner)
    if not 4 <= len(parts) <= 6:
        raise _malformed(f'SignedData has {len(parts)} fields')
    return parts


def _explicit(reader: der.Reader, node: der.Node, number: int) -> der.Node:
    reader.expect(node, der.context(number))
    inner = reader.children(node)
    if len(inner) != 1:
        raise _malformed(f'[{number}] must hold one element')
    return inner[0]


def _content(reader: der.Reader, node: der.Node) -> bytes | None:
    reader.expect(node, der.SEQUENCE)
    fields = reader.children(node)
    if not 1 <= len(fields) <= 2 or reader.oid(fields[0]) != DATA:
        raise _malformed('the signed content is not of type data')
    if len(fields) == 1:
        return None
    return reader.octets(_explicit(reader, fields[1], 0))


def _certificates(
    reader: der.Reader, node: der.Node, limits: policies.Limits
) -> tuple[bytes, ...]:
    choices = reader.children(node)
    sizes = [choice.end - choice.start for choice in choices]
    for name, size in (
        ('embedded_certificates', len(choices)),
        ('embedded_bytes', sum(sizes)),
        ('certificate_bytes', max(sizes, default=0)),
    ):
        allowed = getattr(limits, name)
        if size > allowed:
            raise codes.refused(
                codes.Code.LIMIT,
                f'the embedded certificates exceed a limit: {name} is '
                f'{allowed}, found {size}',
                limit=name,
            )
    found = []
    for choice in choices:
        # Attribute certificates and the like are tagged; they say nothing
        # about keys.
        if choice.tag == der.SEQUENCE:
            found.append(reader.raw(choice))
    return tuple(dict.fromkeys(found))


def _require_count(count: int, policy: policies.Policy) -> None:
    if not count:
        raise codes.refused(
            codes.Code.NO_SIGNER, 'the message carries no signature'
        )
    allowed = 1 if policy.threshold == 1 else policy.limits.signers
    if count > allowed:
        raise codes.refused(
            codes.Code.TOO_MANY_SIGNERS,
            f'the message has {count} signatures, at most {allowed} expected',
            expected=allowed,
            found=count,
        )


def _signer(
    reader: der.Reader,
    node: der.Node,
    declared: set[str],
    policy: policies.Policy,
) -> SignerInfo:
    reader.expect(node, der.SEQUENCE)
    fields = list(reader.children(node))
    if not 5 <= len(fields) <= 7:
        raise _malformed(f'a SignerInfo has {len(fields)} fields')
    version, identity, digest_node, attributes, algorithm = fields[:5]
    if reader.integer(version) not in (1, 3):
        raise _malformed('the version of a SignerInfo is unknown')
    issuer, serial, key_identifier = _identity(reader, identity)
    digest = algorithms.digest_name(reader, digest_node)
    algorithms.require_digest(
        digest, 'the signature', sha1=policy.allow_sha1_dangerous
    )
    if digest not in declared:
        raise codes.refused(
            codes.Code.ALGORITHM,
            f'the signer uses {digest}, which the message does not declare',
            expected=sorted(declared),
            found=digest,
        )
    if attributes.tag != der.context(0):
        raise _malformed('the signature has no signed attributes')
    if len(fields) == 5:
        raise _malformed('a SignerInfo has no signature')
    if len(fields) == 7:
        reader.expect(fields[6], der.context(1))
    scheme = algorithms.signature_scheme(reader, algorithm, digest)
    message_digest, signing_time = signed_attributes.read(
        reader, attributes, digest_node, algorithm
    )
    raw = reader.raw(attributes)
    return SignerInfo(
        issuer,
        serial,
        key_identifier,
        digest,
        message_digest,
        signing_time,
        scheme,
        # The signature covers them as a SET OF (RFC 5652 section 5.4).
        bytes([der.SET]) + raw[1:],
        reader.octets(fields[5]),
    )


def _identity(
    reader: der.Reader, node: der.Node
) -> tuple[bytes | None, int | None, bytes | None]:
    if node.tag & 0xDF == 0x80:
        return (
            None,
            None,
            reader.octets(node, der.context(0, constructed=False)),
        )
    reader.expect(node, der.SEQUENCE)
    fields = reader.children(node)
    if len(fields) != 2:
        raise _malformed('the name of a signer is malformed')
    reader.expect(fields[0], der.SEQUENCE)
    return reader.raw(fields[0]), reader.integer(fields[1]), None

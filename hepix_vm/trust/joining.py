# SPDX-License-Identifier: Apache-2.0
"""Two signature structures of one content become one (RFC 5652).

Nothing that was signed is touched: each SignerInfo and certificate is
copied byte for byte, only the sets around them are written anew.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses

from hepix_vm.trust import der

_OCTETS = 0x80


@dataclasses.dataclass(frozen=True, slots=True)
class _Pieces:
    """The fields of a SignedData, encoded."""

    kind: bytes
    version: bytes
    digests: tuple[bytes, ...]
    content: bytes
    certificates: tuple[bytes, ...]
    signers: tuple[bytes, ...]


def join(existing: bytes, added: bytes) -> bytes:
    """A SignedData with the signatures of both, and the first's content.

    CRLs inside are left out: no verifier may look at them.

    :param existing: ContentInfo with SignedData and certificates, BER or
        DER, that :mod:`hepix_vm.trust.cms` reads
    :param added: the same over the same content
    :raises hepix_vm.errors.Refused: ``malformed``, ``limit``
    """
    first, second = _pieces(existing), _pieces(added)
    fields = (
        first.version,
        _set(der.SET, (*first.digests, *second.digests)),
        first.content,
        _set(der.context(0), (*first.certificates, *second.certificates)),
        _set(der.SET, (*first.signers, *second.signers)),
    )
    inner = _element(der.SEQUENCE, b''.join(fields))
    return _element(der.SEQUENCE, first.kind + _element(der.context(0), inner))


def _pieces(data: bytes) -> _Pieces:
    reader = der.Reader(data)
    kind, wrapped = reader.children(reader.root('signature'))
    version, digests, content, *rest = reader.children(
        reader.children(wrapped)[0]
    )

    def parts(node: der.Node) -> tuple[bytes, ...]:
        return tuple(reader.raw(child) for child in reader.children(node))

    return _Pieces(
        reader.raw(kind),
        reader.raw(version),
        parts(digests),
        reader.raw(content),
        parts(rest[0]),
        parts(rest[-1]),
    )


def _set(tag: int, members: Iterable[bytes]) -> bytes:
    """A SET OF as DER orders it, each member once."""
    return _element(tag, b''.join(sorted(set(members))))


def _element(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < _OCTETS:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, 'big')
    return bytes([tag, _OCTETS | len(length)]) + length + body

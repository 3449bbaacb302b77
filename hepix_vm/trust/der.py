# SPDX-License-Identifier: Apache-2.0
"""A small reader of BER and DER (X.690) with bounded cost.

Elements are found lazily: an element of definite length is not looked
into until asked for, one of indefinite length is walked once to find its
end. Depth and number of elements are bounded, so that the work is linear
in the size of the input.
"""

from __future__ import annotations

import dataclasses

from hepix_vm.trust import codes

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
CONSTRUCTED = 0x20
_NAMES = {
    INTEGER: 'INTEGER',
    BIT_STRING: 'BIT STRING',
    OCTET_STRING: 'OCTET STRING',
    NULL: 'NULL',
    OBJECT_IDENTIFIER: 'OBJECT IDENTIFIER',
    SEQUENCE: 'SEQUENCE',
    SET: 'SET',
}


def context(number: int, *, constructed: bool = True) -> int:
    """The identifier octet of a context-specific tag."""
    return 0x80 | (CONSTRUCTED if constructed else 0) | number


def tag_name(tag: int) -> str:
    """A tag for a message to people."""
    if tag & 0xC0 == 0x80:
        return f'[{tag & 0x1F}]'
    return _NAMES.get(tag, f'tag 0x{tag:02x}')


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One element.

    :param tag: the identifier octet
    :param start: offset of the identifier octet
    :param body: offset of the content
    :param stop: offset behind the content
    :param end: offset behind the element, end-of-contents included
    :param depth: level, the outermost element has 1
    :param minimal: whether tag and length are as DER demands
    :param inner: the elements of one of indefinite length, else None
    """

    tag: int
    start: int
    body: int
    stop: int
    end: int
    depth: int
    minimal: bool
    inner: tuple[Node, ...] | None


class Reader:
    """Elements of one byte string.

    :param data: the encoding
    :param depth: levels that may nest
    :param nodes: elements that may be read
    """

    def __init__(
        self, data: bytes, *, depth: int = 24, nodes: int = 20_000
    ) -> None:
        self.data = data
        self._depth = depth
        self._nodes = nodes
        self._left = nodes

    def root(self, what: str) -> Node:
        """The one element that the bytes are.

        :raises hepix_vm.errors.Refused: ``malformed`` or ``limit``
        """
        node = self._read(0, len(self.data), 1)
        if node.end != len(self.data):
            raise codes.refused(
                codes.Code.MALFORMED,
                f'{len(self.data) - node.end} bytes follow the {what}',
            )
        return node

    def children(self, node: Node) -> tuple[Node, ...]:
        """The elements inside a constructed element, in order."""
        if not node.tag & CONSTRUCTED:
            raise codes.refused(
                codes.Code.MALFORMED,
                f'{tag_name(node.tag)} at byte {node.start} is primitive',
            )
        if node.inner is not None:
            return node.inner
        found = []
        position = node.body
        while position < node.stop:
            child = self._read(position, node.stop, node.depth + 1)
            found.append(child)
            position = child.end
        return tuple(found)

    def raw(self, node: Node) -> bytes:
        """The element with its header."""
        return self.data[node.start : node.end]

    def content(self, node: Node) -> bytes:
        """The content of a primitive element."""
        if node.tag & CONSTRUCTED:
            raise codes.refused(
                codes.Code.MALFORMED,
                f'{tag_name(node.tag)} at byte {node.start} is constructed',
            )
        return self.data[node.body : node.stop]

    def octets(self, node: Node, tag: int = OCTET_STRING) -> bytes:
        """An OCTET STRING, whole or in pieces.

        :param tag: the primitive tag, where it is implicitly another
        """
        if node.tag == tag:
            return self.data[node.body : node.stop]
        if node.tag != tag | CONSTRUCTED:
            raise self.unexpected(node, OCTET_STRING)
        return b''.join(self.octets(c) for c in self.children(node))

    def oid(self, node: Node) -> str:
        """An OBJECT IDENTIFIER in dotted form."""
        self.expect(node, OBJECT_IDENTIFIER)
        return dotted(self.data[node.body : node.stop])

    def integer(self, node: Node) -> int:
        """An INTEGER of at most 64 bytes."""
        self.expect(node, INTEGER)
        body = self.data[node.body : node.stop]
        if not 1 <= len(body) <= 64:
            raise codes.refused(
                codes.Code.MALFORMED, f'INTEGER of {len(body)} bytes'
            )
        return int.from_bytes(body, 'big', signed=True)

    def expect(self, node: Node, tag: int) -> None:
        """Refuse an element that has another tag."""
        if node.tag != tag:
            raise self.unexpected(node, tag)

    def unexpected(self, node: Node, tag: int) -> Exception:
        """The refusal for an element that has another tag."""
        return codes.refused(
            codes.Code.MALFORMED,
            f'expected {tag_name(tag)} at byte {node.start} of the '
            f'signature, found {tag_name(node.tag)}',
            expected=tag_name(tag),
            found=tag_name(node.tag),
        )

    def require_der(self, node: Node) -> None:
        """Refuse what is not DER: indefinite or padded lengths."""
        if not node.minimal:
            raise codes.refused(
                codes.Code.MALFORMED,
                f'{tag_name(node.tag)} at byte {node.start} is not DER',
            )
        if node.tag & CONSTRUCTED:
            for child in self.children(node):
                self.require_der(child)

    def _read(self, position: int, limit: int, depth: int) -> Node:
        if depth > self._depth:
            raise codes.refused(
                codes.Code.LIMIT,
                f'the signature nests deeper than {self._depth} levels '
                '(limit ber_depth)',
                limit='ber_depth',
            )
        self._left -= 1
        if self._left < 0:
            raise codes.refused(
                codes.Code.LIMIT,
                f'the signature has more than {self._nodes} elements '
                '(limit ber_nodes)',
                limit='ber_nodes',
            )
        if position + 2 > limit:
            raise _truncated(position)
        tag = self.data[position]
        if tag & 0x1F == 0x1F:
            raise codes.refused(
                codes.Code.MALFORMED, f'long tag at byte {position}'
            )
        first = self.data[position + 1]
        if first == 0x80:
            return self._read_indefinite(tag, position, limit, depth)
        body, length, minimal = self._length(position + 1, limit)
        stop = body + length
        if stop > limit:
            raise _truncated(position)
        return Node(tag, position, body, stop, stop, depth, minimal, None)

    def _length(self, position: int, limit: int) -> tuple[int, int, bool]:
        first = self.data[position]
        if first < 0x80:
            return position + 1, first, True
        size = first & 0x7F
        body = position + 1 + size
        if size > 4 or body > limit:
            raise _truncated(position)
        octets = self.data[position + 1 : body]
        length = int.from_bytes(octets, 'big')
        return body, length, length >= 0x80 and octets[0] != 0

    def _read_indefinite(
        self, tag: int, start: int, limit: int, depth: int
    ) -> Node:
        if not tag & CONSTRUCTED:
            raise codes.refused(
                codes.Code.MALFORMED,
                f'indefinite length of a primitive at byte {start}',
            )
        inner = []
        position = start + 2
        while self.data[position : min(position + 2, limit)] != b'\0\0':
            child = self._read(position, limit, depth + 1)
            inner.append(child)
            position = child.end
        return Node(
            tag,
            start,
            start + 2,
            position,
            position + 2,
            depth,
            False,
            tuple(inner),
        )


def _truncated(position: int) -> Exception:
    return codes.refused(
        codes.Code.MALFORMED,
        f'the element at byte {position} of the signature is longer than '
        'what is there',
    )


def dotted(body: bytes) -> str:
    """The content of an OBJECT IDENTIFIER in dotted form.

    :raises hepix_vm.errors.Refused: ``malformed``
    """
    if not body or len(body) > 64 or body[-1] & 0x80:
        raise codes.refused(
            codes.Code.MALFORMED, 'an OBJECT IDENTIFIER is malformed'
        )
    arcs: list[int] = []
    value = 0
    for octet in body:
        if value == 0 and octet == 0x80:
            raise codes.refused(
                codes.Code.MALFORMED, 'an OBJECT IDENTIFIER is padded'
            )
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return '.'.join(str(n) for n in (first, arcs[0] - 40 * first, *arcs[1:]))

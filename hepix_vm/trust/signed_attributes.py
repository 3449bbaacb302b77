# SPDX-License-Identifier: Apache-2.0
"""What a signature covers besides the content (RFC 5652 section 11)."""

from __future__ import annotations

import datetime
import re

from hepix_vm.trust import codes
from hepix_vm.trust import der

DATA = '1.2.840.113549.1.7.1'
_CONTENT_TYPE = '1.2.840.113549.1.9.3'
_MESSAGE_DIGEST = '1.2.840.113549.1.9.4'
_SIGNING_TIME = '1.2.840.113549.1.9.5'
_ALGORITHM_PROTECTION = '1.2.840.113549.1.9.52'


def _malformed(detail: str) -> Exception:
    return codes.refused(codes.Code.MALFORMED, detail)


def read(
    reader: der.Reader,
    node: der.Node,
    digest_node: der.Node,
    algorithm: der.Node,
) -> tuple[bytes, datetime.datetime | None]:
    """Message digest and signing time of the signed attributes.

    :param node: the attributes, DER
    :param digest_node: the digest algorithm in use
    :param algorithm: the signature algorithm in use
    :raises hepix_vm.errors.Refused: ``malformed``, ``algorithm``
    """
    reader.require_der(node)
    found: dict[str, der.Node] = {}
    for attribute in reader.children(node):
        reader.expect(attribute, der.SEQUENCE)
        fields = reader.children(attribute)
        if len(fields) != 2 or fields[1].tag != der.SET:
            raise _malformed('a signed attribute is malformed')
        kind = reader.oid(fields[0])
        values = reader.children(fields[1])
        if kind in found:
            raise _malformed(f'signed attribute {kind} occurs twice')
        if len(values) != 1:
            raise _malformed(
                f'signed attribute {kind} has {len(values)} values'
            )
        found[kind] = values[0]
    for kind, word in (
        (_CONTENT_TYPE, 'content-type'),
        (_MESSAGE_DIGEST, 'message-digest'),
    ):
        if kind not in found:
            raise _malformed(f'the signed attribute {word} is missing')
    kind = reader.oid(found[_CONTENT_TYPE])
    if kind != DATA:
        raise _malformed(f'the signed content-type is {kind}, not data')
    if _ALGORITHM_PROTECTION in found:
        _check_protection(
            reader, found[_ALGORITHM_PROTECTION], digest_node, algorithm
        )
    reader.expect(found[_MESSAGE_DIGEST], der.OCTET_STRING)
    return reader.content(found[_MESSAGE_DIGEST]), _time(
        reader, found.get(_SIGNING_TIME)
    )


def _check_protection(
    reader: der.Reader,
    node: der.Node,
    digest_node: der.Node,
    algorithm: der.Node,
) -> None:
    """The signed copy of the algorithms must agree (RFC 6211)."""
    fields = reader.children(node)
    copies = [reader.raw(field)[1:] for field in fields]
    outer = [reader.raw(digest_node)[1:], reader.raw(algorithm)[1:]]
    if copies != outer or fields[1].tag != der.context(1):
        raise codes.refused(
            codes.Code.ALGORITHM,
            'the signed algorithm identifiers differ from those in use',
        )


def _time(
    reader: der.Reader, node: der.Node | None
) -> datetime.datetime | None:
    if node is None:
        return None
    text = reader.content(node).decode('ascii', 'replace')
    if node.tag == der.UTC_TIME:
        # RFC 5280: 50 to 99 are of the twentieth century.
        text = ('19' if text[:2] >= '50' else '20') + text
    elif node.tag != der.GENERALIZED_TIME:
        raise reader.unexpected(node, der.UTC_TIME)
    if not re.fullmatch('[0-9]{14}Z', text):
        raise _malformed('the signing time is malformed')
    try:
        return datetime.datetime.strptime(text, '%Y%m%d%H%M%S%z')
    except ValueError:
        raise _malformed('the signing time is malformed') from None

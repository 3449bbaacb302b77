# SPDX-License-Identifier: Apache-2.0
"""The S/MIME envelope (RFC 8551, 1847, 2046), strictly.

Two shapes are read: ``multipart/signed`` with a detached signature, and
``application/pkcs7-mime`` that holds the content. Types may carry the
``x-`` of older tools, ``micalg`` is advice and is not looked at, and the
first part may lack MIME headers, as lists in the wild do.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
import dataclasses
import re

from hepix_vm.trust import codes
from hepix_vm.trust import policy as policies

_SIGNATURE_TYPES = frozenset(
    {'application/pkcs7-signature', 'application/x-pkcs7-signature'}
)
_OPAQUE_TYPES = frozenset(
    {'application/pkcs7-mime', 'application/x-pkcs7-mime'}
)
_FIELD = re.compile(rb'([!-9;-~]+)[ \t]*:(.*)', re.DOTALL)
_BLANK_LINE = re.compile(rb'(?:\A|\n)\r?\n')
_INNER = re.compile(rb'(?:content-[a-z-]+|mime-version)[ \t]*:', re.I)
_WORD = r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"
_PARAMETER = re.compile(
    rf'\s*;\s*(?:({_WORD})\s*=\s*'
    rf'("(?:[^"\\]|\\.)*"|[!#-\[\]-~]*?(?=\s*(?:;|$))))?',
    re.DOTALL,
)
_BOUNDARY = re.compile(
    r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]"
)
_ONCE = frozenset(
    {
        'content-type',
        'content-transfer-encoding',
        'content-disposition',
        'mime-version',
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    """What an S/MIME message holds, before anything is believed.

    :param part: the first part of ``multipart/signed``; None when the
        signature structure holds the content
    :param signature: the signature structure, BER
    """

    part: bytes | None
    signature: bytes

    def candidates(self) -> Iterator[bytes]:
        """Forms of the first part that may have been signed.

        Line ends as CRLF (the standard), as they are, and as LF.
        """
        if self.part is not None:
            # One at a time: a large list should not be held four times.
            # No expression: a list of line ends alone would cost seconds.
            yield self.part.replace(b'\r\n', b'\n').replace(b'\n', b'\r\n')
            yield self.part
            yield self.part.replace(b'\r\n', b'\n')


def _malformed(detail: str) -> Exception:
    return codes.refused(codes.Code.MALFORMED, detail)


def open_envelope(message: bytes, limits: policies.Limits) -> Envelope:
    """Take a message apart.

    :raises hepix_vm.errors.Refused: ``not-signed``, ``malformed``,
        ``limit``
    """
    if not re.match(rb'[A-Za-z][A-Za-z0-9-]*[ \t]*:', message):
        raise codes.refused(
            codes.Code.NOT_SIGNED,
            'the file does not begin with the headers of an S/MIME message',
        )
    headers, body = _split(message, limits, 'message')
    kind, parameters = _content_type(headers, 'message')
    if kind == 'multipart/signed':
        return _multipart(parameters, body, limits)
    if kind in _OPAQUE_TYPES:
        smime_type = parameters.get('smime-type', 'signed-data').lower()
        if smime_type not in ('signed-data', 'certs-only'):
            raise codes.refused(
                codes.Code.NOT_SIGNED, f'the message is {smime_type!r}'
            )
        _require_encoding(headers, 'message')
        return Envelope(None, _base64(body, 'signature'))
    raise codes.refused(
        codes.Code.NOT_SIGNED,
        f'the message is of type {kind or "text/plain"!r}, expected '
        'multipart/signed or application/pkcs7-mime',
    )


def inner_payload(content: bytes, limits: policies.Limits) -> bytes:
    """What was signed, without the MIME headers inside, decoded.

    :raises hepix_vm.errors.Refused: ``malformed``
    """
    if not _INNER.match(content):
        return content
    headers, body = _split(content, limits, 'signed content')
    kind, _ = _content_type(headers, 'signed content')
    if kind.startswith(('multipart/', 'message/')):
        raise _malformed(f'the signed content is of type {kind!r}')
    encoding = headers.get('content-transfer-encoding', '7bit').lower()
    if encoding == 'base64':
        return _base64(body, 'signed content')
    if encoding not in ('7bit', '8bit', 'binary'):
        raise _malformed(
            f'the signed content has transfer encoding {encoding!r}'
        )
    return body


def _split(
    block: bytes, limits: policies.Limits, what: str
) -> tuple[dict[str, str], bytes]:
    """Headers by lower-case name, and the body."""
    blank = _BLANK_LINE.search(block, 0, limits.header_bytes)
    if blank is None:
        if len(block) >= limits.header_bytes:
            raise codes.refused(
                codes.Code.LIMIT,
                f'the headers of the {what} exceed {limits.header_bytes} '
                'bytes (limit header_bytes)',
                limit='header_bytes',
            )
        raise _malformed(f'the {what} has no blank line after its headers')
    return _fields(block[: blank.start() + 1], what), block[blank.end() :]


def _fields(block: bytes, what: str) -> dict[str, str]:
    unfolded = re.sub(rb'\r?\n(?=[ \t])', b'', block)
    found: dict[str, str] = {}
    for line in re.split(rb'\r?\n', unfolded.removesuffix(b'\n')):
        line = line.removesuffix(b'\r')
        if not line:
            continue
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _malformed(f'the {what} has a malformed header line')
        name = field[1].decode('ascii').lower()
        if name in found and name in _ONCE:
            raise _malformed(f'the {what} has two {name} headers')
        found[name] = field[2].decode('latin-1').strip()
    return found


def _content_type(
    headers: dict[str, str], what: str
) -> tuple[str, dict[str, str]]:
    """Media type in lower case and its parameters."""
    text = headers.get('content-type', '')
    kind, _, _ = text.partition(';')
    position = len(kind)
    parameters: dict[str, str] = {}
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            raise _malformed(f'the content-type of the {what} is malformed')
        position = match.end()
        if match[1] is None:
            continue
        name, value = match[1].lower(), match[2]
        if name in parameters:
            raise _malformed(f'the {what} has two parameters {name!r}')
        if value.startswith('"'):
            value = re.sub(r'\\(.)', r'\1', value[1:-1], flags=re.DOTALL)
        parameters[name] = value
    return kind.strip().lower(), parameters


def _multipart(
    parameters: dict[str, str], body: bytes, limits: policies.Limits
) -> Envelope:
    protocol = parameters.get('protocol', '').lower()
    if protocol not in _SIGNATURE_TYPES:
        raise codes.refused(
            codes.Code.NOT_SIGNED,
            f'the message is signed with {protocol or "no protocol"!r}, not '
            'with S/MIME',
        )
    boundary = parameters.get('boundary', '')
    if not _BOUNDARY.fullmatch(boundary):
        raise _malformed('the message has no usable boundary')
    content, signature = _parts(body, b'--' + boundary.encode('ascii'))
    headers, encoded = _split(signature, limits, 'signature part')
    kind, _ = _content_type(headers, 'signature part')
    if kind not in _SIGNATURE_TYPES:
        raise _malformed(
            f'the second part is of type {kind!r}, not a signature'
        )
    _require_encoding(headers, 'signature part')
    return Envelope(content, _base64(encoded, 'signature'))


def _parts(body: bytes, delimiter: bytes) -> tuple[bytes, bytes]:
    """The two parts of a multipart/signed body.

    Exactly one line end before a delimiter belongs to the delimiter.
    """
    marks = list(_delimiters(body, delimiter))
    if [closing for *_, closing in marks] != [False, False, True]:
        raise _malformed(
            'multipart/signed must have two parts and an end, each behind '
            'its boundary'
        )
    (_, first, _), (stop, second, _), (end, _, _) = marks
    if first > stop or second > end:
        raise _malformed('a part of the message has no line of its own')
    return body[first:stop], body[second:end]


def _delimiters(body: bytes, delimiter: bytes) -> list[tuple[int, int, bool]]:
    """Where each boundary line begins and ends, and whether it closes."""
    found: list[tuple[int, int, bool]] = []
    line = re.compile(re.escape(delimiter) + rb'(--)?[ \t]*+(\r?\n|\Z)')
    position = 0 if body.startswith(delimiter) else _next(body, delimiter, 0)
    while position >= 0 and len(found) < 4:
        match = line.match(body, position)
        if match is None:
            # RFC 2046 section 5.1.1: it counts as a boundary all the same.
            raise _malformed('a line begins with the boundary and goes on')
        found.append(
            (
                _line_end_before(body, position),
                match.end(),
                match[1] is not None,
            )
        )
        position = _next(body, delimiter, position)
    return found


def _next(body: bytes, delimiter: bytes, position: int) -> int:
    """Where the next line begins that may be a boundary, or -1."""
    found = body.find(b'\n' + delimiter, position)
    return found + 1 if found >= 0 else -1


def _line_end_before(body: bytes, position: int) -> int:
    """Where the line end in front of a line begins."""
    if body[max(position - 2, 0) : position] == b'\r\n':
        return position - 2
    return max(position - 1, 0)


def _require_encoding(headers: dict[str, str], what: str) -> None:
    encoding = headers.get('content-transfer-encoding', '7bit').lower()
    if encoding != 'base64':
        raise _malformed(
            f'the {what} has transfer encoding {encoding!r}, expected base64'
        )


def _base64(text: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(
            text.translate(None, b' \t\r\n'), validate=True
        )
    except (binascii.Error, ValueError):
        raise _malformed(f'the {what} is not base64') from None

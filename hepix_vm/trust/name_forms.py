# SPDX-License-Identifier: Apache-2.0
"""The two forms in which people write names.

Both are read into parts in the certificate's order, each a set of (dotted
OID, value). See :mod:`hepix_vm.trust.names` for the rules.
"""

from __future__ import annotations

import re

from hepix_vm.trust import attributes

Part = frozenset[tuple[str, str]]

_TYPE = re.compile(r'[A-Za-z][A-Za-z0-9-]*|[0-2](?:\.[0-9]+)+', re.ASCII)
_PLUS_TYPE = re.compile(
    r'\+\s*([A-Za-z][A-Za-z0-9-]*|[0-2](?:\.[0-9]+)+)=', re.ASCII
)
_HEX_ESCAPE = re.compile(r'\\x([0-9A-Fa-f]{2})')


def _ambiguous(text: str, why: str) -> attributes.NotAName:
    return attributes.NotAName(
        f'{attributes.shown(text)} can be read in more than one way '
        f'({why}); write it in RFC 4514 form, for example CN=Jo,O=Grid,C=DE',
        ambiguous=True,
    )


def parse_slash(text: str) -> tuple[Part, ...]:
    """Parts of the slash form.

    :raises hepix_vm.trust.attributes.NotAName: it is none, or ambiguous
    """
    pairs: list[tuple[str, str]] = []
    for piece in text[1:].split('/'):
        word, equals, value = piece.partition('=')
        known = attributes.known(word)
        if equals and known:
            pairs.append((attributes.oid_of(word, text), value))
        elif not pairs:
            raise attributes.NotAName(
                f'{attributes.shown(text)} does not begin with /TYPE= of '
                'a known type'
            )
        elif equals and _TYPE.fullmatch(word.strip()):
            raise _ambiguous(
                text, f'{word!r} may be an attribute or part of a value'
            )
        else:
            oid, before = pairs[-1]
            pairs[-1] = (oid, f'{before}/{piece}')
    return tuple(
        frozenset({(oid, _slash_value(value, text))}) for oid, value in pairs
    )


def _slash_value(value: str, text: str) -> str:
    if not value:
        raise attributes.NotAName(
            f'{attributes.shown(text)} has an empty value'
        )
    if value != value.strip(' ') or value.endswith('/'):
        raise _ambiguous(text, 'a value begins or ends with a blank or slash')
    joined = _PLUS_TYPE.search(value)
    if joined:
        raise _ambiguous(
            text, f'"+{joined[1]}=" may join two attributes or be text'
        )
    if '\\x' not in value:
        return value
    return _unescape_slash(value, text)


def _unescape_slash(value: str, text: str) -> str:
    # OpenSSL prints a byte outside 0x20..0x7e as \xHH and nothing else.
    raw = bytearray()
    end = 0
    for match in _HEX_ESCAPE.finditer(value):
        byte = int(match[1], 16)
        if 0x20 <= byte <= 0x7E:
            raise _ambiguous(text, f'{match[0]!r} stands for a plain letter')
        raw += value[end : match.start()].encode()
        raw.append(byte)
        end = match.end()
    raw += value[end:].encode()
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        raise _ambiguous(text, r'the bytes \xHH are not UTF-8') from None
    if any(attributes.is_control(char) for char in decoded):
        raise attributes.NotAName(
            f'{attributes.shown(text)} contains a control character'
        )
    return decoded


def parse_rfc4514(text: str) -> tuple[Part, ...]:
    """Parts of the RFC 4514 form.

    :raises hepix_vm.trust.attributes.NotAName: it is none
    """
    parts: list[Part] = []
    pairs: list[tuple[str, str]] = []
    position = 0
    while True:
        word, equals, _ = text[position:].partition('=')
        if not equals or not _TYPE.fullmatch(word):
            raise attributes.NotAName(
                f'{attributes.shown(text)}: expected TYPE=value, found '
                f'{attributes.shown(text[position : position + 40])}; forms '
                'are CN=Jo,O=Grid,C=DE and /C=DE/O=Grid/CN=Jo'
            )
        value, position = _rfc4514_value(text, position + len(word) + 1)
        pairs.append((attributes.oid_of(word, text), value))
        separator = text[position : position + 1]
        if separator != '+':
            if len(set(pairs)) != len(pairs):
                raise attributes.NotAName(
                    f'{attributes.shown(text)} repeats an attribute'
                )
            parts.append(frozenset(pairs))
            pairs = []
        if not separator:
            return tuple(reversed(parts))
        position += 1
        while text[position : position + 1] == ' ':
            position += 1


def _rfc4514_value(text: str, position: int) -> tuple[str, int]:
    """The value that starts at a position, and where it ends."""
    if text[position : position + 1] == '#':
        return _hex_value(text, position)
    if text[position : position + 1] == ' ':
        raise attributes.NotAName(
            f'{attributes.shown(text)} has blanks around "="; write '
            'RFC 4514, which openssl prints with -nameopt RFC2253'
        )
    raw = bytearray()
    trailing = 0
    while position < len(text) and text[position] not in ',+;':
        char = text[position]
        if char == '\\':
            byte, position = _rfc4514_escape(text, position + 1)
            raw += byte
            trailing = len(raw)
            continue
        if char in '"<>':
            raise attributes.NotAName(
                f'{attributes.shown(text)}: {char!r} must be escaped'
            )
        raw += char.encode()
        if char != ' ':
            trailing = len(raw)
        position += 1
    try:
        value = raw[:trailing].decode()
    except UnicodeDecodeError:
        raise attributes.NotAName(
            f'{attributes.shown(text)} escapes bytes not UTF-8'
        ) from None
    if not value:
        raise attributes.NotAName(
            f'{attributes.shown(text)} has an empty value'
        )
    return value, position


def _rfc4514_escape(text: str, position: int) -> tuple[bytes, int]:
    pair = text[position : position + 2]
    if re.fullmatch(r'[0-9A-Fa-f]{2}', pair, re.ASCII):
        return bytes.fromhex(pair), position + 2
    if pair[:1] and pair[0] in ' "#+,;<=>\\':
        return pair[0].encode(), position + 1
    raise attributes.NotAName(
        f'{attributes.shown(text)}: a backslash escapes nothing'
    )


def _hex_value(text: str, position: int) -> tuple[str, int]:
    """A value as ``#`` and the hex of its DER, string types only."""
    match = re.compile(r'#((?:[0-9A-Fa-f]{2})+) *(?=[,+;]|$)').match(
        text, position
    )
    if match is None:
        raise attributes.NotAName(
            f'{attributes.shown(text)}: "#" must begin hex digits'
        )
    der = bytes.fromhex(match[1])
    # UTF8String, PrintableString, IA5String in the short definite form.
    if len(der) < 3 or der[0] not in (0x0C, 0x13, 0x16):
        raise attributes.NotAName(
            f'{attributes.shown(text)}: the hex is no text value'
        )
    if der[1] != len(der) - 2:
        raise attributes.NotAName(
            f'{attributes.shown(text)}: the hex is no DER string'
        )
    try:
        return der[2:].decode('utf-8' if der[0] == 0x0C else 'ascii'), (
            match.end()
        )
    except UnicodeDecodeError:
        raise attributes.NotAName(
            f'{attributes.shown(text)}: the hex is no text'
        ) from None

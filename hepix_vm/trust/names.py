# SPDX-License-Identifier: Apache-2.0
"""Distinguished names as sequences of sets of (OID, value).

People write names in two forms:

* RFC 4514, the most specific part first: ``CN=Jo,O=Grid,C=DE``;
* the slash form of OpenSSL's one-line output, which image lists carry:
  ``/C=DE/O=Grid/CN=Jo``.

The slash form has no escapes, so a value that contains a slash is only
accepted where no other reading exists: ``/C=DE/CN=host/x.example.org``
reads one way because ``x.example.org`` is no attribute; ``/CN=a/b=c`` is
refused as ambiguous. A slash followed by a known attribute always starts
a new part, so ``/CN=a/CN=b`` means two parts and never equals a
certificate whose single value is ``a/CN=b``.
"""

from __future__ import annotations

import dataclasses
import functools
import re

from cryptography import x509

# Attribute types by OID: the first keyword is written, all are read.
# RFC 4514 section 3, RFC 4519, PKCS #9, and the spellings that OpenSSL,
# Globus and Java tools print.
_KEYWORDS: dict[str, tuple[str, ...]] = {
    '2.5.4.3': ('CN', 'commonName'),
    '2.5.4.4': ('SN', 'surname'),
    '2.5.4.5': ('serialNumber',),
    '2.5.4.6': ('C', 'countryName'),
    '2.5.4.7': ('L', 'localityName'),
    '2.5.4.8': ('ST', 'S', 'stateOrProvinceName'),
    '2.5.4.9': ('STREET', 'streetAddress'),
    '2.5.4.10': ('O', 'organizationName'),
    '2.5.4.11': ('OU', 'organizationalUnitName'),
    '2.5.4.12': ('title',),
    '2.5.4.13': ('description',),
    '2.5.4.15': ('businessCategory',),
    '2.5.4.17': ('postalCode',),
    '2.5.4.41': ('name',),
    '2.5.4.42': ('GN', 'givenName'),
    '2.5.4.43': ('initials',),
    '2.5.4.44': ('generationQualifier',),
    '2.5.4.45': ('x500UniqueIdentifier',),
    '2.5.4.46': ('dnQualifier',),
    '2.5.4.65': ('pseudonym',),
    '2.5.4.97': ('organizationIdentifier',),
    '0.9.2342.19200300.100.1.1': ('UID', 'USERID'),
    '0.9.2342.19200300.100.1.25': ('DC', 'domainComponent'),
    '1.2.840.113549.1.9.1': ('emailAddress', 'Email', 'E'),
    '1.2.840.113549.1.9.2': ('unstructuredName',),
}
_OID_OF = {
    word.lower(): oid for oid, words in _KEYWORDS.items() for word in words
}
_DOTTED = re.compile(r'[0-2](?:\.(?:0|[1-9][0-9]*))+', re.ASCII)
_TYPE = re.compile(r'[A-Za-z][A-Za-z0-9-]*|[0-2](?:\.[0-9]+)+', re.ASCII)
_PLUS_TYPE = re.compile(
    r'\+\s*([A-Za-z][A-Za-z0-9-]*|[0-2](?:\.[0-9]+)+)=', re.ASCII
)
_HEX_ESCAPE = re.compile(r'\\x([0-9A-Fa-f]{2})')
_SPECIAL = frozenset('"+,;<>\\')
_LONGEST = 4096


class NotAName(ValueError):
    """A text is not a distinguished name, or not in exactly one way.

    :param ambiguous: whether more than one reading exists
    """

    def __init__(self, message: str, *, ambiguous: bool = False) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous


Part = frozenset[tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """A distinguished name; equality is exact and meant for authorisation.

    :param parts: relative distinguished names in the certificate's order,
        each a set of (dotted OID, value)
    """

    parts: tuple[Part, ...]

    def rfc4514(self) -> str:
        """The name as RFC 4514 writes it, most specific part first."""
        return ','.join(
            '+'.join(
                f'{keyword(oid)}={_escape(value)}'
                for oid, value in sorted(part)
            )
            for part in reversed(self.parts)
        )

    def slash(self) -> str:
        """The one-line form; may be ambiguous, never compare it."""
        return ''.join(
            f'/{keyword(oid)}={value}'
            for part in self.parts
            for oid, value in sorted(part)
        )

    def normalised(self) -> Name:
        """For chaining: case and runs of blanks do not count (RFC 5280)."""
        return Name(
            tuple(
                frozenset((oid, _fold(value)) for oid, value in part)
                for part in self.parts
            )
        )

    def __str__(self) -> str:
        return self.rfc4514()


def keyword(oid: str) -> str:
    """The keyword that is written for an attribute type."""
    return _KEYWORDS.get(oid, (oid,))[0]


def canonical_keyword(word: str) -> str:
    """One lower-case spelling for the aliases of an attribute type."""
    oid = _OID_OF.get(word.lower())
    return word.lower() if oid is None else keyword(oid).lower()


@functools.cache
def _fold_table() -> dict[int, str]:
    # OpenSSL's canonical form (x509name_canon) folds ASCII only.
    return {ord(c): c.lower() for c in 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'}


def _fold(value: str) -> str:
    return (
        re.sub(r'[ \t\n\v\f\r]+', ' ', value)
        .strip(' ')
        .translate(_fold_table())
    )


def _escape(value: str) -> str:
    text = ''.join(
        '\\00' if char == '\0' else '\\' + char if char in _SPECIAL else char
        for char in value
    )
    if text.startswith((' ', '#')):
        text = '\\' + text
    if text.endswith(' ') and len(value) > 1:
        text = text[:-1] + '\\ '
    return text


def from_x509(name: x509.Name) -> Name:
    """The name of a certificate.

    :raises NotAName: the name has no part
    """
    parts = []
    for rdn in name.rdns:
        pairs = []
        for attribute in rdn:
            value: str | bytes = attribute.value
            if isinstance(value, bytes):
                value = '#' + value.hex()
            pairs.append((attribute.oid.dotted_string, value))
        parts.append(frozenset(pairs))
    if not parts:
        raise NotAName('the certificate has an empty name')
    return Name(tuple(parts))


def parse(text: str) -> Name:
    """A name that a person or a list wrote, in either form.

    :raises NotAName: the text is no name, or can be read in two ways
    """
    if not text.strip():
        raise NotAName('a distinguished name is empty')
    if len(text) > _LONGEST:
        raise NotAName(f'a distinguished name exceeds {_LONGEST} characters')
    if any(_is_control(char) for char in text):
        raise NotAName(f'{_shown(text)} contains a control character')
    text = text.strip(' ')
    return _parse_slash(text) if text[0] == '/' else _parse_rfc4514(text)


def _is_control(char: str) -> bool:
    # Lone surrogates have no UTF-8; JSON escapes can bring them.
    return char < ' ' or char == '\x7f' or '\ud800' <= char <= '\udfff'


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + '...')


def _oid(word: str, text: str) -> str:
    if _DOTTED.fullmatch(word):
        return word
    oid = _OID_OF.get(word.lower())
    if oid is None:
        raise NotAName(
            f'{_shown(text)}: attribute type {word!r} is not known; write '
            'its dotted number'
        )
    return oid


def _ambiguous(text: str, why: str) -> NotAName:
    return NotAName(
        f'{_shown(text)} can be read in more than one way ({why}); write it '
        'in RFC 4514 form, for example CN=Jo,O=Grid,C=DE',
        ambiguous=True,
    )


def _parse_slash(text: str) -> Name:
    pairs: list[tuple[str, str]] = []
    for piece in text[1:].split('/'):
        word, equals, value = piece.partition('=')
        known = word.lower() in _OID_OF or _DOTTED.fullmatch(word)
        if equals and known:
            pairs.append((_oid(word, text), value))
        elif not pairs:
            raise NotAName(
                f'{_shown(text)} does not begin with /TYPE= of a known type'
            )
        elif equals and _TYPE.fullmatch(word.strip()):
            raise _ambiguous(
                text, f'{word!r} may be an attribute or part of a value'
            )
        else:
            oid, before = pairs[-1]
            pairs[-1] = (oid, f'{before}/{piece}')
    return Name(
        tuple(
            frozenset({(oid, _slash_value(value, text))})
            for oid, value in pairs
        )
    )


def _slash_value(value: str, text: str) -> str:
    if not value:
        raise NotAName(f'{_shown(text)} has an empty value')
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
    if any(_is_control(char) for char in decoded):
        raise NotAName(f'{_shown(text)} contains a control character')
    return decoded


def _parse_rfc4514(text: str) -> Name:
    parts: list[Part] = []
    pairs: list[tuple[str, str]] = []
    position = 0
    while True:
        word, equals, _ = text[position:].partition('=')
        if not equals or not _TYPE.fullmatch(word):
            raise NotAName(
                f'{_shown(text)}: expected TYPE=value, found '
                f'{_shown(text[position : position + 40])}; forms are '
                'CN=Jo,O=Grid,C=DE and /C=DE/O=Grid/CN=Jo'
            )
        value, position = _rfc4514_value(text, position + len(word) + 1)
        pairs.append((_oid(word, text), value))
        separator = text[position : position + 1]
        if separator != '+':
            if len(set(pairs)) != len(pairs):
                raise NotAName(f'{_shown(text)} repeats an attribute')
            parts.append(frozenset(pairs))
            pairs = []
        if not separator:
            return Name(tuple(reversed(parts)))
        position += 1
        while text[position : position + 1] == ' ':
            position += 1


def _rfc4514_value(text: str, position: int) -> tuple[str, int]:
    """The value that starts at a position, and where it ends."""
    if text[position : position + 1] == '#':
        return _hex_value(text, position)
    if text[position : position + 1] == ' ':
        raise NotAName(
            f'{_shown(text)} has blanks around "="; write RFC 4514, which '
            'openssl prints with -nameopt RFC2253'
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
            raise NotAName(f'{_shown(text)}: {char!r} must be escaped')
        raw += char.encode()
        if char != ' ':
            trailing = len(raw)
        position += 1
    try:
        value = raw[:trailing].decode()
    except UnicodeDecodeError:
        raise NotAName(f'{_shown(text)} escapes bytes not UTF-8') from None
    if not value:
        raise NotAName(f'{_shown(text)} has an empty value')
    return value, position


def _rfc4514_escape(text: str, position: int) -> tuple[bytes, int]:
    pair = text[position : position + 2]
    if re.fullmatch(r'[0-9A-Fa-f]{2}', pair, re.ASCII):
        return bytes.fromhex(pair), position + 2
    if pair[:1] and pair[0] in ' "#+,;<=>\\':
        return pair[0].encode(), position + 1
    raise NotAName(f'{_shown(text)}: a backslash escapes nothing')


def _hex_value(text: str, position: int) -> tuple[str, int]:
    """A value as ``#`` and the hex of its DER, string types only."""
    match = re.compile(r'#((?:[0-9A-Fa-f]{2})+) *(?=[,+;]|$)').match(
        text, position
    )
    if match is None:
        raise NotAName(f'{_shown(text)}: "#" must begin hex digits')
    der = bytes.fromhex(match[1])
    # UTF8String, PrintableString, IA5String in the short definite form.
    if len(der) < 3 or der[0] not in (0x0C, 0x13, 0x16):
        raise NotAName(f'{_shown(text)}: the hex is no text value')
    if der[1] != len(der) - 2:
        raise NotAName(f'{_shown(text)}: the hex is no DER string')
    try:
        return der[2:].decode('utf-8' if der[0] == 0x0C else 'ascii'), (
            match.end()
        )
    except UnicodeDecodeError:
        raise NotAName(f'{_shown(text)}: the hex is no text') from None

# SPDX-License-Identifier: Apache-2.0
"""Attribute types of distinguished names, and what cannot be read."""

from __future__ import annotations

import re

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


class NotAName(ValueError):
    """A text is not a distinguished name, or not in exactly one way.

    :param ambiguous: whether more than one reading exists
    """

    def __init__(self, message: str, *, ambiguous: bool = False) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous


def keyword(oid: str) -> str:
    """The keyword that is written for an attribute type."""
    return _KEYWORDS.get(oid, (oid,))[0]


def canonical_keyword(word: str) -> str:
    """One lower-case spelling for the aliases of an attribute type."""
    oid = _OID_OF.get(word.lower())
    return word.lower() if oid is None else keyword(oid).lower()


def known(word: str) -> bool:
    """Whether a word is a known keyword or a dotted OID."""
    return word.lower() in _OID_OF or bool(_DOTTED.fullmatch(word))


def oid_of(word: str, text: str) -> str:
    """The OID of a keyword in a text.

    :raises NotAName: it is not known
    """
    if _DOTTED.fullmatch(word):
        return word
    oid = _OID_OF.get(word.lower())
    if oid is None:
        raise NotAName(
            f'{shown(text)}: attribute type {word!r} is not known; write '
            'its dotted number'
        )
    return oid


def shown(text: str) -> str:
    """A text for a message, shortened."""
    return repr(text if len(text) <= 200 else text[:200] + '...')


def is_control(char: str) -> bool:
    """Whether a character has no place in a name."""
    # Lone surrogates have no UTF-8; JSON escapes can bring them.
    return char < ' ' or char == '\x7f' or '\ud800' <= char <= '\udfff'

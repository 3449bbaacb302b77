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

from hepix_vm.trust import attributes
from hepix_vm.trust import name_forms

NotAName = attributes.NotAName
Part = name_forms.Part
_SPECIAL = frozenset('"+,;<>\\')
_LONGEST = 4096


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
                f'{attributes.keyword(oid)}={_escape(value)}'
                for oid, value in sorted(part)
            )
            for part in reversed(self.parts)
        )

    def slash(self) -> str:
        """The one-line form; may be ambiguous, never compare it."""
        return ''.join(
            f'/{attributes.keyword(oid)}={value}'
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
    text = ''.join(_escaped(char) for char in value)
    if text.startswith((' ', '#')):
        text = '\\' + text
    if text.endswith(' ') and len(value) > 1:
        text = text[:-1] + '\\ '
    return text


def _escaped(char: str) -> str:
    if char in _SPECIAL:
        return '\\' + char
    if not char.isprintable():
        # Line ends and the like in a name must not reach a log as such.
        return ''.join(f'\\{octet:02X}' for octet in char.encode())
    return char


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
    if any(attributes.is_control(char) for char in text):
        raise NotAName(
            f'{attributes.shown(text)} contains a control character'
        )
    text = text.lstrip(' ')
    if text.startswith('/'):
        return Name(name_forms.parse_slash(text.rstrip(' ')))
    return Name(name_forms.parse_rfc4514(text))

# SPDX-License-Identifier: Apache-2.0
"""Names and tags with places to be filled: ``{title} ({vo})``.

A template knows a fixed set of variables and nothing else: no attributes, no
indices, no formats, no code. What fills a place stems from a list and is
cleaned before it gets to Glance.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import re
import unicodedata

from hepix_vm import errors

#: What a template may name; each is a string, maybe an empty one.
VARIABLES = (
    'title',
    'identifier',
    'version',
    'subscription',
    'vo',
    'os',
    'os_name',
    'os_distro',
    'os_version',
    'arch',
    'format',
)

#: Characters of a name, a tag or an ordinary property at most: what the
#: schemas of Glance's images say of names and tags, and where Nova cuts the
#: properties that it keeps of a server's image.
LENGTH = 255

_PLACE = re.compile(r'\{\{|\}\}|\{([a-z_]*)\}')
# Controls, halves of pairs, private and unassigned ones, separators of lines
# and paragraphs; and, apart, marks without a width, such as reorder text.
_UNWANTED = frozenset({'Cc', 'Cs', 'Co', 'Cn', 'Zl', 'Zp'})
_INVISIBLE = 'Cf'


def clean(text: str, length: int = LENGTH) -> str:
    """Text of a list as Glance takes it and a terminal may show it.

    Composed, on one line, without characters that nobody sees, and without
    those beyond U+FFFF, which Glance refuses ("4 byte unicode").
    """
    shown = ''.join(map(_shown, unicodedata.normalize('NFC', text)))
    return ' '.join(shown.split())[:length].rstrip()


def _shown(char: str) -> str:
    category = unicodedata.category(char)
    if category == _INVISIBLE:
        return ''
    if category in _UNWANTED:
        return ' '
    return '\ufffd' if char > '\uffff' else char


def folded(text: str) -> str:
    """Equal for texts that a database or a person takes for the same.

    Glance's MySQL compares names without regard to case and accents.
    """
    apart = unicodedata.normalize('NFKD', text)
    return ''.join(
        char for char in apart if not unicodedata.combining(char)
    ).casefold()


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """A text with places.

    :ivar text: as written
    :ivar parts: pairs of a literal and the variable behind it, or None
    """

    text: str
    parts: tuple[tuple[str, str | None], ...]

    @property
    def variables(self) -> frozenset[str]:
        """The variables that it names."""
        return frozenset(name for _, name in self.parts if name)

    def filled(self, values: Mapping[str, str]) -> str:
        """Every place filled; what is not known fills with nothing."""
        return ''.join(
            literal + (values.get(name, '') if name else '')
            for literal, name in self.parts
        )

    def whole(self, values: Mapping[str, str]) -> bool:
        """Whether every variable that it names has a value."""
        return all(values.get(name) for name in self.variables)


def parse(text: str, allowed: Collection[str] = VARIABLES) -> Template:
    """Read a template; ``{{`` and ``}}`` are braces themselves.

    :raises errors.Misconfigured: for a variable that is not known and for
        a brace that is alone
    """
    parts: list[tuple[str, str | None]] = []
    literal, position = '', 0
    for found in _PLACE.finditer(text):
        literal += _plain(text, text[position : found.start()])
        position = found.end()
        if found.group() in ('{{', '}}'):
            literal += found.group()[0]
            continue
        name = found[1]
        if name not in allowed:
            raise errors.Misconfigured(
                f'{text!r}: expected one of '
                f'{", ".join(f"{{{name}}}" for name in allowed)}, '
                f'found {found.group()}'
            )
        parts.append((literal, name))
        literal = ''
    literal += _plain(text, text[position:])
    return Template(text, (*parts, (literal, None)))


def _plain(text: str, literal: str) -> str:
    if '{' in literal or '}' in literal:
        raise errors.Misconfigured(
            f'{text!r}: expected {{variable}}, or {{{{ and }}}} for braces, '
            'found a brace that is alone'
        )
    return literal

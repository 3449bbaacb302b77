# SPDX-License-Identifier: Apache-2.0
"""The terms by which a site approves images: ``vo = atlas arch = x86_64``.

A line is a conjunction of terms KEY OP VALUE; a value is a shell word with
globs, whose alternatives stand between bars. It is compared, never run.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import fnmatch
import operator
import re
import shlex
from typing import Any

from hepix_vm import errors
from hepix_vm import imagelist

#: What a term can ask about. ``vo`` is the list's, the others are the image's.
KEYS = (
    'vo',
    'os',
    'os_name',
    'os_version',
    'arch',
    'hypervisor',
    'format',
    'title',
    'identifier',
    'version',
)

#: Characters of one line at most.
LENGTH = 4096

#: What is said of an image, by key: none, one or several values.
Facts = Mapping[str, tuple[str, ...]]

_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    '<': operator.lt,
    '<=': operator.le,
    '>': operator.gt,
    '>=': operator.ge,
}
_OPERATORS = ('=', '!=', *_ORDERED)

# A word of shlex in its POSIX form: bare characters, escapes and quotes.
_WORD = r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+"""
_TERM = re.compile(
    rf'\s*(?P<key>[A-Za-z_]+)\s*(?P<op>[<>=!~]+)\s*(?P<value>{_WORD})'
    r'(?=\s|$)(?:\s+and(?=\s+\S))?\s*',
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """One comparison.

    :ivar value: as written, without its quotes
    :ivar patterns: the alternatives of ``=`` and ``!=``
    """

    key: str
    op: str
    value: str
    patterns: tuple[re.Pattern[str], ...] = dataclasses.field(
        default=(), repr=False, compare=False
    )

    def holds(self, facts: Facts) -> bool:
        """Whether it holds; never of what the list does not say."""
        said = facts.get(self.key, ())
        if not said:
            return False
        if self.op in _ORDERED:
            return any(self._ordered(text) for text in said)
        same = any(
            pattern.match(text.casefold())
            for pattern in self.patterns
            for text in said
        )
        return same is (self.op == '=')

    def _ordered(self, text: str) -> bool:
        try:
            return _ORDERED[self.op](
                imagelist.version_key(text), imagelist.version_key(self.value)
            )
        except ValueError:
            return False


@dataclasses.dataclass(frozen=True, slots=True)
class Conjunction:
    """Terms that all have to hold, as one line of the option."""

    text: str
    terms: tuple[Term, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether every term holds; never raises."""
        return all(term.holds(facts) for term in self.terms)


def any_holds(lines: Iterable[Conjunction], facts: Facts) -> bool:
    """Whether one of the lines holds; without lines none does."""
    return any(line.holds(facts) for line in lines)


def parse(text: str) -> Conjunction:
    """Read one line.

    :raises errors.Misconfigured: what was expected, and what was found
    """
    if len(text) > LENGTH:
        raise errors.Misconfigured(
            f'expected at most {LENGTH} characters, found {len(text)}'
        )
    terms = []
    position = 0
    while position < len(text):
        found = _TERM.match(text, position)
        if found is None:
            raise errors.Misconfigured(
                'expected KEY OP VALUE, such as vo = atlas or title = '
                f'"Worker *", found {_shown(text[position:])}'
            )
        terms.append(_term(found))
        position = found.end()
    if not terms:
        raise errors.Misconfigured(
            'expected at least one term KEY OP VALUE, found nothing'
        )
    return Conjunction(text, tuple(terms))


def _term(found: re.Match[str]) -> Term:
    key, op, word = found['key'], found['op'], found['value']
    written = found.group().strip()
    if key not in KEYS:
        raise errors.Misconfigured(
            f'term {_shown(written)}: expected one of {", ".join(KEYS)}, '
            f'found {_shown(key)}'
        )
    if op not in _OPERATORS:
        raise errors.Misconfigured(
            f'term {_shown(written)}: expected one of '
            f'{" ".join(_OPERATORS)}, found {_shown(op)}'
        )
    try:
        value = ''.join(shlex.split(word))
        if op in _ORDERED:
            return Term(key, op, _version(key, op, value))
        if word.endswith(','):
            raise ValueError('expected blanks between terms, found a comma')
        return Term(key, op, value, _patterns(value))
    except (ValueError, re.error, OverflowError, RecursionError) as exc:
        raise errors.Misconfigured(f'term {_shown(written)}: {exc}') from exc


def _version(key: str, op: str, value: str) -> str:
    if key not in ('version', 'os_version'):
        raise ValueError(
            f'expected = or !=, found {op}: only a version has an order'
        )
    try:
        imagelist.version_key(value)
    except ValueError as exc:
        raise ValueError(
            f'expected a version, found {_shown(value)}: {exc}'
        ) from exc
    return value


def _patterns(value: str) -> tuple[re.Pattern[str], ...]:
    parts = value.casefold().split('|')
    if not all(parts):
        raise ValueError(
            f'expected a value, or several with "|" between, found '
            f'{_shown(value)}'
        )
    return tuple(re.compile(fnmatch.translate(part)) for part in parts)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f'{text[:60]}...')

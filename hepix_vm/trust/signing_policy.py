# SPDX-License-Identifier: Apache-2.0
"""The signing_policy files of grid trust anchors.

A file says which subjects a CA may certify, as Globus' extended access
control lists do::

    access_id_CA   X509     '/C=DE/O=Grid/CN=Some CA'
    pos_rights     globus   CA:sign
    cond_subjects  globus   '"/C=DE/O=Grid/*" "/O=Grid/*"'

Patterns hold for the whole subject in slash form: ``*`` is any run, ``?``
one character, case does not count and the spellings of a type are one.
"""

from __future__ import annotations

from collections.abc import Iterable
import re

from hepix_vm.trust import attributes
from hepix_vm.trust import names

_LINE = re.compile(r'(\w+)\s+(\w+)\s+(.+)')
_QUOTED = re.compile(r'"([^"]*)"')
_TYPE = re.compile(r'/([a-z][a-z0-9-]*)=')


class Broken(ValueError):
    """A file is no signing_policy that is understood."""


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """Patterns by CA, the CA in the form that :func:`canonical` gives.

    :raises Broken: a line is not understood; nothing is guessed
    """
    found: dict[str, tuple[str, ...]] = {}
    authority: str | None = None
    may_sign = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith('#'):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise Broken(f'line {number} is not understood')
        keyword, kind, value = match[1].lower(), match[2].lower(), match[3]
        if (keyword, kind) == ('access_id_ca', 'x509'):
            authority = canonical(_unquote(value))
            found.setdefault(authority, ())
            may_sign = False
        elif authority is None:
            raise Broken(f'line {number}: expected access_id_CA first')
        elif (keyword, kind) == ('pos_rights', 'globus'):
            may_sign = _unquote(value).lower() == 'ca:sign'
        elif (keyword, kind) == ('cond_subjects', 'globus'):
            if may_sign:
                found[authority] += _patterns(value)
        else:
            raise Broken(f'line {number}: {match[1]!r} is not understood')
    return found


def _unquote(value: str) -> str:
    for quote in '\'"':
        if len(value) > 1 and value[0] == value[-1] == quote:
            return value[1:-1].strip()
    return value


def _patterns(value: str) -> tuple[str, ...]:
    quoted = _QUOTED.findall(value)
    return tuple(canonical(p) for p in quoted or [_unquote(value)] if p)


def canonical(text: str) -> str:
    """A slash form, or a pattern of it, with one spelling for each type."""
    return _TYPE.sub(
        lambda m: f'/{attributes.canonical_keyword(m[1])}=', text.lower()
    )


def allows(patterns: Iterable[str], subject: names.Name) -> bool:
    """Whether one of the patterns matches a subject."""
    text = canonical(subject.slash())
    return any(_regex(p).fullmatch(text) for p in patterns)


def _regex(pattern: str) -> re.Pattern[str]:
    parts = (
        '.*' if c == '*' else '.' if c == '?' else re.escape(c)
        for c in re.sub(r'\*+', '*', pattern)
    )
    return re.compile(''.join(parts), re.DOTALL)

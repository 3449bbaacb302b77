# SPDX-License-Identifier: Apache-2.0
"""Which parts of a site directory an instance gets; no I/O.

``layers.yaml`` at the top of the site directory names the directories
beside it in their order, each with the conditions under which it counts::

    variables: {squid: cache.example.org}
    layers:
      - directory: common
      - directory: atlas
        when: {vo: atlas, flavor: [m1.large, big.*]}

All keys of ``when`` must match, any value of a list does, ``*`` stands for
any text. What is not known of an instance matches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

from hepix_vm.context import archive
from hepix_vm.context import documents
from hepix_vm.context import facts as facts_
from hepix_vm import errors

#: The file that says it.
FILE = 'layers.yaml'

#: The one layer of a site directory without that file, if it is there.
COMMON = 'common'

_DIRECTORY = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._+@=,-]*')
_VARIABLE = re.compile(r'[a-z][a-z0-9_]*')


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A layer and when it counts.

    :param directory: one plain name; '' is the site directory itself
    :param when: pairs of a name of :data:`facts.NAMES` and the patterns for
        it, of which one must match; none: the layer always counts
    """

    directory: str
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What ``layers.yaml`` says.

    :param rules: in their order; the later replaces file by file
    :param variables: for templates, sorted pairs
    """

    rules: tuple[Rule, ...]
    variables: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Matched:
    """Whether a layer counts for an instance.

    :param directory: of the layer
    :param why: for a person
    """

    directory: str
    matched: bool
    why: str


def plan(content: bytes, source: str) -> Plan:
    """Read ``layers.yaml``.

    :param source: its path, for the error
    :raises archive.BundleRefused: it is not YAML, or says something else
        than layers and variables, or something about them that cannot be
    """
    try:
        document = documents.load(content, source)
    except errors.Misconfigured as error:
        raise archive.BundleRefused(f'site context {error}') from error
    top = _mapping(document, ('layers', 'variables'), source)
    found = top.get('layers')
    if not isinstance(found, list) or not found:
        raise _refused(source, 'expected a list under "layers"')
    rules = tuple(
        _rule(item, f'{source}: layer {number}')
        for number, item in enumerate(found, 1)
    )
    names = [rule.directory for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise _refused(source, f'layer {name} is named twice')
    return Plan(rules, _variables(top.get('variables', {}), source))


def match(rule: Rule, known: Mapping[str, str]) -> Matched:
    """Whether a layer counts for what is known of an instance.

    :param known: see :func:`facts.known`
    """
    if not rule.when:
        return Matched(rule.directory, True, 'no condition')
    fits, fails = [], []
    for name, patterns in rule.when:
        value = known.get(name)
        wanted = ' or '.join(patterns)
        if value is None:
            fails.append(f'{name} is not known, expected {wanted}')
        elif any(matches(pattern, value) for pattern in patterns):
            fits.append(f'{name} is {value}')
        else:
            fails.append(f'{name} is {value}, expected {wanted}')
    return Matched(rule.directory, not fails, '; '.join(fails or fits))


def counts(rule: Rule, known: Mapping[str, str]) -> bool:
    """As :func:`match`, without a reason."""
    return all(
        name in known
        and any(matches(pattern, known[name]) for pattern in patterns)
        for name, patterns in rule.when
    )


def matches(pattern: str, value: str) -> bool:
    """Whether a text is of a form; ``*`` stands for any text, even none.

    Each piece is looked for once, from left to right, so that no pattern
    and no value takes long.
    """
    first, *pieces = pattern.split('*')
    if not pieces:
        return pattern == value
    last = pieces.pop()
    if len(value) < len(first) + len(last):
        return False
    if not (value.startswith(first) and value.endswith(last)):
        return False
    place, end = len(first), len(value) - len(last)
    for piece in pieces:
        place = value.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return True


def _rule(item: Any, source: str) -> Rule:
    found = _mapping(item, ('directory', 'when'), source)
    directory = found.get('directory')
    if not isinstance(directory, str) or not _DIRECTORY.fullmatch(directory):
        raise _refused(
            source,
            'expected "directory" with one plain name beside this file, found'
            f' {str(directory)[:80]!a}',
        )
    when = _mapping(found.get('when', {}), facts_.NAMES, f'{source}, "when"')
    return Rule(
        directory,
        tuple(
            (name, _patterns(value, f'{source}, "when", {name}'))
            for name, value in when.items()
        ),
    )


def _patterns(value: Any, source: str) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(item, str) and item for item in found)
    ):
        raise _refused(source, 'expected a text or a list of texts')
    return tuple(found)


def _variables(value: Any, source: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise _refused(source, 'expected a mapping under "variables"')
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name):
            raise _refused(
                source,
                f'variable {name[:80]!a}: expected lower case letters, digits'
                ' and _, beginning with a letter',
            )
        if name in (*facts_.NAMES, 'serial'):
            raise _refused(
                source,
                f'variable {name} would hide what is known of an instance;'
                ' give it another name',
            )
        if not isinstance(text, str) or not (text.isprintable() or not text):
            raise _refused(source, f'variable {name}: expected one line')
    return tuple(sorted(value.items()))


def _mapping(value: Any, keys: tuple[str, ...], source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused(source, 'expected a mapping')
    for key in value:
        if key not in keys:
            raise _refused(
                source,
                f'key {key[:80]!a} is unknown; expected {", ".join(keys)}',
            )
    return value


def _refused(source: str, problem: str) -> archive.BundleRefused:
    return archive.BundleRefused(f'site context {source}: {problem}')

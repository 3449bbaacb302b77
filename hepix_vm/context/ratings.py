# SPDX-License-Identifier: Apache-2.0
"""What a site says of its hosts and projects in one table; no I/O.

The table is a small YAML file::

    ratings:                    # the first that matches counts
      - {host: 'wn24-*', hs23: 1850.5}
      - {aggregate: epyc, cpu_model: EPYC-Rome*, hs06: 1200}
    wall_limits:                # the first that matches counts, too
      - {project: 7f2c0d6a5b9e4f0f8a3f0f8b2f6d1c11, seconds: 259200}
      - {project: '*', seconds: 172800}

A rating is that of the full hypervisor. All conditions of a rating must
match, of a list any; ``*`` stands for any text. What is not known of a host
matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import decimal
import re
from typing import Any

from hepix_vm.context import documents
from hepix_vm.context import layers
from hepix_vm import errors

#: Conditions of a rating, and what it may say.
_CONDITIONS = ('host', 'aggregate', 'cpu_model')
_SCALES = ('hs06', 'hs23')

#: No host has more, and no job runs longer (a hundred years).
_HIGHEST = decimal.Decimal(10) ** 7
_LONGEST = 100 * 366 * 86400

_NUMBER = re.compile(r'[0-9]{1,8}(\.[0-9]{1,6})?', re.ASCII)
_SECONDS = re.compile(r'[0-9]{1,10}', re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Rating:
    """How fast hosts of a kind are; no condition means all.

    :param host: patterns for the name
    :param aggregate: patterns, one of which matches one of its aggregates
    :param cpu_model: patterns
    :param hs06: HS06 of the full hypervisor
    :param hs23: HEPScore23 of it
    """

    host: tuple[str, ...] = ()
    aggregate: tuple[str, ...] = ()
    cpu_model: tuple[str, ...] = ()
    hs06: decimal.Decimal | None = None
    hs23: decimal.Decimal | None = None

    def fits(
        self, host: str, aggregates: Iterable[str], cpu_model: str | None
    ) -> bool:
        """Whether it is that of a host."""
        models = () if cpu_model is None else (cpu_model,)
        return (
            _any(self.host, (host,))
            and _any(self.aggregate, aggregates)
            and _any(self.cpu_model, models)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class WallLimit:
    """How long servers of some projects may run.

    :param project: patterns for the id
    :param seconds: from the start of a server
    """

    project: tuple[str, ...]
    seconds: int


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """What a site says, in the order of the file."""

    ratings: tuple[Rating, ...] = ()
    wall_limits: tuple[WallLimit, ...] = ()

    def rating(
        self, host: str, aggregates: Iterable[str], cpu_model: str | None
    ) -> Rating | None:
        """The first rating that fits a host."""
        known = tuple(aggregates)
        for one in self.ratings:
            if one.fits(host, known, cpu_model):
                return one
        return None

    def wall_limit(self, project: str) -> int | None:
        """Seconds that servers of a project may run; None: nothing said."""
        for one in self.wall_limits:
            if _any(one.project, (project,)):
                return one.seconds
        return None


#: A site that says nothing.
EMPTY = Table()


def parse(content: bytes, source: str) -> Table:
    """Read the table.

    :param source: its path, for the error
    :raises errors.Misconfigured: it says something else
    """
    top = documents.load(content, source)
    if top in (None, ''):
        return EMPTY
    found = _mapping(top, ('ratings', 'wall_limits'), source)
    return Table(
        tuple(
            _rating(item, f'{source}: rating {number}')
            for number, item in _numbered(found, 'ratings', source)
        ),
        tuple(
            _wall_limit(item, f'{source}: wall limit {number}')
            for number, item in _numbered(found, 'wall_limits', source)
        ),
    )


def seconds(text: str) -> int | None:
    """A number of seconds; None for any other text, and for nought."""
    if not _SECONDS.fullmatch(text):
        return None
    found = int(text)
    return found if 0 < found <= _LONGEST else None


def _any(patterns: tuple[str, ...], values: Iterable[str]) -> bool:
    return not patterns or any(
        layers.matches(pattern, value)
        for value in values
        for pattern in patterns
    )


def _rating(item: Any, source: str) -> Rating:
    found = _mapping(item, (*_CONDITIONS, *_SCALES), source)
    values = {
        name: _number(found[name], f'{source}, {name}')
        for name in _SCALES
        if name in found
    }
    if not values:
        raise errors.Misconfigured(
            f'{source}: expected hs06 or hs23 (or both) of the full '
            'hypervisor, found neither; add one'
        )
    conditions = {
        name: _patterns(found[name], f'{source}, {name}')
        for name in _CONDITIONS
        if name in found
    }
    if not conditions:
        raise errors.Misconfigured(
            f'{source}: expected {", ".join(_CONDITIONS)}, or some of them, '
            "found none; write host: '*' for all hosts"
        )
    return Rating(
        host=conditions.get('host', ()),
        aggregate=conditions.get('aggregate', ()),
        cpu_model=conditions.get('cpu_model', ()),
        hs06=values.get('hs06'),
        hs23=values.get('hs23'),
    )


def _wall_limit(item: Any, source: str) -> WallLimit:
    found = _mapping(item, ('project', 'seconds'), source)
    text = found.get('seconds', '')
    limit = seconds(text) if isinstance(text, str) else None
    if limit is None or 'project' not in found:
        raise errors.Misconfigured(
            f'{source}: expected a project and its seconds, at least 1 and '
            f'at most {_LONGEST}, found seconds {str(text)[:40]!a}; correct '
            'it'
        )
    return WallLimit(_patterns(found['project'], f'{source}, project'), limit)


def _number(value: Any, source: str) -> decimal.Decimal:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        found = decimal.Decimal(value)
        if 0 < found <= _HIGHEST:
            return found
    raise errors.Misconfigured(
        f'{source}: expected a number above 0 and up to {_HIGHEST:f}, such '
        f'as 1850.5, found {str(value)[:40]!a}; correct it'
    )


def _patterns(value: Any, source: str) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(item, str) and item for item in found)
    ):
        raise errors.Misconfigured(
            f'{source}: expected a text or a list of texts, found '
            f'{str(value)[:40]!a}; correct it'
        )
    return tuple(found)


def _numbered(top: dict[str, Any], name: str, source: str) -> enumerate[Any]:
    value = top.get(name, [])
    if not isinstance(value, list):
        raise errors.Misconfigured(
            f'{source}: expected a list under "{name}", found '
            f'{str(value)[:40]!a}; begin each line of it with "- "'
        )
    return enumerate(value, 1)


def _mapping(value: Any, keys: tuple[str, ...], source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise errors.Misconfigured(
            f'{source}: expected {", ".join(keys)} with their values, found '
            f'{str(value)[:40]!a}; correct it'
        )
    for key in value:
        if key not in keys:
            raise errors.Misconfigured(
                f'{source}: key {key[:80]!a} is unknown; expected '
                f'{", ".join(keys)}'
            )
    return value

# SPDX-License-Identifier: Apache-2.0
"""Where a filter stands in the pipelines of a service's paste file."""

from __future__ import annotations

import configparser
import dataclasses
from pathlib import Path

from hepix_vm import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Pipeline:
    """One pipeline of a paste file.

    :ivar section: where it is written
    :ivar factories: what each of its parts is made by, in their order; the
        part's own name where the file does not say
    """

    section: str
    factories: tuple[str, ...]

    def place(self, factory: str) -> int:
        """Where a factory stands; -1: nowhere."""
        for place, name in enumerate(self.factories):
            if name == factory:
                return place
        return -1


def pipelines(file: Path, chooser: str, name: str) -> tuple[Pipeline, ...]:
    """Pipelines that a service chooses by the value of an option.

    :param chooser: factory of the sections that hold the choice, such as
        ``glance.api:pipeline_factory``
    :param name: that is chosen
    :raises errors.Misconfigured: when the file cannot be read
    """
    sections = _sections(file)
    found = []
    for section, options in sections.items():
        made_by = options.get('paste.composite_factory') or options.get('use')
        if (made_by or '').removeprefix('call:').strip() != chooser:
            continue
        parts = options.get(name, '').split()
        found.append(
            Pipeline(
                section, tuple(_factory(sections, part) for part in parts)
            )
        )
    return tuple(found)


def mounts(file: Path, composite: str) -> dict[str, str]:
    """What a composite of PasteDeploy's ``urlmap`` serves, and where.

    :param composite: its name, such as ``metadata``
    :returns: factories by the prefix of a path; the name of the part itself
        where the file does not say
    :raises errors.Misconfigured: when the file cannot be read
    """
    sections = _sections(file)
    return {
        prefix: _factory(sections, part.strip())
        for prefix, part in sections.get(f'composite:{composite}', {}).items()
        if prefix.startswith('/')
    }


def _factory(sections: dict[str, dict[str, str]], part: str) -> str:
    for kind in ('filter', 'app'):
        options = sections.get(f'{kind}:{part}', {})
        for key in (f'paste.{kind}_factory', 'use'):
            if key in options:
                return options[key].removeprefix('call:').strip()
    return part


def _sections(file: Path) -> dict[str, dict[str, str]]:
    # PasteDeploy's own reader would load what the file names.
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(file.read_text('utf-8'))
    except OSError as exc:
        raise errors.Misconfigured(
            f'{file}: expected a readable paste file, found: {exc.strerror}'
        ) from exc
    except (configparser.Error, UnicodeDecodeError) as exc:
        raise errors.Misconfigured(
            f'{file}: expected a paste file, found: '
            f'{" ".join(str(exc).split())}'
        ) from exc
    return {name: dict(parser.items(name)) for name in parser.sections()}

# SPDX-License-Identifier: Apache-2.0
"""Files of predecessors, read within limits."""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hepix_vm.endorse import files
from hepix_vm import errors

#: Bytes of a configuration file at most.
LARGEST = 1024 * 1024

#: References to anchors in one file, and pairs of one mapping, at most:
#: together they bound what a small file can grow to.
_ALIASES = 1000
_PAIRS = 10000


class _Loader(yaml.SafeLoader):
    """Safe values only, and never many of a few."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; a reference to an anchor is counted."""
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > _ALIASES:
                raise yaml.YAMLError(
                    f'more than {_ALIASES} references to anchors'
                )
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what ``<<`` names, up to a limit."""
        super().flatten_mapping(node)
        if len(node.value) > _PAIRS:
            raise yaml.YAMLError(f'a mapping of more than {_PAIRS} pairs')


def text(path: Path) -> str:
    """A configuration file as text.

    :raises errors.Misconfigured: it cannot be read, is larger than
        :data:`LARGEST` or is no UTF-8
    """
    content = files.read(path, LARGEST)
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError as exc:
        raise errors.Misconfigured(
            f'{path}: expected UTF-8, found other bytes at {exc.start}'
        ) from exc


def mapping(path: Path) -> Mapping[Hashable, Any]:
    """The mapping that a YAML or JSON file holds.

    :raises errors.Misconfigured: it cannot be read or holds something else
    """
    try:
        loader = _Loader(text(path))
        found = loader.get_single_data()
    except RecursionError as exc:
        raise errors.Misconfigured(
            f'{path}: it is nested too deep, or within itself'
        ) from exc
    # Its constructors pass on what int() and date() raise.
    except (yaml.YAMLError, ValueError, OverflowError) as exc:
        reason = ' '.join(_without_content(exc).split())[:200]
        raise errors.Misconfigured(
            f'{path}: expected YAML or JSON, found: {reason}'
        ) from exc
    if not isinstance(found, Mapping):
        raise errors.Misconfigured(
            f'{path}: expected a mapping, found {kind(found)}'
        )
    return found


def _without_content(exc: Exception) -> str:
    """What was wrong and where, but no line of a file with secrets."""
    if isinstance(exc, yaml.MarkedYAMLError):
        mark = exc.problem_mark
        place = f' in line {mark.line + 1}' if mark is not None else ''
        return f'{exc.problem or exc.context}{place}'
    if isinstance(exc, yaml.YAMLError):
        return str(exc).partition('\n')[0]
    return f'a value that cannot be read ({type(exc).__name__})'


def kind(value: Any) -> str:
    """The kind of a value, in the file's terms."""
    names = {
        type(None): 'nothing',
        bool: 'a truth value',
        int: 'a number',
        float: 'a number',
        str: 'text',
        list: 'a list',
        dict: 'a mapping',
    }
    return names.get(type(value), type(value).__name__)


def string(path: Path, place: str, value: Any) -> str:
    """Text at some place; nothing counts as no text.

    :raises errors.Misconfigured: it is something else
    """
    if value is None:
        return ''
    if not isinstance(value, str):
        raise errors.Misconfigured(
            f'{path}, {place}: expected text, found {kind(value)}'
        )
    return value.strip()


def strings(path: Path, place: str, value: Any) -> tuple[str, ...]:
    """A list of texts; nothing counts as an empty list.

    :raises errors.Misconfigured: it is something else
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise errors.Misconfigured(
            f'{path}, {place}: expected a list, found {kind(value)}'
        )
    return tuple(string(path, place, item) for item in value)

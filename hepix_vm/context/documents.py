# SPDX-License-Identifier: Apache-2.0
"""Small YAML files of a site, read strictly; no I/O.

Every scalar is text, as written: ``no`` is a virtual organisation here, not
a truth value, and ``1.10`` keeps its zero. A key that appears twice and a
reference to an anchor are refused: the first hides a mistake, the second
lets a small file grow without bound.
"""

from __future__ import annotations

from typing import Any

import yaml

from hepix_vm import errors

#: Bytes of one file at most.
LARGEST = 64 * 1024


class _Loader(yaml.BaseLoader):
    """Texts, lists and mappings only."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; a reference to an anchor is none."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError('a reference to an anchor; write it out')
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping of texts; no key twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f'key {str(key.value)[:80]!a} is no text or'
                    ' appears twice',
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(content: bytes, source: str) -> Any:
    """Read one document: texts, lists and mappings with texts as keys.

    :param source: where it comes from, for the error
    :raises errors.Misconfigured: larger than :data:`LARGEST`, not UTF-8,
        not YAML, or with what this module refuses
    """
    if len(content) > LARGEST:
        raise errors.Misconfigured(
            f'{source}: expected at most {LARGEST} bytes, found'
            f' {len(content)}; make it smaller'
        )
    try:
        # Its tags could not make anything but these kinds of values.
        return _Loader(content.decode('utf-8')).get_single_data()
    except RecursionError as error:
        raise errors.Misconfigured(
            f'{source}: nested too deep; make it flatter'
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise errors.Misconfigured(
            f'{source}: expected YAML, found {_problem(error)}'
        ) from error


def _problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        place = f' in line {mark.line + 1}' if mark is not None else ''
        return f'{error.problem or error.context}{place}'
    return ' '.join(str(error).split())[:200]

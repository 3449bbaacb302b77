# SPDX-License-Identifier: Apache-2.0
"""What differs between two site directories; no I/O."""

from __future__ import annotations

import dataclasses
import difflib

from hepix_vm.context import archive

#: Lines of the difference of one file that are told.
_LINES = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One path that is not the same.

    :param change: ``added``, ``removed`` or ``changed``
    :param detail: what else a reader wants to know, such as the mode
    :param lines: a unified difference, where both sides are text
    """

    path: str
    change: str
    detail: str
    lines: tuple[str, ...]


def between(
    old: tuple[archive.Member, ...], new: tuple[archive.Member, ...]
) -> tuple[Difference, ...]:
    """What to do to ``old`` to get ``new``, in the order of the paths."""
    before = {member.path: member for member in old}
    after = {member.path: member for member in new}
    return tuple(
        _difference(path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after, key=lambda p: p.split('/'))
        if _seen(before.get(path)) != _seen(after.get(path))
    )


def _seen(member: archive.Member | None) -> tuple[object, ...]:
    """What a guest can tell of a member."""
    return () if member is None else (member.mode, member.content)


def _difference(
    path: str, old: archive.Member | None, new: archive.Member | None
) -> Difference:
    if old is None or new is None:
        change = 'added' if old is None else 'removed'
    else:
        change = 'changed'
    details = []
    kinds = [_kind(member) for member in (old, new) if member is not None]
    if kinds[0] != kinds[-1]:
        details.append(f'{kinds[0]} to {kinds[-1]}')
    elif change != 'changed':
        details.append(kinds[0])
    texts = [_text(member) for member in (old, new)]
    lines: tuple[str, ...] = ()
    if texts[0] is None or texts[1] is None:
        details.append('not text')
    else:
        lines = _lines(path, texts[0], texts[1])
    return Difference(path, change, ', '.join(details), lines)


def _kind(member: archive.Member) -> str:
    if member.content is None:
        return 'directory'
    return f'file of mode {member.mode:o}'


def _text(member: archive.Member | None) -> list[str] | None:
    """The lines of a file; None: it is not text."""
    if member is None or member.content is None:
        return []
    try:
        text = member.content.decode('utf-8')
    except UnicodeDecodeError:
        return None
    return None if '\0' in text else text.split('\n')


def _lines(path: str, old: list[str], new: list[str]) -> tuple[str, ...]:
    if old == new:
        return ()
    found = list(
        difflib.unified_diff(old, new, f'a/{path}', f'b/{path}', lineterm='')
    )
    if len(found) > _LINES:
        left = len(found) - _LINES
        found = [*found[:_LINES], f'... {left} more lines differ']
    return tuple(found)

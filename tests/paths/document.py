# SPDX-License-Identifier: Apache-2.0
"""The table as the documentation has it, with a column for each release."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import itertools
from pathlib import Path

from tests.cloud import releases
from tests.paths import report
from tests.paths import rows_guests
from tests.paths import rows_images
from tests.paths import rows_servers
from tests.paths import table

_REFERENCE = Path(__file__).parents[2] / 'doc' / 'source' / 'reference'
#: What came of the paths, by release.
RESULTS = _REFERENCE / 'paths'
FILE = _REFERENCE / 'paths-table.inc'

_SECTIONS: Mapping[str, tuple[table.Row, ...]] = {
    'Images': rows_images.ROWS,
    'Servers': rows_servers.ROWS,
    'Real machines, snapshots and volumes': rows_guests.ROWS,
}
_HEAD = """.. Written by "make paths" from tests/paths; do not edit.

.. list-table::
   :header-rows: 1

"""
_OPEN = (table.Outcome.BOOTS, table.Outcome.PASSES)


def text() -> str:
    """The whole file."""
    seen = {name: report.read(RESULTS, name) for name in releases.RELEASES}
    parts = [_section(*item, seen) for item in _SECTIONS.items()]
    return '\n'.join(parts)


def write() -> None:
    """Write the file."""
    FILE.write_text(text())


def _section(
    title: str,
    of: Sequence[table.Row],
    seen: Mapping[str, Mapping[str, str]],
) -> str:
    head = ('path', 'who', 'image', 'verdict', *seen)
    lines = [f'{title}\n{"=" * len(title)}\n\n{_HEAD}{_item(head)}']
    notes: dict[str, str] = {}
    for path, group in itertools.groupby(of, lambda row: row.path):
        mark = ''
        if path.note:
            number = notes.setdefault(path.note, str(len(notes) + 1))
            mark = f' ({number})'
        first = f'{path.title}{mark}'
        for cells in _lines(tuple(group), seen):
            lines.append(_item((first, *cells)))
            first = ''
    lines.append('')
    for note, number in notes.items():
        lines.append(f'({number}) {note}\n')
    return '\n'.join(lines)


def _item(cells: Sequence[str]) -> str:
    first, *others = (f'- {cell}'.rstrip() for cell in cells)
    return '\n'.join([f'   * {first}', *(f'     {cell}' for cell in others)])


def _lines(
    of: Sequence[table.Row], seen: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, ...]]:
    """Rows that end alike are one line."""
    alike: dict[tuple[str, ...], dict[str, list[table.Row]]] = {}
    for row in of:
        key = (_verdict(row), *(_cell(row, one) for one in seen.values()))
        by_who = alike.setdefault(key, {})
        by_who.setdefault(row.who, []).append(row)
    for (verdict, *cells), by_who in alike.items():
        # Who shares the same states shares the line.
        merged: dict[str, list[str]] = {}
        for who, found in by_who.items():
            states = ', '.join(_state(row) for row in found)
            merged.setdefault(states, []).append(who)
        for states, people in merged.items():
            yield (', '.join(people), states, verdict, *cells)


def _verdict(row: table.Row) -> str:
    verdict = row.verdict
    if verdict.outcome in _OPEN:
        return str(verdict.outcome)
    if verdict.code.startswith('HTTP') or row.part is None:
        return f'{verdict.outcome} ({verdict.at}, {verdict.code})'
    return f'{verdict.outcome} ({verdict.at})'


def _state(row: table.Row) -> str:
    verdict = row.verdict
    if verdict.outcome in _OPEN or verdict.code.startswith('HTTP'):
        return str(row.state)
    if verdict.at is table.At.VOLUME or row.part is None:
        return str(row.state)
    return f'{row.state} (``{verdict.code}``)'


def _cell(row: table.Row, seen: Mapping[str, str]) -> str:
    """What came on a release."""
    if row.key not in seen:
        return 'not run'
    found = seen[row.key]
    expected = row.verdict
    same = found in (
        str(expected),
        str(expected).replace('not possible', 'refused'),
    )
    return 'as said' if same else f'**{found}**'

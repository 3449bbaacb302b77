# SPDX-License-Identifier: Apache-2.0
"""Rows as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import json
import pathlib

from benchmarks import rows

_HEAD = ('name', 'figure', 'unit', 'peer', 'of peer', 'ratio', 'target', 'met')
_MET = {True: 'yes', False: 'NO', None: '-'}


def table(results: Sequence[rows.Row]) -> str:
    """Aligned columns with a head."""
    lines = [_HEAD, *(_cells(row) for row in results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def write(results: Iterable[rows.Row], path: pathlib.Path) -> None:
    """Write a JSON list with one object for each row.

    :raises OSError: the file cannot be written
    """
    text = json.dumps([row.as_json() for row in results], indent=2)
    path.write_text(f'{text}\n', encoding='utf-8')


def _cells(row: rows.Row) -> tuple[str, ...]:
    return (
        row.name,
        _number(row.figure),
        row.unit,
        row.peer,
        _number(row.peer_figure),
        _number(row.ratio),
        row.target or '-',
        _MET[row.met],
    )


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.4g}'

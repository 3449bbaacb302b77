# SPDX-License-Identifier: Apache-2.0
"""What came of the paths, for people and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import json
from pathlib import Path

from tests.paths import walking

#: Characters of a message that the table has room for.
_MESSAGE = 300
_COLUMNS = '{:<4} {:<22} {:<13} {:<21} {}'


def lines(gone: Sequence[walking.Gone]) -> Iterator[str]:
    """The table, and what was expected where something else came."""
    yield _COLUMNS.format('', 'path', 'who', 'image', 'verdict')
    for one in gone:
        row = one.row
        yield _COLUMNS.format(
            'ok' if one.well else 'FAIL',
            row.path.name,
            row.who,
            row.state,
            one.verdict,
        )
        if not one.well:
            yield f'     expected: {row.verdict}'
            yield f'     message: {_short(one.message)}'


def _short(message: str) -> str:
    text = ' '.join(message.split())
    return text if len(text) <= _MESSAGE else f'{text[:_MESSAGE]}...'


def last_line(gone: Sequence[walking.Gone]) -> str:
    """How many came as expected."""
    well = sum(one.well for one in gone)
    return f'{well} of {len(gone)} paths as expected'


def write(
    folder: Path, release: str, kind: str, gone: Sequence[walking.Gone]
) -> None:
    """Keep what came on a release, for the documentation.

    :param kind: of the cloud
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen = {one.row.key: one.verdict for one in gone}
    text = json.dumps(seen, indent=1, sort_keys=True)
    (folder / f'{release}-{kind}.json').write_text(text + '\n')


def read(folder: Path, release: str) -> Mapping[str, str]:
    """What came on a release, by the keys of the rows; empty: not gone."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob(f'{release}-*.json')):
        found |= json.loads(path.read_text())
    return found

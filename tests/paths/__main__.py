# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.paths``: go every path, and print the table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import sys

from tests.cloud import errors
from tests.cloud import interrupts
from tests.cloud import launch
from tests.cloud import releases
from tests.paths import document
from tests.paths import removal
from tests.paths import report
from tests.paths import table
from tests.paths import trial
from tests.paths import walking

_ALL = 'all'


def _tell(one: walking.Gone) -> None:
    """Say what is going on, while it goes."""
    _, *lines = report.lines((one,))
    print('\n'.join(lines), file=sys.stderr, flush=True)


def _with_everything(names: Sequence[str]) -> bool:
    """Go all paths; whether each was as expected."""
    gone: list[walking.Gone] = []
    for name in names:
        kind = trial.KINDS[name]
        with (
            launch.work_directory() as work,
            launch.running(kind.options(work), work) as cloud,
        ):
            found = trial.go(cloud, kind, _tell)
        report.write(document.RESULTS, releases.DEFAULT, name, found)
        gone.extend(found)
    document.write()
    for line in report.lines(gone):
        print(line)
    print(report.last_line(gone))
    return all(one.well for one in gone)


def _without(parts: Sequence[table.Part]) -> bool:
    """Go the rows of parts without these, one after the other.

    :returns: whether at least one row of each part ended otherwise
    """
    noticed = True
    for kind in trial.KINDS.values():
        here = [part for part in parts if removal.kind_of(part) is kind]
        if not here:
            continue
        with (
            launch.work_directory() as work,
            launch.running(kind.options(work), work) as cloud,
        ):
            for part, gone in removal.go_without(cloud, kind, here, _tell):
                failed = [one for one in gone if not one.well]
                for line in report.lines(failed):
                    print(line)
                print(
                    f'without {part}: {len(failed)} of {len(gone)} paths '
                    'not as expected',
                    flush=True,
                )
                noticed = noticed and bool(failed)
    return noticed


def main() -> int:
    """Go, print, keep; 1 when it was not as expected."""
    parser = argparse.ArgumentParser(prog='python -m tests.paths')
    parser.add_argument(
        '--remove',
        choices=['', _ALL, *table.Part],
        default='',
        help='try that rows end otherwise without a part',
    )
    parser.add_argument(
        '--only', choices=[*trial.KINDS], help='one kind of cloud'
    )
    given = parser.parse_args()
    try:
        with interrupts.terminable():
            if given.remove:
                well = _without(
                    list(table.Part)
                    if given.remove == _ALL
                    else [table.Part(given.remove)]
                )
            else:
                well = _with_everything(
                    [given.only] if given.only else list(trial.KINDS)
                )
    except errors.CloudError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0 if well else 1


if __name__ == '__main__':
    sys.exit(main())

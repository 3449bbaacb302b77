# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks``: measure, print a table, write JSON."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import os
import pathlib
import sys

from benchmarks import catalogue
from benchmarks import context
from benchmarks import downloads
from benchmarks import enforcement
from benchmarks import imports
from benchmarks import peers
from benchmarks import publishing
from benchmarks import report
from benchmarks import rows
from benchmarks import trust

Group = Callable[[], Iterator[rows.Row]]


def _trust() -> Iterator[rows.Row]:
    return trust.measure(hanko=peers.hanko())


def _catalogue() -> Iterator[rows.Row]:
    yield from catalogue.measure()
    yield from downloads.measure()
    yield from publishing.measure()


def _enforcement() -> Iterator[rows.Row]:
    yield from enforcement.measure()
    yield from imports.measure()


#: None marks a group that has nothing to measure yet.
GROUPS: Mapping[str, Group | None] = {
    'trust': _trust,
    'catalogue': _catalogue,
    'enforcement': _enforcement,
    'context': context.measure,
    'window': None,
}


def main(
    arguments: Sequence[str] | None = None,
    groups: Mapping[str, Group | None] = GROUPS,
) -> int:
    """Measure the groups asked for.

    A missed target is marked; only a benchmark that cannot run fails.

    :param arguments: of the command line; ``GROUP`` and ``JSON`` of the
        environment stand in for absent options
    :returns: exit status: 0 done, 2 wrong use
    """
    options = _options(arguments, groups)
    if options.json is not None and not options.json.parent.is_dir():
        print(f'no folder {options.json.parent} for the JSON file')
        return 2
    chosen = groups if options.group == 'all' else [options.group]
    results: list[rows.Row] = []
    for name in chosen:
        measure = groups[name]
        if measure is None:
            print(f'group {name}: no benchmarks yet')
            continue
        print(f'group {name}: measuring', flush=True)
        for row in measure():
            results.append(row)
            print(f'  {row.name}: {row.figure:.4g} {row.unit}', flush=True)
    if results:
        print(f'\n{report.table(results)}')
    if options.json is not None:
        report.write(results, options.json)
    return 0


def _options(
    arguments: Sequence[str] | None, groups: Mapping[str, Group | None]
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks',
        description='Figures of hepix_vm beside those of a peer.',
    )
    parser.add_argument(
        '--group',
        choices=['all', *groups],
        default=os.environ.get('GROUP') or 'all',
        help='what to measure (default: all)',
    )
    parser.add_argument(
        '--json',
        type=pathlib.Path,
        metavar='FILE',
        default=os.environ.get('JSON') or None,
        help='write the results there, too',
    )
    options = parser.parse_args(arguments)
    # A default is not held against the choices.
    if options.group not in ('all', *groups):
        parser.error(f'GROUP={options.group}: no such group')
    return options


if __name__ == '__main__':
    sys.exit(main())

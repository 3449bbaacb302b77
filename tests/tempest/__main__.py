# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.tempest``: both runs and the comparison."""

import argparse
import json
import pathlib
import sys
import time

from tests.cloud import launch
from tests.tempest import clouds
from tests.tempest import outcomes
from tests.tempest import runs

DIFFERENCES = pathlib.Path(__file__).parent / 'differences.txt'
NAMES = {'stock': True, 'ours': False}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tests.tempest', description=__doc__
    )
    parser.add_argument(
        '--results',
        type=pathlib.Path,
        required=True,
        help='folder of outcomes and logs; outcomes there are used again',
    )
    parser.add_argument(
        '--only', default='', help='regular expression of tests'
    )
    parser.add_argument('--workers', type=int, default=2)
    return parser


def _outcomes(
    name: str, results: pathlib.Path, arguments: argparse.Namespace
) -> dict[str, str]:
    """Return a run's outcomes, from its file if it has been made."""
    file = results / f'{name}.json'
    if file.exists():
        kept: dict[str, str] = json.loads(file.read_text())
        return kept
    stock = NAMES[name]
    folder = results / f'{name}-{time.strftime("%H%M%S")}'
    with (
        launch.work_directory() as work,
        launch.running(clouds.options(work, stock), work) as cloud,
    ):
        clouds.write(cloud, stock, folder)
        found = runs.run(folder, arguments.workers, arguments.only)
    file.write_text(json.dumps(found, indent=1, sort_keys=True))
    return found


def main() -> int:
    """Run, compare, and say what differs without a reason."""
    arguments = _parser().parse_args()
    results = arguments.results.absolute()
    results.mkdir(parents=True, exist_ok=True)
    expected = outcomes.expectations(DIFFERENCES.read_text())
    found = {name: _outcomes(name, results, arguments) for name in NAMES}
    for name, one in found.items():
        print(f'{name}: {outcomes.counted(one)}')
    wrong = list(outcomes.complaints(found['stock'], found['ours'], expected))
    print('\n'.join(wrong))
    different = outcomes.differing(found['stock'], found['ours'])
    print(
        f'{len(different)} of {len(found["stock"])} tests differ, '
        f'{len(wrong)} complaints'
    )
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())

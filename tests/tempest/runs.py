# SPDX-License-Identifier: Apache-2.0
"""Calls Tempest and reads what became of each test."""

import os
import pathlib
import subprocess
import sys
from typing import Any

import subunit
import testtools

from tests.tempest import outcomes

HERE = pathlib.Path(__file__).parent
SELECTED = HERE / 'selected.txt'
LEFT_OUT = HERE / 'left_out.txt'
LIMIT = 3600
_KINDS = {
    'success': outcomes.PASSED,
    'xfail': outcomes.PASSED,
    'skip': outcomes.SKIPPED,
}


class RunError(Exception):
    """Tempest did not run to its end; the message says what it printed."""


def _prepare(work: pathlib.Path) -> dict[str, str]:
    import tempest

    package = pathlib.Path(tempest.__file__).parent
    # Tests of a class share what the class has set up.
    (work / '.stestr.conf').write_text(
        '[DEFAULT]\n'
        f'test_path={package / "test_discover"}\n'
        f'top_dir={package}\n'
        r'group_regex=([^\.]*\.)*'
        '\n'
    )
    programs = pathlib.Path(sys.executable).parent
    return {
        **os.environ,
        # Its workspaces are for people: nothing of a home is touched.
        'HOME': str(work),
        'PATH': f'{programs}:{os.environ["PATH"]}',
    }


def run(work: pathlib.Path, workers: int, only: str = '') -> dict[str, str]:
    """Run the chosen tests with the configuration in a folder.

    :param only: regular expression of tests, instead of the chosen ones
    :returns: the outcome of each test
    :raises RunError: when Tempest did not run any, or not to its end
    """
    environment = _prepare(work)
    chosen = (
        ['--regex', only]
        if only
        else ['--include-list', str(SELECTED), '--exclude-list', str(LEFT_OUT)]
    )
    command = [
        'tempest',
        'run',
        '--config-file',
        str(work / 'tempest.conf'),
        '--concurrency',
        str(workers),
        *chosen,
    ]
    with (work / 'run.log').open('w') as log:
        subprocess.run(
            command,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
        )
    last = subprocess.run(
        ['stestr', 'last', '--subunit'],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
    )
    (work / 'subunit').write_bytes(last.stdout)
    found = read(work / 'subunit')
    if not found:
        text = (work / 'run.log').read_text()[-2000:]
        raise RunError(f'Tempest has run no test: {text}')
    return found


def read(path: pathlib.Path) -> dict[str, str]:
    """Return the outcome of each test in a stream of subunit.

    A class whose set-up fails or is skipped counts for its tests: its own
    name is ``setUpClass (...)``.
    """
    found: dict[str, str] = {}

    def take(test: dict[str, Any]) -> None:
        name = str(test['id']).partition('[')[0]
        found[name] = _KINDS.get(test['status'], outcomes.FAILED)

    with path.open('rb') as stream:
        result = testtools.StreamToDict(take)
        result.startTestRun()
        subunit.ByteStreamToStreamResult(stream).run(result)
        result.stopTestRun()
    return found

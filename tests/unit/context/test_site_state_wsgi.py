# SPDX-License-Identifier: Apache-2.0
"""In a WSGI server the site is looked at where green threads stand still."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from tests import catalogue_rows

pytest.importorskip('eventlet')

ROOT = Path(__file__).parents[3]


def test_an_order_is_seen_between_two_requests(tmp_path: Path) -> None:
    rows = catalogue_rows.in_file(tmp_path / 'catalogue')
    rows.close()
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-m',
            'tests.unit.context.green_state',
            rows.connection,
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split('\n') == ["{'wn1': 5000}", "{'wn1': 6000}", '']

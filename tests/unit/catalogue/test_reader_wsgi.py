# SPDX-License-Identifier: Apache-2.0
"""A reader in a WSGI server reads on where green threads stand still."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from tests import catalogue_rows
from tests.unit.catalogue import under_wsgi

pytest.importorskip('eventlet')

ROOT = Path(__file__).parents[3]


def test_withdrawal_is_seen_between_two_requests(tmp_path: Path) -> None:
    rows = catalogue_rows.in_file(tmp_path / 'catalogue')
    rows.subscription('trusted')
    rows.endorse(under_wsgi.DATA)
    rows.close()
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-m',
            'tests.unit.catalogue.under_wsgi',
            rows.connection,
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ['approved', 'approved', 'withdrawn']

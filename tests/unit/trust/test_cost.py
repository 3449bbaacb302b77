# SPDX-License-Identifier: Apache-2.0
"""No message costs more than a little time and memory."""

from __future__ import annotations

import pathlib
import subprocess
import sys

# Hundreds of cases, each allowed seconds on a busy machine.
_PATIENCE = 900


def test_every_case_within_its_cost():
    done = subprocess.run(
        [sys.executable, '-m', 'tests.unit.trust.costing'],
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
        cwd=pathlib.Path(__file__).parents[3],
    )
    last = done.stdout.strip().rpartition('\n')[2]
    assert done.returncode == 0, f'at {last}: {done.stderr}'

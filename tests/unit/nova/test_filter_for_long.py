# SPDX-License-Identifier: Apache-2.0
"""A scheduler decides for long, in many threads, while the site changes."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip('nova')

from tests import catalogue_rows
from tests.unit.nova import deciding

ROOT = pathlib.Path(__file__).parents[3]


def decided(folder: pathlib.Path, kind: str, decisions: int) -> list[float]:
    """MB of the process, early and at the end."""
    rows = catalogue_rows.in_file(folder / 'catalogue.sqlite')
    rows.subscription('trusted')
    rows.endorse(deciding.DATA)
    for image_id in deciding.IMAGES:
        rows.record(image_id, deciding.DATA, boot='')
    path = folder / 'hepix_vm.conf'
    path.write_text(
        f'[catalogue]\nconnection = {rows.connection}\nstore_timeout = 60\n'
    )
    rows.close()
    done = subprocess.run(
        [
            *(sys.executable, '-W', 'ignore', '-m'),
            *('tests.unit.nova.deciding', kind, str(folder)),
            *(rows.connection, str(decisions)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1260,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [float(line) for line in done.stdout.split()]


@pytest.mark.timeout(1300)
def test_memory_is_flat_over_10_000_decisions(tmp_path: pathlib.Path) -> None:
    early, late = decided(tmp_path, 'native', 10_000)
    # 1 kB for each decision would be 8 MB.
    assert late - early < 4


@pytest.mark.timeout(1300)
@pytest.mark.skipif(
    importlib.util.find_spec('eventlet') is None,
    reason='this Nova knows native threads only',
)
def test_green_threads_decide_too(tmp_path: pathlib.Path) -> None:
    decided(tmp_path, 'green', 1250)

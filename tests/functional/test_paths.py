# SPDX-License-Identifier: Apache-2.0
"""Every way by images and servers ends as the table says."""

from __future__ import annotations

from collections.abc import Mapping
import os
import pathlib

import pytest

from tests.cloud import cloud as clouds
from tests.paths import report
from tests.paths import table
from tests.paths import trial
from tests.paths import walking

pytestmark = pytest.mark.timeout(2400)

KIND = trial.KINDS['plain']


def gone_on(
    cloud: clouds.Cloud, kind: trial.Kind
) -> Mapping[str, walking.Gone]:
    """What came of all rows, by their keys; kept where that is asked for."""
    gone = trial.go(cloud, kind)
    folder = os.environ.get('HEPIX_VM_PATHS')
    if folder:
        release = cloud.site.options.release
        report.write(pathlib.Path(folder), release, kind.name, gone)
    return {one.row.key: one for one in gone}


@pytest.fixture(scope='module')
def gone(cloud: clouds.Cloud) -> Mapping[str, walking.Gone]:
    """What came of the paths."""
    return gone_on(cloud, KIND)


@pytest.mark.parametrize('row', KIND.rows, ids=lambda row: row.key)
def test_path_ends_as_the_table_says(
    gone: Mapping[str, walking.Gone], row: table.Row
) -> None:
    one = gone[row.key]
    assert one.well, f'{one.verdict}, expected {row.verdict}: {one.message}'

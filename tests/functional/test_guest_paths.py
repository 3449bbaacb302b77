# SPDX-License-Identifier: Apache-2.0
"""Every way by real machines and volumes ends as the table says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.cloud import cloud as clouds
from tests.functional import test_paths
from tests.paths import table
from tests.paths import trial
from tests.paths import walking

pytestmark = pytest.mark.timeout(2400)

KIND = trial.KINDS['real']


@pytest.fixture(scope='module')
def gone(guests: clouds.Cloud) -> Mapping[str, walking.Gone]:
    """What came of the paths."""
    return test_paths.gone_on(guests, KIND)


@pytest.mark.parametrize('row', KIND.rows, ids=lambda row: row.key)
def test_path_ends_as_the_table_says(
    gone: Mapping[str, walking.Gone], row: table.Row
) -> None:
    one = gone[row.key]
    assert one.well, f'{one.verdict}, expected {row.verdict}: {one.message}'

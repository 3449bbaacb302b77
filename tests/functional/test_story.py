# SPDX-License-Identifier: Apache-2.0
"""The demonstration's story, as a test."""

import io

from tests.cloud import cloud as clouds
from tests.demo import __main__ as demo
from tests.demo import told


def test_the_story_is_as_expected(cloud: clouds.Cloud) -> None:
    words = io.StringIO()
    well = demo.tell(cloud, told.Teller(words))
    assert well, words.getvalue()

# SPDX-License-Identifier: Apache-2.0
"""What several tests of operations need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers
from tests.unit.operations import one_cloud as one_cloud_
from tests.unit.operations import published


@pytest.fixture
def one_cloud(tmp_path, monkeypatch) -> Iterator[one_cloud_.Clouds]:
    """A site with one cloud, and a list of two images."""
    made = following.Site(tmp_path)
    made.follow()
    images = map(endorser.make_image, (one_cloud_.DATA, one_cloud_.OTHER))
    made.publish('main', '1', *images)
    made.sync()
    found = one_cloud_.Clouds(made)
    one_cloud_.patched(found, monkeypatch)
    yield found
    made.close()


@pytest.fixture
def publishing(tmp_path: Path) -> Iterator[published.Publishing]:
    """A site that follows one list, whose images a server has."""
    site = following.Site(tmp_path)
    site.follow()
    with servers.running() as server:
        yield published.Publishing(site, server)
    site.close()

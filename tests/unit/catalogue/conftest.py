# SPDX-License-Identifier: Apache-2.0
"""A site for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.catalogue import following


@pytest.fixture
def site(tmp_path) -> Iterator[following.Site]:
    """A site without subscriptions."""
    made = following.Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def main(site) -> following.Site:
    """A site that follows one list and approves all of it."""
    site.follow()
    return site

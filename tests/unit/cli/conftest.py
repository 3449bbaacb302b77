# SPDX-License-Identifier: Apache-2.0
"""A site and its commands for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.catalogue import following
from tests.unit.cli import commands


@pytest.fixture
def site(tmp_path) -> Iterator[following.Site]:
    """A site that follows one list, whose images it approves by name."""
    made = following.Site(tmp_path)
    made.follow('main', approval='listed')
    yield made
    made.close()


@pytest.fixture
def hepix_vm(site, capsys) -> commands.Commands:
    """The command with the site's configuration."""
    return commands.Commands(site, capsys)

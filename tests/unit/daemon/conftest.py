# SPDX-License-Identifier: Apache-2.0
"""An empty catalogue for each test, migrated once."""

from __future__ import annotations

import contextlib
from pathlib import Path
import shutil

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations


@pytest.fixture(scope='session')
def migrated(tmp_path_factory) -> Path:
    """A database file to copy."""
    path: Path = tmp_path_factory.mktemp('migrated') / 'catalogue.sqlite'
    with contextlib.closing(database.Database(f'sqlite:///{path}')) as made:
        migrations.upgrade(made)
    return path


@pytest.fixture
def url(migrated, tmp_path) -> str:
    """The URL of an empty catalogue."""
    path = tmp_path / 'catalogue.sqlite'
    shutil.copyfile(migrated, path)
    return f'sqlite:///{path}'

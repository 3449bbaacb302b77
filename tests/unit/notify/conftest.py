# SPDX-License-Identifier: Apache-2.0
"""Programs that a site might run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """Makes an executable file."""

    def make(text: str, mode: int = 0o755, name: str = 'hook') -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return make

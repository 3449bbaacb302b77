# SPDX-License-Identifier: Apache-2.0
"""What all unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
import logging

import pytest


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command sets up the root logger; the next test starts afresh."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers

# SPDX-License-Identifier: Apache-2.0
"""What the screen of ``hepix-vm status`` is made of."""

from __future__ import annotations

from typing import Any

from cliff import columns

from hepix_vm.cli import base


class Part(columns.FormattableColumn):
    """A value for programs, and lines for people."""

    def __init__(self, value: Any, *lines: str) -> None:
        super().__init__(value)
        self._lines = lines

    def human_readable(self) -> str:
        """The lines."""
        return '\n'.join(line for line in self._lines if line)


def time(seconds: int | None) -> str | None:
    """A time in UNIX seconds, as programs read it."""
    return None if seconds is None else base.shown_time(seconds)


def plain(said: object) -> str:
    """A text that cannot be taken for performance data or a line's end."""
    text = str(said).replace('|', '/')
    return ''.join(c if c.isprintable() else ' ' for c in text)

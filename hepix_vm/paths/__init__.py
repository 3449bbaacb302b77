# SPDX-License-Identifier: Apache-2.0
"""Ways by which an image could reach a server around the checks.

What the configuration of a service says about each of them is a value here.
Used inside Glance, when it starts, and by ``hepix-vm-status``.
"""

from __future__ import annotations

import dataclasses
import enum


class State(enum.StrEnum):
    """What was found."""

    CLOSED = 'closed'
    OPEN = 'open'
    UNKNOWN = 'unknown'


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """One way, and what closes it.

    :ivar name: stable; what ``[glance_guard] accept_open`` names
    :ivar why: one clause
    :ivar lines: that close it, each with the file that it belongs into
    """

    name: str
    state: State
    why: str
    lines: tuple[str, ...] = ()

    def sentence(self) -> str:
        """All of it in one line."""
        text = f'{self.name} is {self.state}: {self.why}'
        if self.lines and self.state is not State.CLOSED:
            text += f'; it takes {" and ".join(self.lines)}'
        return text

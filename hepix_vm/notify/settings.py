# SPDX-License-Identifier: Apache-2.0
"""What is told, and by which channels."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import dataclasses
from typing import Protocol

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import notices

Channel = channels.Channel


class Telling(Protocol):
    """A channel that was opened."""

    def tell(self, told: tuple[notices.Notice, ...], now: int) -> None:
        """Tell of these.

        :raises errors.HepixError: when not all of them were told
        """


class Way(Protocol):
    """A way of telling."""

    @property
    def at_once(self) -> int:
        """How many notices it tells at once."""

    @property
    def patience(self) -> float:
        """Seconds that this may take at most."""

    def opened(self) -> contextlib.AbstractContextManager[Telling]:
        """Get ready to tell.

        :raises errors.HepixError: when it cannot be used
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What is told, and how.

    :ivar ways: the channels that are on
    :ivar kinds: what each tells; every kind where it is not named
    :ivar intervals: seconds between two times that a channel tells
    :ivar kept_days: after which a notice is deleted, told or not
    :ivar most: notices a channel and run
    :ivar longest: seconds a channel and run, after which it begins no more
    """

    ways: Mapping[Channel, Way] = dataclasses.field(default_factory=dict)
    kinds: Mapping[Channel, frozenset[str]] = dataclasses.field(
        default_factory=dict
    )
    intervals: Mapping[Channel, int] = dataclasses.field(default_factory=dict)
    kept_days: int = 30
    most: int = 1000
    longest: float = 60

    @property
    def wanted(self) -> notices.Wanted:
        """Kinds of each channel that is on; None: all."""
        return {channel: self.kinds.get(channel) for channel in self.ways}

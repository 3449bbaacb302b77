# SPDX-License-Identifier: Apache-2.0
"""What the daemon is told."""

from __future__ import annotations

import dataclasses

#: So often does a holder beat, and a candidate look, within the lease time.
BEATS = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds; see the group ``[daemon]``.

    :ivar connection: SQLAlchemy URL of the catalogue, which has the lease
    """

    connection: str
    check_interval: float = 60
    lease_time: float = 30
    stall_time: float = 1800
    stop_time: float = 10
    coordination_url: str | None = None

    @property
    def beat_interval(self) -> float:
        """Seconds between two beats, or between two looks at the lease."""
        return self.lease_time / BEATS

    def same_lease(self, other: Settings) -> bool:
        """Whether both lead by the same means."""
        return (
            self.connection == other.connection
            and self.lease_time == other.lease_time
            and self.coordination_url == other.coordination_url
        )

# SPDX-License-Identifier: Apache-2.0
"""A download that leaves bandwidth to others."""

from __future__ import annotations

from collections.abc import Callable
import time


class Pace:
    """Holds a download to a mean rate.

    :param rate: bytes a second; 0: as fast as it comes
    :param clock: seconds that never go back
    :param sleep: waits that many seconds
    """

    def __init__(
        self,
        rate: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._began = clock()
        self._received = 0

    def piece(self, most: int) -> int:
        """How many bytes to ask for at once: of a second, no more."""
        return min(most, self._rate) if self._rate else most

    def received(self, size: int) -> None:
        """Wait until so many more bytes were allowed."""
        if not self._rate:
            return
        self._received += size
        due = self._began + self._received / self._rate
        early = due - self._clock()
        if early > 0:
            self._sleep(early)

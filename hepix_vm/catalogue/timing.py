# SPDX-License-Identifier: Apache-2.0
"""When a subscription is tried next. Pure: time and chance are arguments."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

#: Doubling ends here, whatever the options say.
_MOST_DOUBLINGS = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """How often lists are fetched; times in seconds.

    :ivar interval: from a good attempt to the next one
    :ivar retry_first: from the first failed attempt to the next one
    :ivar retry_longest: as that, however many attempts failed in a row
    :ivar jitter: percent by which each of these varies, so that neither
        subscriptions nor sites ask in step
    """

    interval: int = 3600
    retry_first: int = 60
    retry_longest: int = 3600
    jitter: int = 10

    def longest(self, own_interval: int | None = None) -> int:
        """No attempt is ever put off for longer than this."""
        most = max(own_interval or self.interval, self.retry_longest)
        return most + most * self.jitter // 100 + 1


def wait(
    timing: Timing,
    failures: int,
    chance: Callable[[], float],
    own_interval: int | None = None,
    retry_after: int | None = None,
) -> int:
    """Seconds from an attempt to the next one, at least one.

    :param failures: attempts that failed in a row, this one included
    :param chance: evenly distributed in [0, 1)
    :param own_interval: what the subscription says instead of ``interval``
    :param retry_after: what the server asked for after a failure; it can
        make us wait longer, up to the longest wait that there is, not less
    """
    plain = own_interval or timing.interval
    if failures:
        doublings = min(failures - 1, _MOST_DOUBLINGS)
        plain = min(timing.retry_first * 2**doublings, timing.retry_longest)
    spread = plain * timing.jitter / 100
    waited = round(plain + spread * (2 * chance() - 1))
    if failures and retry_after is not None:
        waited = max(waited, retry_after)
    return max(1, min(waited, timing.longest(own_interval)))


def is_due(
    timing: Timing,
    next_attempt: int | None,
    now: int,
    own_interval: int | None = None,
) -> bool:
    """Whether the time of the next attempt has come.

    A time that lies further ahead than we ever wait was written while the
    clock was wrong; it counts as come.
    """
    if next_attempt is None or next_attempt <= now:
        return True
    return next_attempt > now + timing.longest(own_interval)

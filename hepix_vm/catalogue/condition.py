# SPDX-License-Identifier: Apache-2.0
"""How a subscription fares at a moment, in a word or two. Pure."""

from __future__ import annotations

import dataclasses
import enum

from hepix_vm.catalogue import model
from hepix_vm.catalogue import store


class State(enum.StrEnum):
    """What a site's operator wants to know first.

    ``fresh``: its images run. ``stale``: they are not placed, nothing is
    withdrawn, and they come back by themselves. ``revoked`` and
    ``distrusted``: the stored list is believed no more.
    """

    FRESH = 'fresh'
    STALE = 'stale'
    REVOKED = 'revoked'
    DISTRUSTED = 'distrusted'
    UNSUBSCRIBED = 'unsubscribed'
    MISCONFIGURED = 'misconfigured'
    NEVER = 'never synced'


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """A state and, of a stale list, why.

    :ivar reason: ``expired``, ``not seen``, ``clock``, or ''
    """

    state: State
    reason: str = ''

    def __str__(self) -> str:
        if self.reason:
            return f'{self.state} ({self.reason})'
        return str(self.state)


_BY_STANDING = {
    model.Standing.REVOKED: State.REVOKED,
    model.Standing.DISTRUSTED: State.DISTRUSTED,
    model.Standing.UNSUBSCRIBED: State.UNSUBSCRIBED,
}


def of(
    stored: store.SubscriptionState | None,
    now: int,
    is_configured: bool = True,
    is_broken: bool = False,
) -> Condition:
    """How a subscription fares.

    :param stored: None when it was never synced
    :param now: UNIX seconds
    :param is_configured: whether it has a group in the configuration
    :param is_broken: whether that group cannot be used
    """
    if is_broken:
        return Condition(State.MISCONFIGURED)
    if not is_configured:
        return Condition(State.UNSUBSCRIBED)
    if (
        stored is None
        or stored.list_id is None
        or stored.expires is None
        or stored.verified_at is None
    ):
        return Condition(State.NEVER)
    if not stored.configured:
        return Condition(State.UNSUBSCRIBED)
    if stored.standing is not model.Standing.TRUSTED:
        return Condition(_BY_STANDING[stored.standing])
    if stored.verified_at > now + model.CLOCK_SKEW:
        return Condition(State.STALE, 'clock')
    if now >= stored.expires:
        return Condition(State.STALE, 'expired')
    if now - stored.verified_at > stored.max_age:
        return Condition(State.STALE, 'not seen')
    return Condition(State.FRESH)

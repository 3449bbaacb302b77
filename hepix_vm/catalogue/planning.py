# SPDX-License-Identifier: Apache-2.0
"""What one run of a sync is about: what is fetched, what is looked at."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import database
from hepix_vm.catalogue import examining
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import judging
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm.catalogue import timing as timing_
from hepix_vm import errors

#: Subscriptions for each of which a second is gathered, see
#: :func:`next_due`; and seconds at most.
GATHERED, LONGEST_GATHERING = 500, 30

Configured = Mapping[str, subscription_.Subscription | errors.Misconfigured]


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What one run is about.

    :ivar fetched: subscriptions to fetch, those that failed before last
    :ivar looked_at: others, whose stored list may fare otherwise by now
    :ivar broken: groups that cannot be used
    """

    configured: Configured
    known: examining.Known
    fetched: tuple[attempts.Wanted, ...]
    looked_at: tuple[subscription_.Subscription, ...]
    broken: Mapping[str, errors.Misconfigured]
    now: int


def plan(
    database_: database.Database,
    configured: Configured,
    now: int,
    only: frozenset[str] | None,
    due: bool,
    timing: timing_.Timing,
) -> Plan:
    """What is to be fetched and looked at.

    :raises errors.Misconfigured: for a name that is not configured
    """
    _require_known(only or frozenset(), configured)
    with database_.reading() as connection:
        known = examining.Known(
            store.subscription_states(connection), judging.messages(connection)
        )
    fetched: list[tuple[int, attempts.Wanted]] = []
    looked_at = []
    broken = {}
    for name, item in configured.items():
        if only is not None and name not in only:
            continue
        if isinstance(item, errors.Misconfigured):
            broken[name] = item
            continue
        state = known.states.get(name)
        if due and state is not None and not is_due(item, state, timing, now):
            if name in known.messages:
                looked_at.append(item)
            continue
        failures = state.failures if state else 0
        fetched.append((failures, attempts.Wanted(item, _said(item, state))))
    # Servers that were away are asked last: they may keep others waiting.
    fetched.sort(key=lambda pair: pair[0])
    return Plan(
        configured,
        known,
        tuple(wanted for _, wanted in fetched),
        tuple(looked_at),
        broken,
        now,
    )


def _require_known(names: frozenset[str], configured: Configured) -> None:
    unknown = names - set(configured)
    if unknown:
        raise errors.Misconfigured(
            f'subscription {", ".join(sorted(unknown))}: expected one of '
            f'{", ".join(sorted(configured)) or "(none is configured)"}'
        )


def is_due(
    subscription: subscription_.Subscription,
    state: store.SubscriptionState,
    timing: timing_.Timing,
    now: int,
) -> bool:
    """Whether it is time to fetch; at once when it was edited."""
    return (
        timing_.is_due(
            timing, state.next_attempt, now, subscription.sync_interval
        )
        or not state.configured
        or judging.was_edited(subscription, state)
    )


def next_due(
    database_: database.Database,
    configured: Configured,
    timing: timing_.Timing,
    now: int,
) -> int | None:
    """When the next run has something to do, in UNIX seconds.

    A CRL that is replaced meanwhile is not foreseen: look now and then. Each
    run looks at all subscriptions; where they are thousands, those that fall
    due within some seconds are left to one run.

    :returns: ``now`` or later; None when nothing is configured
    """
    soonest = now + min(len(configured) // GATHERED, LONGEST_GATHERING)
    with database_.reading() as connection:
        states = store.subscription_states(connection)
    moments = []
    for name, item in configured.items():
        if isinstance(item, errors.Misconfigured):
            continue
        state = states.get(name)
        if state is None or is_due(item, state, timing, now):
            return soonest
        for moment in (state.next_attempt, state.judged_until):
            if moment is not None:
                moments.append(max(soonest, moment))
    return min(moments, default=None)


def _said(
    subscription: subscription_.Subscription,
    state: store.SubscriptionState | None,
) -> fetch.Validators:
    """What the server said of the list; not what another server said."""
    if state is None or judging.was_edited(subscription, state):
        return fetch.Validators()
    return state.validators

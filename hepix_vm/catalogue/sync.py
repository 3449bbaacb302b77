# SPDX-License-Identifier: Apache-2.0
"""One sync: fetch, believe, store, settle.

Each subscription is on its own: one that hangs, lies or breaks neither
delays nor ends another. A failed fetch withdraws nothing. Whenever message,
trust anchors or demands are others than before, or a certificate or CRL
began or ended, the stored message of a subscription is verified again, so
revocation acts without the endorser's server and whether or not it is time
to ask that.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import random
import time

from oslo_log import log

from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import batches
from hepix_vm.catalogue import database
from hepix_vm.catalogue import examining
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import judging
from hepix_vm.catalogue import reports
from hepix_vm.catalogue.reports import Outcome as Outcome
from hepix_vm.catalogue.reports import Report as Report
from hepix_vm.catalogue import revocations
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm.catalogue import timing as timing_
from hepix_vm import errors

LOG = log.getLogger(__name__)

#: Seconds after which what came so far is settled while others still hang.
SETTLE_EVERY = 30.0

Configured = Mapping[str, subscription_.Subscription | errors.Misconfigured]
Told = Callable[[Report], None]

_CHANCE = random.SystemRandom().random


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


def run(
    database_: database.Database,
    configured: Configured,
    settings: fetch.FetchSettings,
    now: int,
    only: frozenset[str] | None = None,
    fetch_list: attempts.Fetch = fetch.fetch_list,
    told: Told = lambda report: None,
    timing: timing_.Timing | None = None,
    due: bool = False,
    chance: Callable[[], float] = _CHANCE,
) -> tuple[tuple[Report, ...], tuple[settle.Withdrawal, ...]]:
    """Sync subscriptions; withdraw the records that follow.

    :param only: names to sync; None means all
    :param told: called with each report as soon as it is there
    :param due: fetch only those whose time has come
    :param chance: evenly distributed in [0, 1)
    :raises errors.Misconfigured: for a name that is not configured
    :raises errors.LocalFault: when the store cannot be written
    :raises errors.LeaseLost: when somebody else syncs now
    """
    timing = timing or timing_.Timing()
    try:
        wanted = plan(database_, configured, now, only, due, timing)
        return act(
            database_,
            wanted,
            attempts.fetched(wanted.fetched, settings, fetch_list),
            timing,
            told,
            chance,
        )
    except database.FAILURES as exc:
        raise errors.LocalFault(
            f'the catalogue cannot be written: {database.cause(exc)}; '
            'what was stored so far is complete; run the sync again'
        ) from exc


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
    unknown = (only or frozenset()) - set(configured)
    if unknown:
        raise errors.Misconfigured(
            f'subscription {", ".join(sorted(unknown))}: expected one of '
            f'{", ".join(sorted(configured)) or "(none is configured)"}'
        )
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

    A CRL that is replaced meanwhile is not foreseen: look now and then.

    :returns: ``now`` or later; None when nothing is configured
    """
    with database_.reading() as connection:
        states = store.subscription_states(connection)
    moments = []
    for name, item in configured.items():
        if isinstance(item, errors.Misconfigured):
            continue
        state = states.get(name)
        if state is None or is_due(item, state, timing, now):
            return now
        for moment in (state.next_attempt, state.judged_until):
            if moment is not None:
                moments.append(max(now, moment))
    return min(moments, default=None)


def _said(
    subscription: subscription_.Subscription,
    state: store.SubscriptionState | None,
) -> fetch.Validators:
    """What the server said of the list; not what another server said."""
    if state is None or judging.was_edited(subscription, state):
        return fetch.Validators()
    return state.validators


def act(
    database_: database.Database,
    plan_: Plan,
    came: Iterable[attempts.Attempt | None],
    timing: timing_.Timing,
    told: Told = lambda report: None,
    chance: Callable[[], float] = _CHANCE,
) -> tuple[tuple[Report, ...], tuple[settle.Withdrawal, ...]]:
    """Judge what came, store it, and withdraw what follows.

    :param came: the attempts; None now and then while none ends
    :raises hepix_vm.catalogue.database.FAILURES: the store is away
    """
    examiner = examining.Examiner(
        database_,
        plan_.known,
        revocations.Directories(database_),
        timing,
        chance,
        plan_.now,
    )
    found: list[Report] = []
    withdrawals: list[settle.Withdrawal] = []
    settled = time.monotonic()
    for report in _reports(examiner, plan_, came):
        if report is not None:
            reports.write(report)
            told(report)
            found.append(report)
        if time.monotonic() - settled >= SETTLE_EVERY:
            withdrawals.extend(_withdraw(database_, plan_.now))
            settled = time.monotonic()
    _settle_rules(database_, plan_)
    withdrawals.extend(_withdraw(database_, plan_.now))
    return tuple(found), tuple(withdrawals)


def _reports(
    examiner: examining.Examiner,
    plan_: Plan,
    came: Iterable[attempts.Attempt | None],
) -> Iterator[Report | None]:
    """One report of each subscription; None while nothing happens."""
    before = plan_.known.states.get
    for name, broken in plan_.broken.items():
        yield batches.failure(
            name,
            'configuration',
            str(broken),
            before(name),
            Outcome.MISCONFIGURED,
        )
    batch = batches.Batch(examiner.database, before, plan_.now)
    for result in _results(examiner, plan_, came):
        if isinstance(result, Report):
            yield result
        elif result is not None:
            batch.add(result)
        else:
            yield None
        if batch.is_full:
            yield from batch.write()
    yield from batch.write()


def _results(
    examiner: examining.Examiner,
    plan_: Plan,
    came: Iterable[attempts.Attempt | None],
) -> Iterator[batches.Result | Report | None]:
    """What each subscription leaves; a report when judging it broke."""
    for subscription in plan_.looked_at:
        yield _contained(
            examiner.database,
            lambda s=subscription: examiner.again(s),  # type: ignore[misc]
            subscription.name,
            plan_,
        )
    for attempt in came:
        if attempt is None:
            yield None
            continue
        yield _contained(
            examiner.database,
            lambda a=attempt: examiner.of(a),  # type: ignore[misc]
            attempt.subscription.name,
            plan_,
        )


def _contained(
    database_: database.Database,
    examined: Callable[[], batches.Result | None],
    name: str,
    plan_: Plan,
) -> batches.Result | Report | None:
    """What breaks with one subscription stays with it."""
    try:
        return examined()
    except errors.LeaseLost:
        raise
    except Exception as exc:  # noqa: BLE001 - told as its report
        before = plan_.known.states.get(name)
        return batches.broken(database_, name, exc, before)


def _settle_rules(database_: database.Database, plan_: Plan) -> None:
    """Bring the site's rules in."""
    usable = [
        item
        for item in plan_.configured.values()
        if not isinstance(item, errors.Misconfigured)
    ]
    database_.transact(
        lambda transaction: settle.rules(
            transaction, usable, plan_.configured, plan_.now
        )
    )


def _withdraw(
    database_: database.Database, now: int
) -> tuple[settle.Withdrawal, ...]:
    """Withdraw the records whose endorsement has ended."""
    withdrawals = database_.transact(
        lambda transaction: settle.records(transaction, now)
    )
    for withdrawal in withdrawals:
        LOG.warning(
            'verdict=withdrawn image=%s code=%s %s',
            withdrawal.image_id,
            withdrawal.code,
            withdrawal.detail,
        )
    return withdrawals

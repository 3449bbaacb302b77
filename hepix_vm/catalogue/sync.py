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
import random
import time

from oslo_log import log

from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import batches
from hepix_vm.catalogue import database
from hepix_vm.catalogue import examining
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import planning
from hepix_vm.catalogue.planning import Configured as Configured
from hepix_vm.catalogue import reports
from hepix_vm.catalogue.reports import Outcome as Outcome
from hepix_vm.catalogue.reports import Report as Report
from hepix_vm.catalogue import revocations
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import timing as timing_
from hepix_vm import errors

LOG = log.getLogger(__name__)

#: Seconds after which what came so far is settled while others still hang.
SETTLE_EVERY = 30.0

Told = Callable[[Report], None]

_CHANCE = random.SystemRandom().random


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

    def noted(report: Report) -> None:
        reports.write(report)
        told(report)

    try:
        wanted = planning.plan(database_, configured, now, only, due, timing)
        return act(
            database_,
            wanted,
            attempts.fetched(wanted.fetched, settings, fetch_list),
            timing,
            noted,
            _log,
            chance,
        )
    except database.FAILURES as exc:
        raise errors.LocalFault(
            f'the catalogue cannot be written: {database.cause(exc)}; '
            'what was stored so far is complete; run the sync again'
        ) from exc


def act(
    database_: database.Database,
    plan: planning.Plan,
    came: Iterable[attempts.Attempt | None],
    timing: timing_.Timing,
    told: Told = lambda report: None,
    withdrew: Callable[[settle.Withdrawal], None] = lambda withdrawal: None,
    chance: Callable[[], float] = _CHANCE,
) -> tuple[tuple[Report, ...], tuple[settle.Withdrawal, ...]]:
    """Judge what came, store it, and withdraw what follows.

    :param came: the attempts; None now and then while none ends
    :param told: called with each report as soon as it is there
    :param withdrew: likewise with each record
    :raises hepix_vm.catalogue.database.FAILURES: the store is away
    """
    examiner = examining.Examiner(
        database_,
        plan.known,
        revocations.Directories(database_),
        timing,
        chance,
        plan.now,
    )
    found: list[Report] = []
    withdrawals: list[settle.Withdrawal] = []

    def withdraw() -> None:
        for withdrawal in _withdrawn(database_, plan.now):
            withdrew(withdrawal)
            withdrawals.append(withdrawal)

    settled = time.monotonic()
    for report in _reports(examiner, plan, came):
        if report is not None:
            told(report)
            found.append(report)
        if time.monotonic() - settled >= SETTLE_EVERY:
            withdraw()
            settled = time.monotonic()
    _settle_rules(database_, plan)
    withdraw()
    return tuple(found), tuple(withdrawals)


def _reports(
    examiner: examining.Examiner,
    plan: planning.Plan,
    came: Iterable[attempts.Attempt | None],
) -> Iterator[Report | None]:
    """One report of each subscription; None while nothing happens."""
    before = plan.known.states.get
    for name, broken in plan.broken.items():
        yield batches.failure(
            name,
            'configuration',
            str(broken),
            before(name),
            Outcome.MISCONFIGURED,
        )
    batch = batches.Batch(examiner.database, before, plan.now)
    for result in _results(examiner, plan, came):
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
    plan: planning.Plan,
    came: Iterable[attempts.Attempt | None],
) -> Iterator[batches.Result | Report | None]:
    """What each subscription leaves; a report when judging it broke."""
    for subscription in plan.looked_at:
        yield _contained(
            examiner.database,
            lambda s=subscription: examiner.again(s),  # type: ignore[misc]
            subscription.name,
            plan,
        )
    for attempt in came:
        if attempt is None:
            yield None
            continue
        yield _contained(
            examiner.database,
            lambda a=attempt: examiner.of(a),  # type: ignore[misc]
            attempt.subscription.name,
            plan,
        )


def _contained(
    database_: database.Database,
    examined: Callable[[], batches.Result | None],
    name: str,
    plan: planning.Plan,
) -> batches.Result | Report | None:
    """What breaks with one subscription stays with it."""
    try:
        return examined()
    except errors.LeaseLost:
        raise
    except Exception as exc:  # noqa: BLE001 - told as its report
        before = plan.known.states.get(name)
        return batches.broken(database_, name, exc, before)


def _settle_rules(database_: database.Database, plan: planning.Plan) -> None:
    """Bring the site's rules in."""
    usable = [
        item
        for item in plan.configured.values()
        if not isinstance(item, errors.Misconfigured)
    ]
    database_.transact(
        lambda transaction: settle.rules(
            transaction, usable, plan.configured, plan.now
        )
    )


def _withdrawn(
    database_: database.Database, now: int
) -> tuple[settle.Withdrawal, ...]:
    """Withdraw the records whose endorsement has ended."""
    return database_.transact(
        lambda transaction: settle.records(transaction, now)
    )


def _log(withdrawal: settle.Withdrawal) -> None:
    LOG.warning(
        'verdict=withdrawn image=%s code=%s %s',
        withdrawal.image_id,
        withdrawal.code,
        withdrawal.detail,
    )

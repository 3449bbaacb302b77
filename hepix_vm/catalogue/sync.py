# SPDX-License-Identifier: Apache-2.0
"""One sync: fetch, believe, store, settle.

Each subscription is on its own: one that hangs, lies or breaks neither
delays nor ends another. A failed fetch withdraws nothing. The stored
message of each subscription is verified again at every run, so expiry and
revocation act without the endorser's server.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent import futures
import dataclasses
import enum

from oslo_log import log

from hepix_vm.catalogue import accept
from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import revocations
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm.catalogue import unsigned
from hepix_vm import errors
from hepix_vm import trust

LOG = log.getLogger(__name__)

Configured = Mapping[str, subscription_.Subscription | errors.Misconfigured]


class Outcome(enum.StrEnum):
    """How the sync of one subscription ended."""

    ACCEPTED = 'accepted'
    UNCHANGED = 'unchanged'
    REFUSED = 'refused'
    UNREACHABLE = 'unreachable'
    MISCONFIGURED = 'misconfigured'
    FAILED = 'failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What one sync of one subscription did.

    :ivar code: ``ok``, a refusal code of trust, ``fetch``,
        ``configuration``, ``store`` or ``internal-error``
    :ivar standing: of the stored list afterwards
    """

    subscription: str
    outcome: Outcome
    code: str
    detail: str
    standing: model.Standing
    list_version: str | None = None
    added: int = 0
    withdrawn: int = 0
    problems: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether an operator has nothing to look at.

        The problems of a list are news once: when it is accepted.
        """
        if self.standing is not model.Standing.TRUSTED:
            return False
        if self.outcome is Outcome.ACCEPTED:
            return not self.problems
        return self.outcome is Outcome.UNCHANGED


@dataclasses.dataclass(frozen=True, slots=True)
class _Attempt:
    """What fetching one subscription gave."""

    subscription: subscription_.Subscription
    content: fetch.Fetched | None
    failure: errors.HepixError | None


Fetch = Callable[
    [str, fetch.FetchSettings, fetch.Validators],
    fetch.Fetched | fetch.NotModified,
]


def run(
    database_: database.Database,
    configured: Configured,
    settings: fetch.FetchSettings,
    now: int,
    only: frozenset[str] | None = None,
    fetch_list: Fetch = fetch.fetch_list,
    told: Callable[[Report], None] = lambda report: None,
) -> tuple[tuple[Report, ...], tuple[settle.Withdrawal, ...]]:
    """Sync subscriptions; withdraw the records that follow.

    :param only: names to sync; None means all
    :param told: called with each report as soon as it is there
    :raises errors.Misconfigured: for a name that is not configured
    :raises errors.LocalFault: when the store cannot be written
    """
    unknown = (only or frozenset()) - set(configured)
    if unknown:
        raise errors.Misconfigured(
            f'subscription {", ".join(sorted(unknown))}: expected one of '
            f'{", ".join(sorted(configured)) or "(none is configured)"}'
        )
    reports = []
    try:
        for report in _reports(
            database_, configured, settings, now, only, fetch_list
        ):
            _log(report)
            told(report)
            reports.append(report)
        with database_.writing() as transaction:
            settle.rules(
                transaction,
                [
                    item
                    for item in configured.values()
                    if not isinstance(item, errors.Misconfigured)
                ],
                configured,
                now,
            )
            withdrawals = settle.records(transaction, now)
    except database.FAILURES as exc:
        raise errors.LocalFault(
            f'the catalogue cannot be written: {database.cause(exc)}; '
            'what was stored so far is complete; run the sync again'
        ) from exc
    for withdrawal in withdrawals:
        LOG.warning(
            'verdict=withdrawn image=%s code=%s %s',
            withdrawal.image_id,
            withdrawal.code,
            withdrawal.detail,
        )
    return tuple(reports), withdrawals


def _reports(
    database_: database.Database,
    configured: Configured,
    settings: fetch.FetchSettings,
    now: int,
    only: frozenset[str] | None,
    fetch_list: Fetch,
) -> Iterator[Report]:
    wanted = {
        name: item
        for name, item in configured.items()
        if only is None or name in only
    }
    with database_.reading() as connection:
        states = store.subscription_states(connection)
    anchors = _Anchors(database_)
    attempts = []
    with futures.ThreadPoolExecutor(settings.parallel) as pool:
        for name, item in wanted.items():
            if isinstance(item, errors.Misconfigured):
                state = states.get(name)
                yield Report(
                    name,
                    Outcome.MISCONFIGURED,
                    'configuration',
                    str(item),
                    state.standing if state else model.Standing.DISTRUSTED,
                )
                continue
            state = states.get(name)
            known = state.validators if state else fetch.Validators()
            attempts.append(
                pool.submit(_attempt, item, settings, known, fetch_list)
            )
        for future in futures.as_completed(attempts):
            attempt = future.result()
            state = states.get(attempt.subscription.name)
            yield _contained(database_, attempt, state, anchors, now)


def _contained(
    database_: database.Database,
    attempt: _Attempt,
    before: store.SubscriptionState | None,
    anchors: _Anchors,
    now: int,
) -> Report:
    """What breaks with one subscription stays with it."""
    try:
        return _one(database_, attempt, anchors, now)
    except database.FAILURES as exc:
        code = 'store'
        detail = f'cannot be stored: {database.cause(exc)}'
    except Exception as exc:
        LOG.exception('sync of %s', attempt.subscription.name)
        code, detail = 'internal-error', f'{type(exc).__name__}: {exc}'
    return Report(
        attempt.subscription.name,
        Outcome.FAILED,
        code,
        detail,
        before.standing if before else model.Standing.DISTRUSTED,
        before.list_version if before else None,
    )


def _attempt(
    subscription: subscription_.Subscription,
    settings: fetch.FetchSettings,
    known: fetch.Validators,
    fetch_list: Fetch,
) -> _Attempt:
    try:
        reached = dataclasses.replace(settings, access=subscription.reached())
        got = fetch_list(subscription.url, reached, known)
    except errors.HepixError as exc:
        return _Attempt(subscription, None, exc)
    except Exception as exc:
        LOG.exception('fetching %s', subscription.name)
        return _Attempt(
            subscription, None, errors.TryAgain(f'{type(exc).__name__}: {exc}')
        )
    if isinstance(got, fetch.NotModified):
        return _Attempt(subscription, None, None)
    return _Attempt(subscription, got, None)


class _Anchors:
    """Anchor directories, each loaded once a run."""

    def __init__(self, store_: database.Database) -> None:
        self._store = store_
        self._loaded: dict[str, trust.TrustAnchors | errors.HepixError] = {}

    def of(self, directory: str) -> trust.TrustAnchors:
        if directory not in self._loaded:
            try:
                fresh = revocations.load(self._store, directory)
            except errors.HepixError as exc:
                self._loaded[directory] = exc
            else:
                self._loaded[directory] = fresh
                for problem in fresh.problems:
                    LOG.warning('%s: %s', directory, problem)
        loaded = self._loaded[directory]
        if isinstance(loaded, errors.HepixError):
            raise loaded
        return loaded


def _one(
    database_: database.Database,
    attempt: _Attempt,
    anchors: _Anchors,
    now: int,
) -> Report:
    """Judge what came, keep it, and look again at what is stored."""
    subscription = attempt.subscription
    state, message = _stored(database_, subscription.name)
    try:
        trusted = anchors.of(subscription.trust_anchors)
        accept.policy(subscription)
        accept.envelope(subscription)
    except errors.HepixError as exc:
        return _failed(
            database_,
            subscription,
            Outcome.MISCONFIGURED,
            'configuration',
            str(exc),
            model.Standing.DISTRUSTED,
            now,
        )
    if attempt.failure is not None:
        standing = _again(subscription, message, trusted, now)
        return _failed(
            database_,
            subscription,
            Outcome.UNREACHABLE,
            'fetch',
            str(attempt.failure),
            standing,
            now,
        )
    if attempt.content is not None:
        offered = attempt.content
    elif message is not None and state is not None:
        offered = fetch.Fetched(message, state.validators)
    else:
        return _failed(
            database_,
            subscription,
            Outcome.UNREACHABLE,
            'fetch',
            f'{subscription.url}: the server says "not modified", but '
            'nothing of it was ever stored',
            model.Standing.DISTRUSTED,
            now,
        )
    try:
        endorsed = accept.judge(subscription, offered.content, trusted, now)
        with database_.writing() as transaction:
            stored = accept.store_list(
                transaction,
                subscription,
                endorsed,
                offered.content,
                offered.validators,
                now,
            )
    except errors.Refused as exc:
        standing = _again(subscription, message, trusted, now)
        return _refused(
            database_, subscription, offered.content, exc, standing, now
        )
    return Report(
        subscription.name,
        Outcome.ACCEPTED if stored.new_list else Outcome.UNCHANGED,
        str(trust.Code.OK),
        '',
        model.Standing.TRUSTED,
        endorsed.image_list.version,
        stored.added,
        stored.withdrawn,
        stored.problems,
    )


def _stored(
    database_: database.Database, name: str
) -> tuple[store.SubscriptionState | None, bytes | None]:
    """What is known of a subscription, and its newest message."""
    with database_.reading() as connection:
        state = store.subscription_state(connection, name)
        if state is None or state.list_id is None:
            return state, None
        return state, store.message(connection, state.list_id)


def _again(
    subscription: subscription_.Subscription,
    message: bytes | None,
    anchors: trust.TrustAnchors,
    now: int,
) -> model.Standing:
    """How the stored message fares today; a missing one is not trusted."""
    if message is None:
        return model.Standing.DISTRUSTED
    return accept.standing(subscription, message, anchors, now)


def _refused(
    database_: database.Database,
    subscription: subscription_.Subscription,
    message: bytes,
    refusal: errors.Refused,
    standing: model.Standing,
    now: int,
) -> Report:
    detail = refusal.detail
    if (
        subscription.dangerous_list_unsigned
        and refusal.code == trust.Code.NOT_SIGNED
    ):
        detail = f'{detail}; {unsigned.told(message)}'
    with database_.writing() as transaction:
        accept.remember_message(
            transaction, subscription.name, message, now, refusal.code, detail
        )
    return _failed(
        database_,
        subscription,
        Outcome.REFUSED,
        str(refusal.code),
        detail,
        standing,
        now,
    )


def _failed(
    database_: database.Database,
    subscription: subscription_.Subscription,
    outcome: Outcome,
    code: str,
    detail: str,
    standing: model.Standing,
    now: int,
) -> Report:
    """Write down how the attempt ended; the stored list stays."""
    with database_.writing() as transaction:
        before = store.subscription_state(
            transaction.connection, subscription.name
        )
        transaction.put(
            schema.subscription,
            {'name': subscription.name},
            {
                'configured': True,
                'standing': standing.value,
                'max_age': subscription.list_max_age,
                'last_attempt': now,
                'last_code': code,
                'last_detail': detail,
            },
        )
        if before is None or before.last_code != code:
            transaction.remember(
                now, 'sync', f'list-{outcome}', subscription.name, detail
            )
        if before is not None and before.standing is not standing:
            transaction.remember(
                now,
                'sync',
                'standing',
                subscription.name,
                f'{before.standing} is now {standing}',
            )
    return Report(
        subscription.name,
        outcome,
        code,
        detail,
        standing,
        before.list_version if before else None,
    )


def _log(report: Report) -> None:
    LOG.log(
        log.INFO if report.well else log.WARNING,
        'verdict=%s subscription=%s list-version=%s standing=%s code=%s '
        'added=%s withdrawn=%s %s',
        report.outcome,
        report.subscription,
        report.list_version,
        report.standing,
        report.code,
        report.added,
        report.withdrawn,
        report.detail,
    )
    if report.outcome is Outcome.ACCEPTED:
        for problem in report.problems:
            LOG.warning('subscription=%s %s', report.subscription, problem)

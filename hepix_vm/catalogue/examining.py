# SPDX-License-Identifier: Apache-2.0
"""What follows from an attempt: judged here, written elsewhere.

Everything that costs time or can be refused is done before a transaction
begins. What remains is a :class:`Refreshed` (the stored list was seen again
and still holds) or a :class:`Work` to be done in one.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import hashlib

from hepix_vm.catalogue import accept
from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import database
from hepix_vm.catalogue import demands
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import judging
from hepix_vm.catalogue import model
from hepix_vm.catalogue import outcomes
from hepix_vm.catalogue.reports import Outcome
from hepix_vm.catalogue.reports import Report
from hepix_vm.catalogue import revocations
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm.catalogue import timing as timing_
from hepix_vm import errors
from hepix_vm import trust


@dataclasses.dataclass(frozen=True, slots=True)
class Refreshed:
    """The stored list was seen again; what it was found with still holds."""

    state: store.SubscriptionState
    next_attempt: int


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What is to be written of one subscription.

    :ivar do: may be called again when its transaction was given up; gives
        None when there is nothing to tell
    :ivar size: bytes of the message that it holds
    """

    name: str
    do: Callable[[database.Transaction], Report | None]
    size: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """The catalogue as a run found it.

    :ivar states: by name of the subscription
    :ivar messages: SHA-256 of the stored message, by name
    """

    states: Mapping[str, store.SubscriptionState]
    messages: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Examiner:
    """Judges attempts.

    :ivar chance: evenly distributed in [0, 1), for the next attempt
    """

    database: database.Database
    known: Known
    directories: revocations.Directories
    timing: timing_.Timing
    chance: Callable[[], float]
    now: int

    def of(self, attempt: attempts.Attempt) -> Refreshed | Work:
        """What follows from an attempt."""
        subscription = attempt.subscription
        state = self.known.states.get(subscription.name)
        try:
            anchored, found = self._anchored(subscription)
        except errors.LeaseLost:
            raise
        except errors.HepixError as exc:
            return self._misconfigured(subscription, str(exc))
        if attempt.failure is not None:
            return self._failed(
                subscription,
                Outcome.UNREACHABLE,
                'fetch',
                str(attempt.failure),
                self._again(subscription, anchored),
                getattr(attempt.failure, 'seconds', None),
            )
        if state is not None and self._is_refreshed(attempt, state, found):
            return Refreshed(state, self._next(subscription))
        offered = attempt.content
        if offered is None:
            _, offered = self._stored(subscription.name)
        if offered is None:
            return self._failed(
                subscription,
                Outcome.UNREACHABLE,
                'fetch',
                f'{subscription.url}: the server says "not modified", but '
                'nothing of it was ever stored',
                self._again(subscription, anchored),
            )
        return self._offered(subscription, offered, anchored)

    def again(self, subscription: subscription_.Subscription) -> Work | None:
        """What follows when nothing was fetched; None: nothing."""
        state = self.known.states[subscription.name]
        try:
            anchored, found = self._anchored(subscription)
            if not judging.needs_a_look(state, found, self.now):
                return None
            judged = self._again(subscription, anchored)
        except errors.LeaseLost:
            raise
        except errors.HepixError as exc:
            found = self._mark(subscription, judging.UNUSABLE)
            if not judging.needs_a_look(state, found, self.now):
                return None
            judged = _unusable(str(exc), found)
        return Work(
            subscription.name,
            functools.partial(
                outcomes.looked_again,
                subscription=subscription,
                judged=judged,
                now=self.now,
            ),
        )

    def _anchored(
        self, subscription: subscription_.Subscription
    ) -> tuple[revocations.Anchored, str]:
        """Its anchors and mark, once it is clear that it can be used at all.

        :raises errors.HepixError: it cannot
        """
        anchored = self.directories.of(subscription.trust_anchors)
        demands.envelope(subscription)
        found = self._mark(subscription, anchored.sha256)
        state = self.known.states.get(subscription.name)
        if state is None or state.judged_by != found:
            demands.policy(subscription)
        return anchored, found

    def _mark(
        self, subscription: subscription_.Subscription, anchors_sha256: str
    ) -> str:
        return judging.mark(
            subscription,
            self.known.messages.get(subscription.name),
            anchors_sha256,
        )

    def _is_refreshed(
        self,
        attempt: attempts.Attempt,
        state: store.SubscriptionState,
        found: str,
    ) -> bool:
        """Whether the stored list came again, and needs no other look."""
        message_sha256 = self.known.messages.get(state.name)
        if attempt.content is not None and (
            attempt.content.validators != state.validators
            or hashlib.sha256(attempt.content.content).hexdigest()
            != message_sha256
        ):
            return False
        return (
            message_sha256 is not None
            and state.configured
            and state.reset_at is None
            and state.expires is not None
            and self.now < state.expires
            and judging.holds(state, found, self.now)
        )

    def _stored(self, name: str) -> tuple[int, fetch.Fetched | None]:
        """The newest message of a subscription, as if it had come now."""
        with self.database.reading() as connection:
            state = store.subscription_state(connection, name)
            if state is None or state.list_id is None:
                return 0, None
            return state.list_id, fetch.Fetched(
                store.message(connection, state.list_id), state.validators
            )

    def _again(
        self,
        subscription: subscription_.Subscription,
        anchored: revocations.Anchored,
    ) -> outcomes.Judgement:
        """How the stored message fares today; none is not trusted."""
        state = self.known.states.get(subscription.name)
        found = self._mark(subscription, anchored.sha256)
        if state is not None and judging.holds(state, found, self.now):
            return outcomes.Judgement(
                state.standing,
                str(trust.Code.OK),
                '',
                found,
                state.judged_until,
                state.list_id,
            )
        list_id, stored = self._stored(subscription.name)
        if stored is None:
            return outcomes.Judgement(
                model.Standing.DISTRUSTED, '', '', found, None, list_id
            )
        judged = accept.standing(
            subscription, stored.content, anchored, self.now
        )
        digest = hashlib.sha256(stored.content).hexdigest()
        return outcomes.Judgement(
            judged.standing,
            judged.code,
            judged.detail,
            judging.mark(subscription, digest, anchored.sha256),
            judged.until,
            list_id,
        )

    def _misconfigured(
        self, subscription: subscription_.Subscription, detail: str
    ) -> Work:
        return self._failed(
            subscription,
            Outcome.MISCONFIGURED,
            'configuration',
            detail,
            _unusable(detail, self._mark(subscription, judging.UNUSABLE)),
        )

    def _offered(
        self,
        subscription: subscription_.Subscription,
        offered: fetch.Fetched,
        anchored: revocations.Anchored,
    ) -> Work:
        # Needed when it is refused, which may turn out as late as when it is
        # stored.
        again = functools.cache(lambda: self._again(subscription, anchored))
        refused = functools.partial(
            outcomes.refused,
            subscription=subscription,
            message=offered.content,
            judged=again,
            timed=self._timed(subscription),
            now=self.now,
        )
        size = len(offered.content)
        try:
            endorsed = accept.judge(
                subscription, offered.content, anchored.anchors, self.now
            )
        except errors.Refused as exc:
            again()
            return Work(
                subscription.name,
                functools.partial(refused, refusal=exc),
                size,
            )
        return Work(
            subscription.name,
            functools.partial(
                outcomes.accepted,
                subscription=subscription,
                endorsed=endorsed,
                offered=offered,
                marks=self._marks(subscription, endorsed, anchored),
                refused=refused,
                now=self.now,
            ),
            size,
        )

    def _marks(
        self,
        subscription: subscription_.Subscription,
        endorsed: trust.EndorsedList,
        anchored: revocations.Anchored,
    ) -> accept.Marks:
        return accept.Marks(
            judging.mark(
                subscription, endorsed.message_sha256, anchored.sha256
            ),
            accept.holds_until(endorsed, anchored, self.now),
            self._next(subscription),
        )

    def _failed(
        self,
        subscription: subscription_.Subscription,
        outcome: Outcome,
        code: str,
        detail: str,
        judged: outcomes.Judgement,
        retry_after: int | None = None,
    ) -> Work:
        return Work(
            subscription.name,
            functools.partial(
                outcomes.failed,
                subscription=subscription,
                outcome=outcome,
                code=code,
                detail=detail,
                judged=judged,
                timed=self._timed(subscription, retry_after),
                now=self.now,
            ),
        )

    def _next(self, subscription: subscription_.Subscription) -> int:
        return self.now + timing_.wait(
            self.timing, 0, self.chance, subscription.sync_interval
        )

    def _timed(
        self,
        subscription: subscription_.Subscription,
        retry_after: int | None = None,
    ) -> Callable[[int], int]:
        """When to try next, by attempts that failed in a row."""
        drawn = self.chance()
        return lambda failures: (
            self.now
            + timing_.wait(
                self.timing,
                failures,
                lambda: drawn,
                subscription.sync_interval,
                retry_after,
            )
        )


def _unusable(detail: str, found: str) -> outcomes.Judgement:
    return outcomes.Judgement(
        model.Standing.DISTRUSTED, 'configuration', detail, found, None, None
    )

# SPDX-License-Identifier: Apache-2.0
"""What is known of the instances that ask, kept for a while.

Nova is asked by one thread a process at a time. Who comes meanwhile waits,
and is asked about together with all others that wait. When Nova does not
answer, what was known before is used on, and nobody but the one that tries
again waits.

Where somebody looks at what has changed (:mod:`hepix_vm.context.following`),
who is known is not asked about: at most it waits for the next look.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import math

from oslo_log import log as logging

from hepix_vm.catalogue import refreshing
from hepix_vm.context import facts as facts_
from hepix_vm.context import identity
from hepix_vm.context import remembered

LOG = logging.getLogger(__name__)

#: Instances that Nova is asked about at once.
TOGETHER = 100
#: Seconds for which an answer counts that is about to change.
SOON = remembered.SOON
#: Seconds that facts may be old which decide what context a guest gets. One
#: that is rebuilt or resized is changed in Nova's database before scheduler or
#: host hear of it, and it takes longer than this until the new guest has
#: booted and asks.
CURRENT = 5.0
#: Seconds for which facts are used on while Nova does not answer.
LONGEST = remembered.LONGEST
#: Instances that are waited for at most; others are told to come again.
WAITING = 1000

Answer = remembered.Answer

#: Answers by the UUIDs that are asked about; 404 or 503 where there is none.
#: Facts of further instances may be among them; they are kept as well.
Ask = Callable[[Sequence[str]], Mapping[str, Answer]]

#: Answers for all that have changed in so many seconds, page by page; 503
#: where Nova could not tell what one is now.
Changes = Callable[[float], Iterator[Mapping[str, Answer]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How long and how much is kept.

    :param ttl: seconds for which facts count without asking again
    :param timeout: seconds that a request waits for Nova at most
    :param most: instances
    """

    ttl: float = 30.0
    timeout: float = 5.0
    most: int = 10_000


@dataclasses.dataclass(slots=True)
class _Ticket:
    """Those that wait for the same answer.

    :ivar now: when the last of them came
    :ivar at_most: the fewest seconds that it may be old for one of them
    :ivar asked: when Nova was asked, or a little before
    """

    now: float
    at_most: float
    asked: float | None = None
    answer: Answer | None = None

    def join(self, now: float, at_most: float) -> bool:
        """Wait as well; False if the answer will be too old for that."""
        if self.asked is not None and now >= self.asked + at_most:
            return False
        self.now = max(self.now, now)
        self.at_most = min(self.at_most, at_most)
        return True


class Identities:
    """Facts of instances; safe to share between threads."""

    def __init__(self, ask: Ask, settings: Settings = Settings()) -> None:
        self._ask = ask
        self._settings = settings
        self._known = remembered.Remembered(settings.ttl, settings.most)
        self._condition = refreshing.threads().Condition()
        self._waiting: dict[str, _Ticket] = {}
        self._asking = False
        self._trouble = False
        self._failed = False
        self._looking = False
        self._late = False
        #: Set when somebody needs the next look.
        self.wanted = refreshing.threads().Event()

    def facts_of(
        self,
        instance: identity.Instance,
        now: float,
        at_most: float = math.inf,
    ) -> Answer:
        """What is known of a proved instance.

        :param now: seconds of a clock that never goes back
        :param at_most: seconds since Nova said it, where less than
            :attr:`Settings.ttl` is called for; while Nova does not answer,
            what is known of one that has been built counts all the same
        :returns: facts; 404 for an instance that Nova does not know in that
            project, 503 when Nova could not tell
        """
        uuid = instance.uuid
        answer = self._without_asking(uuid, now, at_most)
        if answer is None:
            answer = self._fresh(uuid, now, at_most)
            if isinstance(answer, identity.Refusal) and answer.status == 503:
                answer = self._known.lasting(uuid, now) or answer
        if (
            isinstance(answer, facts_.Facts)
            and answer.project != instance.project_id
        ):
            return identity.Refusal(
                404,
                identity.Reason.PROJECT_WRONG,
                f'instance {uuid} is not in project {instance.project_id}',
            )
        return answer

    def goes_back(self, now: float) -> float:
        """As :meth:`remembered.Remembered.goes_back`."""
        return self._known.goes_back(now)

    def learn(self, answers: Mapping[str, Answer], since: float) -> None:
        """Take a page of a look that is under way.

        :param since: when Nova was asked for it
        """
        with self._condition:
            self._known.found(answers, since)
            for uuid in answers:
                ticket = self._waiting.get(uuid)
                if ticket is None:
                    continue
                # Nova may have taken long for this page.
                answer = self._counting(uuid, ticket.now, ticket.at_most)
                if answer is not None:
                    self._waiting.pop(uuid).answer = answer
            self._condition.notify_all()

    def looked(self, at: float) -> None:
        """A look has found all that has changed.

        :param at: when it began
        """
        with self._condition:
            self._known.looked(at)
            self._looking, self._late = True, False
            self._condition.notify_all()

    def not_looked(self) -> None:
        """A look has failed, or nobody looks any more."""
        with self._condition:
            self._looking = self._late = False
            self._condition.notify_all()

    def forget_parent(self) -> None:
        """After a fork: who asks, waits or looks in the parent is not here."""
        self._condition = refreshing.threads().Condition()
        self.wanted = refreshing.threads().Event()
        self._waiting = {}
        self._asking = self._looking = self._late = False

    def _without_asking(
        self, uuid: str, now: float, at_most: float
    ) -> Answer | None:
        """What counts, if need be after the next look."""
        kept = self._known.get(uuid)
        if kept is None:
            return None
        if self._known.counts(kept, now, at_most):
            return kept.answer
        if not self._looking or not self._known.provable(kept, now, at_most):
            return None
        self.wanted.set()
        with self._condition:
            if self._condition.wait_for(
                lambda: (
                    not self._looking
                    or self._counting(uuid, now, at_most) is not None
                    or self._known.get(uuid) is None
                ),
                0 if self._late else self._settings.timeout,
            ):
                return self._counting(uuid, now, at_most)
            # As while Nova does not answer; nobody else waits for this look.
            self._late = True
            return self._known.lasting(uuid, now)

    def _counting(
        self, uuid: str, now: float, at_most: float
    ) -> Answer | None:
        kept = self._known.get(uuid)
        if kept is None or not self._known.counts(kept, now, at_most):
            return None
        return kept.answer

    def _fresh(self, uuid: str, now: float, at_most: float) -> Answer:
        """Nova's answer, asked for by this thread or by another one."""
        with self._condition:
            # It may have been answered since this thread looked.
            answer = self._counting(uuid, now, at_most)
            if answer is not None:
                return answer
            ticket = self._waiting.get(uuid)
            if ticket is None or not ticket.join(now, at_most):
                if len(self._waiting) >= WAITING:
                    return _away(uuid, 'too many wait for Nova')
                ticket = self._waiting[uuid] = _Ticket(now, at_most)
        while True:
            with self._condition:
                self._condition.wait_for(
                    lambda: ticket.answer is not None or not self._asking,
                    0 if self._trouble else self._settings.timeout,
                )
                if ticket.answer is not None:
                    return ticket.answer
                if self._asking:
                    # Nobody else waits until the one that asks is back.
                    self._trouble = True
                    return _away(uuid, 'Nova does not answer')
                others = (one for one in self._waiting if one != uuid)
                together = [uuid, *itertools.islice(others, TOGETHER - 1)]
                tickets = {one: self._waiting[one] for one in together}
                asked = max(one.now for one in tickets.values())
                for waiting in tickets.values():
                    waiting.asked = asked
                self._asking = True
            answers: Mapping[str, Answer] = {}
            try:
                answers = self._asked(together)
            finally:
                with self._condition:
                    self._asking = False
                    for one, answer in answers.items():
                        self._known.keep(one, answer, asked)
                    for one, waiting in tickets.items():
                        if waiting.answer is None:
                            waiting.answer = answers.get(one) or _away(
                                one, 'no answer'
                            )
                        # Who came too late for it waits for the next one.
                        if self._waiting.get(one) is waiting:
                            del self._waiting[one]
                    self._condition.notify_all()

    def _asked(self, together: Sequence[str]) -> Mapping[str, Answer]:
        try:
            answers = self._ask(together)
        except Exception as error:  # noqa: BLE001 the service must go on
            if not self._failed:
                LOG.warning(
                    'Nova does not say what it knows of instances (%s: %s);'
                    ' those that are known are served on for %d s, others'
                    ' get 503',
                    type(error).__name__,
                    ' '.join(str(error).split())[:500],
                    LONGEST,
                )
            self._failed = self._trouble = True
            return {
                one: _away(one, f'Nova failed: {type(error).__name__}')
                for one in together
            }
        if self._failed:
            LOG.info('Nova answers again')
        self._failed = self._trouble = False
        return answers


def unknown(uuid: str) -> identity.Refusal:
    """Nova has no such instance."""
    return identity.Refusal(
        404, identity.Reason.INSTANCE_UNKNOWN, f'nova has no instance {uuid}'
    )


def _away(uuid: str, why: str) -> identity.Refusal:
    return identity.Refusal(
        503, identity.Reason.NOVA_FAILED, f'instance {uuid}: {why}'
    )

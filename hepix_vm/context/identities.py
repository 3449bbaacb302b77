# SPDX-License-Identifier: Apache-2.0
"""What is known of the instances that ask, kept for a while.

Nova is asked by one thread a process at a time. Who comes meanwhile waits,
and is asked about together with all others that wait: a thousand machines
that start at once are a few questions. When Nova does not answer, what was
known before is used on, and nobody but the one that tries again waits.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import math

from oslo_log import log as logging

from hepix_vm.catalogue import refreshing
from hepix_vm.context import facts as facts_
from hepix_vm.context import identity

LOG = logging.getLogger(__name__)

#: Instances that Nova is asked about at once.
TOGETHER = 100
#: Seconds for which an answer counts that is about to change: no such
#: instance yet, or one that is still being built.
SOON = 2.0
#: Seconds for which facts are used on while Nova does not answer.
LONGEST = 300.0
#: Instances that are waited for at most; others are told to come again.
WAITING = 1000

Answer = facts_.Facts | identity.Refusal

#: Answers by the UUIDs that are asked about; 404 or 503 where there is none.
#: Facts of further instances may be among them; they are kept as well.
Ask = Callable[[Sequence[str]], Mapping[str, Answer]]


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


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    since: float
    until: float
    longest: float

    def counts(self, now: float, at_most: float) -> bool:
        return now < min(self.until, self.since + at_most)


@dataclasses.dataclass(slots=True)
class _Ticket:
    answer: Answer | None = None


class Identities:
    """Facts of instances; safe to share between threads."""

    def __init__(self, ask: Ask, settings: Settings = Settings()) -> None:
        self._ask = ask
        self._settings = settings
        self._kept: collections.OrderedDict[str, _Kept] = (
            collections.OrderedDict()
        )
        self._condition = refreshing.threads().Condition()
        self._waiting: dict[str, _Ticket] = {}
        self._asking = False
        self._trouble = False

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
            what is known counts all the same
        :returns: facts; 404 for an instance that Nova does not know in that
            project, 503 when Nova could not tell
        """
        kept = self._kept.get(instance.uuid)
        if kept is not None and kept.counts(now, at_most):
            answer = kept.answer
        else:
            answer = self._fresh(instance.uuid, now, at_most)
            if (
                isinstance(answer, identity.Refusal)
                and answer.status == 503
                and kept is not None
                and now < kept.longest
            ):
                answer = kept.answer
        if (
            isinstance(answer, facts_.Facts)
            and answer.project != instance.project_id
        ):
            return identity.Refusal(
                404,
                identity.Reason.PROJECT_WRONG,
                f'instance {instance.uuid} is not in project'
                f' {instance.project_id}',
            )
        return answer

    def _fresh(self, uuid: str, now: float, at_most: float) -> Answer:
        """Nova's answer, asked for by this thread or by another one."""
        with self._condition:
            # It may have been answered since this thread looked.
            kept = self._kept.get(uuid)
            if kept is not None and kept.counts(now, at_most):
                return kept.answer
            ticket = self._waiting.get(uuid)
            if ticket is None:
                if len(self._waiting) >= WAITING:
                    return _away(uuid, 'too many wait for Nova')
                ticket = self._waiting[uuid] = _Ticket()
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
                self._asking = True
                others = (one for one in self._waiting if one != uuid)
                together = [uuid, *itertools.islice(others, TOGETHER - 1)]
            answers: Mapping[str, Answer] = {}
            try:
                answers = self._asked(together)
            finally:
                with self._condition:
                    self._asking = False
                    for one, answer in answers.items():
                        self._keep(one, answer, now)
                    for one in together:
                        found = answers.get(one) or _away(one, 'no answer')
                        self._waiting.pop(one).answer = found
                    self._condition.notify_all()

    def _asked(self, together: Sequence[str]) -> Mapping[str, Answer]:
        try:
            answers = self._ask(together)
        except Exception as error:  # noqa: BLE001 the service must go on
            if not self._trouble:
                LOG.warning(
                    'Nova does not say what it knows of instances (%s: %s);'
                    ' those that are known are served on for %d s, others'
                    ' get 503',
                    type(error).__name__,
                    ' '.join(str(error).split())[:500],
                    LONGEST,
                )
            self._trouble = True
            return {
                one: _away(one, f'Nova failed: {type(error).__name__}')
                for one in together
            }
        if self._trouble:
            LOG.info('Nova answers again')
        self._trouble = False
        return answers

    def _keep(self, uuid: str, answer: Answer, now: float) -> None:
        if isinstance(answer, identity.Refusal):
            if answer.status == 503:
                return
            kept = _Kept(answer, now, now + SOON, now + SOON)
        else:
            built = answer.launched_at is not None and answer.host is not None
            ttl = self._settings.ttl
            kept = _Kept(
                answer,
                now,
                now + (ttl if built else min(SOON, ttl)),
                now + max(ttl, LONGEST),
            )
        self._kept[uuid] = kept
        self._kept.move_to_end(uuid)
        while len(self._kept) > self._settings.most:
            self._kept.popitem(last=False)


def unknown(uuid: str) -> identity.Refusal:
    """Nova has no such instance."""
    return identity.Refusal(
        404, identity.Reason.INSTANCE_UNKNOWN, f'nova has no instance {uuid}'
    )


def _away(uuid: str, why: str) -> identity.Refusal:
    return identity.Refusal(
        503, identity.Reason.NOVA_FAILED, f'instance {uuid}: {why}'
    )

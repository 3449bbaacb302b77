# SPDX-License-Identifier: Apache-2.0
"""What Nova has said of instances, and for how long it counts; no I/O.

An answer counts for some seconds from when Nova was asked. Somebody may also
look, again and again, at all that has changed: then a look that did not find
an instance proves that what is known of it is as new as that look. So one
question answers for all.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
import dataclasses

from hepix_vm.context import facts as facts_
from hepix_vm.context import identity

#: Seconds for which an answer counts that is about to change: no such
#: instance yet, or one that is still being built.
SOON = 2.0
#: Seconds for which facts are used on while Nova does not answer, and after
#: which looks prove them no longer: a look misses what changed in a cell that
#: Nova left out, or at a time that is long ago by our clock.
LONGEST = 300.0
#: Seconds that a look goes back when there was none before, or not for so
#: long.
LATELY = 300.0

Answer = facts_.Facts | identity.Refusal


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """An answer.

    :param since: when Nova was asked, in seconds of a clock that never goes
        back
    :param ttl: seconds for which it counts
    :param longest: until when it is used at all
    """

    answer: Answer
    since: float
    ttl: float
    longest: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Looked:
    """What the last look proves.

    :param at: when it began
    :param unbroken: since when looks have found every change
    """

    at: float
    unbroken: float


class Remembered:
    """Answers by the UUIDs of instances, the newest so many.

    One thread may write at a time; any may read meanwhile.

    :param ttl: seconds for which facts count
    :param most: instances
    """

    def __init__(self, ttl: float, most: int) -> None:
        self._ttl = ttl
        self._most = most
        self._kept: collections.OrderedDict[str, Kept] = (
            collections.OrderedDict()
        )
        self._looked: _Looked | None = None

    def get(self, uuid: str) -> Kept | None:
        """The newest answer, whether it counts or not."""
        return self._kept.get(uuid)

    def lasting(self, uuid: str, now: float) -> facts_.Facts | None:
        """Facts that are used on while Nova does not answer.

        Not those of one that was being built: it may have gone elsewhere.
        """
        kept = self._kept.get(uuid)
        if (
            kept is None
            or now >= kept.longest
            or not isinstance(kept.answer, facts_.Facts)
            or kept.answer.launched_at is None
        ):
            return None
        return kept.answer

    def counts(self, kept: Kept, now: float, at_most: float) -> bool:
        """Whether Nova has nothing newer to say.

        :param at_most: seconds that it may be old
        """
        looked, since = self._looked, kept.since
        if looked is not None and since >= looked.unbroken:
            since = max(since, looked.at)
        return now < min(since + min(kept.ttl, at_most), kept.longest)

    def provable(self, kept: Kept, now: float, at_most: float) -> bool:
        """Whether it will count after the next look, if that finds nothing.

        Not for what must be newer than a look can be.
        """
        looked = self._looked
        return (
            looked is not None
            and kept.since >= looked.unbroken
            and now < kept.longest
            and min(kept.ttl, at_most) >= SOON
        )

    def keep(self, uuid: str, answer: Answer, since: float) -> None:
        """Remember what Nova said, unless it has said something since.

        :param since: when it was asked
        """
        before = self._kept.get(uuid)
        if before is not None and before.since > since:
            return
        if isinstance(answer, identity.Refusal):
            if answer.status == 503:
                return
            ttl = longest = SOON
        else:
            ttl = self._ttl
            if answer.launched_at is None or answer.host is None:
                ttl = min(SOON, ttl)
            if answer.launched_at is None and answer.host is None:
                # Whoever asks has a host: it is something else already.
                ttl = 0.0
            longest = max(self._ttl, LONGEST)
        self._kept[uuid] = Kept(answer, since, ttl, since + longest)
        self._kept.move_to_end(uuid)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def found(self, answers: Mapping[str, Answer], since: float) -> None:
        """Remember what a look has found, page by page.

        :param since: when Nova was asked for the page
        """
        for uuid, answer in answers.items():
            if isinstance(answer, facts_.Facts):
                self.keep(uuid, answer, since)
            else:
                # It is something else now; who asks will know.
                self._kept.pop(uuid, None)

    def goes_back(self, now: float) -> float:
        """Seconds that a look has to go back that begins now."""
        looked = self._looked
        return LATELY if looked is None else min(now - looked.at, LATELY)

    def looked(self, at: float) -> None:
        """A look has found all that it should, see :meth:`goes_back`.

        :param at: when it began
        """
        before = self._looked
        if before is None or at - before.at > LATELY:
            self._looked = _Looked(at, at - LATELY)
        else:
            self._looked = _Looked(at, before.unbroken)

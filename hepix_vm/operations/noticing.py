# SPDX-License-Identifier: Apache-2.0
"""Telling others of what happened, by every channel that is on.

Bounded in number and in time for each channel and run, and never an error of
what it tells of: what cannot be told now stays, and is told by a later run.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import enum
import math
import time

from oslo_log import log

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import database
from hepix_vm.catalogue import notices
from hepix_vm import errors
from hepix_vm.notify import settings as settings_
from hepix_vm.operations import site as site_

LOG = log.getLogger(__name__)

Channel = channels.Channel

# Seconds beside those that telling takes: for the database.
_SLACK = 60

_DAY = 86400


class Outcome(enum.StrEnum):
    """How a channel fared in a run.

    ``told``: all that it had to tell. ``more``: the run ended before that.
    ``later``: it is not time yet. ``resting``: it failed not long ago.
    ``busy``: another process tells. ``failed``: it does not work.
    """

    TOLD = 'told'
    MORE = 'more'
    LATER = 'later'
    RESTING = 'resting'
    BUSY = 'busy'
    FAILED = 'failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What a channel did.

    :ivar told: notices
    :ivar left: notices that it has still to tell
    :ivar again: when it is tried again at the earliest, UNIX seconds
    :ivar detail: why it failed, or ''
    """

    channel: Channel
    outcome: Outcome
    told: int = 0
    left: int = 0
    again: int | None = None
    detail: str = ''


def deliver(
    site: site_.Site,
    now: int,
    at_once: bool = False,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Told, ...]:
    """Tell what is to be told.

    The claim of each channel is written through the site's catalogue: where
    that is fenced, only the one that leads tells.

    :param now: UNIX seconds, as it is when this begins
    :param at_once: try channels that rest, and send digests before their time
    :param stop: asked before each notice
    :param clock: monotonic seconds
    :raises errors.HepixError: when the catalogue cannot be used; a channel
        that fails is told in its outcome
    """
    settings = site.notices
    with site_.usable(site) as catalogue:
        _tidy(catalogue, settings, now)
        return tuple(
            _Run(catalogue, settings, channel, way, now, stop, clock).run(
                at_once
            )
            for channel, way in settings.ways.items()
        )


def give_up(
    site: site_.Site, now: int, who: str, channel: Channel
) -> notices.Notice | None:
    """Have a channel never tell the notice that it is at.

    :returns: that notice; None when there is none
    """

    def work(transaction: database.Transaction) -> notices.Notice | None:
        for notice in notices.pending(transaction.connection, channel, 1):
            notices.delivered(transaction, 0, channel, [notice.id])
            transaction.remember(
                now,
                who,
                'notice-given-up',
                f'{channel}',
                f'notice {notice.id}, {notice.kind} of {notice.subject}',
            )
            return notice
        return None

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def _tidy(
    catalogue: database.Database, settings: settings_.Settings, now: int
) -> None:
    """Strike off what nobody is to be told, and delete what is old."""
    before = now - settings.kept_days * _DAY
    with catalogue.reading() as connection:
        superfluous = notices.superfluous(connection, settings.wanted)
        old = notices.old(connection, before)

    def work(transaction: database.Transaction) -> dict[Channel, int]:
        notices.pass_over(transaction, settings.wanted)
        lost = notices.prune(transaction, before) if old else {}
        for channel, count in lost.items():
            channels.gave_up(transaction, now, channel, count)
            transaction.remember(
                now,
                'notify',
                'notices-given-up',
                f'{channel}',
                f'{count} notices that could not be told for '
                f'{settings.kept_days} days',
            )
        return lost

    if superfluous or old:
        for channel, count in catalogue.transact(work).items():
            LOG.error(
                'channel %s: %s notices were never told and are given up '
                'after %s days',
                channel,
                count,
                settings.kept_days,
            )


@dataclasses.dataclass(slots=True)
class _Run:
    """One channel in one run."""

    catalogue: database.Database
    settings: settings_.Settings
    channel: Channel
    way: settings_.Way
    now: int
    stop: Callable[[], bool]
    clock: Callable[[], float]
    told: int = 0

    def run(self, at_once: bool) -> Told:
        """Tell what there is."""
        with self.catalogue.reading() as connection:
            left = notices.count(connection, self.channel)
            state = channels.states(connection)[self.channel]
        if not left:
            return Told(self.channel, Outcome.TOLD)
        waits = self._waits(state)
        if waits is not None and not at_once:
            return dataclasses.replace(waits, left=left)
        token = self.catalogue.transact(self._claim)
        if token is None:
            return Told(
                self.channel,
                Outcome.BUSY,
                left=left,
                again=state.claimed_until,
            )
        try:
            outcome = self._tell()
        finally:
            self._release(token)
        with self.catalogue.reading() as connection:
            left = notices.count(connection, self.channel)
        if outcome.outcome is Outcome.TOLD and left:
            outcome = dataclasses.replace(outcome, outcome=Outcome.MORE)
        return dataclasses.replace(outcome, told=self.told, left=left)

    def _waits(self, state: channels.State) -> Told | None:
        if state.next_attempt is not None and state.next_attempt > self.now:
            return Told(
                self.channel,
                Outcome.RESTING,
                again=state.next_attempt,
                detail=state.problem,
            )
        due = (state.told_at or 0) + self.settings.intervals.get(
            self.channel, 0
        )
        if due > self.now:
            return Told(self.channel, Outcome.LATER, again=due)
        return None

    def _claim(self, transaction: database.Transaction) -> str | None:
        longest = self.settings.longest + self.way.patience + _SLACK
        until = self.now + math.ceil(longest)
        return channels.claim(transaction, self.now, self.channel, until)

    def _release(self, token: str) -> None:
        # One that lost the lease, or the database, has lost its claim soon.
        with contextlib.suppress(errors.HepixError, *database.FAILURES):
            self.catalogue.transact(
                lambda transaction: channels.release(
                    transaction, self.channel, token
                )
            )

    def _tell(self) -> Told:
        with contextlib.ExitStack() as stack:
            telling = None
            for some in self._parts():
                try:
                    if telling is None:
                        telling = stack.enter_context(self.way.opened())
                    telling.tell(some, self.now)
                except errors.HepixError as exc:
                    return self._failed(str(exc))
                self._note(some)
        return Told(self.channel, Outcome.TOLD)

    def _parts(self) -> Iterator[tuple[notices.Notice, ...]]:
        """What is told at once, as long as this run may go on."""
        end = self.clock() + self.settings.longest
        while (
            self.told < self.settings.most
            and self.clock() < end
            and not self.stop()
        ):
            with self.catalogue.reading() as connection:
                some = notices.pending(
                    connection, self.channel, self.way.at_once
                )
            if not some:
                return
            yield some

    def _note(self, some: tuple[notices.Notice, ...]) -> None:
        def work(transaction: database.Transaction) -> None:
            ids = [notice.id for notice in some]
            notices.delivered(transaction, self.now, self.channel, ids)
            channels.told(transaction, self.now, self.channel)

        self.catalogue.transact(work)
        self.told += len(some)

    def _failed(self, problem: str) -> Told:
        again = self.catalogue.transact(
            lambda transaction: channels.failed(
                transaction, self.now, self.channel, problem
            )
        )
        LOG.warning('channel %s: %s', self.channel, problem)
        return Told(self.channel, Outcome.FAILED, again=again, detail=problem)

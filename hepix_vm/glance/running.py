# SPDX-License-Identifier: Apache-2.0
"""One run over all images of some clouds, several of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import threading

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import derived
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.glance import apply
from hepix_vm.glance import conversion
from hepix_vm.glance import outcomes
from hepix_vm.glance.outcomes import Outcome
from hepix_vm.glance.outcomes import Progress
from hepix_vm.glance.outcomes import Published
from hepix_vm.glance.outcomes import Told
from hepix_vm.glance import plan
from hepix_vm.glance import problems
from hepix_vm.glance import publications
from hepix_vm.glance.publishing import Manner
from hepix_vm.glance.publishing import Planned
from hepix_vm.glance import source as source_
from hepix_vm.glance import spool
from hepix_vm.glance import wanted as wanted_

LOG = log.getLogger(__name__)

#: One cloud's part in what is done for an image.
_Part = tuple[str, plan.Group]


class Run:
    """One run over all images of some clouds."""

    def __init__(
        self,
        database_: database.Database,
        plans: Sequence[Planned],
        manner: Manner,
        now: int,
        told: Told,
    ) -> None:
        # Made here, before several threads ask for it.
        database_.engine()
        self._database = database_
        self._manner = manner
        self._now = now
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._told = told
        self._plans = {one.target.cloud.name: one for one in plans}
        self._applying = {
            name: apply.Applying(database_, one.target.cloud, now, self._tell)
            for name, one in self._plans.items()
        }
        with database_.reading() as connection:
            self._problems = {
                name: problems.problems(connection, name)
                for name in self._plans
            }
        self._deletions: list[tuple[str, plan.Delete]] = []
        self._there: list[tuple[str, store.Image]] = []
        self._failed: set[str] = set()

    def _tell(self, progress: Progress) -> None:
        if self._ended.is_set():
            raise errors.TryAgain('publishing was ended')
        with self._lock:
            self._told(progress)

    def images(self) -> Iterator[Published]:
        """All images, several at a time; the idle ones first."""
        parts: dict[publications.Key, list[_Part]] = {}
        for name, one in self._plans.items():
            for group in one.groups:
                parts.setdefault(group.key, []).append((name, group))
        busy: list[list[_Part]] = []
        for one_image in parts.values():
            if any(map(_changes, one_image)):
                busy.append(one_image)
            else:
                yield from self._image(one_image)
        pool = futures.ThreadPoolExecutor(
            self._manner.settings.parallel, thread_name_prefix='publish'
        )
        try:
            for done in futures.as_completed(
                [pool.submit(self._image, one) for one in busy]
            ):
                yield from done.result()
        finally:
            # Whoever ends this early does not want to wait for the rest.
            self._ended.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _image(self, parts: list[_Part]) -> list[Published]:
        """One image in all clouds; its trouble ends no other's."""
        image = next(filter(None, map(_image_of, parts)), None)
        results: list[Published] = []
        if image is None:
            for name, group in parts:
                results += self._group(name, group, None)
            return results
        fetching = self._manner.fetching(image.subscription)
        with source_.Source(
            image, fetching, self._tell, self._manner.conversion, self._made
        ) as source:
            for name, group in parts:
                came = self._group(name, group, source)
                self._note(name, group, image, came)
                results += came
        return results

    def _made(
        self, image: store.Image, converted: conversion.Converted
    ) -> None:
        """Have the import believe what was made of endorsed bytes."""
        self._database.transact(
            lambda transaction: derived.remember(
                transaction,
                self._now,
                converted.sha512,
                converted.size,
                image.sha512,
                image.size,
                converted.step,
            )
        )

    def _group(
        self, name: str, group: plan.Group, source: source_.Source | None
    ) -> list[Published]:
        """One image in one cloud, up to the first thing that fails."""
        results: list[Published] = []
        deletions = []
        for action in group.actions:
            if isinstance(action, plan.Delete):
                deletions.append((name, action))
                continue
            came = self._results(
                name, action, source, _image_of((name, group))
            )
            for result in came:
                _log(result)
            results += came
            if any(
                r.outcome in (Outcome.FAILED, Outcome.WAITING) for r in came
            ):
                return results
        with self._lock:
            self._deletions += deletions
        return results

    def _results(
        self,
        name: str,
        action: plan.Action,
        source: source_.Source | None,
        image: store.Image | None,
    ) -> list[Published]:
        try:
            return list(self._applying[name].results(action, source))
        except errors.LeaseLost:
            raise
        except source_.Unbootable as exc:
            outcome, detail = Outcome.SKIPPED, str(exc)
        except errors.HepixError as exc:
            if source is not None and not isinstance(exc, errors.NotBelieved):
                source.try_again(exc)
            outcome, detail = Outcome.FAILED, str(exc)
        except database.FAILURES:
            raise
        except Exception as exc:
            LOG.exception('publishing')
            outcome, detail = Outcome.FAILED, f'{type(exc).__name__}: {exc}'
        row = getattr(action, 'row', None)
        if image is None:
            return [outcomes.of_row(row, '', outcome, detail)] if row else []
        return [
            outcomes.of_image(
                image,
                name,
                outcome,
                None if row is None else row.image_id,
                detail,
            )
        ]

    def _note(
        self,
        name: str,
        group: plan.Group,
        image: store.Image,
        results: Sequence[Published],
    ) -> None:
        """Keep what is wrong with an image, or that nothing is."""
        if any(result.outcome in outcomes.THERE for result in results) or any(
            isinstance(action, plan.Skip) for action in group.actions
        ):
            there = [r for r in results if r.outcome in outcomes.THERE]
            with self._lock:
                self._there.append((name if there else '', image))
        if any(result.outcome is Outcome.FAILED for result in results):
            with self._lock:
                self._failed.add(image.sha512)
        for result in results:
            wrong = result.outcome not in outcomes.WELL
            if wrong or _left(group):
                if self._problems[name].get(group.key) != result.detail:
                    problems.problem(
                        self._database,
                        name,
                        image,
                        result.detail,
                        self._now,
                        result.outcome is Outcome.FAILED,
                    )
                return
        if group.key in self._problems[name]:
            problems.solved(self._database, name, [group.key])

    def deletions(self) -> Iterator[Published]:
        """Delete old versions that nothing uses."""
        for name in self._plans:
            mine = [
                action for cloud, action in self._deletions if cloud == name
            ]
            if not mine:
                continue
            ids = frozenset(action.row.image_id for action in mine)
            try:
                used = self._plans[name].target.in_use(ids)
            except errors.HepixError as exc:
                LOG.warning('cloud=%s nothing is deleted: %s', name, exc)
                used = ids
            for action in mine:
                if action.row.image_id in used:
                    LOG.info(
                        'verdict=kept image=%s it is in use',
                        action.row.image_id,
                    )
                    continue
                for result in self._results(name, action, None, None):
                    _log(result)
                    yield result

    def end(self) -> None:
        """What is known only when all images are done."""
        listed = all(not one.problem for one in self._plans.values())
        if self._manner.whole and listed:
            self._end_replaced()
        if self._manner.only is not None:
            return
        if self._manner.whole and listed:
            self._prune()
        for name, one in self._plans.items():
            if not one.problem:
                keys = {
                    group.key
                    for group in one.groups
                    if _image_of((name, group)) is not None
                }
                problems.solved(
                    self._database, name, self._problems[name].keys() - keys
                )

    def _prune(self) -> None:
        """Keep of what was downloaded only what the next run goes on with."""
        try:
            spool.prune(
                self._manner.fetch,
                self._now,
                self._failed | self._manner.spooled,
            )
        except errors.LocalFault as exc:
            LOG.warning('%s', exc)

    def _end_replaced(self) -> None:
        clouds: dict[publications.Key, set[str]] = {}
        counts: dict[publications.Key, int] = {}
        images = {}
        for name, image in self._there:
            key = (image.subscription, image.identifier)
            images[key] = image
            counts[key] = counts.get(key, 0) + 1
            clouds.setdefault(key, set()).update([name] if name else [])
        ended = publications.end_replaced(
            self._database,
            [
                image
                for key, image in images.items()
                if clouds[key] and counts[key] == len(self._plans)
            ],
            self._now,
        )
        if ended:
            LOG.info('%d replaced versions count no longer', ended)


def _changes(part: _Part) -> bool:
    return any(map(plan.changes, part[1].actions))


def _left(group: plan.Group) -> bool:
    """Whether somebody has decided against the newest version by hand."""
    return any(
        isinstance(action, plan.Leave) and action.because
        for action in group.actions
    )


def _image_of(part: _Part) -> store.Image | None:
    """The image that a group is about; None when it is not wanted."""
    for action in part[1].actions:
        if isinstance(action, plan.Skip):
            return action.image
        one = getattr(action, 'wanted', None)
        if isinstance(one, wanted_.Wanted):
            return one.image
    return None


def _log(result: Published) -> None:
    LOG.log(
        log.WARNING if result.outcome is Outcome.FAILED else log.INFO,
        'verdict=%s cloud=%s image=%s list-image=%s version=%s %s',
        result.outcome,
        result.cloud,
        result.image_id,
        result.identifier,
        result.version,
        result.detail,
    )

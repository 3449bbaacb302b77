# SPDX-License-Identifier: Apache-2.0
"""What the daemon says: news once, and one line of how things are."""

from __future__ import annotations

from oslo_log import log

from hepix_vm.catalogue import sync
from hepix_vm.daemon import election
from hepix_vm.daemon import work
from hepix_vm.operations import catalogue
from hepix_vm.operations import withdrawing

LOG = log.getLogger(__name__)

# What each run finds again until somebody does something about it.
_AS_IT_WAS = (sync.Outcome.UNCHANGED, sync.Outcome.MISCONFIGURED)


class Telling:
    """Logs what syncs did; what goes on as it was is not said again."""

    def __init__(self) -> None:
        self._said: frozenset[str] = frozenset()

    def of(self, done: work.Done) -> None:
        """Log how a sync ended."""
        if done.synced is None:
            self._news({done.failure})
            return
        synced = done.synced
        problems = set(synced.warnings)
        if synced.cloud_problem:
            problems.add(synced.cloud_problem)
        problems.update(
            withdrawing.sentence(one, cloud.looked.names)
            for cloud in synced.clouds.values()
            for one in cloud.looked.affected.servers
            if one.server.runs
        )
        for images, wanted in (
            (synced.deactivated, 'deactivated'),
            (synced.reactivated, 'reactivated'),
        ):
            problems.update(
                f'image {image.image_id} could not be {wanted}: {image.error}'
                for image in images
                if image.error
            )
        problems.update(
            f'image {image.image_id} could not be {image.fate}: {image.error}'
            for image in synced.removed
            if image.error
        )
        self._news(problems)
        LOG.log(
            log.INFO if _did_something(synced) else log.DEBUG,
            'synced subscriptions=%s accepted=%s withdrawn=%s deactivated=%s '
            'reactivated=%s removed=%s',
            len(synced.reports),
            sum(r.outcome is sync.Outcome.ACCEPTED for r in synced.reports),
            len(synced.withdrawals),
            len(synced.deactivated),
            len(synced.reactivated),
            len(synced.removed),
        )

    def _news(self, problems: set[str]) -> None:
        for problem in sorted(problems - self._said):
            LOG.warning('%s', problem)
        if self._said and not problems:
            LOG.info('what was wrong with the syncs is well again')
        self._said = frozenset(problems)


def _did_something(synced: catalogue.Synced) -> bool:
    return bool(
        synced.withdrawals
        or synced.deactivated
        or synced.reactivated
        or synced.removed
        or any(report.outcome not in _AS_IT_WAS for report in synced.reports)
    )


def status(
    standing: election.Standing, term: election.Term | None, syncing: bool
) -> str:
    """One line for ``systemctl status``."""
    if not standing.seen:
        text = 'waiting for the catalogue'
    elif term is not None:
        text = f'leading (number {term.fence}), '
        text += 'syncing' if syncing else 'waiting for what is due next'
    elif standing.other is not None:
        text = (
            f'standing by, {standing.other.holder} leads '
            f'(number {standing.other.fence})'
        )
    else:
        text = 'standing by'
    if standing.problem:
        text += f': {standing.problem}'
    return text

# SPDX-License-Identifier: Apache-2.0
"""How a run ended, noted for those who look at the status."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import contextlib

from hepix_vm.catalogue import database
from hepix_vm.catalogue import runs
from hepix_vm import errors
from hepix_vm.operations import catalogue
from hepix_vm.operations import site as site_

#: Jobs of a sync: fetching and judging lists, and having the clouds follow.
SYNC, WITHDRAW = 'sync', 'withdraw'

# Subscriptions and images that are named.
_NAMED = 5


def synchronised(
    site: site_.Site,
    now: int,
    work: Callable[[], catalogue.Synced],
    clock: Callable[[], int],
    named: bool = False,
) -> catalogue.Synced:
    """Sync, and note how it ended.

    :param now: when it began, UNIX seconds
    :param work: the sync
    :param clock: the time then
    :param named: whether only some subscriptions were asked for; how these
        fared says nothing of the others, and is not noted
    :raises errors.HepixError: what ``work`` raises; noted where that is
        possible
    """
    try:
        synced = work()
    except errors.LeaseLost:
        raise
    except errors.HepixError as exc:
        with contextlib.suppress(errors.HepixError):
            note(site, runs.Run(SYNC, now, clock(), False, str(exc)))
        raise
    lists = _lists(synced)
    cloud = _cloud(synced)
    ended = [runs.Run(WITHDRAW, now, clock(), not cloud, cloud)]
    if not named:
        ended.append(runs.Run(SYNC, now, clock(), not lists, lists))
    note(site, *ended)
    return synced


def note(site: site_.Site, *ended: runs.Run) -> None:
    """Note how runs ended.

    :raises errors.HepixError: when the catalogue cannot be used
    """

    def work(transaction: database.Transaction) -> None:
        for run in ended:
            runs.remember(transaction, run)

    with site_.usable(site) as catalogue_:
        catalogue_.transact(work)


def _lists(synced: catalogue.Synced) -> str:
    """What is wrong with the lists, or ''."""
    bad = sorted(
        (report for report in synced.reports if not report.well),
        key=lambda report: report.subscription,
    )
    said = []
    if bad:
        named = ', '.join(f'{r.subscription}: {r.code}' for r in bad[:_NAMED])
        said.append(
            f'{len(bad)} of {len(synced.reports)} lists ({_more(named, bad)})'
        )
    if synced.waiting:
        names = sorted(synced.waiting)
        named = ', '.join(names[:_NAMED])
        said.append(f'withdrawals wait ({_more(named, names)})')
    return '; '.join(said)


def _cloud(synced: catalogue.Synced) -> str:
    """Why the clouds did not follow, or ''."""
    bad = [
        f'{image_id}: {error}'
        for image_id, error in (
            *((image.image_id, image.error) for image in synced.deactivated),
            *((image.image_id, image.error) for image in synced.reactivated),
            *((image.image_id, image.error) for image in synced.removed),
        )
        if error
    ]
    said = [synced.cloud_problem] if synced.cloud_problem else []
    if bad:
        said.append(
            f'{len(bad)} images ({_more(", ".join(bad[:_NAMED]), bad)})'
        )
    return '; '.join(said)


def _more(named: str, of: Sequence[object]) -> str:
    more = len(of) - _NAMED
    return named + (f' and {more} more' if more > 0 else '')

# SPDX-License-Identifier: Apache-2.0
"""What was noted of servers that are gone is not kept for ever."""

from __future__ import annotations

from collections.abc import Iterable

from oslo_log import log

from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import database
from hepix_vm.catalogue import runs
from hepix_vm import errors
from hepix_vm.nova import servers as servers_
from hepix_vm.operations import site as site_

LOG = log.getLogger(__name__)

#: The job of syncs, as ``run`` has it.
RUN = 'context'

_DAY = 86400

#: Seconds between two questions which servers there are, and after one that
#: failed.
_INTERVAL, _PAUSE = _DAY, 900

#: Servers that Nova is asked for one by one in a sync; the others stay until
#: a later one.
_MOST = 500


def follow(site: site_.Site, catalogue: database.Database, now: int) -> None:
    """Forget servers that are gone, and processes that ended; part of a sync.

    What a server that is still there fetched long ago stays. While a cloud
    cannot be asked nothing of servers is forgotten; a sync does not fail by
    it. Where no cloud has an account, age alone decides.

    :param now: UNIX seconds
    """
    before = now - site.audit_kept_days * _DAY
    with catalogue.reading() as connection:
        silent = context_fetches.silent(connection, before)
        old = any(
            one.seen_at < before
            for one in context_fetches.processes(connection)
        )
        last = runs.last(connection).get(RUN)
    if old:
        context_fetches.forget(catalogue, (), before)
    if not silent or _asked_lately(last, now):
        return
    problem = ''
    try:
        gone = _gone(site, silent)
        context_fetches.forget(catalogue, gone, before)
        LOG.debug('verdict=context-forgotten servers=%d', len(gone))
    except errors.HepixError as exc:
        problem = str(exc)
        if last is None or last.detail != problem:
            LOG.warning('verdict=context-kept %s', problem)
    run = runs.Run(RUN, now, now, not problem, problem)
    catalogue.transact(lambda made: runs.remember(made, run))


def _asked_lately(last: runs.Run | None, now: int) -> bool:
    # A clock that was ahead must not keep it from being asked.
    return last is not None and last.started_at <= now < last.started_at + (
        _INTERVAL if last.ok else _PAUSE
    )


def _gone(site: site_.Site, silent: frozenset[str]) -> frozenset[str]:
    """Those that no cloud has; all of them where no cloud has an account.

    :raises errors.HepixError: when a cloud, or a cell of it, cannot be asked
    """
    clouds = tuple(site.clouds.values())
    if all(cloud.session() is None for cloud in clouds):
        return silent
    novas = [
        servers_.Nova(cloud.logged_in(), cloud.region, cloud.interface)
        for cloud in clouds
    ]
    listed = {one.server_id for nova in novas for one in nova.servers()}
    # A list says nothing of servers whose cell is down.
    unlisted = sorted(silent - listed)[:_MOST]
    return frozenset(one for one in unlisted if not _is_anywhere(novas, one))


def _is_anywhere(novas: Iterable[servers_.Nova], server: str) -> bool:
    return any(nova.has(server) for nova in novas)

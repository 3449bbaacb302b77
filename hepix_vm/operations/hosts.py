# SPDX-License-Identifier: Apache-2.0
"""What compute hosts have, asked for and kept for who must not wait."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import time
from typing import Any

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import hosts as hosts_
from hepix_vm.catalogue import runs
from hepix_vm import errors
from hepix_vm.nova import capacity
from hepix_vm.operations import site as site_

LOG = log.getLogger(__name__)

#: The job of syncs, as ``run`` has it.
RUN = 'hosts'

#: Seconds for which syncs leave alone what failed.
_PAUSE = 900

#: Hosts that one transaction writes.
_MANY = 200

#: Hosts that may fail one after the other until Placement is left alone.
_FAILURES = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of a refresh.

    :ivar asked: hosts that are up to date by it
    :ivar left: hosts that there was no time for
    :ivar problems: why some are not known
    """

    asked: int = 0
    left: int = 0
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """A host as its cloud's Nova lists it; ``ask`` tells its processors."""

    hypervisor: capacity.Hypervisor
    aggregates: tuple[str, ...]
    ask: Callable[[str], int | None]


def known(site: site_.Site) -> tuple[hosts_.Host, ...]:
    """All hosts, by name.

    :raises errors.HepixError: when the catalogue cannot be used
    """
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        return hosts_.hosts(connection)


def refresh(site: site_.Site, now: int) -> Refreshed:
    """Ask for all hosts of all clouds, however long it takes.

    :param now: UNIX seconds
    :raises errors.HepixError: when the catalogue cannot be used; what a
        cloud fails with is told in what is returned
    """
    with site_.usable(site) as catalogue:
        return _Round(
            site, catalogue, now, lambda: False, site_.Cloud.logged_in
        ).run(now)


def follow(
    site: site_.Site,
    catalogue: database.Database,
    now: int,
    clock: Callable[[], float] = time.monotonic,
) -> Refreshed | None:
    """Ask for the hosts that are due, for a limited time; a part of a sync.

    A sync does not fail by it: what does is logged, noted, and left alone for
    a while.

    :param now: UNIX seconds
    :returns: None when it is not time, or no cloud has an account
    """
    settings = site.hosts
    if not settings.interval:
        return None
    with catalogue.reading() as connection:
        last = runs.last(connection).get(RUN)
        rows = hosts_.hosts(connection)
    oldest = now - settings.interval
    if last is not None and not _due(last, rows, oldest, now):
        return None
    end = clock() + settings.patience
    one = _Round(site, catalogue, now, lambda: clock() >= end, _session)
    done = one.run(oldest)
    if not one.asked and not done.problems:
        # No cloud has an account.
        return None
    run = runs.Run(RUN, now, now, not done.problems, '; '.join(done.problems))
    catalogue.transact(lambda made: runs.remember(made, run))
    told = last is not None and last.detail == run.detail
    LOG.log(
        log.WARNING if done.problems and not told else log.DEBUG,
        'verdict=%s hosts=%d left=%d %s',
        'hosts-unknown' if done.problems else 'hosts-asked',
        done.asked,
        done.left,
        run.detail,
    )
    return done


def _due(
    last: runs.Run, rows: Iterable[hosts_.Host], oldest: int, now: int
) -> bool:
    """Whether it is time again: also when time was up the last time."""
    if last.started_at > now:
        # A clock was ahead.
        return True
    if not last.ok and now < last.started_at + _PAUSE:
        return False
    left = any(row.seen_at <= oldest for row in rows)
    return last.started_at <= oldest or not last.ok or left


def _session(cloud: site_.Cloud) -> Any | None:
    return cloud.session()


class _Round:
    """One round through the clouds.

    :param over: whether time is up
    :param login: the session of a cloud; None: it is not asked
    :ivar asked: whether any was
    """

    def __init__(
        self,
        site: site_.Site,
        catalogue: database.Database,
        now: int,
        over: Callable[[], bool],
        login: Callable[[site_.Cloud], Any | None],
    ) -> None:
        self._site = site
        self._catalogue = catalogue
        self._now = now
        self._over = over
        self._login = login
        self.asked = False
        self._problems: list[str] = []
        self._whole = True

    def run(self, oldest: int) -> Refreshed:
        """Ask for what was not asked for after a time, oldest first."""
        seen = self._listed()
        with self._catalogue.reading() as connection:
            rows = {one.host: one for one in hosts_.hosts(connection)}
        if self._whole:
            self._forget(rows.keys() - seen.keys())
        due = sorted(
            (one for one in seen if not self._fresh(rows.get(one), oldest)),
            key=lambda one: (rows[one].seen_at if one in rows else 0, one),
        )
        asked = self._ask({name: seen[name] for name in due})
        return Refreshed(
            asked, len(due) - asked, tuple(dict.fromkeys(self._problems))
        )

    def _fresh(self, row: hosts_.Host | None, oldest: int) -> bool:
        # A clock that was ahead must not keep it from being asked for.
        return row is not None and oldest < row.seen_at <= self._now

    def _listed(self) -> dict[str, list[_Seen]]:
        """The hosts of all clouds that answer, by name."""
        found: dict[str, list[_Seen]] = {}
        try:
            clouds = self._site.clouds
        except errors.HepixError as exc:
            self._fail(exc)
            return found
        for cloud in clouds.values():
            try:
                session = self._login(cloud)
                if session is None:
                    self._whole = False
                    continue
                self.asked = True
                asked = capacity.Capacity(
                    session,
                    cloud.region,
                    cloud.interface,
                    cloud.group,
                    self._site.hosts.patience,
                )
                aggregates = asked.aggregates()
                for one in asked.hypervisors():
                    found.setdefault(one.host, []).append(
                        _Seen(
                            one, aggregates.get(one.host, ()), asked.total_cpu
                        )
                    )
            except errors.HepixError as exc:
                self._fail(exc)
        return found

    def _ask(self, due: dict[str, list[_Seen]]) -> int:
        """Ask Placement for one after the other; returns how many it told."""
        ready: list[hosts_.Host] = []
        count = failed = 0
        for name, seen in due.items():
            if self._over() or failed == _FAILURES:
                break
            try:
                ready.append(self._host(name, seen))
            except errors.HepixError as exc:
                # One that always fails must not keep the others away.
                self._fail(exc)
                failed += 1
                continue
            failed = 0
            count += 1
            if len(ready) == _MANY:
                self._write(ready)
                ready = []
        self._write(ready)
        return count

    def _host(self, name: str, seen: list[_Seen]) -> hosts_.Host:
        if len(seen) > 1:
            # Servers tell the name alone, so nothing is known of theirs.
            LOG.warning(
                'verdict=host-ambiguous host=%s is the name of %d '
                'hypervisors; its servers get no machine features',
                name,
                len(seen),
            )
            return hosts_.Host(name, None, None, (), None, self._now)
        (one,) = seen
        return hosts_.Host(
            name,
            one.ask(one.hypervisor.provider),
            one.hypervisor.cpu_model,
            one.aggregates,
            one.hypervisor.hypervisor_type,
            self._now,
        )

    def _write(self, ready: Iterable[hosts_.Host]) -> None:
        found = tuple(ready)
        if found:
            self._catalogue.transact(lambda made: hosts_.put(made, found))

    def _forget(self, gone: Iterable[str]) -> None:
        names = sorted(gone)
        for start in range(0, len(names), _MANY):
            part = names[start : start + _MANY]
            self._catalogue.transact(
                lambda made, part=part: hosts_.forget(made, part)  # type: ignore[misc]
            )

    def _fail(self, exc: errors.HepixError) -> None:
        if isinstance(exc, errors.LeaseLost):
            raise exc
        self._whole = False
        self._problems.append(str(exc))

# SPDX-License-Identifier: Apache-2.0
"""Subscriptions, syncing and the database."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import datetime

import sqlalchemy as sa

from hepix_vm.catalogue import condition
from hepix_vm.catalogue import database
from hepix_vm.catalogue import kept
from hepix_vm.catalogue import lineage
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import planning
from hepix_vm.catalogue import rehearsal
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm.glance import removing
from hepix_vm.glance import withdraw
from hepix_vm.operations import anchors
from hepix_vm.operations import context_pruning
from hepix_vm.operations import draining
from hepix_vm.operations import following
from hepix_vm.operations import hosts
from hepix_vm.operations import site as site_


@dataclasses.dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription: how it is configured and how it fares.

    :ivar configured: None when its group is gone or broken
    :ivar problem: what is wrong with its group, or ''
    :ivar waiting: images whose withdrawal waits for a confirmation
    """

    name: str
    configured: subscription_.Subscription | None
    problem: str
    state: store.SubscriptionState | None
    images: int
    approved: int
    waiting: int = 0

    def condition(self, now: int) -> condition.Condition:
        """How it fares at a time, in UNIX seconds."""
        return condition.of(
            self.state,
            now,
            self.configured is not None,
            bool(self.problem),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Synced:
    """What one sync did.

    :ivar warnings: CRLs that run out, and what waits for a confirmation
    :ivar clouds: what each cloud did, by its name
    :ivar waiting: images whose withdrawal waits, by subscription
    """

    reports: tuple[sync.Report, ...]
    withdrawals: tuple[settle.Withdrawal, ...]
    warnings: tuple[str, ...] = ()
    clouds: Mapping[str, following.Followed] = dataclasses.field(
        default_factory=dict
    )
    waiting: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def deactivated(self) -> tuple[withdraw.Deactivated, ...]:
        """Withdrawn images, in all clouds."""
        return tuple(
            image for one in self.clouds.values() for image in one.deactivated
        )

    @property
    def reactivated(self) -> tuple[withdraw.Reactivated, ...]:
        """Images that are good again, in all clouds."""
        return tuple(
            image for one in self.clouds.values() for image in one.reactivated
        )

    @property
    def removed(self) -> tuple[removing.Removed, ...]:
        """Withdrawn images of ours that were hidden or deleted."""
        return tuple(
            image for one in self.clouds.values() for image in one.removed
        )

    @property
    def cloud_problem(self) -> str:
        """Why Glance, Nova or Cinder could not follow, or ''."""
        return '; '.join(
            problem for one in self.clouds.values() for problem in one.problems
        )

    @property
    def well(self) -> bool:
        """Whether an operator has nothing to look at."""
        failures = (
            *(image.error for image in self.deactivated),
            *(image.error for image in self.reactivated),
            *(image.error for image in self.removed),
        )
        return (
            all(report.well for report in self.reports)
            and not self.cloud_problem
            and not any(failures)
            and not self.waiting
        )


def create_or_upgrade(site: site_.Site) -> str:
    """Bring the catalogue's tables to this version; returns the version.

    :raises errors.LocalFault: when the database refuses
    """
    return migrations.upgrade(site.catalogue)


def subscriptions(site: site_.Site) -> tuple[Subscribed, ...]:
    """All subscriptions, configured or once configured, by name."""
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        states = store.subscription_states(connection)
        counts = _counts(connection)
        held = store.waiting(connection)
    found = []
    for name in sorted(set(states) | set(site.subscriptions)):
        configured = site.subscriptions.get(name)
        broken = isinstance(configured, errors.Misconfigured)
        images, approved = counts.get(name, (0, 0))
        found.append(
            Subscribed(
                name=name,
                configured=(
                    None
                    if isinstance(configured, errors.Misconfigured)
                    else configured
                ),
                problem=str(configured) if broken else '',
                state=states.get(name),
                images=images,
                approved=approved,
                waiting=held.get(name, 0),
            )
        )
    return tuple(found)


def _counts(connection: sa.Connection) -> dict[str, tuple[int, int]]:
    """Images that are listed, and approved ones, by subscription."""
    table = schema.endorsement
    rows = connection.execute(
        sa.select(
            table.c.subscription,
            sa.func.count().label('images'),
            sa.func.sum(sa.case((table.c.approved, 1), else_=0)).label(
                'approved'
            ),
        )
        .where(table.c.withdrawn == sa.false())
        .group_by(table.c.subscription)
    )
    return {
        row.subscription: (int(row.images), int(row.approved)) for row in rows
    }


def subscription(site: site_.Site, name: str) -> Subscribed:
    """One subscription.

    :raises errors.Misconfigured: when there is none of that name
    """
    for found in subscriptions(site):
        if found.name == name:
            return found
    raise errors.Misconfigured(
        f'subscription {name}: expected one of '
        f'{", ".join(sorted(site.subscriptions)) or "(none is configured)"}'
    )


def reset(
    site: site_.Site, now: int, name: str, who: str, reason: str
) -> store.SubscriptionState:
    """Take the next list of a subscription as if it were the first.

    The way back after a list with a version or date that its endorser
    cannot exceed (fast-forward). Everything else about that list is checked
    as ever, and until it comes the present one stands.

    :raises errors.Misconfigured: when there is no list of before, neither
        an accepted nor an imported one
    """

    def work(transaction: database.Transaction) -> store.SubscriptionState:
        state = store.subscription_state(transaction.connection, name)
        if state is None or state.list_version is None:
            raise errors.Misconfigured(
                f'subscription {name}: expected one with an accepted list, '
                'found none of that name'
            )
        transaction.put(
            schema.subscription,
            {'name': name},
            # The server is asked for its list even if that is an old one.
            {'reset_at': now, 'etag': None, 'last_modified': None},
        )
        transaction.remember(
            now,
            who,
            'subscription-reset',
            name,
            f'list {state.list_identifier} version {state.list_version} '
            f'created {state.created}: {reason}',
        )
        return state

    with site_.usable(site) as catalogue:
        return catalogue.transact(work)


def lists_seen(site: site_.Site, name: str) -> list[store.ListSeen]:
    """Lists of a subscription, accepted and refused, newest first."""
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        return store.lists_seen(connection, name)


def synchronise(
    site: site_.Site,
    now: int,
    only: frozenset[str] | None = None,
    told: Callable[[sync.Report], None] = lambda report: None,
    due: bool = False,
) -> Synced:
    """Sync, withdraw, deactivate in Glance, and find what still runs.

    Withdrawing in the catalogue does not wait for the cloud: when Glance or
    Nova is away, that is said, and the next run catches up.

    :param only: names; None means all
    :param due: fetch only those whose time has come; stored lists whose
        anchors or CRLs have changed are judged again in any case
    :raises errors.HepixError: when the catalogue itself cannot be used
    """
    with site_.usable(site) as catalogue:
        lineage.choose(catalogue, site.children, now)
        reports, withdrawals = sync.run(
            catalogue,
            site.subscriptions,
            site.fetch,
            now,
            only,
            told=told,
            timing=site.timing,
            due=due,
        )
        kept.prune(catalogue, now, site.refused_kept_days)
        with catalogue.reading() as connection:
            waiting = store.waiting(connection)
        followed = following.follow_all(site, catalogue, now)
        draining.follow(site, catalogue, followed.values(), now)
        hosts.follow(site, catalogue, now)
        context_pruning.follow(site, catalogue, now)
    warnings = anchors.warnings(
        site,
        datetime.datetime.fromtimestamp(now, datetime.UTC),
        site.crl_warning,
    )
    return Synced(
        reports,
        withdrawals,
        (*warnings, *(_waiting(*item) for item in waiting.items())),
        followed,
        waiting,
    )


def next_due(site: site_.Site, now: int) -> int | None:
    """When syncing has something to do next, in UNIX seconds.

    A CRL that is replaced before is not foreseen: sync now and then.

    :returns: ``now`` or later; None when nothing is configured
    :raises errors.HepixError: when the catalogue cannot be used
    """
    with site_.usable(site) as catalogue:
        return planning.next_due(
            catalogue, site.subscriptions, site.timing, now
        )


def rehearse(
    site: site_.Site,
    now: int,
    only: frozenset[str] | None = None,
    due: bool = False,
) -> rehearsal.Rehearsed:
    """What :func:`synchronise` would change in the catalogue; changes nothing.

    :raises errors.HepixError: when the catalogue cannot be used
    """
    with site_.usable(site) as catalogue:
        return rehearsal.rehearse(
            catalogue,
            site.subscriptions,
            site.fetch,
            now,
            only,
            due,
            timing=site.timing,
        )


def _waiting(name: str, images: int) -> str:
    return (
        f'subscription {name}: the withdrawal of {images} images waits for '
        f'"hepix-vm subscription confirm {name} --reason ..."'
    )

# SPDX-License-Identifier: Apache-2.0
"""Subscriptions, syncing and the database."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import datetime

from hepix_vm.catalogue import kept
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import withdraw
from hepix_vm.nova import servers
from hepix_vm.operations import anchors
from hepix_vm.operations import serving
from hepix_vm.operations import site as site_


@dataclasses.dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription: how it is configured and how it fares.

    :ivar configured: None when its group is gone or broken
    :ivar problem: what is wrong with its group, or ''
    """

    name: str
    configured: subscription_.Subscription | None
    problem: str
    state: store.SubscriptionState | None
    images: int
    approved: int


@dataclasses.dataclass(frozen=True, slots=True)
class Synced:
    """What one sync did.

    :ivar warnings: CRLs that run out
    :ivar cloud_problem: why Glance or Nova could not follow, or ''
    """

    reports: tuple[sync.Report, ...]
    withdrawals: tuple[settle.Withdrawal, ...]
    deactivated: tuple[withdraw.Deactivated, ...]
    running: tuple[servers.Judged, ...]
    warnings: tuple[str, ...]
    cloud_problem: str

    @property
    def well(self) -> bool:
        """Whether an operator has nothing to look at."""
        return (
            all(report.well for report in self.reports)
            and not self.cloud_problem
            and not any(image.error for image in self.deactivated)
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
        images = store.images(connection)
    found = []
    for name in sorted(set(states) | set(site.subscriptions)):
        configured = site.subscriptions.get(name)
        broken = isinstance(configured, errors.Misconfigured)
        mine = [image for image in images if image.subscription == name]
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
                images=len(mine),
                approved=sum(image.approved for image in mine),
            )
        )
    return tuple(found)


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
    with site_.usable(site) as catalogue, catalogue.writing() as transaction:
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


def lists_seen(site: site_.Site, name: str) -> list[store.ListSeen]:
    """Lists of a subscription, accepted and refused, newest first."""
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        return store.lists_seen(connection, name)


def synchronise(
    site: site_.Site,
    now: int,
    only: frozenset[str] | None = None,
    told: Callable[[sync.Report], None] = lambda report: None,
) -> Synced:
    """Sync, withdraw, deactivate in Glance, and find what still runs.

    Withdrawing in the catalogue does not wait for the cloud: when Glance or
    Nova is away, that is said, and the next run catches up.

    :raises errors.HepixError: when the catalogue itself cannot be used
    """
    with site_.usable(site) as catalogue:
        reports, withdrawals = sync.run(
            catalogue, site.subscriptions, site.fetch, now, only, told=told
        )
        kept.prune(catalogue, now, site.refused_kept_days)
        deactivated: tuple[withdraw.Deactivated, ...] = ()
        running: tuple[servers.Judged, ...] = ()
        problem = ''
        try:
            session = site.cloud.session()
            if session is not None:
                glance = client.Glance(
                    session, site.cloud.region, site.cloud.interface
                )
                deactivated = withdraw.deactivate(catalogue, glance)
                running = serving.on_withdrawn_images(site, now)
        except errors.HepixError as exc:
            problem = str(exc)
    warnings = anchors.warnings(
        site,
        datetime.datetime.fromtimestamp(now, datetime.UTC),
        site.crl_warning,
    )
    return Synced(
        reports, withdrawals, deactivated, running, warnings, problem
    )

# SPDX-License-Identifier: Apache-2.0
"""What an operation works on: one site's configuration, as values."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import datetime
from typing import Any

from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import sync
from hepix_vm.catalogue import timing as timing_
from hepix_vm.catalogue import withdrawal as withdrawal_
from hepix_vm import errors
from hepix_vm.glance import conversion
from hepix_vm.glance import plan
from hepix_vm.glance import template
from hepix_vm.glance import wanted
from hepix_vm.notify import settings as notify
from hepix_vm.nova import capacity
from hepix_vm.nova import precache
from hepix_vm.nova import quarantine


def _no_rules() -> wanted.Rules:
    return wanted.Rules(template.parse('{title}'))


def _no_quarantine() -> quarantine.Place:
    return quarantine.Place(
        lambda: None,
        errors.Misconfigured('group [quarantine]: nothing is configured'),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Cloud:
    """Where images are published; ``session`` logs in at its first use.

    :ivar group: of options, where its account is
    :ivar rules: what its images look like
    :ivar quarantine: where and how new images are tried out
    """

    session: Callable[[], Any | None]
    region: str | None = None
    interface: str = 'internal'
    import_deadline: float = 7200
    group: str = 'openstack'
    rules: Callable[[], wanted.Rules] = _no_rules
    quarantine: Callable[[], quarantine.Place] = _no_quarantine

    def logged_in(self) -> Any:
        """The keystoneauth session.

        :raises errors.Misconfigured: when no account is configured
        """
        session = self.session()
        if session is None:
            raise errors.Misconfigured(
                f'group [{self.group}] option auth_type: expected the account '
                'that publishes, found nothing; edit hepix_vm.conf'
            )
        return session


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """One site.

    :ivar cloud: the default one
    :ivar further: other clouds, by name
    :ivar subscriptions: by name; a broken group is its error
    :ivar publishing: how publishing goes about it
    :ivar precache: what compute hosts fetch beforehand
    :ivar conversion: what may be made of images that Nova does not boot
    :ivar timing: how often each list is fetched
    :ivar crl_warning: how long before its end a CRL is warned about
    :ivar refused_kept_days: how long refused messages are kept
    :ivar run_anyway_longest: seconds for which an image may run anyway
    :ivar notices: what others are told of, and how
    :ivar withdrawal: what becomes of withdrawn images in the clouds
    :ivar children: what becomes of snapshots of servers
    :ivar hosts: how compute hosts are asked what they have
    :ivar grace_secs: seconds that orders to end come before their time
    :ivar audit_kept_days: how long what servers fetched is kept that are gone
    """

    catalogue: database.Database
    subscriptions: sync.Configured
    fetch: fetch.FetchSettings
    cloud: Cloud
    further: Mapping[str, Cloud] = dataclasses.field(default_factory=dict)
    publishing: plan.Settings = dataclasses.field(
        default_factory=plan.Settings
    )
    precache: precache.Settings = dataclasses.field(
        default_factory=precache.Settings
    )
    conversion: conversion.Settings = dataclasses.field(
        default_factory=conversion.Settings
    )
    timing: timing_.Timing = dataclasses.field(default_factory=timing_.Timing)
    crl_warning: datetime.timedelta = datetime.timedelta(hours=48)
    refused_kept_days: int = 90
    run_anyway_longest: int = 2592000
    notices: notify.Settings = dataclasses.field(
        default_factory=notify.Settings
    )
    withdrawal: withdrawal_.Settings = dataclasses.field(
        default_factory=withdrawal_.Settings
    )
    children: model.Children = model.Children.FOLLOW
    hosts: capacity.Settings = dataclasses.field(
        default_factory=capacity.Settings
    )
    grace_secs: int = 0
    audit_kept_days: int = 30

    @property
    def clouds(self) -> dict[str, Cloud]:
        """All clouds by their names, the default one first.

        That one is left out when it has no account and others have.
        """
        found = {schema.DEFAULT_CLOUD: self.cloud, **self.further}
        if self.further and self.cloud.session() is None:
            del found[schema.DEFAULT_CLOUD]
        return found


@contextlib.contextmanager
def usable(site: Site) -> Iterator[database.Database]:
    """The catalogue, seen to be there, with its failures as ours.

    :raises errors.LocalFault: when it is not there, not of this version or
        fails on the way
    """
    migrations.check(site.catalogue)
    try:
        yield site.catalogue
    except database.FAILURES as exc:
        raise errors.LocalFault(
            f'the catalogue failed: {database.cause(exc)}; look '
            'at its database, then run the command again'
        ) from exc

# SPDX-License-Identifier: Apache-2.0
"""What an operation works on: one site's configuration, as values."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
from typing import Any

from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import sync
from hepix_vm.catalogue import timing as timing_
from hepix_vm import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Cloud:
    """Where images are published; ``session`` logs in at its first use."""

    session: Callable[[], Any | None]
    region: str | None = None
    interface: str = 'internal'
    visibility: str = 'public'
    import_deadline: float = 7200

    def logged_in(self) -> Any:
        """The keystoneauth session.

        :raises errors.Misconfigured: when no account is configured
        """
        session = self.session()
        if session is None:
            raise errors.Misconfigured(
                'group [openstack] option auth_type: expected the account '
                'that publishes, found nothing; edit hepix_vm.conf'
            )
        return session


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """One site.

    :ivar subscriptions: by name; a broken group is its error
    :ivar timing: how often each list is fetched
    :ivar crl_warning: how long before its end a CRL is warned about
    :ivar refused_kept_days: how long refused messages are kept
    :ivar run_anyway_longest: seconds for which an image may run anyway
    """

    catalogue: database.Database
    subscriptions: sync.Configured
    fetch: fetch.FetchSettings
    cloud: Cloud
    timing: timing_.Timing = dataclasses.field(default_factory=timing_.Timing)
    crl_warning: datetime.timedelta = datetime.timedelta(hours=48)
    refused_kept_days: int = 90
    run_anyway_longest: int = 2592000


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

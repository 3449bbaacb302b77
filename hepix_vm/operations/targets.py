# SPDX-License-Identifier: Apache-2.0
"""A cloud of the site as publishing needs it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import functools
import threading
from typing import Any

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm.glance import apply
from hepix_vm.glance import audience
from hepix_vm.glance import client
from hepix_vm.glance import publish
from hepix_vm.glance import wanted
from hepix_vm.nova import compute
from hepix_vm.nova import precache
from hepix_vm.nova import quarantine
from hepix_vm.operations import precaching
from hepix_vm.operations import quarantining
from hepix_vm.operations import site as site_
from hepix_vm.operations import withdrawing

LOG = log.getLogger(__name__)

_VERDICTS = {
    quarantine.Passed: apply.Verdict.PASSED,
    quarantine.Failed: apply.Verdict.FAILED,
    quarantine.Undecided: apply.Verdict.UNDECIDED,
}


def target(
    site: site_.Site,
    catalogue: database.Database,
    name: str,
    cloud: site_.Cloud,
    now: int,
) -> publish.Target:
    """One cloud, logged in.

    :param name: of the cloud
    :param now: UNIX seconds
    :raises errors.HepixError: when nothing can be published there
    """
    rules = cloud.rules()
    trials = _trials(site)
    session = cloud.logged_in()
    glance = client.Glance(session, cloud.region, cloud.interface, cloud.group)

    def look(
        images: Sequence[store.Image],
    ) -> Sequence[wanted.Wanted | wanted.Unsuited]:
        with catalogue.reading() as connection:
            meant = audience.read(connection)
        return wanted.wanted(images, rules, meant)

    def in_use(image_ids: frozenset[str]) -> frozenset[str]:
        return withdrawing.in_use(
            session,
            cloud.region,
            cloud.interface,
            image_ids,
            tuple(glance.images()),
        )

    return publish.Target(
        apply.Cloud(
            name,
            glance,
            glance.project(),
            cloud.import_deadline,
            _quarantine(catalogue, name, cloud, session, glance, trials, now),
        ),
        look,
        in_use,
        trials,
    )


def _trials(site: site_.Site) -> frozenset[str]:
    """Subscriptions whose images are tried out first."""
    return frozenset(
        item.name
        for item in site.subscriptions.values()
        if isinstance(item, subscription_.Subscription) and item.quarantine
    )


def _quarantine(
    catalogue: database.Database,
    name: str,
    cloud: site_.Cloud,
    session: Any,
    glance: client.Glance,
    trials: frozenset[str],
    now: int,
) -> Callable[[str], apply.Quarantine | None]:
    """What says how images of a subscription are tried out.

    Nobody logs in before the first of them comes.
    """

    @functools.cache
    def made() -> apply.Quarantine:
        trying = quarantining.of_cloud(
            catalogue, name, cloud, session, glance, now
        )

        def boot(image_id: str, told: Callable[[str], None]) -> apply.Tried:
            result = trying.boot(image_id, told)
            return apply.Tried(_VERDICTS[type(result)], result.detail)

        return apply.Quarantine(trying.project, boot)

    lock = threading.Lock()

    def of(subscription: str) -> apply.Quarantine | None:
        if subscription not in trials:
            return None
        with lock:
            return made()

    return of


def precached(
    site: site_.Site, catalogue: database.Database, now: int
) -> Iterator[precache.Asked]:
    """Have compute hosts of all clouds fetch what is released there.

    A cloud that cannot be asked is logged.
    """
    if not site.precache.aggregates:
        return
    for name, cloud in site.clouds.items():
        try:
            nova = compute.Compute(
                cloud.logged_in(), cloud.region, cloud.interface, cloud.group
            )
            yield from precaching.precached(
                catalogue, nova, name, site.precache, now
            )
        except errors.HepixError as exc:
            LOG.warning('verdict=not-precached cloud=%s %s', name, exc)

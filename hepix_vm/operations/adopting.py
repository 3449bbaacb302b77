# SPDX-License-Identifier: Apache-2.0
"""Images that older tools left in Glance become ours."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path

from hepix_vm.catalogue import database
from hepix_vm import errors
from hepix_vm.glance import adopt as adopt_
from hepix_vm.glance import client
from hepix_vm.glance import outcomes
from hepix_vm.operations import site as site_
from hepix_vm.operations import turns


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What is to be adopted.

    :ivar cloud: its name
    :ivar projects: ids of projects beside that of the account, in which an
        older tool made images
    :ivar only: ids of Glance images, whosever they are; None: all in these
        projects, and all public ones
    """

    cloud: str
    projects: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    dry_run: bool = False


def adopt(
    site: site_.Site,
    now: int,
    wish: Wish,
    who: str,
    told: outcomes.Told = lambda progress: None,
) -> Iterator[adopt_.Result]:
    """Adopt what matches an approved endorsement, one after the other.

    :param now: UNIX seconds
    :param who: for the history
    :raises errors.Misconfigured: for a cloud or an image that is not there,
        or an account that may not do this
    :raises errors.HepixError: when Glance or the catalogue cannot be asked
    """
    clouds = site.clouds
    if wish.cloud not in clouds:
        raise errors.Misconfigured(
            f'cloud {wish.cloud}: expected one of {", ".join(clouds)}; see '
            'groups [openstack:NAME]'
        )
    cloud = clouds[wish.cloud]
    glance = client.Glance(
        cloud.logged_in(), cloud.region, cloud.interface, cloud.group
    )
    own = {glance.project(), cloud.rules().owner}
    with (
        site_.usable(site) as catalogue,
        _turn(site, catalogue, now, wish, told) as mine,
    ):
        yield from adopt_.adopt(
            mine,
            glance,
            adopt_.Wish(
                wish.cloud,
                wish.projects | {project for project in own if project},
                wish.only,
                wish.dry_run,
            ),
            now,
            who,
            told,
        )


def _turn(
    site: site_.Site,
    catalogue: database.Database,
    now: int,
    wish: Wish,
    told: outcomes.Told,
) -> contextlib.AbstractContextManager[database.Database]:
    """Nothing publishes a second copy of what is about to be adopted."""
    if wish.dry_run:
        return contextlib.nullcontext(catalogue)
    return turns.taken(
        catalogue,
        Path(site.fetch.spool_directory),
        now,
        site.publishing.patience,
        lambda holder: told(
            outcomes.Progress('adopt', f'wait for {holder}', 0, 0)
        ),
    )

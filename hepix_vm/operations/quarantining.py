# SPDX-License-Identifier: Apache-2.0
"""New images are tried out in a cloud, with all that has to be remembered."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import quarantine as rows
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.nova import compute
from hepix_vm.nova import quarantine
from hepix_vm.operations import site as site_

LOG = log.getLogger(__name__)

#: Seconds for which an answer of Nova that got lost may still make a server.
_LOST = 3600


@dataclasses.dataclass(frozen=True, slots=True)
class Quarantine:
    """Tries images out in one cloud; several threads may use it.

    :ivar cloud: its name
    :ivar glance: as the account that publishes
    :ivar compute: Nova, as the account of the quarantine
    :ivar project: id of that account's project
    :ivar settings: or what is wrong with them
    :ivar now: UNIX seconds
    """

    catalogue: database.Database
    cloud: str
    glance: client.Glance
    compute: quarantine.Compute
    project: str
    settings: quarantine.Settings | errors.Misconfigured
    now: int
    clock: quarantine.Clock = dataclasses.field(
        default_factory=quarantine.Clock
    )

    def boot(
        self, image_id: str, told: Callable[[str], None]
    ) -> quarantine.Result:
        """Try one image out. Its server is removed in any case.

        :raises errors.LocalFault: nothing else; what keeps an image from
            being tried out is a result
        """
        if isinstance(self.settings, errors.Misconfigured):
            return quarantine.Undecided(str(self.settings))
        try:
            self._remove(image_id)
            name = self.catalogue.transact(
                functools.partial(
                    rows.begin,
                    now=self.now,
                    cloud=self.cloud,
                    image_id=image_id,
                    project=self.project,
                )
            )
            self._let_see(image_id)
        except errors.HepixError as exc:
            return quarantine.Undecided(str(exc))
        try:
            result = quarantine.boot(
                self.compute, image_id, name, self.settings, told, self.clock
            )
        finally:
            self._remove_quietly(image_id)
        LOG.log(
            log.INFO if isinstance(result, quarantine.Passed) else log.WARNING,
            'verdict=quarantine-%s image=%s cloud=%s %s',
            type(result).__name__.lower(),
            image_id,
            self.cloud,
            result.detail,
        )
        return result

    def clean(self) -> None:
        """Remove what runs that died have left; does not raise."""
        with self.catalogue.reading() as connection:
            found = rows.left(connection, self.cloud)
        for one in found:
            self._remove_quietly(one.image_id)

    def _let_see(self, image_id: str) -> None:
        """Have the project of the quarantine see an image of another one."""
        if self.project == self.glance.project():
            return
        image = self.glance.image(image_id)
        if image is None:
            raise errors.TryAgain(f'image {image_id}: it is gone from Glance')
        if image.visibility == 'private':
            self.glance.change(image, {'visibility': 'shared'})
        if image.visibility in ('private', 'shared'):
            # The project need not accept it to boot it by its id.
            self.glance.share(image_id, self.project)

    def _remove_quietly(self, image_id: str) -> None:
        try:
            self._remove(image_id)
        except errors.HepixError as exc:
            LOG.warning(
                'verdict=quarantine-left image=%s cloud=%s %s; the next run '
                'removes it',
                image_id,
                self.cloud,
                exc,
            )

    def _remove(self, image_id: str) -> None:
        """Remove the server of an image's last boot, if it is there."""
        with self.catalogue.reading() as connection:
            found = rows.left(connection, self.cloud, image_id)
        for one in found:
            if one.project != self.project:
                # The account is another one by now, which cannot see it.
                LOG.warning(
                    'verdict=quarantine-left image=%s cloud=%s look for '
                    'server %s in project %s, and delete it there',
                    image_id,
                    self.cloud,
                    one.name,
                    one.project,
                )
            elif (
                not quarantine.remove(
                    self.compute, image_id, one.name, self.clock
                )
                and self.now - one.at <= _LOST
            ):
                continue
            self.catalogue.transact(
                functools.partial(rows.removed, image_id=image_id)
            )


def of_cloud(
    catalogue: database.Database,
    name: str,
    cloud: site_.Cloud,
    session: Any,
    glance: client.Glance,
    now: int,
) -> Quarantine:
    """What tries images out in a cloud, logged in.

    :param name: of the cloud
    :param session: of the account that publishes there
    :param glance: as that account
    :param now: UNIX seconds
    :raises errors.HepixError: when the account cannot be used
    """
    place = cloud.quarantine()
    own = place.session()
    group = cloud.group if own is None else place.group
    # A client for its words about an account that Keystone refuses.
    account = (
        glance
        if own is None
        else client.Glance(own, cloud.region, cloud.interface, group)
    )
    project = account.project()
    if project is None:
        raise errors.Misconfigured(
            f'group [{group}]: expected an account with a project'
        )
    return Quarantine(
        catalogue=catalogue,
        cloud=name,
        glance=glance,
        compute=compute.Compute(
            session if own is None else own,
            cloud.region,
            cloud.interface,
            group,
        ),
        project=project,
        settings=place.settings,
        now=now,
    )


def clean(site: site_.Site, catalogue: database.Database, now: int) -> None:
    """Remove what runs that died have left in the clouds; does not raise.

    To be called while nobody else publishes. Nobody logs in where nothing was
    left.
    """
    for name, cloud in site.clouds.items():
        with catalogue.reading() as connection:
            if not rows.left(connection, name):
                continue
        try:
            session = cloud.logged_in()
            glance = client.Glance(
                session, cloud.region, cloud.interface, cloud.group
            )
            of_cloud(catalogue, name, cloud, session, glance, now).clean()
        except errors.HepixError as exc:
            LOG.warning('verdict=quarantine-left cloud=%s %s', name, exc)

# SPDX-License-Identifier: Apache-2.0
"""The clouds do as the catalogue says.

The catalogue's own withdrawal came first and waits for none of this. A
service that is away does not keep the others from being asked; nothing is
deleted, and no change of what still runs is told, while one of them is.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import withdrawal
from hepix_vm.catalogue import withdrawn_use
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import removing
from hepix_vm.glance import unfinished
from hepix_vm.glance import withdraw
from hepix_vm.operations import site as site_
from hepix_vm.operations import withdrawing


@dataclasses.dataclass(frozen=True, slots=True)
class Followed:
    """What was done in one cloud.

    :ivar problems: why it could not follow in all
    """

    deactivated: tuple[withdraw.Deactivated, ...] = ()
    reactivated: tuple[withdraw.Reactivated, ...] = ()
    removed: tuple[removing.Removed, ...] = ()
    looked: withdrawing.Looked = withdrawing.NOTHING
    problems: tuple[str, ...] = ()


def follow_all(
    site: site_.Site, store: database.Database, now: int
) -> dict[str, Followed]:
    """Have every cloud do as the catalogue says; what each did, by name."""
    try:
        clouds = site.clouds
    except errors.HepixError as exc:
        return {schema.DEFAULT_CLOUD: Followed(problems=(str(exc),))}
    several = len(clouds) > 1
    found = {}
    for name, cloud in clouds.items():
        one = follow(store, name, cloud, site.withdrawal, now, several)
        if several:
            problems = tuple(f'cloud {name}: {p}' for p in one.problems)
            one = dataclasses.replace(one, problems=problems)
        found[name] = one
    withdrawn_use.forget(store, clouds)
    return found


def follow(
    store: database.Database,
    name: str,
    cloud: site_.Cloud,
    settings: withdrawal.Settings,
    now: int,
    elsewhere: bool = False,
) -> Followed:
    """Have one cloud do as the catalogue says.

    :param name: of the cloud
    :param elsewhere: whether there are further clouds
    :returns: nothing done where no account is configured
    """
    try:
        session = cloud.session()
        if session is None:
            return Followed()
        glance = client.Glance(
            session, cloud.region, cloud.interface, cloud.group
        )
    except errors.HepixError as exc:
        return Followed(problems=(str(exc),))
    following = _Following(store, name, cloud, session, glance, settings, now)
    codes = withdraw.withdrawn(store)
    if codes:
        following.withdraw(codes)
    else:
        withdrawn_use.seen(store, name, {}, {}, now)
    following.reactivate(elsewhere)
    return following.followed


class _Following:
    """Collects what one cloud did, up to the first thing that failed."""

    def __init__(
        self,
        store: database.Database,
        name: str,
        cloud: site_.Cloud,
        session: Any,
        glance: client.Glance,
        settings: withdrawal.Settings,
        now: int,
    ) -> None:
        self._store = store
        self._name = name
        self._cloud = cloud
        self._session = session
        self._glance = glance
        self._settings = settings
        self._now = now
        self.followed = Followed()

    def withdraw(self, codes: Mapping[str, str]) -> None:
        """Deactivate, hide, find what depends on it, delete."""
        images: tuple[client.GlanceImage, ...] = ()
        try:
            images = tuple(self._glance.images())
            unfinished.withdraw(self._store, self._glance, images, self._now)
        except errors.HepixError as exc:
            self._failed(str(exc))
        deactivated = withdraw.deactivate(
            self._store, self._glance, images, codes, self._now
        )
        hidden = (
            removing.hide(
                self._store,
                self._glance,
                self._name,
                images,
                codes,
                self._settings,
                self._now,
            )
            if not self.followed.problems
            else ()
        )
        looked = withdrawing.look(
            self._session,
            self._cloud.region,
            self._cloud.interface,
            codes,
            images,
            names=True,
        )
        self._add(deactivated=deactivated, removed=hidden, looked=looked)
        self._failed(*looked.problems)
        if self.followed.problems:
            # What is not known is neither told nor taken to be unused.
            return
        withdrawn_use.seen(
            self._store,
            self._name,
            _by_image(looked, self._now),
            codes,
            self._now,
        )
        self._delete(codes, images, looked.affected.used())

    def _delete(
        self,
        codes: Mapping[str, str],
        images: tuple[client.GlanceImage, ...],
        used: frozenset[str],
    ) -> None:
        try:
            deleted = removing.delete(
                self._store,
                self._glance,
                self._name,
                images,
                codes,
                self._settings,
                used,
                self._now,
            )
        except errors.HepixError as exc:
            self._failed(str(exc))
            return
        self._add(removed=(*self.followed.removed, *deleted))

    def reactivate(self, elsewhere: bool) -> None:
        """Give back what is good again."""
        try:
            self._add(
                reactivated=withdraw.reactivate(
                    self._store, self._glance, self._now, elsewhere
                )
            )
        except errors.HepixError as exc:
            self._failed(str(exc))

    def _add(self, **values: Any) -> None:
        self.followed = dataclasses.replace(self.followed, **values)

    def _failed(self, *problems: str) -> None:
        known = dict.fromkeys((*self.followed.problems, *problems))
        self._add(problems=tuple(known))


def _by_image(
    looked: withdrawing.Looked, now: int
) -> dict[str, list[dict[str, Any]]]:
    """Servers as JSON by the withdrawn image that they depend on."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in looked.affected.servers:
        if one.server.runs:
            found.setdefault(one.link.image_id, []).append(
                withdrawing.as_json(one, looked.names, now)
            )
    return found

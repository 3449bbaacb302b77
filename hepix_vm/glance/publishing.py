# SPDX-License-Identifier: Apache-2.0
"""Where images go to, how publishing goes about it, and what it plans."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue import store
from hepix_vm.glance import apply
from hepix_vm.glance import conversion
from hepix_vm.glance import plan
from hepix_vm.glance import wanted as wanted_

#: Which of some Glance images something uses; what is not known is in use.
InUse = Callable[[frozenset[str]], frozenset[str]]

#: How approved images are to look in a cloud.
Look = Callable[
    [Sequence[store.Image]], Sequence[wanted_.Wanted | wanted_.Unsuited]
]


def _all_in_use(image_ids: frozenset[str]) -> frozenset[str]:
    return image_ids


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One cloud that images go to.

    :ivar look: says how they are to look there
    :ivar in_use: asked before an old version is deleted
    :ivar trials: subscriptions whose images need a quarantine
    """

    cloud: apply.Cloud
    look: Look
    in_use: InUse = _all_in_use
    trials: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Manner:
    """Where images come from, and how publishing goes about it.

    :ivar access: how the servers of a subscription are reached, by its name
    :ivar conversion: what may be made of images that Nova does not boot
    :ivar only: image identifiers; None: all that are approved
    :ivar retry: whether images that failed in quarantine are tried again
    :ivar whole: whether these are all clouds of the site, so that a version
        that is replaced in each of them counts no longer
    :ivar spooled: SHA-512 of what others have downloaded and still need
    """

    fetch: values.FetchSettings
    access: Mapping[str, values.Access] = dataclasses.field(
        default_factory=dict
    )
    settings: plan.Settings = dataclasses.field(default_factory=plan.Settings)
    conversion: conversion.Settings = dataclasses.field(
        default_factory=conversion.Settings
    )
    only: frozenset[str] | None = None
    retry: bool = False
    whole: bool = True
    spooled: frozenset[str] = frozenset()

    def fetching(self, subscription: str) -> values.FetchSettings:
        """How images of a subscription are fetched."""
        access = self.access.get(subscription, values.Access())
        return dataclasses.replace(self.fetch, access=access)

    def means(self, identifier: str) -> bool:
        """Whether an image is among those to be published."""
        return self.only is None or identifier in self.only


@dataclasses.dataclass(frozen=True, slots=True)
class Planned:
    """One cloud and what is to be done there.

    :ivar problem: why nothing can be, or ''
    """

    target: Target
    groups: tuple[plan.Group, ...]
    problem: str = ''

    @property
    def text(self) -> str:
        """What a dry run prints."""
        return plan.text(self.target.cloud.name, self.groups)

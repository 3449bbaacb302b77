# SPDX-License-Identifier: Apache-2.0
"""What publishing does with an image in one cloud, as values."""

from __future__ import annotations

import dataclasses

from hepix_vm.catalogue import store
from hepix_vm.glance import looks
from hepix_vm.glance import publications
from hepix_vm.glance.publications import Publication
from hepix_vm.glance import wanted as wanted_


@dataclasses.dataclass(frozen=True, slots=True)
class Create:
    """A version that is not there is brought in."""

    wanted: wanted_.Wanted


@dataclasses.dataclass(frozen=True, slots=True)
class Finish:
    """An earlier run ended half-way, or an image is in quarantine."""

    wanted: wanted_.Wanted
    row: Publication


@dataclasses.dataclass(frozen=True, slots=True)
class Revive:
    """A retired version is wanted again."""

    wanted: wanted_.Wanted
    row: Publication


@dataclasses.dataclass(frozen=True, slots=True)
class Correct:
    """A published image does not look as it should.

    :ivar differences: what somebody or the rules changed
    """

    wanted: wanted_.Wanted
    row: Publication
    differences: tuple[looks.Difference, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """The members are compared with the mapping."""

    wanted: wanted_.Wanted
    row: Publication


@dataclasses.dataclass(frozen=True, slots=True)
class Leave:
    """The newest version is there and is left as it is.

    :ivar because: why, where that is not that all is well
    """

    wanted: wanted_.Wanted
    row: Publication
    because: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Skip:
    """An image does not come into this cloud."""

    image: store.Image
    because: str


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """An image would come, but somebody has to decide first."""

    wanted: wanted_.Wanted
    row: Publication
    because: str


@dataclasses.dataclass(frozen=True, slots=True)
class Retire:
    """A version is taken from users: a newer one is there."""

    row: Publication
    because: str


@dataclasses.dataclass(frozen=True, slots=True)
class Delete:
    """A version that was retired long ago goes, unless something uses it."""

    row: Publication
    because: str


@dataclasses.dataclass(frozen=True, slots=True)
class Discard:
    """An image that was never released goes."""

    row: Publication
    because: str


@dataclasses.dataclass(frozen=True, slots=True)
class Forget:
    """A row whose image is not there, or is not ours any more."""

    row: Publication
    because: str


Action = (
    Create
    | Finish
    | Revive
    | Correct
    | Share
    | Leave
    | Skip
    | Hold
    | Retire
    | Delete
    | Discard
    | Forget
)


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """All that is done for one image, in order."""

    key: publications.Key
    actions: tuple[Action, ...]


def changes(action: Action) -> bool:
    """Whether an action asks more of a cloud than to be looked at."""
    return not isinstance(action, Leave | Skip | Hold)

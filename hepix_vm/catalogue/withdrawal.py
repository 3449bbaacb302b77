# SPDX-License-Identifier: Apache-2.0
"""What the site wants to become of withdrawn images in its clouds."""

from __future__ import annotations

import dataclasses
import enum


class Action(enum.StrEnum):
    """What follows the deactivation, of images of ours."""

    DEACTIVATE = 'deactivate'
    HIDE = 'hide'
    DELETE = 'delete'


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The site's rule.

    :ivar retention: seconds from the withdrawal to the deletion, at least
    :ivar drain_grace: seconds after which servers of a withdrawn image are
        told to end; None: they are told nothing
    """

    action: Action = Action.DEACTIVATE
    retention: int = 30 * 86400
    drain_grace: int | None = None

# SPDX-License-Identifier: Apache-2.0
"""What a site wants of Nova, as frozen values. The standard library only."""

from __future__ import annotations

import dataclasses
import enum


class Where(enum.StrEnum):
    """On which hosts decisions bind."""

    EVERYWHERE = 'everywhere'
    AGGREGATES = 'aggregates'


class VolumeBoot(enum.StrEnum):
    """What becomes of new servers that boot from a volume."""

    REFUSE = 'refuse'
    ENDORSED = 'endorsed'


@dataclasses.dataclass(frozen=True, slots=True)
class Placing:
    """How the scheduler filter and the API guard act on decisions.

    :ivar dry_run: say what would be refused, refuse nothing
    :ivar on_moves: decisions bind moves of existing servers, too
    :ivar exempt_projects: ids of projects that decisions do not bind
    :ivar enforced_projects: if any, the only projects that they bind
    :ivar lookup_timeout: seconds for an answer of Glance or Cinder
    """

    where: Where = Where.EVERYWHERE
    dry_run: bool = False
    on_moves: bool = False
    exempt_projects: frozenset[str] = frozenset()
    enforced_projects: frozenset[str] = frozenset()
    volume_boot: VolumeBoot = VolumeBoot.REFUSE
    lookup_timeout: float = 10.0

    def binds(self, project: str) -> bool:
        """Whether decisions bind a project."""
        if project in self.exempt_projects:
            return False
        return not self.enforced_projects or project in self.enforced_projects

# SPDX-License-Identifier: Apache-2.0
"""For whom images are, and which of them was known first."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json

import sqlalchemy as sa

from hepix_vm.catalogue import schema


@dataclasses.dataclass(frozen=True, slots=True)
class Audience:
    """What the catalogue knows of images besides their own rows.

    :ivar projects: ids of the projects that may use the images of a
        subscription, by its name; None: all projects
    :ivar since: when a list first named an image, in any version, in UNIX
        seconds, by subscription and identifier
    """

    projects: Mapping[str, frozenset[str] | None]
    since: Mapping[tuple[str, str], int]


def read(connection: sa.Connection) -> Audience:
    """The audience of everything in the catalogue."""
    holders, images = schema.subscription, schema.endorsement
    projects = connection.execute(
        sa.select(holders.c.name, holders.c.projects)
    )
    since = connection.execute(
        sa.select(
            images.c.subscription,
            images.c.identifier,
            sa.func.min(images.c.first_seen).label('since'),
        ).group_by(images.c.subscription, images.c.identifier)
    )
    return Audience(
        {
            row.name: (
                None
                if row.projects is None
                else frozenset(json.loads(row.projects))
            )
            for row in projects
        },
        {(row.subscription, row.identifier): int(row.since) for row in since},
    )

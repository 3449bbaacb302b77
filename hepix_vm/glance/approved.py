# SPDX-License-Identifier: Apache-2.0
"""Which images the catalogue approves, as publishing needs them."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import sqlalchemy as sa

from hepix_vm.catalogue import against
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store


@dataclasses.dataclass(frozen=True, slots=True)
class Approved:
    """What the catalogue approves this moment, and what it knows of Glance.

    :ivar images: newest versions only
    :ivar deactivated: Glance images that the sync deactivated
    """

    images: tuple[store.Image, ...]
    records: Mapping[str, model.GlanceRecord]
    deactivated: frozenset[str]


def approved(connection: sa.Connection, now: int) -> Approved:
    """Every image that some project may use now, in its newest version."""
    snapshot = loading.load(connection, None, now).snapshot
    table = schema.glance_record
    deactivated = connection.execute(
        sa.select(table.c.image_id).where(table.c.deactivated_at.is_not(None))
    ).scalars()
    return Approved(
        tuple(
            image
            for image in store.images(connection)
            if image.replaced_until is None and _approved(snapshot, image, now)
        ),
        snapshot.records,
        frozenset(deactivated),
    )


def _approved(snapshot: model.Snapshot, image: store.Image, now: int) -> bool:
    """Whether its bytes are, and by this endorsement, too."""
    decision = model.decide_bytes(
        snapshot, image.sha512, image.size, None, now, 1
    )
    if not decision.approved:
        return False
    return any(
        endorsement.row == image.row
        and against.first(
            endorsement,
            snapshot.subscriptions.get(endorsement.subscription),
            image.size,
            None,
            now,
        )
        is None
        for endorsement in snapshot.endorsements.get(image.sha512, ())
    )


def approved_images(
    connection: sa.Connection, now: int
) -> tuple[store.Image, ...]:
    """Every image that some project may use now, in its newest version."""
    return approved(connection, now).images

# SPDX-License-Identifier: Apache-2.0
"""Glance follows the catalogue: what no longer approves is deactivated.

The record was withdrawn first, so Nova refuses the image whether or not
this succeeds; and an image that somebody reactivated by hand is deactivated
again by the next run. What was deactivated here, and nothing else, is
reactivated when its record has become good again.
"""

from __future__ import annotations

import dataclasses

from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import excerpt
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.glance import client

LOG = log.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Deactivated:
    """One withdrawn image and whether Glance obeyed.

    :ivar error: '' when it did
    """

    image_id: str
    name: str
    code: str
    error: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reactivated:
    """One image that is good again and whether Glance obeyed.

    :ivar error: '' when it did
    """

    image_id: str
    name: str
    error: str


def deactivate(
    database_: database.Database, glance: client.Glance, now: int
) -> tuple[Deactivated, ...]:
    """Deactivate every active image whose record is withdrawn.

    Only images with a record of ours are touched.

    :raises errors.TryAgain: when Glance cannot be asked at all
    """
    with database_.reading() as connection:
        withdrawn = {
            record.image_id: record.reason
            for record in store.records(
                connection, [model.RecordState.WITHDRAWN]
            )
        }
    if not withdrawn:
        return ()
    done = []
    for image in glance.images(status='active'):
        if image.image_id not in withdrawn:
            continue
        error = ''
        try:
            glance.deactivate(image.image_id)
        except errors.HepixError as exc:
            error = str(exc)
        else:
            # Afterwards: what was never done must not be undone.
            _mark(database_, image.image_id, now)
        LOG.warning(
            'verdict=%s image=%s code=%s %s',
            'failed' if error else 'deactivated',
            image.image_id,
            withdrawn[image.image_id],
            error,
        )
        done.append(
            Deactivated(
                image.image_id,
                image.name,
                withdrawn[image.image_id],
                error,
            )
        )
    return tuple(done)


def reactivate(
    database_: database.Database, glance: client.Glance, now: int
) -> tuple[Reactivated, ...]:
    """Reactivate what :func:`deactivate` did, where it is good again.

    Somebody else's deactivation stands, and so does that of an image that is
    not approved this moment or not the one that was recorded.

    :raises errors.TryAgain: when Glance cannot be asked at all
    """
    table = schema.glance_record
    with database_.reading() as connection:
        snapshot = excerpt.of_records(
            connection,
            now,
            sa.and_(
                table.c.state == model.RecordState.POSITIVE.value,
                table.c.deactivated_at.is_not(None),
            ),
        )
    done = []
    for record in snapshot.records.values():
        image = glance.image(record.image_id)
        if image is None or image.status != 'deactivated':
            # Deleted, or somebody else decided.
            _mark(database_, record.image_id, None)
            continue
        facts = model.ImageFacts(
            image.image_id,
            image.size,
            image.created_at,
            image.sha512,
        )
        decision = model.decide_image(snapshot, facts, None, now, 1)
        if image.created_at is None or not decision.approved:
            LOG.warning(
                'verdict=not-reactivated image=%s code=%s %s',
                image.image_id,
                decision.code,
                decision.detail,
            )
            continue
        done.append(_reactivated(database_, glance, image, decision))
    return tuple(done)


def _reactivated(
    database_: database.Database,
    glance: client.Glance,
    image: client.GlanceImage,
    decision: model.Decision,
) -> Reactivated:
    error = ''
    try:
        glance.reactivate(image.image_id)
    except errors.HepixError as exc:
        error = str(exc)
    else:
        _mark(database_, image.image_id, None)
    LOG.warning(
        'verdict=%s image=%s code=%s %s',
        'failed' if error else 'reactivated',
        image.image_id,
        decision.code,
        error,
    )
    return Reactivated(image.image_id, image.name, error)


def _mark(database_: database.Database, image_id: str, at: int | None) -> None:
    """Note whether, and when, it was us who deactivated an image."""
    table = schema.glance_record

    def work(transaction: database.Transaction) -> None:
        transaction.execute(
            table.update()
            .where(table.c.image_id == image_id)
            .values(deactivated_at=at)
        )

    database_.transact(work)

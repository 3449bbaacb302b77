# SPDX-License-Identifier: Apache-2.0
"""Glance follows the catalogue: what no longer approves is deactivated.

The record was withdrawn first, so Nova refuses the image whether or not
this succeeds; and an image that somebody reactivated by hand, or that was
still being imported when its record was withdrawn, is deactivated by the
next run. What was deactivated here, and nothing else, is reactivated when
its record has become good again.

Only images with a record of ours are touched. What more becomes of those that
this suite brought in is in :mod:`hepix_vm.glance.removing`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses

from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import described
from hepix_vm.catalogue import excerpt
from hepix_vm.catalogue import model
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import publications

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


def withdrawn(database_: database.Database) -> dict[str, str]:
    """Reason code by id of each image whose record was withdrawn."""
    with database_.reading() as connection:
        return {
            record.image_id: record.reason
            for record in store.records(
                connection, [model.RecordState.WITHDRAWN]
            )
        }


def deactivate(
    database_: database.Database,
    glance: client.Glance,
    images: Iterable[client.GlanceImage],
    codes: Mapping[str, str],
    now: int,
) -> tuple[Deactivated, ...]:
    """Deactivate every active image whose record is withdrawn.

    Only images with a record of ours are touched.

    :param images: as Glance lists them
    :param codes: see :func:`withdrawn`
    """
    done = []
    for image in images:
        if image.status != 'active' or image.image_id not in codes:
            continue
        code = codes[image.image_id]
        error = tried(glance.deactivate, image.image_id)
        if not error:
            # Afterwards: what was never done must not be undone.
            _mark(database_, image.image_id, now)
        say('deactivated', image.image_id, code, error)
        done.append(Deactivated(image.image_id, image.name, code, error))
    return tuple(done)


def reactivate(
    database_: database.Database,
    glance: client.Glance,
    now: int,
    elsewhere: bool = False,
) -> tuple[Reactivated, ...]:
    """Reactivate what :func:`deactivate` did, where it is good again.

    Somebody else's deactivation stands, and so does that of an image that is
    not approved this moment or not the one that was recorded. What was
    hidden is shown again by the next publishing.

    :param elsewhere: whether an image that is not in this Glance may be in
        another one
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
        if image is None and elsewhere:
            continue
        if image is None or image.status != 'deactivated':
            # Deleted, or somebody else decided.
            _mark(database_, record.image_id, None)
            continue
        found = _good_again(database_, glance, image, snapshot, now)
        done += [] if found is None else [found]
    return tuple(done)


def _good_again(
    database_: database.Database,
    glance: client.Glance,
    image: client.GlanceImage,
    snapshot: model.Snapshot,
    now: int,
) -> Reactivated | None:
    """Reactivate one image if it is approved and the one recorded."""
    facts = model.ImageFacts(
        image.image_id, image.size, image.created_at, image.sha512
    )
    decision = model.decide_image(snapshot, facts, None, now, 1)
    if image.created_at is None or not decision.approved:
        LOG.warning(
            'verdict=not-reactivated image=%s code=%s %s',
            image.image_id,
            decision.code,
            decision.detail,
        )
        return None
    error = tried(glance.reactivate, image.image_id)
    if not error:
        _mark_reactivated(database_, image.image_id, decision, now)
    say('reactivated', image.image_id, decision.code, error)
    return Reactivated(image.image_id, image.name, error)


def tried(call: Callable[..., None], *values: object) -> str:
    """Ask Glance for one thing; '' when it obeyed, else why not."""
    try:
        call(*values)
    except errors.HepixError as exc:
        return str(exc)
    return ''


def say(verdict: str, image_id: str, code: str, error: str) -> None:
    """Log what became of an image; an error says that nothing did."""
    LOG.warning(
        'verdict=%s image=%s code=%s %s',
        'failed' if error else verdict,
        image_id,
        code,
        error,
    )


def _mark(database_: database.Database, image_id: str, at: int | None) -> None:
    """Note whether, and when, it was us who deactivated an image."""
    database_.transact(lambda made: _marked(made, image_id, at))


def _mark_reactivated(
    database_: database.Database,
    image_id: str,
    decision: model.Decision,
    now: int,
) -> None:
    """Note that an image is its users' again, and tell it."""
    table = schema.publication

    def work(transaction: database.Transaction) -> None:
        _marked(transaction, image_id, None)
        transaction.execute(
            table.update()
            .where(
                table.c.image_id == image_id,
                table.c.state == publications.State.ACTIVE.value,
            )
            .values(retired_at=None)
        )
        transaction.remember(
            now, 'sync', 'image-reactivated', image_id, decision.sentence
        )
        notices.write(
            transaction,
            now,
            'image.reactivated',
            image_id,
            described.image(transaction.connection, image_id)
            | {'code': decision.code.value, 'detail': decision.detail},
        )

    database_.transact(work)


def _marked(
    transaction: database.Transaction, image_id: str, at: int | None
) -> None:
    table = schema.glance_record
    transaction.execute(
        table.update()
        .where(table.c.image_id == image_id)
        .values(deactivated_at=at)
    )

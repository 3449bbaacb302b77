# SPDX-License-Identifier: Apache-2.0
"""Withdrawn images of ours go out of sight, and in the end away.

What is ours is known by the rows of :mod:`hepix_vm.glance.publications`.
Images that others brought in are none of this module's business.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import enum

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import withdrawal
from hepix_vm.glance import client
from hepix_vm.glance import publications
from hepix_vm.glance import withdraw


class Fate(enum.StrEnum):
    """What became of a withdrawn image of ours."""

    HIDDEN = 'hidden'
    DELETED = 'deleted'


@dataclasses.dataclass(frozen=True, slots=True)
class Removed:
    """One withdrawn image of ours that was taken out of sight.

    :ivar error: '' when Glance obeyed
    """

    image_id: str
    name: str
    fate: Fate
    error: str


def hide(
    database_: database.Database,
    glance: client.Glance,
    cloud: str,
    images: Iterable[client.GlanceImage],
    codes: Mapping[str, str],
    settings: withdrawal.Settings,
    now: int,
) -> tuple[Removed, ...]:
    """Note since when images of ours are withdrawn; hide them if wanted.

    Where a listing lacks one that was there, somebody else deleted it.

    :param cloud: whose Glance this is
    :param images: as Glance lists them, all of them
    """
    present = _recorded(database_, images)
    done = []
    for row in _ours(database_, cloud, codes):
        image = present.get(row.image_id)
        if row.retired_at is None:
            publications.note(
                database_, row, publications.Step({'retired_at': now}), now
            )
        if image is None or settings.action is withdrawal.Action.DEACTIVATE:
            continue
        if image.hidden and image.visibility == 'private':
            continue
        wanted = {'os_hidden': True, 'visibility': 'private'}
        error = withdraw.tried(glance.change, image, wanted)
        withdraw.say('hidden', row.image_id, codes[row.image_id], error)
        done.append(Removed(row.image_id, image.name, Fate.HIDDEN, error))
    return tuple(done)


def delete(
    database_: database.Database,
    glance: client.Glance,
    cloud: str,
    images: Iterable[client.GlanceImage],
    codes: Mapping[str, str],
    settings: withdrawal.Settings,
    used: Collection[str],
    now: int,
) -> tuple[Removed, ...]:
    """Delete withdrawn images of ours whose retention is over.

    :param images: as Glance lists them, all of them
    :param used: ids of images that something still depends on
    :raises errors.HepixError: when Glance cannot be asked at all
    """
    if settings.action is not withdrawal.Action.DELETE:
        return ()
    present = _recorded(database_, images)
    due = {
        row.image_id: row
        for row in _ours(database_, cloud, codes, with_kept=False)
        if row.retired_at is not None
        and row.retired_at + settings.retention <= now
    }
    for image_id in sorted(set(due) - set(present)):
        row = due.pop(image_id)
        # The listing may have missed one that changed meanwhile.
        if glance.image(image_id) is None:
            _note_gone(database_, row, now, False)
    done = []
    for image_id in sorted(set(due) - set(used)):
        image = present[image_id]
        error = ''
        if image.protected:
            error = withdraw.tried(glance.change, image, {'protected': False})
        error = error or withdraw.tried(glance.delete, image_id)
        if not error:
            _note_gone(database_, due[image_id], now, True)
        withdraw.say('deleted', image_id, codes[image_id], error)
        done.append(Removed(image_id, image.name, Fate.DELETED, error))
    return tuple(done)


def _ours(
    database_: database.Database,
    cloud: str,
    codes: Collection[str],
    with_kept: bool = True,
) -> tuple[publications.Publication, ...]:
    """The images of ours in a cloud that are withdrawn.

    :param with_kept: also older versions of an image that is not withdrawn:
        publishing keeps as many of them as the site wants
    """
    with database_.reading() as connection:
        rows = publications.of_cloud(connection, cloud)
    active, retired = publications.State.ACTIVE, publications.State.RETIRED
    living = {
        row.key
        for row in rows
        if row.state is active and row.image_id not in codes
    }
    return tuple(
        row
        for row in rows
        if row.image_id in codes
        and (with_kept or row.state is not retired or row.key not in living)
    )


def _recorded(
    database_: database.Database, images: Iterable[client.GlanceImage]
) -> dict[str, client.GlanceImage]:
    """Images by their ids, without those that only share an id with ours.

    When ours is deleted and purged, anybody may make another image under its
    id (OSSN-0075); that one was created at another time.
    """
    table = schema.glance_record
    with database_.reading() as connection:
        created = {
            row.image_id: row.created_at
            for row in connection.execute(
                sa.select(table.c.image_id, table.c.created_at)
            )
        }
    return {
        image.image_id: image
        for image in images
        if image.created_at in (None, created.get(image.image_id))
    }


def _note_gone(
    database_: database.Database,
    row: publications.Publication,
    now: int,
    ours: bool,
) -> None:
    because = (
        'withdrawn, its retention is over and nothing depends on it'
        if ours
        else 'withdrawn, and deleted by somebody else'
    )
    publications.note(
        database_, row, publications.gone(because, told=ours), now
    )

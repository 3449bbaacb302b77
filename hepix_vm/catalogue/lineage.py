# SPDX-License-Identifier: Apache-2.0
"""Which image a snapshot of a server comes from, and its record.

Nova first makes an image without data, and says what it will be (noted here,
see ``schema.lineage``); later it uploads the data (recorded here). A record
made so has the endorsed bytes of its parent, whose word it follows, and as
its final ones those that Nova uploaded.

Runs inside Glance. Every function that takes a database raises what
``database.FAILURES`` names when that does not answer.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm import errors

#: Seconds after which an image that Nova has made and never filled is
#: forgotten.
FORGOTTEN_AFTER = 7 * 86400


@dataclasses.dataclass(frozen=True, slots=True)
class Child:
    """An image that Nova made for a snapshot of a server.

    :ivar parent: Glance id of the image that the server was made of
    :ivar server: its id
    :ivar project: id of the owner
    :ivar created_at: of the image, in Glance
    :ivar boot: what of it changes how it boots
    """

    image_id: str
    parent: str
    server: str
    project: str
    created_at: int
    boot: boot.Seen


@dataclasses.dataclass(frozen=True, slots=True)
class Filled:
    """Such an image when it has its data, as Glance has it.

    :ivar sha512: of the data, with :ivar:`size` in bytes
    """

    image_id: str
    sha512: str
    size: int
    created_at: int
    boot: boot.Seen


def choose(
    store: database.Database, children: model.Children, now: int
) -> None:
    """Bring the site's word on snapshots into the catalogue.

    :param children: from its configuration
    """
    table = schema.catalogue
    with store.reading() as connection:
        before = connection.execute(
            sa.select(table.c.children).where(table.c.id == 1)
        ).scalar_one()
    if before == children.value:
        return

    def work(transaction: database.Transaction) -> None:
        transaction.execute(
            table.update()
            .where(table.c.id == 1)
            .values(children=children.value)
        )
        transaction.remember(
            now, 'sync', 'children-chosen', children.value, f'was {before}'
        )

    store.transact(work)


def note(store: database.Database, child: Child, now: int) -> None:
    """Note an image that Nova has made and will fill.

    :raises errors.NotBelieved: when nothing is to be inherited
    """
    table = schema.lineage

    def work(transaction: database.Transaction) -> None:
        parent = _parent(transaction.connection, child.parent)
        changed = _added(child.boot, parent.record.boot)
        if changed:
            raise errors.NotBelieved(f'it says {changed}, its parent does not')
        transaction.execute(
            table.delete().where(table.c.at < now - FORGOTTEN_AFTER)
        )
        transaction.put(
            table,
            {'image_id': child.image_id},
            {
                'parent': child.parent,
                'server': child.server,
                'project': child.project,
                'created_at': child.created_at,
                'boot': boot.stored(child.boot),
                'at': now,
            },
        )

    store.transact(work)


def noted(store: database.Database, image_id: str) -> bool:
    """Whether Nova has made that image for a snapshot."""
    table = schema.lineage
    with store.reading() as connection:
        found = connection.execute(
            sa.select(table.c.image_id).where(table.c.image_id == image_id)
        ).first()
    return found is not None


def record(store: database.Database, filled: Filled, now: int) -> str:
    """Make the record of a noted image that has its data.

    Its parent may have been withdrawn meanwhile; then the record is made
    withdrawn, so that a user reads why.

    :param filled: as Glance shows it
    :returns: the state of the record
    :raises errors.NotBelieved: when it is not the image that was noted
    """
    table = schema.lineage

    def work(transaction: database.Transaction) -> str:
        row = transaction.execute(
            sa.select(table).where(table.c.image_id == filled.image_id)
        ).first()
        if row is None:
            raise errors.NotBelieved('Nova has not made it for a snapshot')
        _require_same(row, filled)
        parent = _parent(transaction.connection, row.parent)
        values = _values(parent, filled)
        transaction.put(
            schema.glance_record,
            {'image_id': filled.image_id},
            values | {'project': row.project, 'recorded_at': now},
        )
        transaction.execute(
            table.delete().where(table.c.image_id == filled.image_id)
        )
        transaction.remember(
            now,
            'glance-lineage',
            'snapshot-recorded',
            filled.image_id,
            f'{values["state"]}; of server {row.server} of image '
            f'{row.parent}; sha512 {filled.sha512}, {filled.size} bytes',
        )
        return str(values['state'])

    return store.transact(work)


@dataclasses.dataclass(frozen=True, slots=True)
class _Parent:
    """What a child inherits.

    :ivar reason: why the record was withdrawn, or ''
    """

    record: model.GlanceRecord
    reason: str


def _parent(connection: sa.Connection, image_id: str) -> _Parent:
    """The record that a child inherits from.

    :param image_id: of the image that the server was made of
    :raises errors.NotBelieved: when there is nothing to inherit
    """
    table = schema.glance_record
    row = connection.execute(
        sa.select(table).where(table.c.image_id == image_id)
    ).first()
    children = connection.execute(
        sa.select(schema.catalogue.c.children).where(
            schema.catalogue.c.id == 1
        )
    ).scalar_one()
    if children == model.Children.REFUSE.value:
        raise errors.NotBelieved('this site records no snapshots of servers')
    if row is None or row.state == model.RecordState.VERIFIED.value:
        raise errors.NotBelieved(
            f'image {image_id}, which its server was made of, has no record'
        )
    withdrawn = row.state == model.RecordState.WITHDRAWN.value
    if withdrawn and not row.was_positive:
        raise errors.NotBelieved(
            f'image {image_id}, which its server was made of, was never '
            'recorded as approved'
        )
    if withdrawn and (
        children == model.Children.KEEP.value
        and row.reason in {reason.value for reason in model.PASSED_OVER}
    ):
        # What ended for the parent did not for its children.
        withdrawn = False
    return _Parent(loading.record(row), row.reason if withdrawn else '')


def _added(child: boot.Seen, parent: str | None) -> str:
    """The first name that says other than the parent's; '': none.

    Nova leaves out what it does not keep with a server, and raises
    ``min_disk`` to the size of the flavor's disk.
    """
    if parent is None:
        return ''
    stated = tuple(
        (name, value) for name, value in child if value and name != 'min_disk'
    )
    return boot.differs(stated, parent)


def _require_same(row: Any, filled: Filled) -> None:
    """Refuse what is not the image that was noted."""
    if row.created_at != filled.created_at:
        raise errors.NotBelieved(
            'it was created at another time than the image that Nova made'
        )
    changed = _added(filled.boot, row.boot)
    if changed:
        raise errors.NotBelieved(f'its {changed} was changed meanwhile')


def _values(parent: _Parent, filled: Filled) -> dict[str, Any]:
    ended = bool(parent.reason)
    state = model.RecordState.POSITIVE
    if ended:
        state = model.RecordState.WITHDRAWN
    return {
        'state': state.value,
        'task_id': '',
        'sha512': parent.record.sha512,
        'size': parent.record.size,
        'final_sha512': filled.sha512,
        'final_size': filled.size,
        'created_at': filled.created_at,
        'reason': parent.reason,
        # It returns when its parent does.
        'was_positive': ended,
        'deactivated_at': None,
        'step': 'snapshot',
        'boot': boot.stored(filled.boot),
        'parent': parent.record.image_id,
    }

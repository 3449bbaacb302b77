# SPDX-License-Identifier: Apache-2.0
"""Images that the site boots itself before its users may.

From :func:`hold` to :func:`release` an image is placed for one project only,
that of the quarantine, whatever projects its subscription is for; everybody
else is refused (code ``quarantine``). So an image that got loose in Glance,
or that belongs to a project of users, is not used before its time.

The server that a boot makes cannot be known by its id, which Nova chooses.
It is known by a name that nobody can guess, written here before Nova is
asked: whatever has that name in the quarantine's project is ours to delete,
also when the process that made it was killed.
"""

from __future__ import annotations

import dataclasses
import uuid

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import schema

#: What the names of such servers begin with.
PREFIX = 'hepix-vm-quarantine-'


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """A server that a boot may have left behind.

    :ivar project: id of the project that it is in
    :ivar at: UNIX seconds when Nova was to be asked for it
    """

    image_id: str
    name: str
    project: str
    at: int


def hold(
    transaction: database.Transaction,
    now: int,
    cloud: str,
    image_id: str,
    project: str,
) -> None:
    """Keep an image for the site itself; at best before Glance has it.

    :param cloud: name of the cloud that it is published into
    :param project: id of the project that it is booted in
    """
    transaction.put(
        schema.quarantine,
        {'image_id': image_id},
        {'cloud': cloud, 'project': project, 'held': True, 'at': now},
    )


def release(transaction: database.Transaction, image_id: str) -> None:
    """Let everybody boot it who may; also when it was never held."""
    _set(transaction, image_id, held=False)


def begin(
    transaction: database.Transaction,
    now: int,
    cloud: str,
    image_id: str,
    project: str,
) -> str:
    """Hold an image and note the name of the server that it is booted as.

    :returns: the name; that of an earlier boot, where its server may still
        come to be
    """
    table = schema.quarantine
    known = transaction.execute(
        sa.select(table.c.server).where(table.c.image_id == image_id)
    ).scalar()
    name = known or f'{PREFIX}{uuid.uuid4().hex}'
    hold(transaction, now, cloud, image_id, project)
    _set(transaction, image_id, server=name)
    return name


def removed(transaction: database.Transaction, image_id: str) -> None:
    """No server of its boots is left."""
    _set(transaction, image_id, server='')


def left(
    connection: sa.Connection, cloud: str, image_id: str | None = None
) -> tuple[Left, ...]:
    """What earlier boots in a cloud may have left behind.

    :param image_id: of this image only
    """
    table = schema.quarantine
    query = sa.select(table).where(
        table.c.cloud == cloud, table.c.server != ''
    )
    if image_id is not None:
        query = query.where(table.c.image_id == image_id)
    return tuple(
        Left(row.image_id, row.server, row.project, int(row.at))
        for row in connection.execute(query.order_by(table.c.at))
    )


def _set(
    transaction: database.Transaction, image_id: str, **values: object
) -> None:
    table = schema.quarantine
    transaction.execute(
        table.update()
        .where(table.c.image_id == image_id)
        .values(revision=transaction.revision, **values)
    )

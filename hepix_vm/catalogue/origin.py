# SPDX-License-Identifier: Apache-2.0
"""Where an endorsement comes from: lists, their signers, and who approved.

Statements only.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import json
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import kept
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store


@dataclasses.dataclass(frozen=True, slots=True)
class SignedBy:
    """Who had signed a list when it was accepted.

    :ivar subject: DN, RFC 4514
    :ivar issuer: DN, RFC 4514
    :ivar sha256: of the certificate, hex
    """

    subject: str
    issuer: str
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class SignedList:
    """One accepted list.

    :ivar row: of ``list_seen``
    :ivar seen_at: UNIX seconds
    :ivar message_sha256: of the signed message
    """

    row: int
    subscription: str
    list_identifier: str
    list_version: str
    seen_at: int
    message_sha256: str
    signers: tuple[SignedBy, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Approval:
    """An image that an operator approved by name.

    :ivar sha512: of its content at that time
    """

    sha512: str
    at: int
    who: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """A Glance image that this suite itself published."""

    image_id: str
    subscription: str
    version: str
    sha512: str
    state: str
    at: int


def newest_list(
    connection: sa.Connection, state: store.SubscriptionState
) -> SignedList | None:
    """The list that a subscription stands on; None when there is none."""
    return _one(connection, schema.list_seen.c.id == state.list_id)


def first_list(
    connection: sa.Connection, image: store.Image
) -> SignedList | None:
    """The list that an image's version came with.

    The newest one at that time; an entry may have had to wait until another
    subscription let go of its identifier.
    """
    table = schema.list_seen
    return _one(
        connection,
        table.c.subscription == image.subscription,
        table.c.seen_at <= image.first_seen,
    )


def _one(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> SignedList | None:
    table = schema.list_seen
    row = connection.execute(
        sa.select(*(c for c in table.c if c.name != 'message'))
        .where(table.c.verdict == kept.ACCEPTED, *conditions)
        .order_by(table.c.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    return SignedList(
        row=int(row.id),
        subscription=row.subscription,
        list_identifier=row.list_identifier or '',
        list_version=row.list_version or '',
        seen_at=int(row.seen_at),
        message_sha256=row.message_sha256,
        signers=tuple(
            SignedBy(item['subject'], item['issuer'], item['sha256'])
            for item in json.loads(row.signers or '[]')
        ),
    )


def approval(connection: sa.Connection, image: store.Image) -> Approval | None:
    """Who approved an image by name, for any version of it."""
    table = schema.approval
    row = connection.execute(
        sa.select(table).where(
            table.c.subscription == image.subscription,
            table.c.identifier == image.identifier,
        )
    ).first()
    if row is None:
        return None
    return Approval(row.sha512, int(row.at), row.who, row.reason)


def publications(
    connection: sa.Connection,
    contents: Iterable[str],
    image_id: str | None = None,
) -> list[Publication]:
    """Glance images published with one of these contents, oldest first.

    :param contents: SHA-512 values
    :param image_id: only this one
    """
    table = schema.publication
    statement = sa.select(table).where(table.c.sha512.in_(list(contents)))
    if image_id is not None:
        statement = statement.where(table.c.image_id == image_id)
    rows: Iterable[Any] = connection.execute(
        statement.order_by(table.c.at, table.c.image_id)
    )
    return [
        Publication(
            image_id=row.image_id,
            subscription=row.subscription,
            version=row.version,
            sha512=row.sha512,
            state=row.state,
            at=int(row.at),
        )
        for row in rows
    ]

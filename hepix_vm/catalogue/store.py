# SPDX-License-Identifier: Apache-2.0
"""What the catalogue holds, as values for the site's own commands.

Statements only; what the rows mean is decided in ``model``, ``accept`` and
``settle``.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import json
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema


@dataclasses.dataclass(frozen=True, slots=True)
class SubscriptionState:
    """What was decided of one subscription; times in UNIX seconds.

    :ivar reset_at: when an operator told the next list to be taken without
        regard to the one before; None once that has happened
    :ivar failures: attempts in a row that failed
    :ivar next_attempt: when the daemon tries next; None: at once
    :ivar judged_by: what the standing was found with; see ``judging``
    :ivar judged_until: until when looking again finds the same
    :ivar rules_sha256: the site's rules that its rows were settled by
    :ivar held_run: see ``model.Subscribed``
    """

    name: str
    configured: bool
    standing: model.Standing
    list_identifier: str | None
    list_version: str | None
    created: int | None
    expires: int | None
    payload_sha256: str | None
    list_id: int | None
    verified_at: int | None
    max_age: int
    last_attempt: int | None
    last_code: str | None
    last_detail: str | None
    validators: fetch.Validators
    reset_at: int | None
    failures: int
    next_attempt: int | None
    judged_by: str | None
    judged_until: int | None
    rules_sha256: str | None
    held_run: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One endorsed image, with what its list says of it."""

    row: int
    subscription: str
    identifier: str
    version: str
    sha512: str
    size: int
    expires: int | None
    approved: bool
    withdrawn: bool
    proven: bool
    first_seen: int
    held_at: int | None
    replaced_until: int | None
    vo: str | None
    title: str
    uri: str
    entry: Mapping[str, Any] = dataclasses.field(hash=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One Glance record, as operators see it.

    :ivar parent: the image of whose server it is a snapshot; '': of none
    """

    image_id: str
    state: model.RecordState
    project: str
    sha512: str
    size: int
    final_sha512: str
    final_size: int
    recorded_at: int
    reason: str
    parent: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class ListSeen:
    """One list that was accepted or refused."""

    row: int
    subscription: str
    seen_at: int
    verdict: str
    code: str
    detail: str
    list_identifier: str | None
    list_version: str | None
    signers: str


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One line of the history."""

    at: int
    who: str
    event: str
    subject: str
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Anyway:
    """Until when bytes run anyway, who said so, when and why."""

    until: int
    at: int
    who: str
    reason: str


def subscription_state(
    connection: sa.Connection, name: str
) -> SubscriptionState | None:
    """The state of one subscription; None when it was never synced."""
    table = schema.subscription
    row = connection.execute(
        sa.select(table).where(table.c.name == name)
    ).first()
    return None if row is None else _state(row)


def subscription_states(
    connection: sa.Connection,
) -> dict[str, SubscriptionState]:
    """All subscriptions that were ever configured, by name."""
    rows = connection.execute(
        sa.select(schema.subscription).order_by(schema.subscription.c.name)
    )
    return {row.name: _state(row) for row in rows}


def _state(row: Any) -> SubscriptionState:
    return SubscriptionState(
        name=row.name,
        configured=bool(row.configured),
        standing=model.Standing(row.standing),
        list_identifier=row.list_identifier,
        list_version=row.list_version,
        created=row.created,
        expires=row.expires,
        payload_sha256=row.payload_sha256,
        list_id=row.list_id,
        verified_at=row.verified_at,
        max_age=row.max_age,
        last_attempt=row.last_attempt,
        last_code=row.last_code,
        last_detail=row.last_detail,
        validators=fetch.Validators(row.etag, row.last_modified),
        reset_at=row.reset_at,
        failures=row.failures,
        next_attempt=row.next_attempt,
        judged_by=row.judged_by,
        judged_until=row.judged_until,
        rules_sha256=row.rules_sha256,
        held_run=bool(row.held_run),
    )


def images(
    connection: sa.Connection,
    subscription: str | None = None,
    named: str | None = None,
    with_withdrawn: bool = False,
) -> list[Image]:
    """Endorsed images.

    :param named: an image identifier or a SHA-512
    """
    table = schema.endorsement
    statement = sa.select(table).order_by(
        table.c.subscription, table.c.identifier, table.c.id
    )
    if subscription is not None:
        statement = statement.where(table.c.subscription == subscription)
    if named is not None:
        statement = statement.where(
            sa.or_(table.c.identifier == named, table.c.sha512 == named)
        )
    if not with_withdrawn:
        statement = statement.where(table.c.withdrawn == sa.false())
    return [_image(row) for row in connection.execute(statement)]


def _image(row: Any) -> Image:
    return Image(
        row=row.id,
        subscription=row.subscription,
        identifier=row.identifier,
        version=row.version,
        sha512=row.sha512,
        size=row.size,
        expires=row.expires,
        approved=bool(row.approved),
        withdrawn=bool(row.withdrawn),
        proven=bool(row.proven),
        first_seen=row.first_seen,
        held_at=row.held_at,
        replaced_until=row.replaced_until,
        vo=row.vo,
        title=row.title,
        uri=row.uri,
        entry=json.loads(row.entry),
    )


def identifiers_held(
    connection: sa.Connection, identifiers: Iterable[str], not_by: str
) -> dict[str, str]:
    """Which of these are listed by other configured subscriptions.

    :returns: subscription name by image identifier
    """
    images_ = schema.endorsement
    holders = schema.subscription
    wanted = sorted(set(identifiers))
    held: dict[str, str] = {}
    for start in range(0, len(wanted), 500):
        rows = connection.execute(
            sa.select(images_.c.identifier, images_.c.subscription)
            .join(holders, holders.c.name == images_.c.subscription)
            .where(
                images_.c.identifier.in_(wanted[start : start + 500]),
                images_.c.subscription != not_by,
                images_.c.withdrawn == sa.false(),
                holders.c.configured == sa.true(),
            )
        )
        held.update({row.identifier: row.subscription for row in rows})
    return held


def waiting(connection: sa.Connection) -> dict[str, int]:
    """Images whose withdrawal waits, by configured subscription."""
    images_ = schema.endorsement
    holders = schema.subscription
    rows = connection.execute(
        sa.select(
            images_.c.subscription,
            sa.func.count(sa.distinct(images_.c.identifier)).label('images'),
        )
        .join(holders, holders.c.name == images_.c.subscription)
        .where(
            images_.c.held_at.is_not(None),
            images_.c.withdrawn == sa.false(),
            holders.c.configured == sa.true(),
        )
        .group_by(images_.c.subscription)
        .order_by(images_.c.subscription)
    )
    return {row.subscription: int(row.images) for row in rows}


def running_anyway(connection: sa.Connection, now: int) -> dict[str, Anyway]:
    """What the site lets run although its endorsement has ended."""
    table = schema.run_anyway
    rows = connection.execute(
        sa.select(table).where(table.c.until > now).order_by(table.c.sha512)
    )
    return {
        row.sha512: Anyway(row.until, row.at, row.who, row.reason)
        for row in rows
    }


def approvals(connection: sa.Connection, subscription: str) -> dict[str, str]:
    """SHA-512 at the time of its approval, by image identifier."""
    table = schema.approval
    rows = connection.execute(
        sa.select(table.c.identifier, table.c.sha512).where(
            table.c.subscription == subscription
        )
    )
    return {row.identifier: row.sha512 for row in rows}


def records(
    connection: sa.Connection,
    states: Iterable[model.RecordState] = tuple(model.RecordState),
    image_id: str | None = None,
    sha512: str | None = None,
) -> list[Record]:
    """Glance records, oldest first."""
    table = schema.glance_record
    statement = sa.select(table).where(
        table.c.state.in_([state.value for state in states])
    )
    if image_id is not None:
        statement = statement.where(table.c.image_id == image_id)
    if sha512 is not None:
        statement = statement.where(table.c.sha512 == sha512)
    statement = statement.order_by(table.c.recorded_at, table.c.image_id)
    return [
        Record(
            image_id=row.image_id,
            state=model.RecordState(row.state),
            project=row.project,
            sha512=row.sha512,
            size=row.size,
            final_sha512=row.final_sha512,
            final_size=row.final_size,
            recorded_at=row.recorded_at,
            reason=row.reason,
            parent=row.parent,
        )
        for row in connection.execute(statement)
    ]


def lists_seen(
    connection: sa.Connection, subscription: str, limit: int = 50
) -> list[ListSeen]:
    """Lists accepted and refused, newest first."""
    table = schema.list_seen
    columns = [c for c in table.c if c.name != 'message']
    rows = connection.execute(
        sa.select(*columns)
        .where(table.c.subscription == subscription)
        .order_by(table.c.id.desc())
        .limit(limit)
    )
    return [
        ListSeen(
            row=row.id,
            subscription=row.subscription,
            seen_at=row.seen_at,
            verdict=row.verdict,
            code=row.code,
            detail=row.detail or '',
            list_identifier=row.list_identifier,
            list_version=row.list_version,
            signers=row.signers or '',
        )
        for row in rows
    ]


def message(connection: sa.Connection, list_id: int) -> bytes:
    """The signed message of a list that was seen."""
    table = schema.list_seen
    return bytes(
        connection.execute(
            sa.select(table.c.message).where(table.c.id == list_id)
        ).scalar_one()
    )


def blocks(connection: sa.Connection) -> dict[str, Event]:
    """Active blocks by target."""
    table = schema.block
    rows = connection.execute(
        sa.select(table).where(table.c.active == sa.true())
    )
    return {
        row.target: Event(row.at, row.who, 'block', row.target, row.reason)
        for row in rows
    }


def history(
    connection: sa.Connection, subject: str | None = None, limit: int = 100
) -> list[Event]:
    """The newest lines of the history, oldest of them first."""
    table = schema.history
    statement = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if subject is not None:
        statement = statement.where(table.c.subject == subject)
    rows = list(connection.execute(statement))
    return [
        Event(row.at, row.who, row.event, row.subject, row.detail)
        for row in reversed(rows)
    ]

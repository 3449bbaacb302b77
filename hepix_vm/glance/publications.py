# SPDX-License-Identifier: Apache-2.0
"""Which Glance images are ours: the catalogue's own rows.

A row is written before Glance is asked, with an image id that was chosen
here, so that whatever a run that died has left behind is known.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
import dataclasses
import enum
import hashlib
from typing import Any
import uuid

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import quarantine as quarantines
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store

#: Subscription and image identifier: what has a newest version.
Key = tuple[str, str]

_WHO = 'publish'


class State(enum.StrEnum):
    """Life of a publication."""

    CREATING = 'creating'
    QUARANTINE = 'quarantine'
    ACTIVE = 'active'
    RETIRED = 'retired'
    GONE = 'gone'


class Trial(enum.StrEnum):
    """How the site's own boot of an image went."""

    NONE = ''
    WAITING = 'waiting'
    PASSED = 'passed'
    FAILED = 'failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """One Glance image of ours; times in UNIX seconds.

    :ivar sha512: of the bytes as endorsed
    :ivar published_at: when it was released to users
    :ivar retired_at: when it was taken from them
    :ivar trial: of the quarantine, with what was seen there
    :ivar members_at: when its members were last compared
    :ivar members_sha256: with which ones
    """

    image_id: str
    cloud: str
    subscription: str
    identifier: str
    version: str
    sha512: str
    state: State
    at: int
    published_at: int | None = None
    retired_at: int | None = None
    trial: Trial = Trial.NONE
    trial_detail: str = ''
    members_at: int | None = None
    members_sha256: str | None = None

    @property
    def key(self) -> Key:
        """Of which image it is a version."""
        return self.subscription, self.identifier


def of_cloud(connection: sa.Connection, cloud: str) -> tuple[Publication, ...]:
    """All images of ours in a cloud that are not gone, oldest first."""
    table = schema.publication
    rows = connection.execute(
        sa.select(table)
        .where(table.c.cloud == cloud, table.c.state != State.GONE.value)
        .order_by(table.c.at, table.c.image_id)
    )
    return tuple(_publication(row) for row in rows)


def _publication(row: Any) -> Publication:
    return Publication(
        image_id=row.image_id,
        cloud=row.cloud,
        subscription=row.subscription,
        identifier=row.identifier,
        version=row.version,
        sha512=row.sha512,
        state=State(row.state),
        at=int(row.at),
        published_at=row.published_at,
        retired_at=row.retired_at,
        trial=Trial(row.quarantine),
        trial_detail=row.quarantine_detail or '',
        members_at=row.members_at,
        members_sha256=row.members_sha256,
    )


def created_at(connection: sa.Connection, image_id: str) -> int | None:
    """When the image that was recorded under this id was created."""
    table = schema.glance_record
    found: int | None = connection.execute(
        sa.select(table.c.created_at).where(table.c.image_id == image_id)
    ).scalar()
    return found


def digest(members: Iterable[str]) -> str:
    """What tells one set of project ids from another (SHA-256, hex)."""
    return hashlib.sha256('\n'.join(sorted(members)).encode()).hexdigest()


def begin(
    store_: database.Database,
    cloud: str,
    image: store.Image,
    now: int,
    quarantine: str | None = None,
) -> Publication:
    """Write down which image id will be ours, before Glance knows it.

    :param quarantine: id of the only project that may boot it until it is
        released; None: it needs no quarantine
    """
    made = Publication(
        image_id=str(uuid.uuid4()),
        cloud=cloud,
        subscription=image.subscription,
        identifier=image.identifier,
        version=image.version,
        sha512=image.sha512,
        state=State.CREATING,
        at=now,
    )

    def work(transaction: database.Transaction) -> None:
        transaction.put(
            schema.publication,
            {'image_id': made.image_id},
            {
                'cloud': cloud,
                'subscription': made.subscription,
                'identifier': made.identifier,
                'version': made.version,
                'sha512': made.sha512,
                'state': State.CREATING.value,
                'at': now,
            },
        )
        if quarantine is not None:
            quarantines.hold(
                transaction, now, cloud, made.image_id, quarantine
            )
        transaction.remember(
            now,
            _WHO,
            'publishing',
            made.image_id,
            f'image {image.identifier} version {image.version} into cloud '
            f'{cloud}',
        )

    store_.transact(work)
    return made


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A change of one row, and whom it is told.

    :ivar event: of the history, '' for none
    :ivar notice: kind of the notice, '' for none
    :ivar free: whether all who may use it may boot it from now on
    """

    values: dict[str, Any] = dataclasses.field(hash=False)
    event: str = ''
    notice: str = ''
    detail: str = ''
    code: str = ''
    free: bool = False


def released(now: int) -> Step:
    """Users have it."""
    return Step(
        {
            'state': State.ACTIVE.value,
            'published_at': now,
            'retired_at': None,
        },
        'released',
        'image.released',
        free=True,
    )


def renumbered(version: str) -> Step:
    """A newer version has the same bytes."""
    return Step(
        {'version': version},
        'renumbered',
        detail=f'version {version} has the same bytes',
    )


def retired(now: int, because: str) -> Step:
    """It is taken from users."""
    return Step(
        {'state': State.RETIRED.value, 'retired_at': now},
        'retired',
        'image.retired',
        because,
    )


def gone(because: str, told: bool = False) -> Step:
    """It is no longer in Glance.

    :param told: whether it was deleted on purpose by this suite
    """
    return Step(
        {'state': State.GONE.value},
        'deleted' if told else 'gone',
        'image.deleted' if told else '',
        because,
    )


def quarantined(trial: Trial, detail: str) -> Step:
    """What is known of the site's own boot."""
    told = trial in (Trial.PASSED, Trial.FAILED)
    return Step(
        {
            'state': State.QUARANTINE.value,
            'quarantine': trial.value,
            'quarantine_detail': detail,
        },
        f'quarantine-{trial.value}',
        f'image.quarantine-{trial.value}' if told else '',
        detail,
        trial.value,
    )


def compared(now: int, members: Collection[str]) -> Step:
    """Its members are those of the mapping."""
    return Step({'members_at': now, 'members_sha256': digest(members)})


def note(
    store_: database.Database, row: Publication, step: Step, now: int
) -> None:
    """Write a step, its line of the history and its notice, all or nothing.

    What is written already is not told again.
    """
    table = schema.publication
    changes = sa.or_(
        sa.false(),
        *(
            table.c[name].is_distinct_from(value)
            for name, value in step.values.items()
            if not name.endswith('_at') or not step.event
        ),
    )
    statement = (
        table.update()
        .where(table.c.image_id == row.image_id, changes)
        .values(**step.values)
    )

    def work(transaction: database.Transaction) -> None:
        if step.values and not transaction.execute(statement).rowcount:
            return
        if step.free:
            quarantines.release(transaction, row.image_id)
        if step.event:
            transaction.remember(
                now,
                _WHO,
                step.event,
                row.image_id,
                f'image {row.identifier} version {row.version} in cloud '
                f'{row.cloud}' + (f': {step.detail}' if step.detail else ''),
            )
        if step.notice:
            notices.write(
                transaction,
                now,
                step.notice,
                row.image_id,
                payload(row, row.image_id, step.detail, step.code),
            )

    store_.transact(work)


def payload(
    about: Publication | store.Image,
    image_id: str | None,
    detail: str,
    code: str,
    cloud: str = '',
) -> dict[str, Any]:
    """What a notice says of an image.

    :param cloud: where ``about`` does not tell
    """
    return {
        'image_id': image_id,
        'cloud': about.cloud if isinstance(about, Publication) else cloud,
        'subscription': about.subscription,
        'identifier': about.identifier,
        'version': about.version,
        'sha512': about.sha512,
        'code': code,
        'detail': detail,
    }


def end_replaced(
    store_: database.Database, newest: Iterable[store.Image], now: int
) -> int:
    """Older versions of these images count no longer: the newest is there.

    :param newest: released in every cloud that publishes them
    :returns: how many endorsements ended
    """
    versions = {(i.subscription, i.identifier): i.row for i in newest}
    table = schema.endorsement
    with store_.reading() as connection:
        rows = connection.execute(
            sa.select(table.c.id, table.c.subscription, table.c.identifier)
            .where(table.c.withdrawn == sa.false())
            .where(table.c.replaced_until > now)
        ).all()
    ended = [
        row.id
        for row in rows
        if versions.get((row.subscription, row.identifier), row.id) != row.id
    ]
    if not ended:
        return 0

    def work(transaction: database.Transaction) -> int:
        done = 0
        for start in range(0, len(ended), 500):
            done += transaction.execute(
                table.update()
                .where(
                    table.c.id.in_(ended[start : start + 500]),
                    table.c.replaced_until > now,
                )
                .values(replaced_until=now, revision=transaction.revision)
            ).rowcount
        return done

    return store_.transact(work)

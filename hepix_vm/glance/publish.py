# SPDX-License-Identifier: Apache-2.0
"""Approved images enter Glance, by the door that everybody uses.

Publishing stages and imports like any user, so the import plugins judge
the bytes. What is ours is known by the catalogue's own rows, written before
Glance is asked, never by a name or a property.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import enum
from pathlib import Path
import uuid

from oslo_log import log
from oslo_utils.imageutils import format_inspector
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue.sources import values
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import properties
from hepix_vm.glance import spool

LOG = log.getLogger(__name__)


class State(enum.StrEnum):
    """Life of a publication."""

    CREATING = 'creating'
    ACTIVE = 'active'
    GONE = 'gone'


class Outcome(enum.StrEnum):
    """How publishing one image ended."""

    PUBLISHED = 'published'
    PRESENT = 'present'
    SKIPPED = 'skipped'
    FAILED = 'failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """One image and what became of it."""

    subscription: str
    identifier: str
    version: str
    title: str
    outcome: Outcome
    image_id: str | None
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """What a person sees while an image is on its way.

    :ivar step: ``download``, ``stage`` or ``import``
    :ivar done: bytes, of :ivar:`total`; 0 where only the message counts
    """

    title: str
    step: str
    done: int
    total: int
    message: str = ''


Told = Callable[[Progress], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where images come from and go to, and how.

    :ivar access: how the servers of a subscription are reached, by its name
    """

    glance: client.Glance
    fetch: values.FetchSettings
    visibility: str
    import_deadline: float
    access: Mapping[str, values.Access] = dataclasses.field(
        default_factory=dict
    )

    def fetching(self, subscription: str) -> values.FetchSettings:
        """How images of a subscription are fetched."""
        access = self.access.get(subscription, values.Access())
        return dataclasses.replace(self.fetch, access=access)


def approved_images(
    connection: sa.Connection, now: int
) -> tuple[store.Image, ...]:
    """Every image that some project may use now, each content once."""
    snapshot = loading.load(connection, None, now).snapshot
    chosen: dict[str, store.Image] = {}
    for image in store.images(connection):
        decision = model.decide_bytes(
            snapshot, image.sha512, image.size, None, now, 1
        )
        endorsement = decision.endorsement
        if (
            decision.verdict is model.Verdict.APPROVED
            and endorsement is not None
            and endorsement.row == image.row
        ):
            chosen.setdefault(image.sha512, image)
    return tuple(chosen.values())


def publish(
    database_: database.Database,
    target: Target,
    now: int,
    only: frozenset[str] | None = None,
    told: Told = lambda progress: None,
) -> Iterator[Published]:
    """Bring every approved image into Glance that is not there yet.

    :param only: image identifiers; None means all that are approved
    :raises errors.Misconfigured: for an identifier that is not approved,
        or an account that Glance refuses
    """
    with database_.reading() as connection:
        images = approved_images(connection, now)
    missing = (only or frozenset()) - {image.identifier for image in images}
    if missing:
        raise errors.Misconfigured(
            f'image {", ".join(sorted(missing))}: expected the identifier of '
            'an approved image; "hepix-vm image explain" says why it is not'
        )
    for image in images:
        if only is not None and image.identifier not in only:
            continue
        try:
            result = _one(database_, target, image, now, told)
        except errors.Misconfigured:
            raise
        except errors.HepixError as exc:
            result = _published(image, Outcome.FAILED, None, str(exc))
        LOG.log(
            log.WARNING if result.outcome is Outcome.FAILED else log.INFO,
            'verdict=%s image=%s list-image=%s version=%s %s',
            result.outcome,
            result.image_id,
            result.identifier,
            result.version,
            result.detail,
        )
        yield result


def _published(
    image: store.Image, outcome: Outcome, image_id: str | None, detail: str
) -> Published:
    return Published(
        image.subscription,
        image.identifier,
        image.version,
        image.title,
        outcome,
        image_id,
        detail,
    )


def _one(
    database_: database.Database,
    target: Target,
    image: store.Image,
    now: int,
    told: Told,
) -> Published:
    present = _present(database_, target, image)
    if present is not None:
        return _published(image, Outcome.PRESENT, present, 'already there')

    def downloading(received: int) -> None:
        told(Progress(image.title, 'download', received, image.size))

    with spool.downloaded(
        image.uri,
        image.sha512,
        image.size,
        target.fetching(image.subscription),
        downloading,
    ) as path:
        recognised = _recognised(path)
        declared = image.entry.get('format')
        format_ = properties.disk_format(declared, recognised)
        if format_ is None:
            return _published(
                image,
                Outcome.SKIPPED,
                None,
                f'the list says format {declared or "nothing"}, the bytes '
                f'are {recognised}; Nova boots '
                f'{", ".join(sorted(set(properties.DISK_FORMATS.values())))}',
            )
        image_id = _begin(database_, image, now)
        target.glance.create(
            image_id, properties.creation(image, format_, target.visibility)
        )
        try:
            told(Progress(image.title, 'stage', 0, image.size))
            target.glance.stage(image_id, path, image.size)
            target.glance.import_staged(image_id)
            target.glance.wait_active(
                image_id,
                target.import_deadline,
                lambda message: told(
                    Progress(image.title, 'import', 0, image.size, message)
                ),
            )
            _expect_record(database_, image_id)
        except errors.NotBelieved:
            # Glance has refused these bytes: nothing is to be kept.
            target.glance.delete(image_id)
            _set_state(database_, image_id, State.GONE)
            raise
    _set_state(database_, image_id, State.ACTIVE)
    return _published(image, Outcome.PUBLISHED, image_id, '')


def _recognised(path: Path) -> str:
    """What the bytes are; never believed to be but one thing."""
    try:
        return str(format_inspector.detect_file_format(str(path)))
    except format_inspector.ImageFormatError as exc:
        return f'ambiguous ({exc})'


def _expect_record(database_: database.Database, image_id: str) -> None:
    """An active image without our record came through a Glance without us."""
    with database_.reading() as connection:
        found = store.records(
            connection, [model.RecordState.POSITIVE], image_id=image_id
        )
    if not found:
        raise errors.NotBelieved(
            f'image {image_id}: Glance made it active, but its import plugins '
            'have not recorded it; list hepix_verify and hepix_record in '
            '[image_import_opts] image_import_plugins, and give Glance the '
            'same [catalogue] connection'
        )


def _present(
    database_: database.Database, target: Target, image: store.Image
) -> str | None:
    """The Glance image that has these bytes already, if one does.

    Tidies up after earlier runs that ended half-way.
    """
    with database_.reading() as connection:
        ours = _publications(connection, image.sha512)
        recorded = {
            record.image_id: record.state
            for record in store.records(connection, sha512=image.sha512)
        }
    for image_id in ours:
        found = target.glance.image(image_id)
        record = recorded.get(image_id)
        if found is None:
            _set_state(database_, image_id, State.GONE)
        elif found.status == 'importing':
            raise errors.TryAgain(
                f'image {image_id}: an earlier import is still running'
            )
        elif record is model.RecordState.POSITIVE and found.status in (
            'active',
            # Somebody decided that by hand; uploading it again would undo it.
            'deactivated',
        ):
            _set_state(database_, image_id, State.ACTIVE)
            return image_id
        elif record is None or found.status in ('queued', 'uploading'):
            # An earlier run ended half-way.
            target.glance.delete(image_id)
            _set_state(database_, image_id, State.GONE)
    return None


def _publications(connection: sa.Connection, sha512: str) -> list[str]:
    table = schema.publication
    rows = connection.execute(
        sa.select(table.c.image_id)
        .where(table.c.sha512 == sha512, table.c.state != State.GONE.value)
        .order_by(table.c.at.desc())
    )
    return [row.image_id for row in rows]


def _begin(database_: database.Database, image: store.Image, now: int) -> str:
    """Write down which image id will be ours, before Glance knows it."""
    image_id = str(uuid.uuid4())

    def work(transaction: database.Transaction) -> None:
        transaction.put(
            schema.publication,
            {'image_id': image_id},
            {
                'subscription': image.subscription,
                'identifier': image.identifier,
                'version': image.version,
                'sha512': image.sha512,
                'state': State.CREATING.value,
                'at': now,
            },
        )
        transaction.remember(
            now,
            'publish',
            'publishing',
            image_id,
            f'image {image.identifier} version {image.version}',
        )

    database_.transact(work)
    return image_id


def _set_state(
    database_: database.Database, image_id: str, state: State
) -> None:
    table = schema.publication
    statement = (
        table.update()
        .where(table.c.image_id == image_id, table.c.state != state.value)
        .values(state=state.value)
    )

    def work(transaction: database.Transaction) -> None:
        transaction.execute(statement)

    database_.transact(work)

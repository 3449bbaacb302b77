# SPDX-License-Identifier: Apache-2.0
"""Glance images that older tools left become ours, by their bytes alone.

An image is adopted when the data that Glance gives out are, byte for byte,
what a list endorses and the site approves now. Names, tags, properties and
Glance's own hash decide nothing: the hash only saves the reading of images
that cannot match. The image itself is not touched.

Users have images, too, and some of them have the same bytes. So without being
named an image is looked at only where an operator must have made it: in the
project that publishes, in a project that the operator names, or public.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import enum
from typing import Protocol

from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import staged
from hepix_vm import errors
from hepix_vm.glance import adoptable
from hepix_vm.glance import adopted
from hepix_vm.glance import outcomes
from hepix_vm.glance import passing
from hepix_vm.glance import picture
from hepix_vm.glance import publications

LOG = log.getLogger(__name__)


class Glance(Protocol):
    """What is asked of a Glance; see :class:`client.Glance`."""

    def images(self) -> Iterable[picture.GlanceImage]: ...

    def image(self, image_id: str) -> picture.GlanceImage | None: ...

    def data(self, image_id: str) -> Iterator[bytes]: ...


class Outcome(enum.StrEnum):
    """What became of one image."""

    ADOPTED = 'adopted'
    WOULD_ADOPT = 'would-adopt'
    OURS = 'ours'
    LEFT = 'left'
    FAILED = 'failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """One Glance image and what became of it.

    :ivar subscription: with :ivar:`identifier` and :ivar:`version`: as what
        it is endorsed; '' where it is not
    :ivar detail: why it was left, or what failed
    """

    cloud: str
    image_id: str
    name: str
    outcome: Outcome
    subscription: str = ''
    identifier: str = ''
    version: str = ''
    detail: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What is to be looked at.

    :ivar cloud: its name in the catalogue
    :ivar projects: ids of those whose images an operator's tool made
    :ivar only: image ids; None: all images of these projects, and all that
        are public
    :ivar dry_run: whether nothing is to be written
    """

    cloud: str
    projects: frozenset[str]
    only: frozenset[str] | None = None
    dry_run: bool = False


def adopt(
    store_: database.Database,
    glance: Glance,
    wish: Wish,
    now: int,
    who: str,
    told: outcomes.Told = lambda progress: None,
) -> Iterator[Result]:
    """Adopt what matches, one result after the other.

    :param now: UNIX seconds
    :param who: for the history
    :raises errors.HepixError: when Glance cannot be asked at all, or for an
        image id that it does not have
    """
    images = _chosen(glance.images(), wish)
    adoption = _Adoption(store_, glance, wish, now, who, told)
    for image in images:
        result = adoption.one(image)
        LOG.log(
            log.WARNING if result.outcome is Outcome.FAILED else log.INFO,
            'verdict=%s image=%s list-image=%s version=%s cloud=%s %s',
            result.outcome,
            result.image_id,
            result.identifier,
            result.version,
            result.cloud,
            result.detail,
        )
        yield result


def _chosen(
    images: Iterable[picture.GlanceImage], wish: Wish
) -> list[picture.GlanceImage]:
    """What is looked at; of equal bytes the first one is adopted.

    Public ones first, because they are what users know, then newer ones.
    """
    found = [
        image
        for image in images
        if (
            image.image_id in wish.only
            if wish.only is not None
            else image.visibility == 'public' or image.owner in wish.projects
        )
    ]
    missing = (wish.only or frozenset()) - {i.image_id for i in found}
    if missing:
        raise errors.Misconfigured(
            f'image {", ".join(sorted(missing))}: expected the id of an image '
            f'in Glance of cloud {wish.cloud}; "openstack image list" shows '
            'them'
        )
    return sorted(
        found,
        key=lambda image: (
            image.visibility != 'public',
            image.hidden,
            -(image.created_at or 0),
            image.image_id,
        ),
    )


class _Adoption:
    """One run."""

    def __init__(
        self,
        store_: database.Database,
        glance: Glance,
        wish: Wish,
        now: int,
        who: str,
        told: outcomes.Told,
    ) -> None:
        self._store = store_
        self._glance = glance
        self._wish = wish
        self._now = now
        self._who = who
        self._told = told
        self._loaded: loading.Loaded | None = None
        self._sizes: frozenset[int] = frozenset()
        # What a rehearsal would have adopted, by SHA-512.
        self._rehearsed: dict[str, str] = {}

    def one(self, image: picture.GlanceImage) -> Result:
        """Judge one image by its bytes, and adopt it if they match."""

        def result(outcome: Outcome, detail: str = '') -> Result:
            return Result(
                cloud=self._wish.cloud,
                image_id=image.image_id,
                name=image.name,
                outcome=outcome,
                detail=detail,
            )

        try:
            endorsed = self._adopted(image)
        except adoptable.Ours as ours:
            return result(Outcome.OURS, str(ours))
        except adoptable.Left as left:
            return result(Outcome.LEFT, str(left))
        except errors.HepixError as exc:
            return result(Outcome.FAILED, str(exc))
        return dataclasses.replace(
            result(
                Outcome.WOULD_ADOPT if self._wish.dry_run else Outcome.ADOPTED
            ),
            subscription=endorsed.subscription,
            identifier=endorsed.identifier,
            version=endorsed.version,
        )

    def _adopted(self, image: picture.GlanceImage) -> model.Endorsement:
        with self._store.reading() as connection:
            snapshot = self._snapshot(connection)
            adoptable.require_free(connection, image.image_id)
        size = adoptable.require_plain(image, self._sizes)
        if image.sha512 is not None:
            # Cheaper than reading it all; what it says is not believed.
            self._endorsed(snapshot, image.sha512, size)
        passed = self._read(image, size)
        if image.sha512 not in (None, passed.sha512):
            raise adoptable.Left(
                'its data is not what Glance says it is: the sha512 of the '
                'data is not that of the image'
            )
        found, endorsement = self._endorsed(
            snapshot, passed.sha512, passed.size
        )
        adoptable.require_format(image, passed)
        if self._wish.dry_run:
            with self._store.reading() as connection:
                self._require_only(connection, found.sha512)
            self._rehearsed[found.sha512] = image.image_id
            return endorsement
        if self._glance.image(image.image_id) != image:
            raise errors.TryAgain(
                f'image {image.image_id}: it was changed in Glance while its '
                'data was read; run the command again'
            )
        return self._store.transact(
            lambda made: self._write(made, image, passed)
        )

    def _snapshot(self, connection: sa.Connection) -> model.Snapshot:
        before, self._loaded = (
            self._loaded,
            loading.load(connection, self._loaded, self._now),
        )
        found = self._loaded.snapshot
        if before is None or before.snapshot.revision != found.revision:
            self._sizes = adoptable.sizes(found)
        return found

    def _endorsed(
        self, snapshot: model.Snapshot, sha512: str, size: int
    ) -> tuple[staged.Staged, model.Endorsement]:
        """As what these bytes are approved.

        :raises adoptable.Left: when they are not
        """
        found = staged.decide(
            snapshot, staged.Data(sha512, size), None, self._now, 1
        )
        endorsement = found.decision.endorsement
        if not found.decision.approved or endorsement is None:
            raise adoptable.Left(
                f'not approved ({found.decision.code}): '
                f'{found.decision.detail}'
            )
        return found, endorsement

    def _read(self, image: picture.GlanceImage, size: int) -> passing.Passed:
        def progress(done: int) -> None:
            self._told(
                outcomes.Progress(
                    image.name or image.image_id, 'compare', done, size
                )
            )

        try:
            return passing.read(
                self._glance.data(image.image_id), size, progress
            )
        except errors.NotBelieved as exc:
            raise adoptable.Left(f'its data: {exc}') from exc

    def _require_only(self, connection: sa.Connection, sha512: str) -> None:
        """One Glance image for the same endorsed bytes."""
        table = schema.publication
        other = connection.execute(
            sa.select(table.c.image_id).where(
                table.c.cloud == self._wish.cloud,
                table.c.sha512 == sha512,
                table.c.state != publications.State.GONE.value,
            )
        ).scalar()
        other = other or self._rehearsed.get(sha512)
        if other:
            raise adoptable.Left(
                f'image {other} has this content already, and is ours'
            )

    def _write(
        self,
        transaction: database.Transaction,
        image: picture.GlanceImage,
        passed: passing.Passed,
    ) -> model.Endorsement:
        """Row, record, history and notice, all or nothing.

        Everything is asked again: reading the data took its time.
        """
        connection = transaction.connection
        snapshot = loading.load(connection, self._loaded, self._now).snapshot
        found, endorsement = self._endorsed(
            snapshot, passed.sha512, passed.size
        )
        adoptable.require_free(connection, image.image_id)
        self._require_only(connection, found.sha512)
        adopted.write(
            transaction,
            adopted.Adopted(
                self._wish.cloud,
                image,
                passed.sha512,
                passed.size,
                found,
                endorsement,
            ),
            self._now,
            self._who,
        )
        return endorsement

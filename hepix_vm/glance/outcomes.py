# SPDX-License-Identifier: Apache-2.0
"""What publishing tells: how far it is, and how each image ended."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import enum

from hepix_vm.catalogue import store
from hepix_vm.glance.publications import Publication


class Outcome(enum.StrEnum):
    """How publishing one image ended."""

    PUBLISHED = 'published'
    PRESENT = 'present'
    CHANGED = 'changed'
    RETIRED = 'retired'
    DELETED = 'deleted'
    WAITING = 'waiting'
    SKIPPED = 'skipped'
    FAILED = 'failed'


#: The newest version of the image is there for its users.
THERE = frozenset({Outcome.PUBLISHED, Outcome.PRESENT, Outcome.CHANGED})

#: Nothing is wrong with the image.
WELL = THERE | {Outcome.RETIRED, Outcome.DELETED}


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """One image and what became of it.

    :ivar identifier: '' where a whole cloud is spoken of
    """

    subscription: str
    identifier: str
    version: str
    title: str
    outcome: Outcome
    image_id: str | None
    detail: str
    cloud: str = 'default'


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


def of_image(
    image: store.Image,
    cloud: str,
    outcome: Outcome,
    image_id: str | None,
    detail: str,
) -> Published:
    """What became of an image that is wanted."""
    return Published(
        image.subscription,
        image.identifier,
        image.version,
        image.title,
        outcome,
        image_id,
        detail,
        cloud,
    )


def of_row(
    row: Publication, title: str, outcome: Outcome, detail: str
) -> Published:
    """What became of a version that leaves."""
    return Published(
        row.subscription,
        row.identifier,
        row.version,
        title,
        outcome,
        row.image_id,
        detail,
        row.cloud,
    )


def of_cloud(cloud: str, detail: str) -> Published:
    """That a cloud cannot be asked at all."""
    return Published(
        subscription='',
        identifier='',
        version='',
        title='',
        outcome=Outcome.FAILED,
        image_id=None,
        detail=detail,
        cloud=cloud,
    )

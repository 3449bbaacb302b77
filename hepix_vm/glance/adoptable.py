# SPDX-License-Identifier: Apache-2.0
"""What an image in Glance has to be so that it can become ours.

Its bytes are another matter: see :mod:`hepix_vm.glance.adopt`.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.glance import formats
from hepix_vm.glance import passing
from hepix_vm.glance import picture
from hepix_vm.glance import properties
from hepix_vm.glance import publications


class Left(Exception):
    """An image stays as it is; a sentence for the operator."""


class Ours(Left):
    """There is nothing to be done."""


def require_free(connection: sa.Connection, image_id: str) -> None:
    """Neither ours nor judged by the import plugins."""
    ours, records = schema.publication, schema.glance_record
    state = connection.execute(
        sa.select(ours.c.state).where(
            ours.c.image_id == image_id,
            ours.c.state != publications.State.GONE.value,
        )
    ).scalar()
    if state is not None:
        raise Ours(f'it is ours already ({state})')
    recorded = connection.execute(
        sa.select(records.c.state).where(records.c.image_id == image_id)
    ).scalar()
    if recorded is not None:
        raise Left(
            f"it came in through Glance's import, which has recorded it "
            f'({recorded}); that counts, and it stays who imported it'
        )


def require_plain(image: picture.GlanceImage, sizes: Collection[int]) -> int:
    """An active image of a size that is endorsed; returns the bytes.

    :param sizes: of everything that is endorsed
    :raises Left: when it is not
    """
    if image.status != 'active':
        raise Left(f'its status is {image.status}, not active')
    if image.size is None or image.created_at is None:
        raise Left('Glance does not say its size or when it was created')
    if image.size not in sizes:
        raise Left(f'not endorsed: no list has an image of {image.size} bytes')
    if image.container_format != 'bare':
        raise Left(
            f'its container_format is {image.container_format or "not set"}, '
            'not bare'
        )
    dangerous = sorted(properties.BOOTING & image.properties.keys())
    if dangerous:
        raise Left(
            f'its properties {", ".join(dangerous)} change what boots; remove '
            'them first'
        )
    return image.size


def sizes(snapshot: model.Snapshot) -> frozenset[int]:
    """Bytes of everything that is endorsed, or made of that."""
    return frozenset(
        endorsement.size
        for same in snapshot.endorsements.values()
        for endorsement in same
    ) | frozenset(
        made.size for same in snapshot.derived.values() for made in same
    )


def require_format(image: picture.GlanceImage, passed: passing.Passed) -> None:
    """What publishing would have let into Glance, and no other format."""
    found = passed.content
    if found.flaw:
        raise Left(f'its data is {found.kind}, but {found.flaw}')
    if image.disk_format != found.kind or found.kind not in formats.BOOTABLE:
        raise Left(
            f'its disk_format is {image.disk_format or "not set"}, its data '
            f'is {found.kind}; Nova boots '
            f'{", ".join(sorted(formats.BOOTABLE))}'
        )

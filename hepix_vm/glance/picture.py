# SPDX-License-Identifier: Apache-2.0
"""An image as Glance shows it, as a value."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import datetime
from typing import Any

#: What Glance itself says of every image; all else is a property.
_BASE = frozenset(
    {
        'id',
        'name',
        'status',
        'size',
        'virtual_size',
        'owner',
        'visibility',
        'protected',
        'os_hidden',
        'tags',
        'min_disk',
        'min_ram',
        'created_at',
        'updated_at',
        'checksum',
        'os_hash_algo',
        'os_hash_value',
        'container_format',
        'disk_format',
        'file',
        'self',
        'schema',
        'locations',
        'direct_url',
        'stores',
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceImage:
    """An image as Glance shows it.

    :ivar created_at: UNIX seconds; None where Glance does not say
    :ivar sha512: of its data, where Glance says so
    :ivar properties: all that is not Glance's own
    """

    image_id: str
    name: str
    status: str
    size: int | None
    owner: str | None
    created_at: int | None = None
    sha512: str | None = None
    visibility: str = 'private'
    hidden: bool = False
    protected: bool = False
    tags: frozenset[str] = frozenset()
    min_disk: int = 0
    min_ram: int = 0
    disk_format: str = ''
    container_format: str = ''
    properties: Mapping[str, str] = dataclasses.field(
        default_factory=dict, hash=False
    )


def image(shown: Mapping[str, Any]) -> GlanceImage:
    """The value of Glance's JSON.

    :raises KeyError, TypeError, ValueError: for something else
    """
    return GlanceImage(
        image_id=str(shown['id']),
        name=str(shown.get('name') or ''),
        status=str(shown['status']),
        size=shown.get('size'),
        owner=shown.get('owner'),
        created_at=_seconds(shown.get('created_at')),
        sha512=(
            shown.get('os_hash_value')
            if shown.get('os_hash_algo') == 'sha512'
            else None
        ),
        visibility=str(shown.get('visibility') or 'private'),
        hidden=bool(shown.get('os_hidden')),
        protected=bool(shown.get('protected')),
        tags=frozenset(map(str, shown.get('tags') or ())),
        min_disk=int(shown.get('min_disk') or 0),
        min_ram=int(shown.get('min_ram') or 0),
        disk_format=str(shown.get('disk_format') or ''),
        container_format=str(shown.get('container_format') or ''),
        properties={
            str(name): str(value)
            for name, value in shown.items()
            if name not in _BASE and value is not None
        },
    )


def seconds(moment: object, otherwise: int) -> int:
    """UNIX seconds; ``otherwise`` where Glance does not say."""
    found = _seconds(moment)
    return otherwise if found is None else found


def _seconds(moment: object) -> int | None:
    """UNIX seconds of Glance's times, such as 2026-11-21T12:00:00Z."""
    try:
        found = datetime.datetime.fromisoformat(str(moment))
        if found.tzinfo is None:
            found = found.replace(tzinfo=datetime.UTC)
        return int(found.timestamp())
    except (ValueError, OverflowError):
        return None

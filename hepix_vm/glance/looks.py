# SPDX-License-Identifier: Apache-2.0
"""How an image should look in Glance, and in what it differs.

Pure. Looks are compared by what the site wants; what others have added
stays, unless it begins like a property of ours or would make Nova boot
something else than the image.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

from hepix_vm.glance import picture
from hepix_vm.glance import properties
from hepix_vm.glance import wanted as wanted_

#: Properties that nobody else sets: they go when they are no longer wanted.
#: Those that older tools set as well stay: accounting goes by them.
_OURS = ('hepix_',)


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """How an image should be; None: it does not matter.

    :ivar properties: that it should have; None: it does not matter
    """

    name: str | None = None
    owner: str | None = None
    visibility: str | None = None
    hidden: bool | None = None
    protected: bool | None = None
    tags: frozenset[str] | None = None
    min_disk: int | None = None
    min_ram: int | None = None
    properties: Mapping[str, str] | None = dataclasses.field(
        default=None, hash=False
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be, as people read it."""

    name: str
    found: str
    wanted: str


#: A version that users no longer see.
RETIRED = Look(
    visibility='private', hidden=True, protected=False, tags=frozenset()
)


def released(one: wanted_.Wanted, project: str | None) -> Look:
    """As users meet it.

    :param project: whose it is when no rule says so
    """
    return Look(
        name=one.name,
        owner=one.owner or project,
        visibility=one.visibility,
        hidden=False,
        protected=one.protected,
        tags=one.tags,
        min_disk=one.min_disk,
        min_ram=one.min_ram,
        properties=one.properties,
    )


_API = {'hidden': 'os_hidden'}
_ATTRIBUTES = (
    'name',
    'owner',
    'visibility',
    'hidden',
    'protected',
    'tags',
    'min_disk',
    'min_ram',
)


def changes(
    image: picture.GlanceImage, look: Look
) -> tuple[dict[str, Any], frozenset[str]]:
    """What to set, by the names of Glance's API, and what to remove."""
    values: dict[str, Any] = {}
    for name in _ATTRIBUTES:
        wanted = getattr(look, name)
        if wanted is not None and wanted != getattr(image, name):
            values[_API.get(name, name)] = (
                sorted(wanted) if isinstance(wanted, frozenset) else wanted
            )
    if look.properties is None:
        return values, frozenset()
    values |= {
        name: value
        for name, value in look.properties.items()
        if image.properties.get(name) != value
    }
    return values, frozenset(
        name
        for name in image.properties
        if name not in look.properties
        and (name in properties.NEVER or name.startswith(_OURS))
    )


def differences(
    image: picture.GlanceImage, look: Look
) -> tuple[Difference, ...]:
    """The same, for people."""
    values, without = changes(image, look)
    api = {_API.get(name, name): name for name in _ATTRIBUTES}
    found = []
    for name, value in sorted(values.items()):
        before = (
            getattr(image, api[name])
            if name in api
            else image.properties.get(name)
        )
        found.append(Difference(name, _text(before), _text(value)))
    found += [
        Difference(name, image.properties[name], '(none)')
        for name in sorted(without)
    ]
    return tuple(found)


def creation(
    one: wanted_.Wanted, disk_format: str, owner: str | None = None
) -> dict[str, Any]:
    """The body that makes an image, not yet for users.

    :param owner: whom it belongs to until it is released
    """
    body: dict[str, Any] = {
        'name': one.name,
        'disk_format': disk_format,
        'container_format': 'bare',
        'visibility': 'private',
        'os_hidden': True,
        'min_disk': one.min_disk,
        'min_ram': one.min_ram,
        **one.properties,
    }
    return body | ({} if owner is None else {'owner': owner})


def _text(value: object) -> str:
    if value is None or value == '':
        return '(none)'
    if isinstance(value, frozenset | list):
        return ', '.join(sorted(map(str, value))) or '(none)'
    return str(value)

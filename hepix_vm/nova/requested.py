# SPDX-License-Identifier: Apache-2.0
"""What a request to Nova's API would start, read from its body.

Pure. Nova's own JSON parser has read the body already, so that both see the
same of keys that stand twice. Names are Nova's own, of all microversions: a
name that a microversion does not know makes Nova refuse the request, so that
looking at too many does no harm. Nothing here depends on the microversion.

A body of a shape that Nova's schemas do not take gives None, and is Nova's
to refuse (``nova/api/openstack/compute/schemas``, Nova 29 to 34).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import enum
from typing import Any


class Act(enum.StrEnum):
    """What is asked for."""

    BOOT = 'boot'
    REBUILD = 'rebuild'
    RESCUE = 'rescue'
    UNSHELVE = 'unshelve'
    MOVE = 'move'
    #: An image made of a server.
    SNAPSHOT = 'snapshot'
    #: Properties of an image, through Nova.
    PROPERTIES = 'image-properties'


class Source(enum.StrEnum):
    """What a disk is made from."""

    IMAGE = 'image'
    VOLUME = 'volume'
    SNAPSHOT = 'snapshot'
    BLANK = 'blank'


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """A block device of a new server.

    :ivar ident: of the image, volume or volume snapshot
    :ivar boots: whether a server may boot from it
    :ivar volume: whether it becomes, or is, a volume
    """

    source: Source
    ident: str
    boots: bool
    volume: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Requested:
    """A request that can start something.

    :ivar image: the image that it names, if any
    :ivar forced: it names a host past the scheduler
    :ivar host: that host, or the one to move to; '': not known
    :ivar names: of metadata that it gives to an image
    """

    act: Act
    image: str | None = None
    disks: tuple[Disk, ...] = ()
    forced: bool = False
    host: str = ''
    names: frozenset[str] = frozenset()


def server(body: Any) -> Requested | None:
    """The body of ``POST /servers``."""
    return _read(_server, body)


def action(body: Any) -> Requested | None:
    """The body of ``POST /servers/{id}/action``; None also for any other.

    Nova takes the one key of a body for the name of the action.
    """
    return _read(_action, body)


def properties(body: Any) -> Requested | None:
    """The body of a request to ``/images/{id}/metadata``."""
    return _read(_properties, body)


class _Unknown(Exception):
    """A shape that Nova refuses."""


def _read(what: Callable[[Any], Requested], body: Any) -> Requested | None:
    try:
        return what(body)
    except _Unknown:
        return None


def _server(body: Any) -> Requested:
    given = _mapping(_mapping(body).get('server'))
    image = _text(given, 'imageRef')
    host = forced_host(_text(given, 'availability_zone'))
    return Requested(
        act=Act.BOOT,
        image=image or None,
        disks=(
            *_disks(given, 'block_device_mapping', _first_form),
            *_disks(given, 'block_device_mapping_v2', _second_form),
        ),
        forced=host is not None,
        host=host or '',
    )


def forced_host(zone: str) -> str | None:
    """The host of ``zone:host`` or ``zone:host:node``; None: of neither.

    ``zone::node`` names a host that is not known here: ''.
    """
    parts = zone.split(':')
    return parts[1] if len(parts) > 1 else None


def _disks(
    given: Mapping[str, Any],
    name: str,
    form: Callable[[Mapping[str, Any]], Iterator[Disk]],
) -> Iterator[Disk]:
    found = given.get(name)
    if found is None:
        return
    if not isinstance(found, list):
        raise _Unknown
    for item in found:
        yield from form(_mapping(item))


def _first_form(item: Mapping[str, Any]) -> Iterator[Disk]:
    """Of the first form of block device mappings.

    Which of them the server boots from depends on the image's properties, so
    each of them counts.
    """
    for source in (Source.SNAPSHOT, Source.VOLUME, Source.IMAGE):
        ident = _text(item, f'{source}_id')
        if ident:
            yield Disk(source, ident, boots=True)


def _second_form(item: Mapping[str, Any]) -> Iterator[Disk]:
    """Of the second form; an id can be given under two names at once."""
    boots = _boots(item.get('boot_index'))
    volume = item.get('destination_type') != 'local'
    kind = item.get('source_type')
    idents = {(s, _text(item, f'{s}_id')): None for s in _NAMED}
    if kind in _NAMED:
        idents[Source(kind), _text(item, 'uuid')] = None
    for source, ident in idents:
        if ident:
            yield Disk(
                source, ident, boots, volume or source is not Source.IMAGE
            )
    if kind == Source.BLANK and boots:
        # The firmware would go on to the network.
        yield Disk(Source.BLANK, '', boots)


_NAMED = (Source.IMAGE, Source.VOLUME, Source.SNAPSHOT)


def _boots(index: Any) -> bool:
    """Nova takes numbers and texts; a number below 0 and none do not boot."""
    if index is None:
        return False
    try:
        return int(index) >= 0
    except (TypeError, ValueError, OverflowError):
        return True


def _action(body: Any) -> Requested:
    given = _mapping(body)
    if len(given) != 1:
        raise _Unknown
    ((name, value),) = given.items()
    read = _ACTIONS.get(name)
    if read is None:
        raise _Unknown
    return read(value)


def _rebuild(value: Any) -> Requested:
    image = _text(_mapping(value), 'imageRef')
    if not image:
        raise _Unknown
    return Requested(Act.REBUILD, image=image)


def _rescue(value: Any) -> Requested:
    image = _text(_mapping(value), 'rescue_image_ref') if value else ''
    return Requested(Act.RESCUE, image=image or None)


def _unshelve(value: Any) -> Requested:
    # Older microversions take anything here, and look at nothing of it.
    host = value.get('host') if isinstance(value, Mapping) else None
    return Requested(Act.UNSHELVE, host=host if isinstance(host, str) else '')


def _move(value: Any) -> Requested:
    host = value.get('host') if isinstance(value, Mapping) else None
    return Requested(Act.MOVE, host=host if isinstance(host, str) else '')


def _snapshot(value: Any) -> Requested:
    return Requested(
        Act.SNAPSHOT, names=_names(_mapping(value).get('metadata'))
    )


_ACTIONS: Mapping[str, Callable[[Any], Requested]] = {
    'rebuild': _rebuild,
    'rescue': _rescue,
    'unshelve': _unshelve,
    'createImage': _snapshot,
    'createBackup': _snapshot,
    'resize': _move,
    'migrate': _move,
    'os-migrateLive': _move,
    'evacuate': _move,
}


def _properties(body: Any) -> Requested:
    given = _mapping(body)
    return Requested(
        Act.PROPERTIES,
        names=_names(given.get('metadata')) | _names(given.get('meta')),
    )


def _names(metadata: Any) -> frozenset[str]:
    if metadata is None:
        return frozenset()
    return frozenset(str(name) for name in _mapping(metadata))


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Unknown
    return value


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ''
    if not isinstance(value, str):
        raise _Unknown
    return value

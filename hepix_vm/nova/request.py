# SPDX-License-Identifier: Apache-2.0
"""What a scheduling request says about the image, as frozen values.

Read from Nova's own objects, any field of which may be unset.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
import dataclasses
from typing import Any

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import model

#: What of ``catalogue.boot`` Nova's ``ImageMetaProps`` has a field for.
_PROPERTIES = (
    'img_bdm_v2',
    'img_block_device_mapping',
    'img_mappings',
    'img_root_device_name',
    'os_command_line',
)
#: Most images have none of them.
_PLAIN = boot.seen(dict.fromkeys((*_PROPERTIES, 'min_disk')))


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """A request to place a server.

    :ivar server: UUID of the server; None where the request has none
    :ivar project: id of the server's project; '' where the request has
        none, which is in no list of projects
    :ivar volume_boot: whether the server boots from a volume; None where
        the request does not say
    :ivar rebuild: whether Nova asks for a rebuild with a new image. Users
        can put that mark into a new request, so it alone proves nothing.
    """

    image: model.ImageFacts
    server: str | None
    project: str
    volume_boot: bool | None
    rebuild: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A disk of a new server.

    :ivar source: ``image``, ``volume``, ``snapshot``, ``blank``; '' unset
    :ivar volume: whether it is to be a volume; else the host's own disk
    :ivar boots: whether the server may boot from it
    :ivar image_id: of a disk that is made from an image
    """

    source: str
    volume: bool
    boots: bool
    image_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """What Nova's databases say of the server; None: they do not say.

    :ivar exists: whether it has been placed before
    :ivar devices: all disks of a new server
    :ivar kernel: ids of the images of its kernel and its RAM disk, '' for
        none of its own
    """

    exists: bool = False
    devices: tuple[Device, ...] | None = None
    kernel: tuple[str, str] | None = None


def read(spec: Any) -> Placement:
    """The values of a request.

    :param spec: ``nova.objects.RequestSpec``
    """
    image = _field(spec, 'image')
    hints = _field(spec, 'scheduler_hints') or {}
    return Placement(
        image=model.ImageFacts(
            image_id=_field(image, 'id') or None,
            size=_field(image, 'size'),
            created_at=_seconds(_field(image, 'created_at')),
            boot=_boot(image),
        ),
        server=_field(spec, 'instance_uuid'),
        project=_field(spec, 'project_id') or '',
        volume_boot=_field(spec, 'is_bfv'),
        rebuild=hints.get('_nova_check_type') == ['rebuild'],
    )


def devices(mappings: Iterable[Any]) -> tuple[Device, ...]:
    """The disks of a server.

    :param mappings: ``nova.objects.BlockDeviceMapping``
    """
    return tuple(
        _device(mapping)
        for mapping in mappings
        if not _field(mapping, 'no_device')
    )


def kernel(instance: Any) -> tuple[str, str]:
    """The images of a server's kernel and RAM disk.

    :param instance: ``nova.objects.Instance``
    """
    return (
        str(_field(instance, 'kernel_id') or ''),
        str(_field(instance, 'ramdisk_id') or ''),
    )


def _device(mapping: Any) -> Device:
    index = _field(mapping, 'boot_index')
    return Device(
        source=str(_field(mapping, 'source_type') or ''),
        volume=_field(mapping, 'destination_type') == 'volume',
        boots=index is not None and index >= 0,
        image_id=_field(mapping, 'image_id') or None,
    )


def _boot(image: Any) -> boot.Seen | None:
    properties = _field(image, 'properties')
    if properties is None:
        return None
    values = {name: _field(properties, name) for name in _PROPERTIES}
    min_disk = _field(image, 'min_disk')
    if min_disk is None:
        return boot.seen(values)
    if not min_disk and not any(values.values()):
        return _PLAIN
    return boot.seen({**values, 'min_disk': min_disk})


def _field(versioned: Any, name: str) -> Any:
    """A field of one of Nova's objects; None when it is not set."""
    if versioned is None or not versioned.obj_attr_is_set(name):
        return None
    return getattr(versioned, name)


def _seconds(moment: Any) -> int | None:
    """UNIX seconds of a time that Nova keeps in UTC."""
    if moment is None:
        return None
    return calendar.timegm(moment.utctimetuple())

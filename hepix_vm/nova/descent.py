# SPDX-License-Identifier: Apache-2.0
"""What descends from an image: servers, volumes, snapshots, other images.

Pure. Followed are the links that Nova, Cinder and Glance keep: the image of a
server, the image metadata of a volume, the snapshot or volume that a volume
was made of, and the base image or the volume snapshots of an image that Nova
made of a server. A member can overwrite the first two kinds of metadata of
what is its own (``volume_image_metadata``, ``base_image_ref``), so a member
can hide its own copies here and can pretend to have some; nothing is
approved or refused by what this module finds.

Not to be found are an image that Cinder made of a volume, which keeps no
link to it, and the image of a rescue, which Nova does not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import enum

from hepix_vm.nova import servers as servers_
from hepix_vm.nova import volumes as volumes_


class Relation(enum.StrEnum):
    """How a server depends on an image."""

    #: Its root disk was made of it.
    IMAGE = 'image'
    #: Its root disk was made of an image that was made of such a server.
    COPY = 'copy'
    #: Its root disk is a volume.
    VOLUME = 'volume'
    #: A further disk of it is a volume.
    ATTACHED = 'attached'


@dataclasses.dataclass(frozen=True, slots=True)
class Copy:
    """A Glance image that Nova made of a server.

    :ivar made_of: the image that the server was made of
    :ivar snapshots: volume snapshots that it consists of
    """

    image_id: str
    name: str
    project: str
    made_of: str | None
    snapshots: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """That something descends from an image.

    :ivar image_id: the image
    :ivar code: what the image was asked for with, such as a reason code
    :ivar through: what lies between, the image's next first, such as
        ``volume 0b7e...``
    """

    image_id: str
    code: str
    through: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A server that descends from an image."""

    server: servers_.Server
    link: Link
    relation: Relation


@dataclasses.dataclass(frozen=True, slots=True)
class HeldVolume:
    """A volume that descends from an image."""

    volume: volumes_.Volume
    link: Link


@dataclasses.dataclass(frozen=True, slots=True)
class HeldSnapshot:
    """A snapshot of such a volume."""

    snapshot: volumes_.Snapshot
    link: Link


@dataclasses.dataclass(frozen=True, slots=True)
class HeldCopy:
    """An image that was made of such a server."""

    copy: Copy
    link: Link


@dataclasses.dataclass(frozen=True, slots=True)
class Affected:
    """All that descends from some images, in an order that stays the same.

    :ivar servers: those that run, or are shelved, first; see ``runs``
    """

    servers: tuple[Running, ...] = ()
    volumes: tuple[HeldVolume, ...] = ()
    snapshots: tuple[HeldSnapshot, ...] = ()
    copies: tuple[HeldCopy, ...] = ()

    def used(self) -> frozenset[str]:
        """Ids of the images that anything at all descends from."""
        links = (
            *(one.link for one in self.servers),
            *(one.link for one in self.volumes),
            *(one.link for one in self.snapshots),
            *(one.link for one in self.copies),
        )
        return frozenset(link.image_id for link in links)

    def projects(self) -> frozenset[str]:
        """Ids of the projects that all this belongs to."""
        return frozenset(
            {one.server.project for one in self.servers}
            | {one.volume.project for one in self.volumes}
            | {one.snapshot.project for one in self.snapshots}
            | {one.copy.project for one in self.copies}
        )


#: Nothing descends from nothing.
NOTHING = Affected()


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What a cloud has."""

    servers: tuple[servers_.Server, ...] = ()
    volumes: tuple[volumes_.Volume, ...] = ()
    snapshots: tuple[volumes_.Snapshot, ...] = ()
    copies: tuple[Copy, ...] = ()


# What descends from what: kind and id.
_Node = tuple[str, str]
_IMAGE, _VOLUME, _SNAPSHOT = 'image', 'volume', 'snapshot'


def trace(images: Mapping[str, str], seen: Seen) -> Affected:
    """What of a cloud descends from these images.

    Servers that are in ERROR on no host are left out: no host ever took
    them, and none will.

    :param images: code by image id; see :class:`Link`
    """
    links = _links(images, seen)
    volumes = {one.volume_id: one for one in seen.volumes}
    running = [
        found
        for server in seen.servers
        if server.host or server.status != 'ERROR'
        for found in _running(server, links, volumes)
    ]
    return Affected(
        servers=tuple(sorted(running, key=_order_of_servers)),
        volumes=tuple(
            HeldVolume(volume, link)
            for volume in sorted(
                seen.volumes, key=lambda one: (one.project, one.volume_id)
            )
            for link in links.get((_VOLUME, volume.volume_id), ())
        ),
        snapshots=tuple(
            HeldSnapshot(snapshot, link)
            for snapshot in sorted(
                seen.snapshots, key=lambda one: (one.project, one.snapshot_id)
            )
            for link in links.get((_SNAPSHOT, snapshot.snapshot_id), ())
        ),
        copies=tuple(
            HeldCopy(copy, link)
            for copy in sorted(
                seen.copies, key=lambda one: (one.project, one.image_id)
            )
            for link in links.get((_IMAGE, copy.image_id), ())
            if link.image_id != copy.image_id
        ),
    )


def _links(
    images: Mapping[str, str], seen: Seen
) -> dict[_Node, tuple[Link, ...]]:
    """All that descends from the images, by the shortest way to each."""
    children: dict[_Node, list[_Node]] = {}
    for parent, child in sorted(set(_edges(seen))):
        children.setdefault(parent, []).append(child)
    found: dict[_Node, tuple[Link, ...]] = {}
    for image_id, code in sorted(images.items()):
        start = (_IMAGE, image_id)
        ways: dict[_Node, tuple[str, ...]] = {start: ()}
        waiting = [start]
        # Grows while it is gone through.
        for node in waiting:
            for child in children.get(node, ()):
                if child not in ways:
                    ways[child] = (*ways[node], f'{child[0]} {child[1]}')
                    waiting.append(child)
        for node, through in ways.items():
            link = Link(image_id, code, through)
            found[node] = (*found.get(node, ()), link)
    return found


def _edges(seen: Seen) -> Iterator[tuple[_Node, _Node]]:
    """What was made of what; the origin first."""
    for volume in seen.volumes:
        child = (_VOLUME, volume.volume_id)
        for kind, origin in (
            (_IMAGE, volume.image_id),
            (_SNAPSHOT, volume.snapshot_id),
            (_VOLUME, volume.source_id),
        ):
            if origin is not None:
                yield (kind, origin), child
    for snapshot in seen.snapshots:
        child = (_SNAPSHOT, snapshot.snapshot_id)
        yield (_VOLUME, snapshot.volume_id), child
    for copy in seen.copies:
        child = (_IMAGE, copy.image_id)
        if copy.made_of is not None:
            yield (_IMAGE, copy.made_of), child
        for snapshot_id in copy.snapshots:
            yield (_SNAPSHOT, snapshot_id), child


def _running(
    server: servers_.Server,
    links: Mapping[_Node, tuple[Link, ...]],
    volumes: Mapping[str, volumes_.Volume],
) -> Iterator[Running]:
    """How a server depends on each image that it does depend on."""
    found: dict[str, Running] = {}

    def add(link: Link, relation: Relation) -> None:
        # The root disk says more than a further one.
        before = found.get(link.image_id)
        if before is None or before.relation is Relation.ATTACHED:
            found[link.image_id] = Running(server, link, relation)

    if server.image_id is not None:
        for link in links.get((_IMAGE, server.image_id), ()):
            add(link, Relation.COPY if link.through else Relation.IMAGE)
    for volume_id in sorted(server.volumes):
        volume = volumes.get(volume_id)
        for link in links.get((_VOLUME, volume_id), ()):
            root = volume is not None and _is_root(server, volume)
            add(link, Relation.VOLUME if root else Relation.ATTACHED)
    yield from found.values()


def _is_root(server: servers_.Server, volume: volumes_.Volume) -> bool:
    device = volume.devices.get(server.server_id)
    if device is not None and server.root_device is not None:
        return device == server.root_device
    # Not attached at present: shelved, or being built.
    return server.image_id is None and volume.bootable


def _order_of_servers(one: Running) -> tuple[object, ...]:
    server = one.server
    return (
        not server.runs,
        one.link.image_id,
        server.project,
        server.host is None,
        server.host or '',
        server.created,
        server.server_id,
    )

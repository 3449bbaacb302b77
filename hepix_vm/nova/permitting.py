# SPDX-License-Identifier: Apache-2.0
"""Whether a request to Nova's API may go on.

=========================  ============================================
new server                 every image that the request names must be
                           approved; a volume that it may boot from is
                           refused, or must be made from one where the
                           site lets servers boot from volumes
the same on a named host   the same, and each image must have the
                           properties that were recorded, because no
                           scheduler filter looks at them
rebuild, rescue            so must their image
unshelve                   so must the image that shelving made
move                       only where the site says so; so must the
                           image of the server
snapshot, back-up,         must not give metadata that are Nova's own
properties of an image
=========================  ============================================

Data disks of a new server, which it cannot boot from, may have any bytes: so
may a volume that is attached later.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import re
from typing import Any, Protocol

from oslo_log import log

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import lineage_names
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.nova import judgement
from hepix_vm.nova import placing as sites
from hepix_vm.nova import requested

LOG = log.getLogger(__name__)

#: Metadata that a request may not give to an image. Another kind of image
#: than Nova's own only loses what a snapshot would inherit.
KEPT = frozenset(lineage_names.NOVAS_OWN) - {lineage_names.KIND}

_IDENT = re.compile(r'[A-Za-z0-9._{}:-]{1,255}')
_FOREIGN = re.compile(r'[^A-Za-z0-9._{}:-]')

#: Things that a sentence names at most.
_NAMED = 8

#: What a refusal does; see :func:`effect`.
REFUSED = 'refused'

_PASSING = frozenset({judgement.Scope.EXEMPT, judgement.Scope.DRY_RUN})

#: Acts that make or change an image.
OF_IMAGES = frozenset({requested.Act.SNAPSHOT, requested.Act.PROPERTIES})
#: Acts on which no scheduler filter sees the properties of the image.
_UNFILTERED = frozenset(
    {requested.Act.REBUILD, requested.Act.RESCUE, requested.Act.UNSHELVE}
)


class World(Protocol):
    """What can be asked; see :class:`hepix_vm.nova.lookups.Lookups`."""

    def image(self, ident: str) -> model.ImageFacts | None:
        """What Glance shows of an image; None: nothing."""

    def volume(self, ident: str) -> Mapping[str, Any] | None:
        """What Cinder says of the image of a volume; None: nothing."""

    def of_snapshot(self, ident: str) -> str:
        """The volume of a volume snapshot; '': nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Judging:
    """With what a request is judged.

    :ivar project: id of the project of the server
    :ivar volume_boot: what becomes of servers that boot from a volume
    """

    catalogue: reader.Reader
    world: World
    project: str
    volume_boot: sites.VolumeBoot


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """What would start.

    :ivar images: ids, each once
    :ivar properties: whether nobody else looks at the images' properties
    :ivar expected: whether there must be an image
    """

    images: tuple[str, ...]
    disks: tuple[requested.Disk, ...] = ()
    properties: bool = False
    expected: bool = False

    @property
    def things(self) -> tuple[str, ...]:
        """All that is involved, in words."""
        disks = (subject(disk) for disk in self.disks)
        return tuple(
            dict.fromkeys(
                (*(f'image {clean(i)}' for i in self.images), *disks)
            )
        )


def start_of(asked: requested.Requested, default: str = '') -> Start:
    """What a request would start.

    :param default: the image when the request names none, of a server that
        there is
    """
    named = (
        asked.image or default,
        *(
            disk.ident
            for disk in asked.disks
            if disk.source is requested.Source.IMAGE
        ),
    )
    return Start(
        images=tuple(dict.fromkeys(one for one in named if one)),
        disks=tuple(disk for disk in asked.disks if disk.boots),
        properties=asked.forced or asked.act in _UNFILTERED,
        expected=asked.act is requested.Act.RESCUE,
    )


def host_of(asked: requested.Requested, present: str) -> str | None:
    """On which host something would start; '' on one that nobody knows.

    None where a scheduler chooses it.

    :param present: the host that the server is on
    """
    if asked.act is requested.Act.BOOT:
        return asked.host if asked.forced else None
    if asked.act in (requested.Act.UNSHELVE, requested.Act.MOVE):
        return asked.host or None
    return present


def effect(act: requested.Act, project: str, placing: sites.Placing) -> str:
    """What a refusal does; anything but :data:`REFUSED` lets pass.

    Where an image comes from binds all projects: others use it, too.

    :param project: '' is unknown, and so not exempt
    """
    scope = judgement.scope_of('' if act in OF_IMAGES else project, placing)
    return str(scope) if scope in _PASSING else REFUSED


def metadata(asked: requested.Requested) -> list[model.Decision]:
    """A refusal of metadata that are Nova's own, if there are such."""
    found = sorted(
        name for name in asked.names if name.strip().lower() in KEPT
    )
    if not found:
        return []
    return [
        model.refused(
            model.Reason.SNAPSHOT_METADATA,
            'this request',
            ', '.join(clean(name) for name in found[:_NAMED]),
        )
    ]


def decisions(start: Start, judging: Judging) -> list[model.Decision]:
    """One for each thing that would start; few refusals are enough."""
    found: list[model.Decision] = []
    refusals = 0
    for decision in _decisions(start, judging):
        found.append(decision)
        refusals += not decision.approved
        if refusals == _NAMED:
            break
    return found


def _decisions(start: Start, judging: Judging) -> Iterator[model.Decision]:
    if start.expected and not start.images:
        yield model.refused(model.Reason.NO_IMAGE, 'this request')
    for ident in start.images:
        yield _image(ident, start.properties, judging)
    for disk in start.disks:
        if disk.volume:
            yield _disk(disk, judging)


def _image(ident: str, properties: bool, judging: Judging) -> model.Decision:
    if not _IDENT.fullmatch(ident):
        return model.refused(model.Reason.NO_RECORD, f'image {clean(ident)}')
    facts = model.ImageFacts(ident, must_know_size=False)
    decision = judging.catalogue.decide_image(facts, judging.project)
    if not (properties and decision.approved):
        return decision
    shown = judging.world.image(ident)
    if shown is None:
        # Nova does not see it either, and will say so.
        return decision
    decision = judging.catalogue.decide_image(shown, judging.project)
    for name, value in shown.boot or ():
        if name in ('kernel_id', 'ramdisk_id') and value:
            if not decision.approved:
                return decision
            decision = _image(value, False, judging)
    return decision


def _disk(disk: requested.Disk, judging: Judging) -> model.Decision:
    name = subject(disk)
    if judging.volume_boot is sites.VolumeBoot.REFUSE:
        return model.refused(model.Reason.VOLUME_BOOT, name)
    if disk.source is requested.Source.IMAGE:
        return _image(disk.ident, False, judging)
    if disk.source is requested.Source.BLANK:
        return model.refused(
            model.Reason.VOLUME_UNKNOWN, name, 'nothing is on it'
        )
    if not _IDENT.fullmatch(disk.ident):
        return model.refused(model.Reason.VOLUME_UNKNOWN, name)
    try:
        return _volume(disk, name, judging)
    except Exception as exc:
        LOG.exception('%s: Cinder cannot say what it was made from', name)
        return model.refused(
            model.Reason.VOLUME_UNKNOWN,
            name,
            f'Cinder cannot be asked ({type(exc).__name__})',
        )


def _volume(
    disk: requested.Disk, name: str, judging: Judging
) -> model.Decision:
    """By what Cinder keeps with a volume that was made from an image.

    Its checksum is MD5, which proves nothing; id, size and properties must
    be the recorded ones.
    """
    ident = disk.ident
    if disk.source is requested.Source.SNAPSHOT:
        # Cinder does not show what a snapshot has inherited.
        ident = judging.world.of_snapshot(ident)
    found = judging.world.volume(ident) if ident else None
    image = str((found or {}).get('image_id') or '')
    if not found or not _IDENT.fullmatch(image):
        return model.refused(model.Reason.VOLUME_UNKNOWN, name)
    facts = model.ImageFacts(
        image,
        size=_number(found.get('size')),
        boot=boot.of_glance(_number(found.get('min_disk')), found),
    )
    decision = judging.catalogue.decide_image(facts, judging.project)
    return dataclasses.replace(
        decision, subject=f'{name} (made from image {image})'
    )


def _number(value: Any) -> int | None:
    """Cinder keeps numbers as texts."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def subject(disk: requested.Disk) -> str:
    """How to call a disk in a sentence."""
    if disk.source is requested.Source.BLANK:
        return 'an empty disk'
    if disk.source is requested.Source.IMAGE:
        return f'image {clean(disk.ident)}'
    kind = 'volume'
    if disk.source is requested.Source.SNAPSHOT:
        kind = 'volume snapshot'
    return f'{kind} {clean(disk.ident)}'


def clean(text: str) -> str:
    """What a client said, fit for a log and a sentence."""
    return _FOREIGN.sub('?', text[:64])


def sentence(refusals: list[model.Decision], things: tuple[str, ...]) -> str:
    """What the user reads.

    :param refusals: at least one
    :param things: all that the request involves
    """
    said = list(dict.fromkeys(one.sentence for one in refusals))
    text = '. '.join(said)
    if len(things) > 1:
        text += f'. The request involves {", ".join(things[:_NAMED])}'
        if len(things) > _NAMED:
            text += f' and {len(things) - _NAMED} more'
    return text

# SPDX-License-Identifier: Apache-2.0
"""Whether a server may be placed: the catalogue's decision and its scope.

===========================  =======================================
new server                   every image that it is made of must be
                             approved: that of the request, of each
                             disk, of its kernel and its RAM disk
the same, from a volume      refused, or the same where the site lets
                             servers boot from volumes
rebuild with a new image     refused unless that image is approved
other move (resize, migrate  passes: a withdrawn image must not keep a
evacuate, unshelve)          server on a failing host; refused where
                             the site says so
===========================  =======================================
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import enum

from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.nova import placing as sites
from hepix_vm.nova import request

#: Disks whose bytes come from Cinder, of which a scheduler knows nothing.
_STORED = frozenset({'volume', 'snapshot'})


class Scope(enum.StrEnum):
    """What a refusal does to this request."""

    ENFORCED = 'enforced'
    ENFORCING_HOSTS = 'enforcing-hosts'
    EXISTING_SERVER = 'existing-server'
    EXEMPT = 'exempt'
    DRY_RUN = 'would-refuse'


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """A decision, what it does, and which images the request involves."""

    decision: model.Decision
    scope: Scope
    images: tuple[str, ...] = ()


def judge(
    placement: request.Placement,
    catalogue: reader.Reader,
    placing: sites.Placing,
    look: Callable[[], request.Server],
) -> Judged:
    """The decision, and what it does.

    :param look: asks Nova about the server
    """
    server = look()
    moves = server.exists and not placement.rebuild
    images = tuple(_images(placement, server, moves))
    decision = _decision(placement, catalogue, placing, server, images)
    scope = Scope.ENFORCED
    if not decision.approved:
        scope = scope_of(placement.project, placing)
        if moves and not _binds_move(placement, placing):
            scope = Scope.EXISTING_SERVER
    ids = dict.fromkeys(one.image_id for one in images if one.image_id)
    return Judged(decision, scope, tuple(ids))


def scope_of(project: str, placing: sites.Placing) -> Scope:
    """What a refusal does to a request that places something.

    :param project: '' is unknown, and so not exempt
    """
    if project and not placing.binds(project):
        return Scope.EXEMPT
    if placing.dry_run:
        return Scope.DRY_RUN
    if placing.where is sites.Where.AGGREGATES:
        return Scope.ENFORCING_HOSTS
    return Scope.ENFORCED


def _binds_move(placement: request.Placement, placing: sites.Placing) -> bool:
    if not placing.on_moves:
        return False
    # Nobody can say what a volume was made from that was booted long ago.
    return bool(placement.image.image_id) or placement.volume_boot is False


def _decision(
    placement: request.Placement,
    catalogue: reader.Reader,
    placing: sites.Placing,
    server: request.Server,
    images: tuple[model.ImageFacts, ...],
) -> model.Decision:
    """The first refusal, or the approval of the request's image."""
    new = not server.exists
    if new and _from_volume(placement, server):
        if placing.volume_boot is sites.VolumeBoot.REFUSE:
            return _volume_boot(placement)
        if _boots_stored(server) and not images:
            return _left_to_guard()
    project = placement.project
    decision = catalogue.decide_image(
        images[0] if images else placement.image, project
    )
    for image in images[1:]:
        if not decision.approved:
            return decision
        other = catalogue.decide_image(image, project)
        decision = decision if other.approved else other
    if decision.approved and _unseen(placement, server):
        return _unknown_server(placement)
    return decision


def _images(
    placement: request.Placement, server: request.Server, moves: bool
) -> Iterator[model.ImageFacts]:
    """All images of which something may boot, each once."""
    seen = {''}
    image = placement.image
    if image.image_id:
        seen.add(image.image_id)
        yield image if moves else _with_kernel(image, server)
    others = [device.image_id or '' for device in server.devices or ()]
    for image_id in (*others, *(server.kernel or ())):
        if image_id not in seen:
            seen.add(image_id)
            # Its size is seen by who reads it.
            yield model.ImageFacts(image_id, must_know_size=False)


def _with_kernel(
    image: model.ImageFacts, server: request.Server
) -> model.ImageFacts:
    """The same with what Nova has read of the image into the server."""
    if server.kernel is None or image.boot is None:
        return image
    names = ('kernel_id', 'ramdisk_id')
    found = tuple(zip(names, server.kernel, strict=True))
    return dataclasses.replace(image, boot=(*image.boot, *found))


def _from_volume(placement: request.Placement, server: request.Server) -> bool:
    return placement.volume_boot is not False or any(
        device.volume and device.boots for device in server.devices or ()
    )


def _boots_stored(server: request.Server) -> bool:
    return any(
        device.boots and device.source in _STORED
        for device in server.devices or ()
    )


def _unseen(placement: request.Placement, server: request.Server) -> bool:
    """Whether the request involves something that nobody could look at."""
    if server.exists:
        return placement.rebuild and server.kernel is None
    return server.devices is None or server.kernel is None


def _volume_boot(placement: request.Placement) -> model.Decision:
    return model.refused(
        model.Reason.VOLUME_BOOT,
        _subject(placement),
        'Nova does not say whether the server boots from a volume'
        if placement.volume_boot is None
        else '',
    )


def _left_to_guard() -> model.Decision:
    return model.Decision(
        model.Verdict.APPROVED,
        model.Reason.APPROVED,
        'this request',
        'it boots from a volume, which the API guard has judged',
    )


def _unknown_server(placement: request.Placement) -> model.Decision:
    return model.refused(
        model.Reason.INTERNAL,
        _subject(placement),
        'Nova does not say which disks and which kernel the server has',
    )


def _subject(placement: request.Placement) -> str:
    if placement.image.image_id:
        return f'image {placement.image.image_id}'
    return 'this request'

# SPDX-License-Identifier: Apache-2.0
"""What a scheduling request says about the image, as frozen values.

Read from Nova's ``RequestSpec``, any field of which may be unset.
"""

from __future__ import annotations

import calendar
import dataclasses
from typing import Any

from hepix_vm.catalogue import model


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
        ),
        server=_field(spec, 'instance_uuid'),
        project=_field(spec, 'project_id') or '',
        volume_boot=_field(spec, 'is_bfv'),
        rebuild=hints.get('_nova_check_type') == ['rebuild'],
    )


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

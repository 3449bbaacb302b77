# SPDX-License-Identifier: Apache-2.0
"""Whether a server may be placed: the catalogue's decision and its scope.

An approved image on a plain boot passes at once. Everything else depends on
whether the server exists already:

===========================  =======================================
new server                   refused; so are boots from a volume and
                             requests that name no image
rebuild with a new image     refused unless that image is approved
other move (resize, migrate  passes: a withdrawn image must not keep a
evacuate, unshelve)          server on a failing host
===========================  =======================================
"""

from __future__ import annotations

from collections.abc import Callable
import enum

from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.nova import request


class Scope(enum.StrEnum):
    """Whether the decision binds this request."""

    ENFORCED = 'enforced'
    EXISTING_SERVER = 'existing-server'


def judge(
    placement: request.Placement,
    catalogue: reader.Reader,
    exists: Callable[[], bool],
) -> tuple[model.Decision, Scope]:
    """The decision, and whether it is to be enforced.

    :param exists: asks Nova whether the server lives on a host already;
        called for what would be refused only
    """
    decision = catalogue.decide_image(placement.image, placement.project)
    if placement.volume_boot is False and decision.approved:
        return decision, Scope.ENFORCED
    if exists():
        if placement.rebuild:
            return decision, Scope.ENFORCED
        return decision, Scope.EXISTING_SERVER
    if placement.volume_boot is not False:
        return _volume_boot(placement), Scope.ENFORCED
    return decision, Scope.ENFORCED


def _volume_boot(placement: request.Placement) -> model.Decision:
    subject = (
        f'image {placement.image.image_id}'
        if placement.image.image_id
        else 'this request'
    )
    return model.refused(
        model.Reason.VOLUME_BOOT,
        subject,
        'Nova does not say whether the server boots from a volume'
        if placement.volume_boot is None
        else '',
    )

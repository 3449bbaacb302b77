# SPDX-License-Identifier: Apache-2.0
"""Glance follows withdrawals: what no longer approves is deactivated.

The record was withdrawn first, so Nova refuses the image whether or not
this succeeds; and an image that somebody reactivated by hand is deactivated
again by the next run.
"""

from __future__ import annotations

import dataclasses

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.glance import client

LOG = log.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Deactivated:
    """One withdrawn image and whether Glance obeyed.

    :ivar error: '' when it did
    """

    image_id: str
    name: str
    code: str
    error: str


def deactivate(
    database_: database.Database, glance: client.Glance
) -> tuple[Deactivated, ...]:
    """Deactivate every active image whose record is withdrawn.

    Only images with a record of ours are touched.

    :raises errors.TryAgain: when Glance cannot be asked at all
    """
    with database_.reading() as connection:
        withdrawn = {
            record.image_id: record.reason
            for record in store.records(
                connection, [model.RecordState.WITHDRAWN]
            )
        }
    if not withdrawn:
        return ()
    done = []
    for image in glance.images(status='active'):
        if image.image_id not in withdrawn:
            continue
        error = ''
        try:
            glance.deactivate(image.image_id)
        except errors.HepixError as exc:
            error = str(exc)
        LOG.warning(
            'verdict=%s image=%s code=%s %s',
            'failed' if error else 'deactivated',
            image.image_id,
            withdrawn[image.image_id],
            error,
        )
        done.append(
            Deactivated(
                image.image_id,
                image.name,
                withdrawn[image.image_id],
                error,
            )
        )
    return tuple(done)

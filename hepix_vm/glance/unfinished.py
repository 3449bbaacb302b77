# SPDX-License-Identifier: Apache-2.0
"""Records of imports that nobody will finish.

The import plugins make a record positive before Glance stores the bytes, and
take it back when that fails. A Glance that is killed in between takes nothing
back: the image stays "importing" for ever, and its record would stay
positive. Nobody can boot such an image, and no other data can get into it;
the record is withdrawn all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator

from oslo_log import log
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm.glance import client

LOG = log.getLogger(__name__)

#: Seconds without a sign of life after which Glance itself takes an import
#: for dead and gives its lock to another (``ImagesController`` of its API).
LOCK = 3600

REASON = 'import-unfinished'
#: States of an image in Glance in which it has no data.
_EMPTY = frozenset({'queued', 'uploading', 'importing'})
_AT_ONCE = 500


def withdraw(
    database_: database.Database,
    glance: client.Glance,
    images: Iterable[client.GlanceImage],
    now: int,
) -> tuple[str, ...]:
    """Withdraw the records of images that have no data and get none.

    :param images: as Glance lists them; those that it does not list may be
        somebody's whom the account does not see
    :returns: the ids of these images
    :raises errors.HepixError: when Glance cannot be asked
    """
    empty = sorted(i.image_id for i in images if i.status in _EMPTY)
    done = []
    for image_id, task_id in _recorded(database_, empty, now - LOCK):
        if glance.imports(image_id, now - LOCK):
            continue
        records.Records(database_).drop(image_id, task_id, REASON, now)
        LOG.warning(
            'verdict=withdrawn image=%s code=%s its import has not ended; '
            'delete it',
            image_id,
            REASON,
        )
        done.append(image_id)
    return tuple(done)


def _recorded(
    database_: database.Database, image_ids: list[str], before: int
) -> Iterator[tuple[str, str]]:
    """Image and task of each record of these that counts and is old."""
    table = schema.glance_record
    for start in range(0, len(image_ids), _AT_ONCE):
        some = image_ids[start : start + _AT_ONCE]
        with database_.reading() as connection:
            rows = connection.execute(
                sa.select(table.c.image_id, table.c.task_id).where(
                    table.c.image_id.in_(some),
                    table.c.state != model.RecordState.WITHDRAWN.value,
                    table.c.recorded_at < before,
                )
            ).all()
        for row in rows:
            yield row.image_id, row.task_id

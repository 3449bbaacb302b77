# SPDX-License-Identifier: Apache-2.0
"""What is written of a Glance image that becomes ours, all or nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import staged
from hepix_vm.glance import picture
from hepix_vm.glance import publications


@dataclasses.dataclass(frozen=True, slots=True)
class Adopted:
    """An image whose data were compared.

    :ivar sha512: of the data in Glance, of :ivar:`size` bytes
    :ivar found: which endorsed bytes these are
    """

    cloud: str
    image: picture.GlanceImage
    sha512: str
    size: int
    found: staged.Staged
    endorsement: model.Endorsement


def write(
    transaction: database.Transaction, adopted: Adopted, now: int, who: str
) -> None:
    """The row that makes it ours, its record, a line and a notice.

    :param now: UNIX seconds
    :param who: for the history
    """
    image_id = adopted.image.image_id
    said = {
        'cloud': adopted.cloud,
        'subscription': adopted.endorsement.subscription,
        'identifier': adopted.endorsement.identifier,
        'version': adopted.endorsement.version,
        'sha512': adopted.found.sha512,
    }
    transaction.put(
        schema.publication,
        {'image_id': image_id},
        said
        | {
            'state': publications.State.ACTIVE.value,
            'at': now,
            'published_at': now,
            'retired_at': None,
            'quarantine': publications.Trial.NONE.value,
            'quarantine_detail': None,
            'members_at': None,
            'members_sha256': None,
        },
    )
    transaction.put(
        schema.glance_record, {'image_id': image_id}, _record(adopted, now)
    )
    transaction.remember(
        now,
        who,
        'adopted',
        image_id,
        f'image {said["identifier"]} version {said["version"]} of '
        f'subscription {said["subscription"]} in cloud {said["cloud"]}: its '
        f'{adopted.size} bytes have the sha512 {adopted.sha512}',
    )
    decision = adopted.found.decision
    notices.write(
        transaction,
        now,
        'image.adopted',
        image_id,
        {
            'image_id': image_id,
            **said,
            'code': str(decision.code),
            'detail': decision.detail,
        },
    )


def _record(adopted: Adopted, now: int) -> dict[str, Any]:
    return {
        'state': model.RecordState.POSITIVE.value,
        # No import made it.
        'task_id': '',
        'project': adopted.image.owner or '',
        'sha512': adopted.found.sha512,
        'size': adopted.found.size,
        'final_sha512': adopted.sha512,
        'final_size': adopted.size,
        'created_at': adopted.image.created_at,
        'recorded_at': now,
        'reason': '',
        'was_positive': False,
        'deactivated_at': None,
        'step': adopted.found.step,
        'boot': boot.stored(
            boot.of_glance(adopted.image.min_disk, adopted.image.properties)
        ),
        'parent': '',
    }

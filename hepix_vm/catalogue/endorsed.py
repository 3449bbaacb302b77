# SPDX-License-Identifier: Apache-2.0
"""By which endorsement an image came in. Pure; the standard library only."""

from __future__ import annotations

import dataclasses

from hepix_vm.catalogue import against
from hepix_vm.catalogue import believed


@dataclasses.dataclass(frozen=True, slots=True)
class Endorsed:
    """An endorsement and the subscription that brought it."""

    endorsement: believed.Endorsement
    subscribed: believed.Subscribed


def of_image(
    snapshot: believed.Snapshot, image_id: str, project: str, now: int
) -> Endorsed | None:
    """The endorsement of an image; None for one that never had any.

    It says whose image a server runs, not whether it may: a server outlives
    the endorsement that it was booted by. Of several, one that counts for
    the project goes first, then one that is still listed, then the oldest.

    :param now: UNIX seconds
    """
    record = snapshot.records.get(image_id)
    if record is None:
        return None
    ranked = []
    for endorsement in snapshot.endorsements.get(record.sha512, ()):
        subscribed = snapshot.subscriptions.get(endorsement.subscription)
        if subscribed is None:
            continue
        reason = against.first(
            endorsement, subscribed, record.size, project, now
        )
        rank = (reason is not None, endorsement.withdrawn, endorsement.row)
        ranked.append((rank, Endorsed(endorsement, subscribed)))
    if not ranked:
        return None
    return min(ranked, key=lambda one: one[0])[1]

# SPDX-License-Identifier: Apache-2.0
"""Approved images enter Glance, by the door that everybody uses.

Publishing stages and imports like any user, so the import plugins judge
the bytes. What is ours is known by the catalogue's own rows, written before
Glance is asked, never by a name or a property.

First all clouds are listed and planned; then each image by itself, fetched
once, goes into one cloud after the other; and at the end what nobody uses
any more is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from hepix_vm.catalogue import database
from hepix_vm import errors
from hepix_vm.glance import approved
from hepix_vm.glance.approved import approved_images as approved_images
from hepix_vm.glance import outcomes
from hepix_vm.glance.outcomes import Outcome as Outcome
from hepix_vm.glance.outcomes import Progress as Progress
from hepix_vm.glance.outcomes import Published as Published
from hepix_vm.glance.outcomes import Told as Told
from hepix_vm.glance import plan
from hepix_vm.glance import publications
from hepix_vm.glance.publishing import Manner as Manner
from hepix_vm.glance.publishing import Planned as Planned
from hepix_vm.glance.publishing import Target as Target
from hepix_vm.glance import running


def planned(
    database_: database.Database,
    targets: Iterable[Target],
    manner: Manner,
    now: int,
) -> tuple[Planned, ...]:
    """List all clouds and plan; one that cannot be listed is said.

    :raises errors.Misconfigured: for an identifier that is not approved
    """
    with database_.reading() as connection:
        known = approved.approved(connection, now)
    missing = (manner.only or frozenset()) - {
        image.identifier for image in known.images
    }
    if missing:
        raise errors.Misconfigured(
            f'image {", ".join(sorted(missing))}: expected the identifier of '
            'an approved image; "hepix-vm image explain" says why it is not'
        )
    return tuple(
        _planned(database_, target, manner, known, now) for target in targets
    )


def _planned(
    database_: database.Database,
    target: Target,
    manner: Manner,
    known: approved.Approved,
    now: int,
) -> Planned:
    cloud = target.cloud
    try:
        present = {image.image_id: image for image in cloud.glance.images()}
    except errors.HepixError as exc:
        return Planned(target, (), str(exc))
    with database_.reading() as connection:
        rows = publications.of_cloud(connection, cloud.name)
    groups = plan.plan(
        (
            one
            for one in target.look(known.images)
            if manner.means(one.image.identifier)
        ),
        plan.Seen(
            present,
            tuple(row for row in rows if manner.means(row.identifier)),
            known.records,
            cloud.project,
            known.deactivated,
            target.trials,
        ),
        manner.settings,
        now,
        manner.retry,
    )
    return Planned(target, groups)


def publish(
    database_: database.Database,
    targets: Sequence[Target],
    manner: Manner,
    now: int,
    told: Told = lambda progress: None,
) -> Iterator[Published]:
    """Bring every approved image into each cloud; results as they come.

    :param now: UNIX seconds
    :raises errors.Misconfigured: for an identifier that is not approved
    :raises errors.LeaseLost: when somebody else publishes by now
    """
    plans = planned(database_, targets, manner, now)
    run = running.Run(database_, plans, manner, now, told)
    for one in plans:
        if one.problem:
            yield outcomes.of_cloud(one.target.cloud.name, one.problem)
    yield from run.images()
    yield from run.deletions()
    run.end()

# SPDX-License-Identifier: Apache-2.0
"""Why an image is approved or refused, and all that led there."""

from __future__ import annotations

import dataclasses

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import store
from hepix_vm.operations import images
from hepix_vm.operations import site as site_


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """Everything that speaks for and against one image.

    :ivar decision: of the Glance image when one was named, else of the
        bytes
    """

    decision: model.Decision
    endorsements: tuple[images.Judged, ...]
    subscriptions: tuple[store.SubscriptionState, ...]
    records: tuple[store.Record, ...]
    blocks: tuple[store.Event, ...]
    history: tuple[store.Event, ...]


def explain(
    site: site_.Site, now: int, named: str, project: str | None = None
) -> Explained:
    """Why an image is approved or refused.

    :param named: image identifier, SHA-512 or Glance image id
    :param project: project id; None asks in general
    :raises errors.Misconfigured: when nothing of that name is known
    """
    named = named.lower()
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        snapshot = loading.load(connection, None, now).snapshot
        records = store.records(connection, image_id=named)
        found = store.images(
            connection,
            named=records[0].sha512 if records else named,
            with_withdrawn=True,
        )
        contents = {item.sha512 for item in found}
        if not records:
            records = [
                record
                for sha512 in sorted(contents)
                for record in store.records(connection, sha512=sha512)
            ]
            if not found:
                raise images.unknown(named)
            newest = max(found, key=lambda i: (not i.withdrawn, i.row))
            decision = model.decide_bytes(
                snapshot, newest.sha512, newest.size, project, now, 1
            )
        else:
            decision = model.decide_image(
                snapshot,
                model.ImageFacts(named, must_know_size=False),
                project,
                now,
                1,
            )
        states = store.subscription_states(connection)
        blocks = store.blocks(connection)
        subjects = [named, *sorted(contents)]
        subjects += [record.image_id for record in records]
        subjects += sorted({item.identifier for item in found})
        history = [
            event
            for subject in dict.fromkeys(subjects)
            for event in store.history(connection, subject)
        ]
    return Explained(
        decision=decision,
        endorsements=tuple(
            images.judged(snapshot, item, project, now) for item in found
        ),
        subscriptions=tuple(
            states[name]
            for name in sorted({item.subscription for item in found})
            if name in states
        ),
        records=tuple(records),
        blocks=tuple(
            blocks[target]
            for target in dict.fromkeys(subjects)
            if target in blocks
        ),
        history=tuple(sorted(history, key=lambda event: event.at)),
    )

# SPDX-License-Identifier: Apache-2.0
"""Small snapshots that decisions are asked about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hepix_vm.catalogue import model

NOW = 1_800_000_000
DAY = 86400
WEEK = 7 * DAY
READER_MAX_AGE = 300
SIZE = 1000
BYTES = 'ab' * 64
OTHER_BYTES = 'cd' * 64
IMAGE = 'd9b2f6a4-6c1e-4f0d-9a57-0e3f6f0c2b11'
OTHER_IMAGE = '5b7f9f0e-3c44-4a3c-8f5b-52a0a3f7d8c2'
GLANCE_IMAGE = '0f0e0d0c-0000-4000-8000-000000000001'
LIST = '0c6a3f0e-58c3-4d8b-b0a0-6f2b6e6f6d01'
CREATED = NOW - DAY


def subscribed(name: str = 'main', **changes: Any) -> model.Subscribed:
    """A trusted, fresh subscription for all projects."""
    values: dict[str, Any] = {
        'name': name,
        'list_identifier': LIST,
        'list_version': '1',
        'standing': model.Standing.TRUSTED,
        'expires': NOW + WEEK,
        'verified_at': NOW,
        'max_age': WEEK,
        'projects': None,
    }
    return model.Subscribed(**(values | changes))


def endorsement(row: int = 1, **changes: Any) -> model.Endorsement:
    """An approved endorsement by the subscription ``main``."""
    values: dict[str, Any] = {
        'row': row,
        'subscription': 'main',
        'identifier': IMAGE,
        'version': '1.0',
        'sha512': BYTES,
        'size': SIZE,
        'expires': None,
        'approved': True,
        'withdrawn': False,
    }
    return model.Endorsement(**(values | changes))


def record(**changes: Any) -> model.GlanceRecord:
    """A positive record of those bytes."""
    values: dict[str, Any] = {
        'image_id': GLANCE_IMAGE,
        'state': model.RecordState.POSITIVE,
        'sha512': BYTES,
        'size': SIZE,
        'final_sha512': BYTES,
        'final_size': SIZE,
        'created_at': CREATED,
    }
    return model.GlanceRecord(**(values | changes))


def snapshot(
    endorsements: Iterable[model.Endorsement] = (endorsement(),),
    subscriptions: Iterable[model.Subscribed] = (subscribed(),),
    records: Iterable[model.GlanceRecord] = (record(),),
    blocked: Iterable[str] = (),
    answered_at: int | None = NOW,
    quarantined: dict[str, str] | None = None,
) -> model.Snapshot:
    """A catalogue of these."""
    index: dict[str, tuple[model.Endorsement, ...]] = {}
    for item in endorsements:
        index[item.sha512] = (*index.get(item.sha512, ()), item)
    return model.Snapshot(
        subscriptions={item.name: item for item in subscriptions},
        endorsements=index,
        records={item.image_id: item for item in records},
        blocked=frozenset(blocked),
        answered_at=answered_at,
        quarantined=quarantined or {},
    )


def facts(**changes: Any) -> model.ImageFacts:
    """The recorded image as Glance shows it."""
    values: dict[str, Any] = {
        'image_id': GLANCE_IMAGE,
        'size': SIZE,
        'created_at': CREATED,
    }
    return model.ImageFacts(**(values | changes))


def of_bytes(
    catalogue: model.Snapshot,
    sha512: str = BYTES,
    size: int = SIZE,
    project: str | None = None,
    now: int = NOW,
) -> model.Decision:
    """What is decided of the bytes."""
    return model.decide_bytes(
        catalogue, sha512, size, project, now, READER_MAX_AGE
    )


def of_image(
    catalogue: model.Snapshot,
    image: model.ImageFacts | None = None,
    project: str | None = None,
    now: int = NOW,
) -> model.Decision:
    """What is decided of the Glance image."""
    return model.decide_image(
        catalogue, image or facts(), project, now, READER_MAX_AGE
    )

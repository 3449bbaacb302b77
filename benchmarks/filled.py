# SPDX-License-Identifier: Apache-2.0
"""A catalogue that holds many images."""

from __future__ import annotations

import hashlib
import time
import uuid

from benchmarks import lists
from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema

PROJECT = 'a0d3a5b1d0c24a4f8a5b5d3f3a1e2c4d'
SIZE = lists.SIZE
SUBSCRIPTION = 'example'
#: UNIX seconds at which Glance created the images.
CREATED = 1_750_000_000


def fill(connection: str, images: int) -> list[str]:
    """A catalogue in which all images are approved.

    :param connection: SQLAlchemy URL of an empty database
    :returns: the images' identifiers
    """
    store = database.Database(connection)
    migrations.upgrade(store)
    now = int(time.time())

    def work(transaction: database.Transaction) -> None:
        transaction.put(
            schema.subscription,
            {'name': SUBSCRIPTION},
            {
                'configured': True,
                'list_identifier': identifier(images),
                'list_version': '1',
                'expires': now + 86_400,
                'standing': str(model.Standing.TRUSTED),
                'verified_at': now,
                'max_age': 86_400,
                'projects': f'["{PROJECT}"]',
            },
        )
        for first in range(0, images, 10_000):
            numbers = range(first, min(first + 10_000, images))
            transaction.connection.execute(
                schema.endorsement.insert(),
                [endorsement(n, transaction.revision) for n in numbers],
            )
            transaction.connection.execute(
                schema.glance_record.insert(),
                [_record(n, transaction.revision) for n in numbers],
            )

    store.transact(work)
    store.close()
    return [identifier(number) for number in range(images)]


def endorsement(number: int, revision: int) -> dict[str, object]:
    """The row of one image."""
    return {
        'revision': revision,
        'subscription': SUBSCRIPTION,
        'identifier': identifier(number),
        'version': '1',
        'sha512': sha512(number),
        'size': SIZE,
        'approved': True,
        'withdrawn': False,
        'first_seen': 0,
        'title': f'image {number}',
        'uri': f'https://images.example.org/{number}',
        'entry': '{}',
    }


def _record(number: int, revision: int) -> dict[str, object]:
    return {
        'image_id': identifier(number),
        'revision': revision,
        'state': str(model.RecordState.POSITIVE),
        'task_id': identifier(number),
        'project': PROJECT,
        'sha512': sha512(number),
        'size': SIZE,
        'final_sha512': sha512(number),
        'final_size': SIZE,
        'created_at': CREATED,
        'recorded_at': CREATED,
        'reason': '',
    }


def identifier(number: int) -> str:
    """Of an image, in its list and in Glance."""
    return str(uuid.UUID(int=number + 1))


def sha512(number: int) -> str:
    """Of an image's bytes."""
    return hashlib.sha512(str(number).encode()).hexdigest()

# SPDX-License-Identifier: Apache-2.0
"""Puts lists and endorsements straight into a catalogue, for tests.

What the sync would have decided is given here; the tables are the real ones.
"""

from __future__ import annotations

from collections.abc import Iterable
import contextlib
import functools
import hashlib
import json
from pathlib import Path
import sqlite3
import tempfile
import time
from typing import Any
import uuid

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema

WEEK = 7 * 86400


def sha512(data: bytes) -> str:
    """Lower-case SHA-512 of some bytes."""
    return hashlib.sha512(data).hexdigest()


@functools.cache
def _empty() -> bytes:
    """A SQLite file with all tables, made once a process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'catalogue'
        with contextlib.closing(
            database.Database(f'sqlite:///{path}')
        ) as made:
            migrations.upgrade(made)
        return path.read_bytes()


def new_file(path: Path) -> None:
    """Make an empty catalogue in SQLite, quicker than by its migrations."""
    path.write_bytes(_empty())
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute('UPDATE catalogue SET store = ?', (str(uuid.uuid4()),))


def in_file(path: Path) -> Rows:
    """An empty catalogue in a new SQLite file."""
    new_file(path)
    return Rows(f'sqlite:///{path}', migrated=True)


class Rows:
    """Writes rows of a catalogue, whose tables are made first.

    :param migrated: whether they are there already
    """

    def __init__(self, connection: str, *, migrated: bool = False) -> None:
        self.connection = connection
        self.store = database.Database(connection)
        if not migrated:
            migrations.upgrade(self.store)

    def close(self) -> None:
        """Give the connections back."""
        self.store.close()

    def subscription(self, name: str, **values: Any) -> None:
        """A followed list, trusted and fresh unless said otherwise.

        :param values: columns of ``schema.subscription``; ``projects`` may
            be an iterable of project ids
        """
        now = int(time.time())
        row: dict[str, Any] = {
            'configured': True,
            'list_identifier': str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
            'list_version': '1.0',
            'created': now - 60,
            'expires': now + WEEK,
            'standing': model.Standing.TRUSTED.value,
            'verified_at': now,
            'max_age': WEEK,
            'projects': None,
        } | values
        if row['projects'] is not None:
            row['projects'] = json.dumps(sorted(row['projects']))
        with self.store.writing() as transaction:
            transaction.put(schema.subscription, {'name': name}, row)

    def endorse(
        self, data: bytes, subscription: str = 'trusted', **values: Any
    ) -> str:
        """An endorsement of these bytes, approved unless said otherwise.

        :param values: columns of ``schema.endorsement``
        :returns: the image's identifier in the list
        """
        return self.endorse_digest(
            sha512(data), subscription, **({'size': len(data)} | values)
        )

    def endorse_digest(
        self, digest: str, subscription: str = 'trusted', **values: Any
    ) -> str:
        """The same, of bytes that are known by their SHA-512 and size."""
        identifier = str(values.pop('identifier', uuid.uuid4()))
        row: dict[str, Any] = {
            'version': '1.0',
            'expires': None,
            'approved': True,
            'withdrawn': False,
            'first_seen': int(time.time()),
            'vo': None,
            'title': 'an image',
            'uri': 'http://localhost/image',
            'entry': '{}',
        } | values
        with self.store.writing() as transaction:
            transaction.put(
                schema.endorsement,
                {
                    'subscription': subscription,
                    'identifier': identifier,
                    'sha512': digest,
                },
                row,
            )
        return identifier

    def change(self, table: sa.Table, where: Any, **values: Any) -> None:
        """Change rows, so that readers see it."""
        with self.store.writing() as transaction:
            transaction.execute(
                table.update()
                .where(where)
                .values(revision=transaction.revision, **values)
            )

    def withdraw(self, data: bytes) -> None:
        """Endorsers no longer list these bytes."""
        self.change(
            schema.endorsement,
            schema.endorsement.c.sha512 == sha512(data),
            withdrawn=True,
        )

    def block(self, target: str, active: bool = True) -> None:
        """Block an identifier or a SHA-512, or take the block back."""
        with self.store.writing() as transaction:
            transaction.put(
                schema.block,
                {'target': target},
                {
                    'active': active,
                    'at': int(time.time()),
                    'who': 'test',
                    'reason': 'test',
                },
            )

    def record(self, image_id: str, data: bytes, **values: Any) -> None:
        """A positive record, as the import plugins would have made it."""
        row: dict[str, Any] = {
            'state': model.RecordState.POSITIVE.value,
            'task_id': str(uuid.uuid4()),
            'project': '',
            'sha512': sha512(data),
            'size': len(data),
            'final_sha512': sha512(data),
            'final_size': len(data),
            'created_at': int(time.time()),
            'recorded_at': int(time.time()),
            'reason': '',
        } | values
        with self.store.writing() as transaction:
            transaction.put(schema.glance_record, {'image_id': image_id}, row)

    def recorded(self, image_id: str) -> Any | None:
        """The row of a Glance image; None when there is none."""
        table = schema.glance_record
        with self.store.reading() as connection:
            return connection.execute(
                sa.select(table).where(table.c.image_id == image_id)
            ).first()

    def events(self, subject: str) -> list[str]:
        """What the history says about a subject, oldest first."""
        table = schema.history
        with self.store.reading() as connection:
            return list(
                connection.execute(
                    sa.select(table.c.event)
                    .where(table.c.subject == subject)
                    .order_by(table.c.id)
                ).scalars()
            )


def write_configuration(path: Any, rows: Rows, **options: Any) -> None:
    """Write a hepix_vm.conf for code inside Glance and Nova.

    :param path: ``pathlib.Path`` of the file
    :param options: of group ``[glance_import]``
    """
    lines = ['[catalogue]', f'connection = {rows.connection}']
    lines += ['refresh_interval = 0.2', 'negative_ttl = 0']
    # Nothing waits for it: a busy machine may take long to read a file.
    lines += ['store_timeout = 60']
    lines += ['[glance_import]', *_lines(options.items())]
    path.write_text('\n'.join(lines) + '\n')
    path.chmod(0o640)


def _lines(options: Iterable[tuple[str, Any]]) -> list[str]:
    return [f'{name} = {value}' for name, value in options]

# SPDX-License-Identifier: Apache-2.0
"""The one writer inside Glance: what the import plugins found out.

A record is bound to the import task that made it, so that an import that
was overtaken cannot finish another one's record.
"""

from __future__ import annotations

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm import errors


class Records:
    """Writes Glance records.

    Every method raises :class:`errors.TryAgain` when the store does not
    answer; nothing has been written then.
    """

    def __init__(self, store: database.Database) -> None:
        self._store = store

    def verified(
        self,
        image_id: str,
        task_id: str,
        project: str,
        sha512: str,
        size: int,
        created_at: int,
        now: int,
    ) -> None:
        """The staged bytes are right; the import may go on.

        Replaces any earlier record of that image id.
        """
        values = {
            'state': model.RecordState.VERIFIED.value,
            'task_id': task_id,
            'project': project,
            'sha512': sha512,
            'size': size,
            'final_sha512': sha512,
            'final_size': size,
            'created_at': created_at,
            'recorded_at': now,
            'reason': '',
            'was_positive': False,
            'deactivated_at': None,
        }

        def work(transaction: database.Transaction) -> None:
            transaction.put(
                schema.glance_record, {'image_id': image_id}, values
            )
            transaction.remember(
                now,
                'glance-import',
                'import-verified',
                image_id,
                f'sha512 {sha512}, {size} bytes, task {task_id}',
            )

        with _answering():
            self._store.transact(work)

    def pending(self, image_id: str, task_id: str) -> model.GlanceRecord:
        """The verified record that this import itself has made.

        :raises errors.NotBelieved: when there is none
        """
        table = schema.glance_record
        with _answering(), self._store.reading() as connection:
            row = connection.execute(
                sa.select(table).where(
                    table.c.image_id == image_id,
                    table.c.task_id == task_id,
                    table.c.state == model.RecordState.VERIFIED.value,
                )
            ).first()
        if row is None:
            raise errors.NotBelieved(
                f'image {image_id}: hepix_verify has not verified this '
                'import; list it before hepix_record in '
                '[image_import_opts] image_import_plugins'
            )
        return model.GlanceRecord(
            image_id=image_id,
            state=model.RecordState.VERIFIED,
            sha512=row.sha512,
            size=int(row.size),
            final_sha512=row.final_sha512,
            final_size=int(row.final_size),
            created_at=int(row.created_at),
        )

    def positive(
        self,
        image_id: str,
        task_id: str,
        final_sha512: str,
        final_size: int,
        now: int,
    ) -> None:
        """The import is complete: these are the bytes that Glance stores.

        :raises errors.NotBelieved: when this import has not verified them
        """
        table = schema.glance_record

        def work(transaction: database.Transaction) -> None:
            result = transaction.execute(
                table.update()
                .where(
                    table.c.image_id == image_id,
                    table.c.task_id == task_id,
                    table.c.state == model.RecordState.VERIFIED.value,
                )
                .values(
                    state=model.RecordState.POSITIVE.value,
                    final_sha512=final_sha512,
                    final_size=final_size,
                    recorded_at=now,
                    revision=transaction.revision,
                )
            )
            if result.rowcount != 1:
                raise errors.NotBelieved(
                    f'image {image_id}: no verified record of this import; '
                    'another import of the image may have overtaken it; '
                    'import it again'
                )
            transaction.remember(
                now,
                'glance-import',
                'import-recorded',
                image_id,
                f'sha512 {final_sha512}, {final_size} bytes',
            )

        with _answering():
            self._store.transact(work)

    def drop(self, image_id: str, task_id: str, reason: str, now: int) -> None:
        """The import failed: its record never counts again.

        The row stays, withdrawn, so that readers learn of it.
        """
        table = schema.glance_record

        def work(transaction: database.Transaction) -> None:
            result = transaction.execute(
                table.update()
                .where(
                    table.c.image_id == image_id,
                    table.c.task_id == task_id,
                    table.c.state != model.RecordState.WITHDRAWN.value,
                )
                .values(
                    state=model.RecordState.WITHDRAWN.value,
                    reason=reason[:64],
                    recorded_at=now,
                    revision=transaction.revision,
                )
            )
            if result.rowcount:
                transaction.remember(
                    now, 'glance-import', 'import-dropped', image_id, reason
                )

        with _answering():
            self._store.transact(work)


class _answering:
    """Turns whatever the database raises into :class:`errors.TryAgain`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: object, trace: object) -> None:
        if isinstance(exc, database.FAILURES):
            raise errors.TryAgain(
                'the catalogue of endorsed images does not answer '
                f'({type(exc).__name__}); nothing was changed; try again later'
            ) from exc

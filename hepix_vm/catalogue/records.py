# SPDX-License-Identifier: Apache-2.0
"""The one writer inside Glance: what the import plugins found out.

A record is bound to the import task that made it, so that an import that
was overtaken cannot finish another one's record.
"""

from __future__ import annotations

import sqlalchemy as sa

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import database
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm import errors


class Withdrawn(errors.NotBelieved):
    """What the import has verified was withdrawn before its end.

    :ivar code: why
    """

    def __init__(self, code: model.Reason) -> None:
        super().__init__(model.SENTENCES[code])
        self.code = code


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
        staged: tuple[str, int] | None = None,
        step: str = '',
    ) -> None:
        """The staged bytes are right; the import may go on.

        Replaces any earlier record of that image id.

        :param sha512: of the endorsed bytes, with ``size``
        :param staged: SHA-512 and size of the staged bytes, where the site
            has made them of the endorsed ones
        :param step: how it did so
        """
        final_sha512, final_size = staged or (sha512, size)
        values = {
            'state': model.RecordState.VERIFIED.value,
            'task_id': task_id,
            'project': project,
            'sha512': sha512,
            'size': size,
            'final_sha512': final_sha512,
            'final_size': final_size,
            'step': step,
            'created_at': created_at,
            'recorded_at': now,
            'reason': '',
            'was_positive': False,
            'deactivated_at': None,
            'boot': None,
            'parent': '',
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
                f'sha512 {final_sha512}, {final_size} bytes, '
                f'task {task_id}{_made_of(sha512, step)}',
            )

        with _answering():
            self._store.transact(work)

    def begun(self, image_id: str, task_id: str, now: int) -> None:
        """What an earlier import of the image has left counts no more.

        Glance imports only into an image that has no data. An earlier import
        that could not undo itself, because its Glance was killed, may have
        left a positive record all the same.
        """
        table = schema.glance_record
        left = sa.and_(
            table.c.image_id == image_id,
            table.c.task_id != task_id,
            table.c.state != model.RecordState.WITHDRAWN.value,
        )

        def work(transaction: database.Transaction) -> None:
            result = transaction.execute(
                table.update()
                .where(left)
                .values(
                    state=model.RecordState.WITHDRAWN.value,
                    reason='import-begun-anew',
                    recorded_at=now,
                    revision=transaction.revision,
                )
            )
            if result.rowcount:
                transaction.remember(
                    now,
                    'glance-import',
                    'import-dropped',
                    image_id,
                    'import-begun-anew',
                )

        with _answering():
            with self._store.reading() as connection:
                found = connection.execute(
                    sa.select(table.c.image_id).where(left)
                ).first()
            if found is not None:
                self._store.transact(work)

    def published_as(self, image_id: str) -> str | None:
        """SHA-512 of the endorsed bytes that we publish as that image.

        None for an image that is not ours.
        """
        table = schema.publication
        with _answering(), self._store.reading() as connection:
            found = connection.execute(
                sa.select(table.c.sha512).where(table.c.image_id == image_id)
            ).scalar()
        return None if found is None else str(found)

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
                self._require_not_withdrawn(connection, image_id, task_id)
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
        boots_with: str | None = None,
    ) -> None:
        """The import is complete: these are the bytes that Glance stores.

        :param boots_with: from ``boot.stored``; None: nobody looked
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
                    boot=boots_with,
                    recorded_at=now,
                    revision=transaction.revision,
                )
            )
            if result.rowcount != 1:
                self._require_not_withdrawn(
                    transaction.connection, image_id, task_id
                )
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

    def sets_min_disk(self, image_id: str, min_disk: int) -> None:
        """The site sets ``min_disk`` of an image of ours, in Glance and here.

        To be called before Glance is: until both say the same the image is
        not approved, and what is left half done is seen in Glance. Whatever
        else changes how the image boots stays as it was recorded.

        :param min_disk: GiB
        """
        table = schema.glance_record

        def work(transaction: database.Transaction) -> None:
            recorded = transaction.execute(
                sa.select(table.c.boot).where(table.c.image_id == image_id)
            ).scalar()
            if recorded is None:
                return
            wanted = boot.with_min_disk(str(recorded), min_disk)
            transaction.execute(
                table.update()
                .where(table.c.image_id == image_id)
                .values(boot=wanted, revision=transaction.revision)
            )

        with _answering():
            self._store.transact(work)

    @staticmethod
    def _require_not_withdrawn(
        connection: sa.Connection, image_id: str, task_id: str
    ) -> None:
        """Say so where the endorsement has ended since the check."""
        table = schema.glance_record
        reason = connection.execute(
            sa.select(table.c.reason).where(
                table.c.image_id == image_id,
                table.c.task_id == task_id,
                table.c.state == model.RecordState.WITHDRAWN.value,
            )
        ).scalar()
        if reason in {code.value for code in model.WITHDRAWING}:
            raise Withdrawn(model.Reason(reason))

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


def _made_of(sha512: str, step: str) -> str:
    return f', made of sha512 {sha512} by {step}' if step else ''


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

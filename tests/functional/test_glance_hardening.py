# SPDX-License-Identifier: Apache-2.0
"""Imports that go wrong in a real Glance leave nothing that counts."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import io
import os
import pathlib
import time

from glanceclient import exc as glance_exc
from novaclient import exceptions as nova_exc
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import schema
from hepix_vm.glance import client
from hepix_vm.glance import unfinished
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import waits
from tests.functional import images as acts
from tests.functional import importing

#: Bytes of zeros that take long to read, and no room before they are stored.
LONG = 16 * 2**30


@pytest.fixture
def user(cloud: clouds.Cloud) -> acts.Images:
    return acts.Images(cloud)


@contextlib.contextmanager
def glance_tables(cloud: clouds.Cloud) -> Iterator[sa.Connection]:
    """Glance's database, to bring about what takes hours otherwise."""
    engine = sa.create_engine(cloud.site.database('glance'))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def staged_zeros(cloud: clouds.Cloud, user: acts.Images, size: int) -> str:
    """An image with that many staged zeros, as if a user had sent them."""
    image_id = user.create()
    user.stage(image_id, b'\0')
    os.truncate(acts.staged(cloud, image_id), size)
    with glance_tables(cloud) as connection:
        connection.execute(
            sa.text('UPDATE images SET size = :size WHERE id = :image'),
            {'size': size, 'image': image_id},
        )
    return image_id


def staged_and_endorsed(user: acts.Images, rows: catalogue_rows.Rows) -> str:
    """An image with staged bytes that may be imported."""
    data = acts.some_bytes(4096)
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data)
    return image_id


def checked(cloud: clouds.Cloud, user: acts.Images, image_id: str) -> str:
    """What the user reads once the check of an image has begun."""
    return waits.until(
        'the check to begin',
        lambda: (
            message
            if (message := user.task(image_id)['message']).startswith(
                'Checked '
            )
            else ''
        ),
        acts.LIMIT,
        log=cloud.log('glance'),
    )


def ended(cloud: clouds.Cloud, image_id: str) -> str:
    """What the task of an import says in the end, of an image that is gone.

    Nobody may ask Glance for it any more.
    """
    question = sa.text(
        'SELECT task_info.message FROM tasks JOIN task_info '
        'ON task_info.task_id = tasks.id WHERE tasks.image_id = :image '
        "AND tasks.status IN ('success', 'failure')"
    )

    def message() -> list[str]:
        with glance_tables(cloud) as connection:
            found = connection.execute(question, {'image': image_id})
            return [str(text) for text in found.scalars()]

    (text,) = waits.until(
        'the import to end', message, acts.LIMIT, log=cloud.log('glance')
    )
    return text


def state(rows: catalogue_rows.Rows, image_id: str) -> str:
    """The state of an image's record; '' without one."""
    return str(getattr(rows.recorded(image_id), 'state', ''))


# --- the staged file


def test_a_pipe_in_place_of_the_staged_file_is_refused_and_blocks_nothing(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id = staged_and_endorsed(user, rows)
    acts.staged(cloud, image_id).unlink()
    os.mkfifo(acts.staged(cloud, image_id))
    user.start(image_id)
    outcome = user.finished(image_id)
    importing.assert_refused(cloud, rows, outcome, 'is no regular file')


def test_a_copy_stores_no_other_bytes_than_the_image_has(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows
) -> None:
    # Glance takes what lies in the staging area under the image's id for a
    # copy that was begun before, if it is as long.
    admin = acts.Images(cloud, 'admin')
    data = acts.some_bytes(4096)
    rows.endorse(data)
    outcome = admin.imported(data)
    importing.assert_taken_in(rows, outcome, data)
    image_id = outcome.image['id']
    staged = acts.staged(cloud, image_id)
    staged.write_bytes(acts.some_bytes(4096))
    admin.start(image_id, 'copy-image', stores=['local2'])
    failed = admin.finished(image_id, imports=2)
    assert failed.image['status'] == 'active'
    assert failed.image['stores'] == 'local'
    assert failed.image['os_glance_failed_import'] == 'local2'
    assert state(rows, image_id) == 'positive'
    assert b''.join(admin.client.images.data(image_id)) == data
    assert not staged.exists()


# --- a store that fails


@pytest.fixture
def broken_store(cloud: clouds.Cloud) -> Iterator[pathlib.Path]:
    """The store ``local2`` cannot be written to."""
    folder = cloud.layout.data / 'glance' / 'local2'
    away = folder.with_name('local2.away')
    folder.rename(away)
    folder.write_text('no folder')
    yield folder
    if folder.is_file():
        folder.unlink()
        away.rename(folder)


FAILING = {
    'the-only-one': (['local2'], True),
    'the-only-one-which-may-fail': (['local2'], False),
    'the-second-of-two': (['local', 'local2'], True),
    'the-first-of-two': (['local2', 'local'], True),
}


@pytest.mark.parametrize('stores', sorted(FAILING))
def test_a_store_that_fails_leaves_nothing(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    broken_store: pathlib.Path,
    stores: str,
) -> None:
    names, all_must = FAILING[stores]
    data = acts.some_bytes(4096)
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data)
    user.start(image_id, stores=names, allow_failure=not all_must)
    outcome = user.finished(image_id)
    assert outcome.status == 'failure'
    assert outcome.image['status'] == 'queued'
    assert outcome.image['os_hash_value'] is None
    assert not outcome.image.get('stores')
    assert outcome.image.get('os_glance_importing_to_stores', '') == ''
    assert 'local2' in outcome.image['os_glance_failed_import']
    assert not acts.staged(cloud, image_id).exists()
    assert state(rows, image_id) == 'withdrawn'
    # Nothing is in the way of doing it again.
    user.stage(image_id, data)
    user.start(image_id, stores=['local'])
    importing.assert_taken_in(rows, user.finished(image_id, imports=2), data)


def test_a_store_that_may_fail_does_not_withdraw_what_another_has(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    broken_store: pathlib.Path,
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data)
    user.start(image_id, stores=['local2', 'local'], allow_failure=True)
    outcome = user.finished(image_id)
    importing.assert_taken_in(rows, outcome, data)
    assert outcome.image['stores'] == 'local'
    assert outcome.image['os_glance_failed_import'] == 'local2'


# --- a check that takes long


def test_a_long_check_keeps_the_lock_of_its_import(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id = staged_zeros(cloud, user, LONG)
    user.start(image_id)
    first = checked(cloud, user, image_id)
    task_id = user.task(image_id)['id']
    with glance_tables(cloud) as connection:
        # After an hour another import may take the lock.
        connection.execute(
            sa.text(
                "UPDATE tasks SET updated_at = '2020-01-01' WHERE id = :task"
            ),
            {'task': task_id},
        )
    waits.until(
        'the lock to be renewed',
        lambda: not user.task(image_id)['updated_at'].startswith('2020-'),
        acts.LIMIT,
        log=cloud.log('glance'),
    )
    second = checked(cloud, user, image_id)
    assert first.endswith(f' of {LONG // acts.MIB} MiB of the image data')
    assert second != first
    with pytest.raises(glance_exc.HTTPConflict):
        user.start(image_id)
    # Ends the reading before its time.
    os.truncate(acts.staged(cloud, image_id), acts.MIB)
    importing.assert_refused(
        cloud, rows, user.finished(image_id), 'changed while it was read'
    )


def test_an_image_deleted_while_it_is_checked(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id = staged_zeros(cloud, user, LONG)
    user.start(image_id)
    checked(cloud, user, image_id)
    user.client.images.delete(image_id)
    assert '(image-deleted)' in ended(cloud, image_id)
    assert state(rows, image_id) == ''
    assert not acts.staged(cloud, image_id).exists()


# --- the record is there, and the store is being written to


@contextlib.contextmanager
def stopped_in_the_store(cloud: clouds.Cloud) -> Iterator[Callable[[], None]]:
    """Imports stop when a store has the bytes, and nothing tells that yet.

    Yields what waits for one that has stopped. In the end it goes on.
    """
    with glance_tables(cloud) as holding, glance_tables(cloud) as looking:
        # What Glance says to the task once all bytes are copied.
        holding.execute(
            sa.text(
                'CREATE TRIGGER stopped BEFORE UPDATE ON task_info FOR EACH '
                "ROW SET @went_on = IF(NEW.message LIKE 'Copied %', "
                "GET_LOCK('stored', 600) + RELEASE_LOCK('stored'), 0)"
            )
        )
        holding.execute(sa.select(sa.func.get_lock('stored', 0)))
        waiting = sa.text(
            'SELECT id FROM information_schema.processlist '
            "WHERE state = 'User lock'"
        )
        try:
            yield lambda: waits.until(
                'Glance to have stored the bytes',
                lambda: looking.execute(waiting).all(),
                acts.LIMIT,
                log=cloud.log('glance'),
            )
        finally:
            holding.execute(sa.select(sa.func.release_lock('stored')))
            looking.execute(sa.text('DROP TRIGGER stopped'))


def test_an_image_deleted_while_it_is_stored(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id = staged_and_endorsed(user, rows)
    with stopped_in_the_store(cloud) as stopped:
        user.start(image_id)
        stopped()
        assert state(rows, image_id) == 'positive'
        user.client.images.delete(image_id)
    ended(cloud, image_id)
    # Glance stops undoing the import at a step of its own, so that ours is
    # not reached. The record is one of an image that is gone and whose id
    # nobody can give to another.
    with pytest.raises(glance_exc.HTTPConflict):
        acts.Images(cloud, 'admin').create(id=image_id)
    with pytest.raises((nova_exc.BadRequest, nova_exc.Forbidden)):
        boot(cloud, image_id)


def boot(cloud: clouds.Cloud, image_id: str) -> None:
    """Ask for a server; the API is to refuse it."""
    servers = acts.Servers(cloud)
    servers.client.servers.create(
        'server', image_id, servers.flavor(), nics='none'
    )


def test_a_glance_that_is_killed_while_it_stores(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id = staged_and_endorsed(user, rows)
    with stopped_in_the_store(cloud) as stopped:
        user.start(image_id)
        stopped()
        cloud.kill('glance')
    cloud.restart('glance')
    # The record is as it was, of an image that has no data and gets none.
    assert state(rows, image_id) == 'positive'
    assert user.client.images.get(image_id)['status'] == 'importing'
    assert not list(user.client.images.data(image_id) or ())
    for attempt in (
        lambda: user.start(image_id),
        lambda: user.stage(image_id, b'other bytes'),
        lambda: acts.Images(cloud, 'admin').client.images.upload(
            image_id, io.BytesIO(b'other bytes')
        ),
    ):
        with pytest.raises(glance_exc.HTTPConflict):
            attempt()
    with pytest.raises((nova_exc.BadRequest, nova_exc.Forbidden)):
        boot(cloud, image_id)
    # Within the hour in which Glance takes the import for alive nothing is
    # done, afterwards the record goes.
    admin = client.Glance(cloud.session(), 'RegionOne', 'public')
    now = int(time.time())
    assert swept(rows, admin, now) == ()
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == image_id,
        recorded_at=now - unfinished.LOCK - 1,
    )
    assert swept(rows, admin, now) == ()
    assert swept(rows, admin, now + 2 * unfinished.LOCK) == (image_id,)
    assert state(rows, image_id) == 'withdrawn'


def swept(
    rows: catalogue_rows.Rows, admin: client.Glance, now: int
) -> tuple[str, ...]:
    """What a run of the sync withdraws of imports that died."""
    return unfinished.withdraw(
        rows.store, admin, admin.images('importing'), now
    )


def test_what_an_import_left_ends_with_the_next_one(
    cloud: clouds.Cloud, user: acts.Images, rows: catalogue_rows.Rows
) -> None:
    image_id = user.create()
    rows.record(image_id, acts.some_bytes(4096))
    assert state(rows, image_id) == 'positive'
    user.stage(image_id, acts.some_bytes(4096))
    user.start(image_id)
    outcome = user.finished(image_id)
    importing.assert_refused(cloud, rows, outcome, '(not-endorsed)')
    assert state(rows, image_id) == 'withdrawn'

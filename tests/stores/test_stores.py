# SPDX-License-Identifier: Apache-2.0
"""Endorsed bytes, and no others, get into every kind of store."""

from __future__ import annotations

import pytest

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.functional import images as acts
from tests.functional import importing
from tests.stores import ceph
from tests.stores.conftest import AWAY
from tests.stores.conftest import STORES


@pytest.fixture
def user(cloud: clouds.Cloud) -> acts.Images:
    return acts.Images(cloud)


def read(images: acts.Images, image_id: str) -> bytes:
    """An image's data, as Glance gives it out."""
    return b''.join(images.client.images.data(image_id))


def held(outcome: acts.Outcome) -> set[str]:
    """The stores that have an image."""
    return set(filter(None, outcome.image.get('stores', '').split(',')))


@pytest.mark.parametrize('store', STORES)
def test_a_store_takes_endorsed_bytes_and_gives_them_back(
    user: acts.Images, rows: catalogue_rows.Rows, store: str
) -> None:
    data = acts.some_bytes(3 * acts.MIB + 7)
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data)
    user.start(image_id, stores=[store])
    outcome = user.finished(image_id)
    importing.assert_taken_in(rows, outcome, data)
    assert held(outcome) == {store}
    assert read(user, image_id) == data


@pytest.mark.parametrize('store', STORES)
def test_a_store_does_not_get_other_bytes(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    cluster: ceph.Ceph,
    store: str,
) -> None:
    image_id = user.create()
    user.stage(image_id, acts.some_bytes(4096))
    user.start(image_id, stores=[store])
    outcome = user.finished(image_id)
    importing.assert_refused(
        cloud, rows, outcome, '(not-endorsed)', stores=store
    )
    assert held(outcome) == set()
    assert image_id not in cluster.images('images')


def test_all_stores_at_once(
    user: acts.Images, rows: catalogue_rows.Rows, cluster: ceph.Ceph
) -> None:
    data = acts.some_bytes()
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data)
    user.start(image_id, all_stores=True)
    outcome = user.finished(image_id)
    importing.assert_taken_in(rows, outcome, data)
    assert held(outcome) == set(STORES)
    assert image_id in cluster.images('images')


def test_an_image_is_copied_from_store_to_store(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows
) -> None:
    admin = acts.Images(cloud, 'admin')
    data = acts.some_bytes()
    rows.endorse(data)
    image_id = admin.create()
    admin.stage(image_id, data)
    admin.start(image_id, stores=['swift'])
    importing.assert_taken_in(rows, admin.finished(image_id), data)
    for number, store in enumerate(('rbd', 's3', 'local'), 2):
        admin.start(image_id, 'copy-image', stores=[store])
        outcome = admin.finished(image_id, imports=number)
        assert outcome.status == 'success', outcome.message
        assert store in held(outcome)
    assert outcome.image['os_hash_value'] == catalogue_rows.sha512(data)
    assert read(admin, image_id) == data


@pytest.mark.parametrize('store', ('swift', 's3', 'rbd'))
def test_a_copy_stores_no_other_bytes_than_the_image_has(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, store: str
) -> None:
    admin = acts.Images(cloud, 'admin')
    data = acts.some_bytes(4096)
    rows.endorse(data)
    image_id = admin.create()
    admin.stage(image_id, data)
    admin.start(image_id, stores=['local'])
    importing.assert_taken_in(rows, admin.finished(image_id), data)
    acts.staged(cloud, image_id).write_bytes(acts.some_bytes(4096))
    admin.start(image_id, 'copy-image', stores=[store])
    outcome = admin.finished(image_id, imports=2)
    assert outcome.image['os_glance_failed_import'] == store
    assert held(outcome) == {'local'}
    assert read(admin, image_id) == data
    assert not acts.staged(cloud, image_id).exists()


@pytest.mark.parametrize('store', AWAY)
@pytest.mark.parametrize('all_must', [True, False])
def test_a_store_that_is_away(
    cloud: clouds.Cloud,
    user: acts.Images,
    rows: catalogue_rows.Rows,
    store: str,
    all_must: bool,
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    image_id = user.create()
    user.stage(image_id, data)
    user.start(image_id, stores=['local', store], allow_failure=not all_must)
    outcome = user.finished(image_id)
    failed = set(outcome.image['os_glance_failed_import'].split(','))
    # Glance takes the data out of the others again where all must have it.
    assert failed == {store} | ({'local'} if all_must else set())
    assert outcome.image.get('os_glance_importing_to_stores', '') == ''
    assert not acts.staged(cloud, image_id).exists()
    if not all_must:
        importing.assert_taken_in(rows, outcome, data)
        assert held(outcome) == {'local'}
        return
    assert outcome.status == 'failure'
    assert outcome.image['status'] == 'queued'
    assert outcome.image['os_hash_value'] is None
    assert held(outcome) == set()
    record = rows.recorded(image_id)
    assert record is not None
    assert record.state == 'withdrawn'
    # Nothing is in the way of another attempt.
    user.stage(image_id, data)
    user.start(image_id, stores=['local'])
    importing.assert_taken_in(rows, user.finished(image_id, imports=2), data)

# SPDX-License-Identifier: Apache-2.0
"""Rows of images that the site tries out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import quarantine
from tests import catalogue_rows

IMAGE = '0f0e0d0c-0000-4000-8000-000000000001'
OTHER = '0f0e0d0c-0000-4000-8000-000000000002'
NOW = 1_800_000_000


@pytest.fixture
def rows(tmp_path):
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield made
    made.close()


@pytest.fixture
def store(rows):
    return rows.store


def quarantined(store: database.Database) -> dict[str, str]:
    with store.reading() as connection:
        snapshot = loading.load(connection, None, NOW).snapshot
    return dict(snapshot.quarantined)


def written(
    store: database.Database, work: Callable[[database.Transaction], Any]
) -> Any:
    return store.transact(work)


def test_image_is_held_for_a_project_until_it_is_released(store):
    written(store, lambda t: quarantine.hold(t, NOW, 'default', IMAGE, 'one'))
    with store.reading() as connection:
        before = loading.load(connection, None, NOW)
    assert before.snapshot.quarantined == {IMAGE: 'one'}
    written(store, lambda t: quarantine.hold(t, NOW, 'default', IMAGE, 'two'))
    assert quarantined(store) == {IMAGE: 'two'}
    written(store, lambda t: quarantine.release(t, IMAGE))
    assert quarantined(store) == {}
    # Those who read what changed alone see it, too.
    with store.reading() as connection:
        after = loading.load(connection, before, NOW)
    assert after.snapshot.quarantined == {}


def test_release_of_what_was_never_held_is_nothing(store):
    written(store, lambda t: quarantine.release(t, IMAGE))
    assert quarantined(store) == {}


def test_name_of_the_server_is_known_until_it_is_removed(store):
    name = written(
        store, lambda t: quarantine.begin(t, NOW, 'default', IMAGE, 'one')
    )
    assert name.startswith(quarantine.PREFIX)
    assert len(name) == len(quarantine.PREFIX) + 32
    assert quarantined(store) == {IMAGE: 'one'}
    with store.reading() as connection:
        left = quarantine.Left(IMAGE, name, 'one', NOW)
        assert quarantine.left(connection, 'default') == (left,)
        assert quarantine.left(connection, 'default', IMAGE) == (left,)
        assert quarantine.left(connection, 'default', OTHER) == ()
        assert quarantine.left(connection, 'another') == ()
    # Its end is not that of the server.
    written(store, lambda t: quarantine.release(t, IMAGE))
    with store.reading() as connection:
        assert quarantine.left(connection, 'default') == (left,)
    written(store, lambda t: quarantine.removed(t, IMAGE))
    with store.reading() as connection:
        assert quarantine.left(connection, 'default') == ()


def test_boot_has_the_name_of_one_before_only_while_that_may_be_there(store):
    def begin(transaction: database.Transaction) -> str:
        return quarantine.begin(transaction, NOW, 'default', IMAGE, 'one')

    first = written(store, begin)
    assert written(store, begin) == first
    written(store, lambda t: quarantine.removed(t, IMAGE))
    assert written(store, begin) != first

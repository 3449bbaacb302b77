# SPDX-License-Identifier: Apache-2.0
"""Reading what changed gives the same catalogue as reading everything."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path
import tempfile
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from tests import catalogue_rows

NOW = 1_800_000_000
CONTENTS = ('a' * 128, 'b' * 128)
NAMES = ('first', 'second')
IMAGES = ('image-1', 'image-2')

subscriptions = st.fixed_dictionaries(
    {
        'table': st.just(schema.subscription),
        'key': st.sampled_from([{'name': name} for name in NAMES]),
        'values': st.fixed_dictionaries(
            {
                'configured': st.booleans(),
                'list_identifier': st.none() | st.just('a list'),
                'list_version': st.just('1'),
                'created': st.just(1),
                'expires': st.integers(1, 9),
                'standing': st.sampled_from([s.value for s in model.Standing]),
                'verified_at': st.integers(1, 9),
                'max_age': st.integers(1, 9),
                'projects': st.sampled_from([None, '[]', '["p", "q"]']),
            }
        ),
    }
)
endorsements = st.fixed_dictionaries(
    {
        'table': st.just(schema.endorsement),
        'key': st.builds(
            lambda name, image, content: {
                'subscription': name,
                'identifier': image,
                'sha512': content,
            },
            st.sampled_from(NAMES),
            st.sampled_from(IMAGES),
            st.sampled_from(CONTENTS),
        ),
        'values': st.fixed_dictionaries(
            {
                'version': st.sampled_from(['1', '2']),
                'size': st.integers(0, 2**63 - 1),
                'expires': st.none() | st.integers(1, 9),
                'approved': st.booleans(),
                'withdrawn': st.booleans(),
                'first_seen': st.just(1),
                'vo': st.none(),
                'title': st.just('an image'),
                'uri': st.just('http://localhost/image'),
                'entry': st.just('{}'),
            }
        ),
    }
)
records = st.fixed_dictionaries(
    {
        'table': st.just(schema.glance_record),
        'key': st.sampled_from([{'image_id': name} for name in IMAGES]),
        'values': st.fixed_dictionaries(
            {
                'state': st.sampled_from([s.value for s in model.RecordState]),
                'task_id': st.just('a task'),
                'project': st.just(''),
                'sha512': st.sampled_from(CONTENTS),
                'size': st.integers(0, 9),
                'final_sha512': st.sampled_from(CONTENTS),
                'final_size': st.integers(0, 9),
                'created_at': st.integers(0, 9),
                'recorded_at': st.just(1),
                'reason': st.just(''),
            }
        ),
    }
)
blocks = st.fixed_dictionaries(
    {
        'table': st.just(schema.block),
        'key': st.sampled_from([{'target': name} for name in IMAGES]),
        'values': st.fixed_dictionaries(
            {
                'active': st.booleans(),
                'at': st.just(1),
                'who': st.just('somebody'),
                'reason': st.just(''),
            }
        ),
    }
)
conversions = st.fixed_dictionaries(
    {
        'table': st.just(schema.derived),
        'key': st.builds(
            lambda made, origin: {'sha512': made, 'origin_sha512': origin},
            st.sampled_from(CONTENTS),
            st.sampled_from(CONTENTS),
        ),
        'values': st.fixed_dictionaries(
            {
                'size': st.integers(0, 9),
                'origin_size': st.integers(0, 9),
                'step': st.sampled_from(['gunzip', 'ova']),
                'at': st.just(1),
            }
        ),
    }
)
#: Transactions, and where a reader looks in between.
stories = st.lists(
    st.one_of(
        st.just('look'),
        st.lists(
            st.one_of(
                subscriptions, endorsements, records, blocks, conversions
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    max_size=8,
)


@contextlib.contextmanager
def catalogue() -> Iterator[catalogue_rows.Rows]:
    with tempfile.TemporaryDirectory() as folder:
        rows = catalogue_rows.Rows(f'sqlite:///{Path(folder) / "catalogue"}')
        try:
            yield rows
        finally:
            rows.close()


def write(rows: catalogue_rows.Rows, changes: list[dict[str, Any]]) -> None:
    with rows.store.writing() as transaction:
        for change in changes:
            transaction.put(change['table'], change['key'], change['values'])


def comparable(loaded: loading.Loaded) -> model.Snapshot:
    """Without the order of rows, which no decision depends on."""
    return dataclasses.replace(
        loaded.snapshot,
        endorsements={
            content: tuple(sorted(items, key=lambda item: item.row))
            for content, items in loaded.snapshot.endorsements.items()
        },
    )


@given(stories)
@settings(max_examples=30, deadline=None)
def test_incremental_reading_equals_full_reading(story):
    with catalogue() as rows:
        loaded: loading.Loaded | None = None
        for step in [*story, 'look']:
            if step != 'look':
                write(rows, step)
                continue
            with rows.store.reading() as connection:
                loaded = loading.load(connection, loaded, NOW)
                whole = loading.load(connection, None, NOW)
            assert comparable(loaded) == comparable(whole)
            assert loaded.store == whole.store

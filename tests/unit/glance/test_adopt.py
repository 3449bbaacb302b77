# SPDX-License-Identifier: Apache-2.0
"""Images in Glance become ours by their bytes, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import json
from pathlib import Path
import shutil
import time
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm.glance import adopt
from hepix_vm.glance import picture
from tests import catalogue_rows

RAW = b'a disk' * 1000
OTHER = b'b disk' * 1000
QCOW2 = (
    b'QFI\xfb\x00\x00\x00\x03'
    + b'\x00' * 16
    + (2**20).to_bytes(8, 'big')
    + b'\x00' * 480
)
BACKED = (
    b'QFI\xfb\x00\x00\x00\x03'
    + (480).to_bytes(8, 'big')
    + (11).to_bytes(4, 'big')
    + b'\x00' * 4
    + (2**20).to_bytes(8, 'big')
    + b'\x00' * 448
    + b'/etc/passwd'
    + b'\x00' * 21
)
OURS = 'project-of-the-account'
Outcome = adopt.Outcome


class Glance:
    """Images and their data, and what was read of them."""

    def __init__(self) -> None:
        self.shown: dict[str, picture.GlanceImage] = {}
        self.bytes: dict[str, bytes] = {}
        self.read: list[str] = []
        self.meanwhile: Callable[[str], None] = lambda image_id: None

    def add(
        self,
        data: bytes,
        image_id: str = 'old',
        says: bytes | None = None,
        **values: Any,
    ) -> str:
        """An image of an older tool; ``says``: what Glance hashed."""
        self.shown[image_id] = picture.GlanceImage(
            **{
                'image_id': image_id,
                'name': 'Worker',
                'status': 'active',
                'size': len(data),
                'owner': OURS,
                'created_at': 1234,
                'sha512': catalogue_rows.sha512(
                    data if says is None else says
                ),
                'visibility': 'public',
                'disk_format': 'raw',
                'container_format': 'bare',
                **values,
            }
        )
        self.bytes[image_id] = data
        return image_id

    def images(self) -> list[picture.GlanceImage]:
        return list(self.shown.values())

    def image(self, image_id: str) -> picture.GlanceImage | None:
        return self.shown.get(image_id)

    def data(self, image_id: str) -> Iterator[bytes]:
        self.read.append(image_id)
        data = self.bytes[image_id]
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]
        self.meanwhile(image_id)


@pytest.fixture
def glance() -> Glance:
    return Glance()


@pytest.fixture(scope='module')
def empty(tmp_path_factory) -> Path:
    """A catalogue with its tables and one list, to be copied."""
    path = tmp_path_factory.mktemp('empty') / 'catalogue.sqlite'
    made = catalogue_rows.Rows(f'sqlite:///{path}')
    made.subscription('main')
    made.close()
    return path


@pytest.fixture
def rows(tmp_path, empty) -> Iterator[catalogue_rows.Rows]:
    path = shutil.copy(empty, tmp_path)
    made = catalogue_rows.Rows(f'sqlite:///{path}')
    yield made
    made.close()


def adopted(
    rows: catalogue_rows.Rows,
    glance: Glance,
    *only: str,
    dry_run: bool = False,
    cloud: str = 'default',
    projects: frozenset[str] = frozenset({OURS}),
) -> list[adopt.Result]:
    wish = adopt.Wish(cloud, projects, frozenset(only) or None, dry_run)
    return list(adopt.adopt(rows.store, glance, wish, int(time.time()), 'me'))


def one(rows: catalogue_rows.Rows, glance: Glance, *only: str, **how: Any):
    (found,) = adopted(rows, glance, *only, **how)
    return found


def written(rows: catalogue_rows.Rows) -> dict[str, list[Any]]:
    tables = (
        schema.publication,
        schema.glance_record,
        schema.history,
        schema.notice,
    )
    with rows.store.reading() as connection:
        return {
            table.name: list(connection.execute(sa.select(table)))
            for table in tables
        }


def nothing_written(rows: catalogue_rows.Rows) -> bool:
    return not any(
        written(rows)[name]
        for name in ('publication', 'glance_record', 'notice')
    )


def decision(rows: catalogue_rows.Rows, image: picture.GlanceImage):
    """What Nova's filter would say of it."""
    with rows.store.reading() as connection:
        snapshot = loading.load(connection, None, int(time.time())).snapshot
    return model.decide_image(
        snapshot,
        model.ImageFacts(
            image.image_id, image.size, image.created_at, image.sha512
        ),
        None,
        int(time.time()),
        1,
    )


def test_an_image_with_endorsed_bytes_becomes_ours(rows, glance):
    identifier = rows.endorse(RAW, 'main', version='2.1')
    image_id = glance.add(RAW)
    result = one(rows, glance)
    assert result == adopt.Result(
        cloud='default',
        image_id=image_id,
        name='Worker',
        outcome=Outcome.ADOPTED,
        subscription='main',
        identifier=identifier,
        version='2.1',
    )
    found = written(rows)
    (row,) = found['publication']
    assert (row.image_id, row.cloud, row.state) == (
        image_id,
        'default',
        'active',
    )
    assert (row.subscription, row.identifier, row.version, row.sha512) == (
        'main',
        identifier,
        '2.1',
        catalogue_rows.sha512(RAW),
    )
    (record,) = found['glance_record']
    assert (record.state, record.project, record.created_at) == (
        'positive',
        OURS,
        1234,
    )
    assert record.sha512 == record.final_sha512 == row.sha512
    assert record.size == record.final_size == len(RAW)
    (line,) = found['history']
    assert (line.who, line.event, line.subject) == ('me', 'adopted', image_id)
    (notice,) = found['notice']
    assert (notice.kind, notice.subject) == ('image.adopted', image_id)
    assert json.loads(notice.payload)['identifier'] == identifier
    assert decision(rows, glance.shown[image_id]).approved


def test_what_is_adopted_stays_so_when_it_is_done_again(rows, glance):
    rows.endorse(RAW, 'main')
    image_id = glance.add(RAW)
    assert one(rows, glance).outcome is Outcome.ADOPTED
    before = written(rows)
    for only in ((), (image_id,)):
        again = one(rows, glance, *only)
        assert again.outcome is Outcome.OURS
    assert written(rows) == before
    assert glance.read == [image_id]


def test_a_rehearsal_reads_everything_and_writes_nothing(rows, glance):
    rows.endorse(RAW, 'main')
    glance.add(RAW, 'first')
    glance.add(RAW, 'second')
    first, second = adopted(rows, glance, dry_run=True)
    assert first.outcome is Outcome.WOULD_ADOPT
    assert first.version == '1.0'
    assert 'image first has this content already' in second.detail
    assert nothing_written(rows)
    assert glance.read == ['first', 'second']


@pytest.mark.parametrize('says', [RAW, None], ids=['hash', 'no hash'])
def test_the_word_of_properties_and_of_glance_counts_for_nothing(
    rows, glance, says
):
    identifier = rows.endorse(RAW, 'main')
    glance.add(
        OTHER,
        sha512=None if says is None else catalogue_rows.sha512(says),
        tags=frozenset({'atrope'}),
        properties={
            'appdb_id': identifier,
            'sha512': catalogue_rows.sha512(RAW),
            'hepix_image_identifier': identifier,
        },
    )
    result = one(rows, glance)
    assert result.outcome is Outcome.LEFT
    if says is None:
        assert 'not-endorsed' in result.detail
    else:
        assert 'is not what Glance says it is' in result.detail
    assert glance.read == ['old']
    assert nothing_written(rows)


def test_without_a_hash_by_glance_the_bytes_are_enough(rows, glance):
    rows.endorse(RAW, 'main')
    glance.add(RAW, sha512=None)
    assert one(rows, glance).outcome is Outcome.ADOPTED


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'status': 'deactivated'}, 'status is deactivated'),
        ({'status': 'queued'}, 'status is queued'),
        ({'size': None}, 'does not say its size'),
        ({'created_at': None}, 'when it was created'),
        ({'size': 7}, 'no list has an image of 7 bytes'),
        ({'container_format': 'ova'}, 'container_format is ova'),
        ({'container_format': ''}, 'container_format is not set'),
        ({'properties': {'kernel_id': 'x'}}, 'kernel_id change what boots'),
        (
            {'properties': {'block_device_mapping': '[]'}},
            'block_device_mapping change',
        ),
        ({'sha512': '0' * 128}, 'not-endorsed'),
    ],
)
def test_what_cannot_match_is_not_read(rows, glance, values, said):
    rows.endorse(RAW, 'main')
    glance.add(RAW, **values)
    result = one(rows, glance)
    assert result.outcome is Outcome.LEFT
    assert said in result.detail
    assert glance.read == []
    assert nothing_written(rows)


@pytest.mark.parametrize(
    ('data', 'format_', 'said'),
    [
        (RAW, 'qcow2', 'disk_format is qcow2, its data is raw'),
        (QCOW2, 'raw', 'disk_format is raw, its data is qcow2'),
        (BACKED, 'qcow2', 'names a backing file'),
        (RAW, '', 'disk_format is not set'),
    ],
    ids=['not qcow2', 'hidden qcow2', 'backing file', 'no format'],
)
def test_an_image_that_publishing_would_refuse_is_left(
    rows, glance, data, format_, said
):
    rows.endorse(data, 'main')
    glance.add(data, disk_format=format_)
    result = one(rows, glance)
    assert result.outcome is Outcome.LEFT
    assert said in result.detail
    assert nothing_written(rows)


def test_a_qcow2_is_adopted_as_such(rows, glance):
    rows.endorse(QCOW2, 'main')
    glance.add(QCOW2, disk_format='qcow2')
    assert one(rows, glance).outcome is Outcome.ADOPTED


def test_what_is_endorsed_but_not_approved_is_left(rows, glance):
    rows.endorse(RAW, 'main', approved=False)
    glance.add(RAW)
    assert 'not approved (not-approved)' in one(rows, glance).detail
    rows.withdraw(RAW)
    assert 'not approved (withdrawn)' in one(rows, glance).detail
    assert nothing_written(rows)


def test_a_blocked_image_is_left(rows, glance):
    rows.endorse(RAW, 'main')
    rows.block(catalogue_rows.sha512(RAW))
    glance.add(RAW)
    assert 'not approved (blocked)' in one(rows, glance).detail


def test_an_endorsement_that_ends_while_the_data_is_read_adopts_nothing(
    rows, glance
):
    rows.endorse(RAW, 'main')
    glance.add(RAW)
    glance.meanwhile = lambda image_id: rows.withdraw(RAW)
    result = one(rows, glance)
    assert result.outcome is Outcome.LEFT
    assert 'withdrawn' in result.detail
    assert nothing_written(rows)


def test_an_image_that_changes_while_it_is_read_is_not_adopted(rows, glance):
    rows.endorse(RAW, 'main')
    image_id = glance.add(RAW)

    def change(_: str) -> None:
        glance.shown[image_id] = dataclasses.replace(
            glance.shown[image_id], properties={'kernel_id': 'x'}
        )

    glance.meanwhile = change
    result = one(rows, glance)
    assert result.outcome is Outcome.FAILED
    assert 'was changed in Glance' in result.detail
    glance.meanwhile = lambda _: glance.shown.pop(image_id)
    glance.add(RAW)
    assert one(rows, glance).outcome is Outcome.FAILED
    assert nothing_written(rows)


@pytest.mark.parametrize(
    ('data', 'said'),
    [(RAW[:-1], f'found {len(RAW) - 1}'), (RAW + b'x', 'found more')],
    ids=['short', 'long'],
)
def test_data_of_another_length_than_glance_says_is_left(
    rows, glance, data, said
):
    rows.endorse(RAW, 'main')
    image_id = glance.add(RAW)
    glance.bytes[image_id] = data
    result = one(rows, glance)
    assert result.outcome is Outcome.LEFT
    assert said in result.detail


def test_data_that_cannot_be_read_fails_that_image_alone(rows, glance):
    rows.endorse(RAW, 'main')
    rows.endorse(QCOW2, 'main')
    glance.add(RAW, 'a')
    glance.add(QCOW2, 'b', disk_format='qcow2')

    def broken(image_id: str) -> None:
        if image_id == 'a':
            raise errors.TryAgain('the connection dropped')

    glance.meanwhile = broken
    first, second = adopted(rows, glance)
    assert (first.outcome, second.outcome) == (
        Outcome.FAILED,
        Outcome.ADOPTED,
    )
    assert 'the connection dropped' in first.detail


def test_of_images_with_the_same_bytes_the_public_newest_is_adopted(
    rows, glance
):
    rows.endorse(RAW, 'main')
    glance.add(RAW, 'private', visibility='private', created_at=9)
    glance.add(RAW, 'older', created_at=1)
    glance.add(RAW, 'newer', created_at=2)
    glance.add(RAW, 'hidden', created_at=3, hidden=True)
    outcomes = {r.image_id: r for r in adopted(rows, glance)}
    assert outcomes['newer'].outcome is Outcome.ADOPTED
    for other in ('private', 'older', 'hidden'):
        assert outcomes[other].outcome is Outcome.LEFT
        assert 'image newer has this content' in outcomes[other].detail


def test_each_cloud_may_have_its_copy(rows, glance):
    rows.endorse(RAW, 'main')
    glance.add(RAW, 'here')
    assert one(rows, glance).outcome is Outcome.ADOPTED
    there = Glance()
    there.add(RAW, 'there')
    assert one(rows, there, cloud='west').outcome is Outcome.ADOPTED
    assert {row.cloud for row in written(rows)['publication']} == {
        'default',
        'west',
    }


def test_a_publication_under_way_has_the_content(rows, glance):
    identifier = rows.endorse(RAW, 'main')
    glance.add(RAW)
    with rows.store.writing() as transaction:
        transaction.put(
            schema.publication,
            {'image_id': 'arriving'},
            {
                'subscription': 'main',
                'identifier': identifier,
                'version': '1.0',
                'sha512': catalogue_rows.sha512(RAW),
                'state': 'creating',
                'at': int(time.time()),
            },
        )
    assert 'image arriving has this content' in one(rows, glance).detail


def test_what_was_ours_and_is_gone_may_be_adopted(rows, glance):
    identifier = rows.endorse(RAW, 'main')
    image_id = glance.add(RAW)
    with rows.store.writing() as transaction:
        transaction.put(
            schema.publication,
            {'image_id': image_id},
            {
                'subscription': 'main',
                'identifier': identifier,
                'version': '0.9',
                'sha512': catalogue_rows.sha512(OTHER),
                'state': 'gone',
                'at': 1,
                'retired_at': 2,
            },
        )
    assert one(rows, glance).outcome is Outcome.ADOPTED
    (row,) = written(rows)['publication']
    assert (row.state, row.version, row.retired_at) == ('active', '1.0', None)


@pytest.mark.parametrize('state', ['verified', 'positive', 'withdrawn'])
def test_what_the_import_has_recorded_stays_who_imported_it(
    rows, glance, state
):
    rows.endorse(RAW, 'main')
    image_id = glance.add(RAW)
    rows.record(image_id, RAW, state=state)
    result = one(rows, glance)
    assert result.outcome is Outcome.LEFT
    assert state in result.detail
    assert written(rows)['publication'] == []


def test_images_of_users_are_not_looked_at_unless_they_are_named(rows, glance):
    rows.endorse(RAW, 'main')
    theirs = glance.add(RAW, owner='a user', visibility='shared')
    community = glance.add(
        RAW, 'community', owner='a user', visibility='community'
    )
    assert adopted(rows, glance) == []
    assert glance.read == []
    assert (
        one(rows, glance, theirs, dry_run=True).outcome is Outcome.WOULD_ADOPT
    )
    found = adopted(rows, glance, projects=frozenset({'a user'}))
    assert {r.image_id for r in found} == {theirs, community}


def test_a_public_image_is_an_operators_whatever_its_project(rows, glance):
    rows.endorse(RAW, 'main')
    glance.add(RAW, owner='project of the old tool')
    assert one(rows, glance).outcome is Outcome.ADOPTED
    (record,) = written(rows)['glance_record']
    assert record.project == 'project of the old tool'


def test_an_image_that_is_not_there_is_told_before_anything_is_read(
    rows, glance
):
    rows.endorse(RAW, 'main')
    known = glance.add(RAW)
    with pytest.raises(errors.Misconfigured, match='image unknown: expected'):
        adopted(rows, glance, known, 'unknown')
    assert glance.read == []


def test_bytes_that_the_site_had_made_of_endorsed_ones_count_as_those(
    rows, glance
):
    rows.endorse(OTHER, 'main', version='3')
    with rows.store.writing() as transaction:
        transaction.put(
            schema.derived,
            {
                'sha512': catalogue_rows.sha512(RAW),
                'origin_sha512': catalogue_rows.sha512(OTHER),
            },
            {
                'size': len(RAW),
                'origin_size': len(OTHER),
                'step': 'gunzip',
                'at': int(time.time()),
            },
        )
    glance.add(RAW)
    result = one(rows, glance)
    assert (result.outcome, result.version) == (Outcome.ADOPTED, '3')
    (record,) = written(rows)['glance_record']
    assert record.sha512 == catalogue_rows.sha512(OTHER)
    assert record.final_sha512 == catalogue_rows.sha512(RAW)
    assert record.step == 'gunzip'
    assert decision(rows, glance.shown['old']).approved


def test_how_far_it_is_is_told(rows, glance):
    rows.endorse(RAW, 'main')
    glance.add(RAW)
    told = []
    list(
        adopt.adopt(
            rows.store,
            glance,
            adopt.Wish('default', frozenset({OURS})),
            int(time.time()),
            'me',
            told.append,
        )
    )
    assert (told[-1].step, told[-1].done, told[-1].total) == (
        'compare',
        len(RAW),
        len(RAW),
    )

# SPDX-License-Identifier: Apache-2.0
"""Records of imports that nobody will finish are withdrawn."""

from __future__ import annotations

import dataclasses
import uuid

import pytest

from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm.glance import picture
from hepix_vm.glance import unfinished
from tests import catalogue_rows

IMAGE = str(uuid.uuid4())
NOW = 1_800_000_000
OLD = NOW - unfinished.LOCK - 1


@dataclasses.dataclass
class Glance:
    """Says whether something still imports."""

    imports_: bool = False
    away: bool = False
    asked: int = 0

    def imports(self, image_id: str, since: int) -> bool:
        assert image_id == IMAGE
        assert since == NOW - unfinished.LOCK
        self.asked += 1
        if self.away:
            raise errors.TryAgain('Glance does not answer')
        return self.imports_


@pytest.fixture
def rows(tmp_path):
    one = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield one
    one.close()


def withdrawn(rows, glance, status='importing', recorded_at=OLD, **values):
    rows.record(IMAGE, b'data', recorded_at=recorded_at, **values)
    shown = picture.GlanceImage(IMAGE, 'name', status, None, 'owner')
    return unfinished.withdraw(rows.store, glance, [shown], NOW)


@pytest.mark.parametrize('status', ['importing', 'queued', 'uploading'])
@pytest.mark.parametrize('state', ['positive', 'verified'])
def test_record_of_an_import_that_died_is_withdrawn(rows, status, state):
    glance = Glance()
    assert withdrawn(rows, glance, status, state=state) == (IMAGE,)
    row = rows.recorded(IMAGE)
    assert (row.state, row.reason) == ('withdrawn', unfinished.REASON)
    assert rows.events(IMAGE) == ['import-dropped']
    assert glance.asked == 1


@pytest.mark.parametrize('status', ['active', 'deactivated', 'deleted'])
def test_record_of_an_image_that_has_data_is_left(rows, status):
    glance = Glance()
    assert withdrawn(rows, glance, status) == ()
    assert rows.recorded(IMAGE).state == 'positive'
    assert glance.asked == 0


def test_import_that_is_at_work_is_left(rows):
    assert withdrawn(rows, Glance(imports_=True)) == ()
    assert rows.recorded(IMAGE).state == 'positive'


def test_new_record_is_left_without_asking(rows):
    glance = Glance()
    assert withdrawn(rows, glance, recorded_at=OLD + 1) == ()
    assert rows.recorded(IMAGE).state == 'positive'
    assert glance.asked == 0


def test_what_is_withdrawn_already_is_not_asked_for(rows):
    glance = Glance()
    assert withdrawn(rows, glance, state='withdrawn') == ()
    assert glance.asked == 0


def test_record_of_an_image_that_is_not_listed_is_left(rows):
    rows.record(IMAGE, b'data', recorded_at=OLD)
    assert unfinished.withdraw(rows.store, Glance(), [], NOW) == ()
    assert rows.recorded(IMAGE).state == 'positive'


def test_glance_that_is_away_withdraws_nothing(rows):
    with pytest.raises(errors.TryAgain):
        withdrawn(rows, Glance(away=True))
    assert rows.recorded(IMAGE).state == 'positive'


def test_import_that_began_meanwhile_keeps_its_record(rows):
    class Meanwhile(Glance):
        """Another import of the image records what it found."""

        def imports(self, image_id, since):
            rows.change(
                schema.glance_record,
                schema.glance_record.c.image_id == IMAGE,
                task_id=str(uuid.uuid4()),
            )
            return False

    withdrawn(rows, Meanwhile())
    assert rows.recorded(IMAGE).state == 'positive'

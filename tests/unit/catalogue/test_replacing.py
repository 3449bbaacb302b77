# SPDX-License-Identifier: Apache-2.0
"""A version that a newer one replaces counts for a while, and no longer."""

from __future__ import annotations

import pytest

from tests import endorser
from tests.unit.catalogue import following

OLD, NEW = b'version one', b'version two'
HOUR = 3600
IDENTIFIER = '2ab3c1c4-3c1d-4b7e-9d8f-0a5b1c2d3e4f'


def entry(data: bytes, version: str):
    return endorser.make_image(data, identifier=IDENTIFIER, version=version)


@pytest.fixture
def patient(main: following.Site) -> following.Site:
    """The list had version 1, and has version 2 now."""
    main.change('main', replace_grace=HOUR)
    main.publish('main', '1', entry(OLD, '1'))
    main.sync()
    main.publish('main', '2', entry(NEW, '2'))
    main.sync()
    return main


def test_both_versions_are_approved_meanwhile(patient):
    assert patient.decide(OLD) == patient.decide(NEW) == 'approved'


def test_the_old_one_ends_to_the_second(patient):
    patient.now += HOUR - 1
    assert patient.decide(OLD) == 'approved'
    patient.now += 1
    assert patient.decide(OLD) == 'replaced'
    assert patient.decide(NEW) == 'approved'


def test_its_record_is_withdrawn_by_the_next_sync(patient):
    image_id = patient.record(OLD)
    patient.sync()
    assert patient.withdrawals == ()
    patient.now += HOUR
    patient.sync()
    (withdrawal,) = patient.withdrawals
    assert (withdrawal.image_id, withdrawal.code) == (image_id, 'replaced')


def test_the_next_list_ends_it_for_good(patient):
    patient.now += HOUR
    patient.publish('main', '3', entry(NEW, '2'))
    patient.sync()
    assert patient.decide(OLD) == 'withdrawn'


def test_a_further_list_prolongs_nothing(patient):
    patient.now += HOUR - 1
    patient.publish('main', '3', entry(NEW, '2'))
    patient.sync()
    assert patient.decide(OLD) == 'approved'
    patient.now += 1
    assert patient.decide(OLD) == 'replaced'


def test_an_image_that_is_listed_no_more_ends_at_once(patient):
    patient.publish('main', '3', endorser.make_image(b'another image'))
    patient.sync()
    assert patient.decide(OLD) == patient.decide(NEW) == 'withdrawn'


def test_without_grace_the_old_one_ends_at_once(main):
    main.publish('main', '1', entry(OLD, '1'))
    main.sync()
    main.publish('main', '2', entry(NEW, '2'))
    main.sync()
    assert main.decide(OLD) == 'withdrawn'

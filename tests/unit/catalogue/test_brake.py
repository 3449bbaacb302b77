# SPDX-License-Identifier: Apache-2.0
"""A list that would withdraw unusually much has to wait for an operator."""

from __future__ import annotations

from typing import Any

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm.operations import catalogue
from hepix_vm.operations import images
from hepix_vm.operations import site as site_
from hepix_vm.operations import waiting
from tests import endorser
from tests.unit.catalogue import following

Reason = model.Reason
image = endorser.make_image

#: Six images; more than two of them, or more than half, have to wait.
DATA = [f'image {number}'.encode() for number in range(6)]
ENTRIES = [image(data) for data in DATA]


@pytest.fixture
def braked(main) -> following.Site:
    """Six images are endorsed; Glance has one of each."""
    main.change('main', brake=subscription.Brake(images=2, percent=50))
    main.publish('main', '1', *ENTRIES)
    main.sync()
    return main


def operations(made: following.Site) -> site_.Site:
    return site_.Site(
        catalogue=made.database,
        subscriptions=made.configured,
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=lambda: None),
    )


def confirm(made: following.Site) -> waiting.Confirmed:
    return waiting.confirm(
        operations(made), made.now, 'main', 'me', 'asked the endorser'
    )


def codes(made: following.Site) -> list[str]:
    return [made.decide(data).value for data in DATA]


def waits(made: following.Site) -> dict[str, int]:
    with made.database.reading() as connection:
        return store.waiting(connection)


OK, GONE, HELD = 'approved', 'withdrawn', 'suspended'


def test_as_many_as_the_brake_lets_go_are_withdrawn_at_once(braked):
    braked.publish('main', '2', *ENTRIES[2:])
    report = braked.sync()['main']
    assert (report.withdrawn, report.problems, report.well) == (2, (), True)
    assert codes(braked) == [GONE] * 2 + [OK] * 4
    assert waits(braked) == {}


def test_one_more_makes_all_of_them_wait(braked, caplog):
    record = braked.record(DATA[0])
    braked.publish('main', '2', *ENTRIES[3:])
    report = braked.sync()['main']
    assert report.outcome is sync.Outcome.ACCEPTED
    assert report.withdrawn == 0
    (problem,) = report.problems
    assert '3 of its images are gone' in problem
    assert 'subscription confirm main' in problem
    assert not report.well
    assert problem in caplog.text
    assert braked.state().list_version == '2'
    assert braked.lists_seen() == ['ok', 'ok']
    assert codes(braked) == [HELD] * 3 + [OK] * 3
    assert braked.image_state(record) == 'positive'
    assert braked.events().count('withdrawals-held') == 1
    assert waits(braked) == {'main': 3}


def test_more_than_the_percentage_waits_too(braked):
    braked.change('main', brake=subscription.Brake(images=100, percent=50))
    braked.publish('main', '2', *ENTRIES[3:])
    braked.sync()
    assert codes(braked) == [GONE] * 3 + [OK] * 3
    braked.publish('main', '3', ENTRIES[5])
    braked.sync()
    assert codes(braked) == [GONE] * 3 + [HELD] * 2 + [OK]


def test_empty_list_waits(braked):
    braked.publish('main', '2')
    braked.sync()
    assert codes(braked) == [HELD] * 6


def test_without_a_brake_nothing_waits(braked):
    braked.change('main', brake=None)
    braked.publish('main', '2')
    braked.sync()
    assert codes(braked) == [GONE] * 6


def test_waiting_images_run_on_where_the_site_says_so(braked):
    braked.change('main', brake=subscription.Brake(2, 50, keep=True))
    braked.publish('main', '2')
    braked.sync()
    assert codes(braked) == [OK] * 6
    assert waits(braked) == {'main': 6}
    braked.silence('main')
    braked.change('main', brake=subscription.Brake(2, 50, keep=False))
    braked.sync()
    assert codes(braked) == [HELD] * 6


def test_confirmation_withdraws_what_waits_and_its_records(braked):
    record = braked.record(DATA[0])
    other = braked.record(DATA[5])
    braked.publish('main', '2', *ENTRIES[3:])
    braked.sync()
    confirmed = confirm(braked)
    assert {item.identifier for item in confirmed.images} == {
        entry.identifier for entry in ENTRIES[:3]
    }
    assert [w.image_id for w in confirmed.withdrawals] == [record]
    assert codes(braked) == [GONE] * 3 + [OK] * 3
    assert braked.image_state(record) == 'withdrawn withdrawn'
    assert braked.image_state(other) == 'positive'
    assert braked.events()[-1] == 'withdrawals-confirmed'
    with braked.database.reading() as connection:
        event = store.history(connection, 'main')[-1]
    assert (event.who, event.at) == ('me', braked.now)
    assert 'asked the endorser' in event.detail
    report = braked.sync()['main']
    assert (report.problems, report.well) == ((), True)
    assert codes(braked) == [GONE] * 3 + [OK] * 3


def test_nothing_to_confirm_is_said(braked):
    for name in ('main', 'typo'):
        with pytest.raises(errors.Misconfigured, match='that wait'):
            waiting.confirm(operations(braked), braked.now, name, 'me', 'x')


def test_same_list_again_still_waits_and_says_so(braked):
    braked.publish('main', '2')
    braked.sync()
    again = braked.sync(after=60)['main']
    assert again.outcome is sync.Outcome.UNCHANGED
    assert codes(braked) == [HELD] * 6
    assert braked.events().count('withdrawals-held') == 1
    (held_at,) = {item.held_at for item in braked.images()}
    assert held_at == braked.now - 60


def test_newer_list_that_names_them_again_ends_the_wait(braked):
    record = braked.record(DATA[0])
    braked.publish('main', '2')
    braked.sync()
    braked.publish('main', '3', *ENTRIES)
    report = braked.sync()['main']
    assert report.well
    assert codes(braked) == [OK] * 6
    assert waits(braked) == {}
    assert braked.image_state(record) == 'positive'
    assert braked.events()[-2:] == ['withdrawals-released', 'list-accepted']


def test_what_few_are_left_of_those_that_wait_goes(braked):
    braked.publish('main', '2')
    braked.sync()
    braked.publish('main', '3', *ENTRIES[1:])
    braked.sync()
    assert codes(braked) == [GONE] + [OK] * 5


def test_taking_away_little_by_little_waits_all_the_same(braked):
    braked.publish('main', '2', *ENTRIES[3:])
    braked.sync()
    braked.publish('main', '3', *ENTRIES[4:])
    braked.sync()
    assert codes(braked) == [HELD] * 4 + [OK] * 2
    braked.publish('main', '4', *ENTRIES[5:])
    braked.sync()
    assert codes(braked) == [HELD] * 5 + [OK]
    assert waits(braked) == {'main': 5}


def test_replaced_versions_do_not_count(braked):
    newer = [
        image(data + b'!', identifier=entry.identifier, version='2')
        for data, entry in zip(DATA, ENTRIES, strict=True)
    ]
    braked.publish('main', '2', *newer)
    report = braked.sync()['main']
    assert (report.added, report.withdrawn, report.problems) == (6, 6, ())
    assert codes(braked) == [GONE] * 6
    assert braked.decide(DATA[0] + b'!') is Reason.APPROVED


def test_waiting_version_that_is_replaced_goes(braked):
    braked.publish('main', '2')
    braked.sync()
    newer = image(b'newer', identifier=ENTRIES[0].identifier, version='2')
    braked.publish('main', '3', newer)
    braked.sync()
    assert codes(braked) == [GONE] + [HELD] * 5
    assert braked.decide(b'newer') is Reason.APPROVED


def test_entries_that_do_not_count_are_no_listing(braked):
    older = [
        image(b'older', identifier=entry.identifier, version='0.1')
        for entry in ENTRIES
    ]
    braked.publish('main', '2', *older)
    report = braked.sync()['main']
    assert len(report.problems) == 7
    assert codes(braked) == [HELD] * 6


def test_revoked_endorser_does_not_wait(main):
    by = endorser.Endorser.create(name='Revoked in time')
    main.follow('main', by, brake=subscription.Brake(2, 50, keep=True))
    main.publish('main', '1', *ENTRIES)
    main.sync()
    record = main.record(DATA[0])
    main.publish('main', '2')
    main.sync()
    assert codes(main) == [OK] * 6
    by.revoke()
    main.sync()
    assert codes(main) == ['revoked'] * 6
    assert main.image_state(record) == 'withdrawn revoked'


def test_block_does_not_wait(braked):
    braked.change('main', brake=subscription.Brake(2, 50, keep=True))
    braked.publish('main', '2')
    braked.sync()
    images.block(
        operations(braked), braked.now, ENTRIES[0].identifier, 'me', 'x'
    )
    assert codes(braked) == ['blocked'] + [OK] * 5


def test_waiting_list_that_expires_is_expired(braked):
    braked.change('main', brake=subscription.Brake(2, 50, keep=True))
    braked.publish('main', '2')
    braked.sync()
    braked.now += 30 * endorser.DAY_SECONDS
    assert codes(braked) == ['list-expired'] * 6


def test_operator_who_follows_another_list_does_not_have_to_confirm(braked):
    other = following.identifier_of('other')
    braked.change('main', list_identifier=other)
    braked.publish('main', '1', image(b'new'), identifier=other)
    report = braked.sync()['main']
    assert report.problems == ()
    assert codes(braked) == [GONE] * 6


def test_reset_alone_withdraws_nothing_without_confirmation(braked):
    catalogue.reset(operations(braked), braked.now, 'main', 'me', 'slipped')
    braked.publish('main', '0.1')
    braked.sync()
    assert codes(braked) == [HELD] * 6


def test_identifier_of_a_waiting_image_is_not_free(braked):
    braked.publish('main', '2')
    braked.sync()
    braked.follow('second')
    taken: Any = image(b'taken', identifier=ENTRIES[0].identifier)
    braked.publish('second', '1', taken)
    report = braked.sync()['second']
    assert 'already listed by subscription main' in report.problems[0]
    assert braked.decide(b'taken') is Reason.NOT_ENDORSED


def test_subscription_that_left_waits_for_nothing(braked):
    braked.publish('main', '2')
    braked.sync()
    braked.configured.pop('main')
    braked.sync()
    assert waits(braked) == {}
    assert codes(braked) == ['unsubscribed'] * 6


def test_a_sync_with_something_waiting_is_not_well(braked):
    braked.publish('main', '2')
    made = operations(braked)
    assert not catalogue.synchronise(made, braked.now).well
    braked.silence('main')
    synced = catalogue.synchronise(made, braked.now)
    assert synced.waiting == {'main': 6}
    assert not synced.well
    assert any('confirm main' in warning for warning in synced.warnings)


def test_projects_of_the_newest_list_hold_whatever_waits(braked):
    mapped = {'new.vo': frozenset({'p1'}), 'old.vo': frozenset({'p2'})}
    braked.publish('main', '2', *ENTRIES, vo='old.vo')
    braked.sync()
    braked.publish('main', '3', ENTRIES[0], vo='new.vo')
    braked.sync()
    braked.change('main', vo_projects=mapped)
    braked.silence('main')
    braked.sync()
    assert braked.decide(DATA[0], 'p1') is Reason.APPROVED
    assert braked.decide(DATA[0], 'p2') is Reason.WRONG_PROJECT

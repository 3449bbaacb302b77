# SPDX-License-Identifier: Apache-2.0
"""What another tool had seen speaks against older lists, and for none."""

from __future__ import annotations

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import imported
from hepix_vm.catalogue import model
from hepix_vm.catalogue import store
from hepix_vm.catalogue import sync
from hepix_vm.operations import catalogue
from hepix_vm.operations import site as site_
from tests import endorser
from tests.unit.catalogue import following

HOUR = 3600


def remember(site, version='5', created=None, name='main'):
    found = imported.Imported(
        'vmcatcher',
        version,
        site.now - HOUR if created is None else created,
        ('/CN=x of /CN=y',),
    )
    return site.database.transact(
        lambda transaction: imported.remember(
            transaction, site.configured[name], found, site.now, 'me'
        )
    )


def publish(site, version, created=0, **changes):
    site.publish(
        'main',
        version,
        endorser.make_image(b'data'),
        created=endorser.utc(site.now + created),
        **changes,
    )


@pytest.mark.parametrize(
    ('version', 'created', 'code'),
    [
        ('4', 0, 'rollback'),
        ('5', -2 * HOUR, 'rollback'),
        ('6', -2 * HOUR, 'rollback'),
        ('5', -HOUR, 'ok'),
        ('5', 0, 'ok'),
        ('6', 0, 'ok'),
    ],
)
def test_first_sync_refuses_what_is_older(main, version, created, code):
    assert remember(main) is imported.Outcome.WRITTEN
    publish(main, version, created)
    report = main.sync()['main']
    assert report.code == code
    if code != 'ok':
        assert report.outcome is sync.Outcome.REFUSED
        assert main.decide(b'data') is model.Reason.NOT_ENDORSED
        return
    assert report.added == 1
    assert main.decide(b'data') is model.Reason.APPROVED
    assert main.state().payload_sha256 is not None


def test_nothing_is_verified_or_approved_by_it(main):
    remember(main)
    state = main.state()
    assert state.standing is model.Standing.DISTRUSTED
    assert state.verified_at is None
    assert state.list_id is None
    assert main.images() == []
    assert main.lists_seen() == []
    assert not main.snapshot().subscriptions


def test_who_and_when_is_in_the_history(main):
    remember(main)
    with main.database.reading() as connection:
        (event,) = store.history(connection, 'main')
    assert (event.at, event.who, event.event) == (
        main.now,
        'me',
        'state-imported',
    )
    for said in (
        following.identifier_of('main'),
        'version 5',
        'vmcatcher',
        '/CN=x of /CN=y',
    ):
        assert said in event.detail


@pytest.mark.parametrize(
    ('version', 'created'),
    [('5', -HOUR), ('4', -HOUR), ('5', -2 * HOUR), ('05', -HOUR)],
)
def test_again_or_less_changes_nothing(main, version, created):
    remember(main)
    before = main.state()
    again = remember(main, version, main.now + created)
    assert again is imported.Outcome.KNOWN
    assert main.state() == before
    assert main.events() == ['state-imported']


@pytest.mark.parametrize(
    ('version', 'created', 'known'),
    [
        ('6', -HOUR, ('6', -HOUR)),
        ('6', -2 * HOUR, ('6', -HOUR)),
        ('4', -60, ('5', -60)),
    ],
)
def test_more_raises_what_is_known_and_lowers_nothing(
    main, version, created, known
):
    remember(main)
    assert remember(main, version, main.now + created) is (
        imported.Outcome.WRITTEN
    )
    state = main.state()
    assert (state.list_version, state.created - main.now) == known


def test_a_list_that_was_accepted_is_older_than_what_was_seen(main):
    publish(main, '3', -2 * HOUR)
    assert main.sync()['main'].code == 'ok'
    assert remember(main) is imported.Outcome.WRITTEN
    # It stands, and nothing older than what was seen follows it.
    assert main.decide(b'data') is model.Reason.APPROVED
    assert main.sync(after=60)['main'].code == 'rollback'
    assert main.decide(b'data') is model.Reason.APPROVED
    publish(main, '6')
    assert main.sync(after=60)['main'].code == 'ok'


def test_a_list_that_was_accepted_is_newer(main):
    publish(main, '7')
    main.sync()
    before = main.state()
    assert remember(main) is imported.Outcome.KNOWN
    assert main.state() == before


def test_a_failed_attempt_before_is_no_hindrance(main):
    assert main.sync()['main'].code == 'fetch'
    assert remember(main) is imported.Outcome.WRITTEN
    publish(main, '4')
    assert main.sync(after=HOUR)['main'].code == 'rollback'


def test_another_list_under_the_name_is_told(main):
    publish(main, '3')
    main.sync()
    main.change('main', list_identifier=following.identifier_of('other'))
    before = main.state()
    outcome = remember(main)
    assert outcome is imported.Outcome.OTHER_LIST
    assert 'another list' in outcome.problem
    assert main.state() == before


def test_a_list_of_the_future_is_not_taken_over(main):
    outcome = remember(main, created=main.now + 301)
    assert outcome is imported.Outcome.FROM_FUTURE
    assert 'look at the clocks' in outcome.problem
    assert main.events() == []
    assert remember(main, created=main.now + 300) is imported.Outcome.WRITTEN


def test_a_reset_is_the_way_back_from_a_version_too_high(main):
    remember(main, '99999999')
    publish(main, '6')
    assert main.sync()['main'].code == 'rollback'
    operated = site_.Site(
        catalogue=main.database,
        subscriptions=main.configured,
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=lambda: None),
    )
    catalogue.reset(operated, main.now, 'main', 'me', 'forged')
    assert main.sync(after=60)['main'].code == 'ok'

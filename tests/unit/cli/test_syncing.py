# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm sync``: what is due, and dry runs."""

from __future__ import annotations

import pytest

from hepix_vm.catalogue import subscription
from hepix_vm.operations import catalogue
from hepix_vm.operations import site as site_
from tests import endorser
from tests.unit.catalogue import following

DATA, OTHER = b'an image', b'another image'


@pytest.fixture
def synced(site, hepix_vm):
    """The list has been accepted."""
    site.publish('main', '1', endorser.make_image(DATA))
    assert hepix_vm('sync').status == 0
    return hepix_vm


def test_by_hand_all_are_tried_and_those_that_are_due_if_asked(synced):
    (row,) = synced('sync', '-f', 'json').json
    assert (row['subscription'], row['outcome']) == ('main', 'unchanged')
    ran = synced('sync', '--due', '-f', 'json')
    assert (ran.status, ran.json) == (0, [])


def test_failures_and_the_next_attempt_are_shown(synced, site):
    site.silence('main')
    assert synced('sync').status == 1
    (row,) = synced('subscription', 'list', '-f', 'json').json
    assert (row['name'], row['state'], row['failures']) == (
        'main',
        'fresh',
        1,
    )
    assert row['next_attempt'].endswith('Z')
    shown = synced('subscription', 'show', 'main', '-f', 'json').json
    assert shown['failures'] == 1
    assert shown['next_attempt'] == row['next_attempt']
    assert (shown['state'], shown['standing']) == ('fresh', 'trusted')
    assert shown['last_code'] == 'fetch'


def test_subscription_that_was_never_tried_has_no_times(hepix_vm):
    (row,) = hepix_vm('subscription', 'list', '-f', 'json').json
    assert row['state'] == 'never synced'
    assert row['next_attempt'] == ''


def test_dry_run_prints_a_diff_and_changes_nothing(synced, site):
    site.publish('main', '2', endorser.make_image(OTHER))
    before = site.state(), site.events()
    ran = synced('sync', '--dry-run')
    assert ran.status == 0
    assert ran.out.startswith('--- subscription/main\tnow\n')
    assert '\n-list version 1\n' in ran.out
    assert '\n+list version 2\n' in ran.out
    assert 'verdict=' not in ran.err
    assert (site.state(), site.events()) == before
    assert synced('sync', '--dry-run', '--due').out == ''


def test_dry_run_of_what_fails_says_so(synced, site):
    site.serve('main', b'garbage')
    ran = synced('sync', '--dry-run')
    assert (ran.status, ran.out) == (1, '')
    assert 'subscription main: refused (not-signed)' in ran.err
    assert site.lists_seen() == ['ok']


def test_dry_run_of_an_unknown_name_is_wrong_use(synced):
    ran = synced('sync', '--dry-run', 'typo')
    assert ran.status == 2
    assert 'expected one of main' in ran.err


def test_images_are_counted_by_subscription(synced, site):
    site.follow('second', approval='all')
    site.publish(
        'second', '1', *(endorser.make_image(b'%d' % n) for n in range(3))
    )
    assert synced('sync').status == 0
    rows = synced('subscription', 'list', '-f', 'json').json
    assert [(r['name'], r['images'], r['approved']) for r in rows] == [
        ('main', 1, 0),
        ('second', 3, 3),
    ]


def test_daemon_learns_when_there_is_something_to_do(site):
    site.change('main', approval=subscription.Approval.LISTED)
    made = site_.Site(
        catalogue=site.database,
        subscriptions=site.configured,
        fetch=following.SETTINGS,
        cloud=site_.Cloud(session=lambda: None),
    )
    assert catalogue.next_due(made, site.now) == site.now
    site.publish('main', '1', endorser.make_image(DATA))
    assert catalogue.synchronise(made, site.now, due=True).well
    due = catalogue.next_due(made, site.now)
    assert due is not None
    assert site.now + 3240 <= due <= site.now + 3960

# SPDX-License-Identifier: Apache-2.0
"""What the site decides: approvals, projects, and records that follow."""

from __future__ import annotations

import dataclasses

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import records
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import endorser
from tests.unit.catalogue import following

DATA, OTHER, THIRD = b'an image', b'another image', b'a third image'
Approval = subscription.Approval
Reason = model.Reason

image = endorser.make_image


# Which images are approved


def test_rule_none_only_watches(main):
    main.change('main', approval=Approval.NONE)
    entry = image(DATA)
    main.publish('main', '1', entry)
    main.approve(entry)
    main.sync()
    assert main.decide(DATA) is Reason.NOT_APPROVED


def test_rule_listed_approves_by_name(main):
    main.change('main', approval=Approval.LISTED)
    chosen, other = image(DATA), image(OTHER)
    main.publish('main', '1', chosen, other)
    main.sync()
    assert main.decide(DATA) is Reason.NOT_APPROVED
    main.approve(chosen)
    main.sync()
    assert main.decide(DATA) is Reason.APPROVED
    assert main.decide(OTHER) is Reason.NOT_APPROVED


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [(True, Reason.APPROVED), (False, Reason.NOT_APPROVED)],
)
def test_approval_covers_later_versions_if_the_site_says_so(
    main, rule, expected
):
    main.change('main', approval=Approval.LISTED, approve_new_versions=rule)
    entry = image(DATA)
    main.publish('main', '1', entry)
    main.approve(entry)
    main.sync()
    assert main.decide(DATA) is Reason.APPROVED
    newer = image(OTHER, identifier=entry.identifier, version='2.0')
    main.publish('main', '2', newer)
    main.sync()
    assert main.decide(OTHER) is expected
    main.approve(newer)
    main.sync()
    assert main.decide(OTHER) is Reason.APPROVED


def test_new_image_of_an_updated_list_is_not_approved_by_that(main):
    main.change('main', approval=Approval.LISTED)
    entry = image(DATA)
    main.publish('main', '1', entry)
    main.approve(entry)
    main.publish('main', '2', entry, image(OTHER))
    main.sync()
    assert main.decide(OTHER) is Reason.NOT_APPROVED


def test_approval_for_one_subscription_is_none_for_another(main):
    entry = image(DATA)
    main.change('main', approval=Approval.LISTED)
    main.follow('second', approval=Approval.LISTED)
    main.publish('second', '1', entry)
    main.publish('main', '1')
    main.approve(entry, 'main')
    main.sync()
    assert main.decide(DATA) is Reason.NOT_APPROVED


def test_changed_rule_holds_after_the_next_sync_even_without_the_server(main):
    main.publish('main', '1', image(DATA))
    main.sync()
    record = main.record(DATA)
    main.silence('main')
    main.change('main', approval=Approval.NONE)
    main.sync()
    assert main.decide(DATA) is Reason.NOT_APPROVED
    assert main.image_state(record) == 'withdrawn not-approved'
    main.change('main', approval=Approval.ALL)
    main.sync()
    assert main.decide(DATA) is Reason.APPROVED
    assert main.image_state(record) == 'withdrawn not-approved'


# For which projects


def test_list_is_good_for_its_projects(main):
    main.change('main', projects=frozenset({'mine'}))
    main.publish('main', '1', image(DATA))
    main.sync()
    assert main.decide(DATA, 'mine') is Reason.APPROVED
    assert main.decide(DATA, 'theirs') is Reason.WRONG_PROJECT


def test_projects_change_without_the_server(main):
    main.publish('main', '1', image(DATA))
    main.sync()
    record = main.record(DATA)
    main.silence('main')
    main.change('main', projects=frozenset({'mine'}))
    main.sync()
    assert main.decide(DATA, 'theirs') is Reason.WRONG_PROJECT
    assert main.image_state(record) == 'positive'


@pytest.mark.parametrize('vo', ['example.vo', 'another.vo', None])
def test_projects_of_a_vo(main, vo):
    main.change(
        'main',
        vo_projects={
            'example.vo': frozenset({'p1', 'p2'}),
            'another.vo': frozenset({'p3'}),
        },
    )
    main.publish('main', '1', image(DATA), vo=vo)
    main.sync()
    expected = {'example.vo': {'p1', 'p2'}, 'another.vo': {'p3'}, None: set()}
    for project in ('p1', 'p2', 'p3', 'p4'):
        approved = main.decide(DATA, project) is Reason.APPROVED
        assert approved is (project in expected[vo])
    main.sync()
    assert (main.decide(DATA, 'p1') is Reason.APPROVED) is (vo == 'example.vo')


def test_vo_projects_of_an_unchanged_list_hold_without_the_server(main):
    main.publish('main', '1', image(DATA), vo='example.vo')
    main.sync()
    main.silence('main')
    main.change('main', vo_projects={'example.vo': frozenset({'p1'})})
    main.sync()
    assert main.decide(DATA, 'p1') is Reason.APPROVED
    assert main.decide(DATA, 'p2') is Reason.WRONG_PROJECT


def test_projects_and_vo_projects_both_have_to_allow():
    rule = subscription.Subscription(
        name='main',
        url='',
        list_identifier='',
        endorser_subject='',
        endorser_issuer='',
        trust_anchors='',
        projects=frozenset({'p1'}),
        vo_projects={'vo': frozenset({'p1', 'p2'})},
    )
    assert rule.projects_for('vo') == {'p1'}
    assert rule.projects_for('other') == frozenset()
    assert rule.projects_for(None) == frozenset()
    everybody = dataclasses.replace(rule, vo_projects={}, projects=None)
    assert everybody.projects_for('vo') is None
    assert settle.projects_text(everybody, 'vo') is None
    assert settle.projects_text(rule, 'vo') == '["p1"]'


def test_list_max_age_of_the_subscription_counts(main):
    main.change('main', list_max_age=1000)
    main.publish('main', '1', image(DATA))
    main.sync()
    main.silence('main')
    main.sync(after=1001)
    assert main.decide(DATA) is Reason.LIST_STALE
    main.change('main', list_max_age=2000)
    main.sync()
    assert main.decide(DATA) is Reason.APPROVED


# Subscriptions come and go


def test_subscription_that_left_the_configuration_approves_nothing(main):
    main.publish('main', '1', image(DATA))
    main.sync()
    record = main.record(DATA)
    gone = main.configured.pop('main')
    main.sync()
    assert main.decide(DATA) is Reason.UNSUBSCRIBED
    assert main.image_state(record) == 'withdrawn unsubscribed'
    assert main.events()[-1] == 'unsubscribed'
    main.sync()
    assert main.events().count('unsubscribed') == 1
    main.configured['main'] = gone
    main.sync()
    assert main.decide(DATA) is Reason.APPROVED
    assert main.image_state(record) == 'withdrawn unsubscribed'


def test_returning_subscription_still_knows_what_it_has_seen(main):
    main.publish('main', '5', image(DATA))
    main.sync()
    gone = main.configured.pop('main')
    main.sync()
    main.configured['main'] = gone
    main.publish('main', '4', image(OTHER))
    assert main.sync()['main'].code == 'rollback'


def test_only_named_subscriptions_are_synced(main):
    main.follow('second')
    main.publish('main', '1', image(DATA))
    main.publish('second', '1', image(OTHER))
    reports = main.sync('second')
    assert set(reports) == {'second'}
    assert main.decide(DATA) is Reason.NOT_ENDORSED
    assert main.decide(OTHER) is Reason.APPROVED


def test_syncing_one_does_not_unsubscribe_the_others(main):
    main.follow('second')
    main.publish('main', '1', image(DATA))
    main.publish('second', '1', image(OTHER))
    main.sync()
    main.sync('second')
    assert main.decide(DATA) is Reason.APPROVED


def test_name_that_is_not_configured_is_refused_before_anything(main):
    main.publish('main', '1', image(DATA))
    with pytest.raises(
        errors.Misconfigured, match='subscription typo: expected one of main'
    ):
        main.sync('typo', 'main')
    assert main.decide(DATA) is Reason.NOT_ENDORSED


def test_site_without_subscriptions_syncs_nothing(site):
    assert site.sync() == {}


# Records follow


def held(site: following.Site) -> str:
    site.publish('main', '1', image(DATA))
    site.sync()
    return site.record(DATA)


def test_withdrawn_image_withdraws_its_record_for_good(main):
    record = held(main)
    assert main.image_state(record) == 'positive'
    main.publish('main', '2')
    main.sync()
    (withdrawal,) = main.withdrawals
    assert (withdrawal.image_id, withdrawal.code) == (
        record,
        Reason.WITHDRAWN,
    )
    assert main.image_state(record) == 'withdrawn withdrawn'
    assert main.events(record)[-1] == 'record-withdrawn'
    main.publish('main', '3', main_entry(main))
    main.sync()
    assert main.withdrawals == ()
    assert main.image_state(record) == 'withdrawn withdrawn'
    again = main.record(DATA)
    main.sync()
    assert main.image_state(again) == 'positive'


def main_entry(site: following.Site):
    return image(DATA, identifier=site.images()[0].identifier)


def test_record_of_bytes_that_nobody_endorses_is_withdrawn(main):
    main.publish('main', '1')
    record = main.record(b'slipped in')
    main.sync()
    assert main.image_state(record) == 'withdrawn not-endorsed'


def test_import_that_is_under_way_is_ended_by_a_withdrawal(main):
    held(main)
    with main.database.reading() as connection:
        assert store.records(connection)
    writer = records.Records(main.database)
    content = endorser.make_image(DATA).sha512
    writer.verified('under way', 'task', '', content, len(DATA), 1, main.now)
    main.publish('main', '2')
    main.sync()
    assert main.image_state('under way') == 'withdrawn withdrawn'
    with pytest.raises(errors.NotBelieved):
        writer.positive('under way', 'task', content, len(DATA), main.now)


def test_second_endorser_keeps_the_record_positive(main):
    main.follow('second')
    main.publish('second', '1', image(DATA))
    record = held(main)
    main.publish('main', '2')
    main.sync()
    assert main.image_state(record) == 'positive'
    main.silence('second')
    main.sync(after=8 * endorser.DAY_SECONDS)
    assert main.decide(DATA) is Reason.LIST_STALE
    assert main.image_state(record) == 'positive'


def test_withdrawal_waits_for_no_other_subscription(main):
    record = held(main)
    main.follow('second')
    main.publish('main', '2')
    main.sync('second')
    assert main.image_state(record) == 'positive'
    main.sync('main')
    assert main.image_state(record) == 'withdrawn withdrawn'


# The store fails


def test_store_that_is_away_is_one_error(main, tmp_path):
    main.close()
    (tmp_path / 'catalogue.sqlite').unlink()
    main.publish('main', '1', image(DATA))
    with pytest.raises(errors.LocalFault, match='catalogue cannot be writ'):
        sync.run(
            main.database, main.configured, fetch.FetchSettings(), main.now
        )


def test_reports_are_told_as_they_come_and_logged(main, caplog):
    caplog.set_level('INFO')
    main.publish('main', '1', image(DATA))
    told: list[sync.Report] = []
    main.sync(told=told.append)
    assert [report.subscription for report in told] == ['main']
    assert (
        'verdict=accepted subscription=main list-version=1 '
        'standing=trusted code=ok' in caplog.text
    )
    record = main.record(DATA)
    main.publish('main', '2')
    main.sync()
    assert f'verdict=withdrawn image={record} code=withdrawn' in caplog.text

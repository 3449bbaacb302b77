# SPDX-License-Identifier: Apache-2.0
"""When a subscription is tried next: on time, later after failures, at once
when its group was edited.
"""

from __future__ import annotations

import datetime

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import planning
from hepix_vm.catalogue import sync
from hepix_vm.catalogue import timing as timing_
from hepix_vm import errors
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers

image = endorser.make_image
Outcome = sync.Outcome
TIMING = timing_.Timing(
    interval=3600, retry_first=60, retry_longest=1000, jitter=10
)


def middle() -> float:
    """No jitter."""
    return 0.5


def lowest() -> float:
    """As early as jitter makes it."""
    return 0.0


def highest() -> float:
    """As late as jitter makes it."""
    return 0.999999


# Waits


@pytest.mark.parametrize(
    ('failures', 'seconds'),
    [
        (0, 3600),
        (1, 60),
        (2, 120),
        (3, 240),
        (4, 480),
        (5, 960),
        (6, 1000),
        (7, 1000),
        (10**9, 1000),
    ],
)
def test_wait_doubles_with_each_failure_up_to_its_longest(failures, seconds):
    assert timing_.wait(TIMING, failures, middle) == seconds


@pytest.mark.parametrize(
    ('failures', 'chance', 'seconds'),
    [
        (0, lowest, 3240),
        (0, highest, 3960),
        (1, lowest, 54),
        (1, highest, 66),
        (9, lowest, 900),
        (9, highest, 1100),
    ],
)
def test_jitter_varies_each_wait_by_so_many_percent(failures, chance, seconds):
    assert timing_.wait(TIMING, failures, chance) == seconds


def test_wait_is_never_nothing():
    hasty = timing_.Timing(interval=1, retry_first=1, jitter=50)
    assert timing_.wait(hasty, 0, lowest) == 1
    assert timing_.wait(hasty, 1, lowest) == 1


def test_subscription_has_an_interval_of_its_own_and_retries_as_all():
    assert timing_.wait(TIMING, 0, middle, own_interval=86400) == 86400
    assert timing_.wait(TIMING, 1, middle, own_interval=86400) == 60


@pytest.mark.parametrize(
    ('retry_after', 'seconds'),
    [(0, 60), (30, 60), (120, 120), (3961, 3961), (10**7, 3961)],
)
def test_server_can_ask_for_more_time_within_limits(retry_after, seconds):
    assert TIMING.longest() == 3961
    found = timing_.wait(TIMING, 1, middle, retry_after=retry_after)
    assert found == seconds


def test_what_a_server_asked_for_counts_after_a_failure_only():
    assert timing_.wait(TIMING, 0, middle, retry_after=10**6) == 3600


@pytest.mark.parametrize(
    ('next_attempt', 'due'),
    [
        (None, True),
        (999, True),
        (1000, True),
        (1001, False),
        (1000 + 3961, False),
        (1000 + 3962, True),
    ],
)
def test_time_that_no_wait_leads_to_is_of_a_wrong_clock(next_attempt, due):
    assert timing_.is_due(TIMING, next_attempt, 1000) is due


def test_own_interval_makes_longer_waits_believable():
    assert not timing_.is_due(TIMING, 80000, 1000, own_interval=86400)


# Through a sync


@pytest.fixture
def held(main):
    main.publish('main', '1', image(b'an image'))
    main.sync(timing=TIMING)
    return main


def fared(site: following.Site, name: str = 'main') -> tuple[int, int]:
    """Failures in a row, and seconds until the next attempt."""
    state = site.state(name)
    assert state.next_attempt is not None
    return state.failures, state.next_attempt - site.now


def test_attempts_that_fail_are_put_off_and_a_good_one_ends_that(held):
    assert fared(held) == (0, 3600)
    held.silence('main')
    for failures, seconds in ((1, 60), (2, 120), (3, 240)):
        held.sync(after=60, timing=TIMING)
        assert fared(held) == (failures, seconds)
    held.publish('main', '2', image(b'another'))
    assert held.sync(after=60, timing=TIMING)['main'].well
    assert fared(held) == (0, 3600)
    held.serve('main', b'garbage')
    held.sync(after=60, timing=TIMING)
    assert fared(held) == (1, 60)


def test_unchanged_list_is_a_good_attempt(held):
    held.silence('main')
    held.sync(timing=TIMING)
    held.publish('main', '2', image(b'another'))
    held.sync(timing=TIMING)
    again = held.sync(after=10, timing=TIMING)['main']
    assert again.outcome is Outcome.UNCHANGED
    assert fared(held) == (0, 3600)


def test_group_that_cannot_be_used_is_put_off_too(held):
    held.change('main', endorser_subject='no name')
    held.sync(timing=TIMING)
    assert fared(held) == (1, 60)


def test_subscription_says_how_often_it_is_asked(held):
    held.change('main', sync_interval=7200)
    held.sync(timing=TIMING)
    assert fared(held) == (0, 7200)


@pytest.mark.parametrize(
    ('code', 'seconds'), [(503, 500), (429, 500), (404, 500)]
)
def test_server_that_asks_to_wait_is_heard(held, code, seconds):
    with servers.running() as server:
        behaviour = servers.status(code, **{'Retry-After': '500'})
        held.change('main', url=server.tell('/list', behaviour))
        report = held.sync(timing=TIMING)['main']
    assert report.outcome is Outcome.UNREACHABLE
    assert 'asks to wait 500 s' in report.detail
    assert fared(held) == (1, seconds)


def test_only_what_is_due_is_fetched(held):
    held.follow('second')
    held.publish('second', '1', image(b'second'))
    reports = held.sync(after=10, timing=TIMING, due=True)
    assert set(reports) == {'second'}
    assert held.sync(after=10, timing=TIMING, due=True) == {}
    reports = held.sync(after=3580, timing=TIMING, due=True)
    assert set(reports) == {'main'}
    assert set(held.sync(timing=TIMING)) == {'main', 'second'}


@pytest.mark.parametrize(
    'changes',
    [
        {'url': 'file:///nowhere'},
        {'endorser_subject': 'CN=Somebody Else'},
        {'pins': frozenset({'0' * 64})},
        {'threshold': 2},
        {'crl': 'if-present'},
        {'list_identifier': following.identifier_of('other')},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_edited_group_is_due_at_once(held, changes):
    held.change('main', **changes)
    assert set(held.sync(after=10, timing=TIMING, due=True)) == {'main'}
    assert held.sync(after=1, timing=TIMING, due=True) == {}


def test_edited_group_of_a_server_that_failed_is_due_at_once(main):
    main.sync(timing=TIMING)
    assert fared(main) == (1, 60)
    main.publish('main', '1', image(b'an image'))
    assert main.sync(after=1, timing=TIMING, due=True) == {}
    main.change('main', url=main.configured['main'].url + '?')
    assert set(main.sync(after=1, timing=TIMING, due=True)) == {'main'}


def test_subscription_that_comes_back_is_due_at_once(held):
    gone = held.configured.pop('main')
    held.sync(timing=TIMING)
    assert not held.state().configured
    held.configured['main'] = gone
    report = held.sync(after=1, timing=TIMING, due=True)['main']
    assert report.outcome is Outcome.UNCHANGED
    assert held.state().configured
    assert held.decide(b'an image') == 'approved'


def test_other_server_is_not_asked_with_what_the_first_one_said(held):
    with servers.running() as server:
        message = held.publish('main', '2', image(b'an image'))
        behaviour = servers.revalidated(message, '"2"', 'today')
        for path in ('/one', '/one', '/two'):
            held.change('main', url=server.tell(path, behaviour))
            held.sync(timing=TIMING)
        asked = [(p, h.get('If-None-Match')) for p, h in server.asked]
    assert asked == [('/one', None), ('/one', '"2"'), ('/two', None)]


def test_servers_that_failed_before_are_asked_last(held):
    for name in ('a', 'b'):
        held.follow(name)
    held.publish('b', '1', image(b'of b'))
    held.sync(timing=TIMING)
    asked: list[str] = []

    def fetch_list(url: str, *_: object) -> object:
        asked.append(url.rpartition('/')[2])
        raise errors.TryAgain('away')

    settings = fetch.FetchSettings(parallel=1)
    held.sync(settings=settings, fetch_list=fetch_list)
    assert asked == ['main', 'b', 'a']


# When there is something to do next


def next_due(site: following.Site) -> int | None:
    found = planning.next_due(site.database, site.configured, TIMING, site.now)
    return None if found is None else found - site.now


def test_next_run_is_when_the_first_is_due(held):
    assert next_due(held) == 3600
    held.follow('second')
    assert next_due(held) == 0
    held.sync(timing=TIMING)
    assert next_due(held) == 60
    held.now += 100
    assert next_due(held) == 0


@pytest.mark.parametrize(
    ('gathered', 'seconds'), [(3, 0), (2, 1), (1, 2), (0.01, 30)]
)
def test_runs_of_many_subscriptions_are_some_seconds_apart(
    held, monkeypatch, gathered, seconds
):
    held.follow('second')
    assert next_due(held) == 0
    monkeypatch.setattr(planning, 'GATHERED', gathered)
    assert next_due(held) == seconds
    held.sync(timing=TIMING)
    held.now += 100
    assert next_due(held) == seconds


def test_next_run_is_when_a_revocation_list_ends_if_that_is_sooner(site):
    soon = 600
    by = endorser.Endorser.create(name='Soon', now=endorser.utc(site.now))
    site.follow('main', by)
    by.write_trust_anchors(
        site.anchors, crl_lifetime=datetime.timedelta(seconds=soon)
    )
    site.publish('main', '1', image(b'an image'))
    site.sync(timing=TIMING)
    found = next_due(site)
    assert found is not None
    assert 0 < found <= soon


def test_nothing_is_due_where_nothing_can_be_used(site):
    assert next_due(site) is None
    site.configured['main'] = errors.Misconfigured('a typing error')
    assert next_due(site) is None

# SPDX-License-Identifier: Apache-2.0
"""How a subscription fares, in a word or two."""

from __future__ import annotations

import pytest

from hepix_vm.catalogue import condition
from hepix_vm.catalogue import model
from hepix_vm.catalogue import store
from hepix_vm.catalogue import sync
from tests import endorser

DAY = endorser.DAY_SECONDS


def state(**changes) -> store.SubscriptionState:
    """A list of time 1000 that may be a day old and ends after ten."""
    values = dict.fromkeys(store.SubscriptionState.__dataclass_fields__) | {
        'name': 'main',
        'configured': True,
        'standing': model.Standing.TRUSTED,
        'list_id': 1,
        'expires': 1000 + 10 * DAY,
        'verified_at': 1000,
        'max_age': DAY,
    }
    return store.SubscriptionState(**(values | changes))


@pytest.mark.parametrize(
    ('changes', 'now', 'said'),
    [
        ({}, 1000, 'fresh'),
        ({}, 1000 + DAY, 'fresh'),
        ({}, 1001 + DAY, 'stale (not seen)'),
        ({'max_age': 99 * DAY}, 999 + 10 * DAY, 'fresh'),
        ({'max_age': 99 * DAY}, 1000 + 10 * DAY, 'stale (expired)'),
        ({}, 1000 - 300, 'fresh'),
        ({}, 1000 - 301, 'stale (clock)'),
        ({'standing': model.Standing.REVOKED}, 1000, 'revoked'),
        ({'standing': model.Standing.DISTRUSTED}, 1000, 'distrusted'),
        ({'standing': model.Standing.UNSUBSCRIBED}, 1000, 'unsubscribed'),
        ({'configured': False}, 1000, 'unsubscribed'),
        ({'list_id': None}, 1000, 'never synced'),
        ({'verified_at': None}, 1000, 'never synced'),
        ({'expires': None}, 1000, 'never synced'),
        ({'standing': model.Standing.REVOKED}, 99 * DAY, 'revoked'),
    ],
)
def test_stored_list_fares(changes, now, said):
    assert str(condition.of(state(**changes), now)) == said


def test_group_that_is_gone_or_broken_comes_first():
    revoked = state(standing=model.Standing.REVOKED)
    assert str(condition.of(revoked, 1, is_configured=False)) == 'unsubscribed'
    broken = condition.of(revoked, 1, is_configured=False, is_broken=True)
    assert broken == condition.Condition(condition.State.MISCONFIGURED)
    assert str(broken) == 'misconfigured'
    assert str(condition.of(None, 1)) == 'never synced'


def test_fresh_is_what_decisions_approve_and_stale_what_they_pass_over(main):
    data = b'an image'
    main.publish('main', '1', endorser.make_image(data))
    main.sync()
    main.silence('main')
    for after, said, reason in (
        (0, 'fresh', 'approved'),
        (8 * DAY, 'stale (not seen)', 'list-stale'),
        (90 * DAY, 'stale (expired)', 'list-expired'),
    ):
        main.now += after
        assert str(condition.of(main.state(), main.now)) == said
        assert main.decide(data) == reason
    assert main.sync()['main'].outcome is sync.Outcome.UNREACHABLE

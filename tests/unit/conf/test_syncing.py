# SPDX-License-Identifier: Apache-2.0
"""Group ``[sync]``, and what a subscription says instead."""

from __future__ import annotations

import pytest

from hepix_vm.catalogue import timing
from hepix_vm import conf
from hepix_vm.conf import subscription
from hepix_vm.conf import sync
from hepix_vm import errors

GROUP = """
[subscription:grid]
url = https://lists.test/list
list_identifier = 4e186b44-2c64-40ea-97d5-e9e5c0bce059
endorser_subject = CN=Jane Doe
endorser_issuer = CN=CA
"""


@pytest.fixture
def loaded(tmp_path):
    def load(text: str):
        path = tmp_path / 'hepix_vm.conf'
        path.write_text(text)
        path.chmod(0o640)
        return conf.load([str(path)])

    return load


def test_defaults_are_those_of_the_value(loaded):
    assert sync.settings(loaded('')) == timing.Timing()


def test_each_option_arrives(loaded):
    text = (
        '[sync]\ninterval = 600\nretry_first = 5\nretry_longest = 50\n'
        'jitter = 0\n'
    )
    assert sync.settings(loaded(text)) == timing.Timing(600, 5, 50, 0)


def test_longest_wait_is_not_shorter_than_the_first(loaded):
    with pytest.raises(errors.Misconfigured, match='retry_longest'):
        sync.settings(loaded('[sync]\nretry_longest = 30\n'))


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('interval', 59),
        ('retry_first', 0),
        ('retry_longest', 0),
        ('jitter', -1),
        ('jitter', 51),
    ],
)
def test_value_out_of_its_range_is_refused(loaded, option, value):
    with pytest.raises(errors.Misconfigured, match=option):
        loaded(f'[sync]\n{option} = {value}\n')


def test_subscription_has_an_interval_of_its_own_if_it_says_so(loaded):
    plain = subscription.subscriptions(loaded(GROUP))['grid']
    own = subscription.subscriptions(loaded(GROUP + 'sync_interval = 60'))
    assert plain.sync_interval is None
    assert own['grid'].sync_interval == 60
    short = subscription.subscriptions(loaded(GROUP + 'sync_interval = 59'))
    assert isinstance(short['grid'], errors.Misconfigured)

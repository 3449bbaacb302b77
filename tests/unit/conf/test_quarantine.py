# SPDX-License-Identifier: Apache-2.0
"""How images are tried out, as the groups of the file say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hepix_vm import conf
from hepix_vm.conf import precache
from hepix_vm.conf import quarantine
from hepix_vm.conf import subscription
from hepix_vm import errors
from hepix_vm.nova import console

ACCOUNT = """\
auth_type = password
auth_url = http://keystone.test/v3
username = trial
password = secret
project_name = trial
user_domain_id = default
project_domain_id = default
"""


@pytest.fixture
def read(tmp_path):
    """A configuration of this text."""

    def load(text: str) -> Any:
        path = tmp_path / 'hepix_vm.conf'
        path.write_text(text)
        path.chmod(0o640)
        return conf.load([str(path)])

    return load


def place(loaded: Any, cloud: str = 'default') -> Any:
    return quarantine.place(loaded, cloud)


def test_all_options_are_taken_over(read):
    found = place(
        read(
            '[quarantine]\nflavor = tiny\nnetworks = a, b\n'
            'availability_zone = lab\nactive_timeout = 5\nboot_timeout = 6\n'
            f'console_line = login:\n{ACCOUNT}'
        )
    )
    settings = found.settings
    assert (settings.flavor, settings.networks) == ('tiny', ('a', 'b'))
    assert (settings.zone, settings.active_within) == ('lab', 5)
    assert settings.good_within == 6
    assert settings.proof == console.Text('login:')
    assert found.session().auth is not None
    assert found.session().timeout == 120


def test_account_is_the_publishing_one_unless_it_is_said(read):
    loaded = read('[quarantine]\nflavor = tiny\nconsole_line = x\n')
    assert place(loaded).session() is None
    assert place(loaded).settings.networks == ()


@pytest.mark.parametrize(
    ('line', 'proof'),
    [
        ('console_expression = ^a+$', console.Expression('^a+$')),
        ('script = /opt/site/judge', Path('/opt/site/judge')),
    ],
    ids=['expression', 'script'],
)
def test_each_proof_is_a_value(read, line, proof):
    loaded = read(f'[quarantine]\nflavor = tiny\n{line}\n')
    assert place(loaded).settings.proof == proof


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        ('console_line = x', 'option flavor is missing'),
        ('flavor = tiny', 'expected one of console_line, .* found none'),
        (
            'flavor = tiny\nconsole_line = x\nscript = /a',
            'found console_line and script',
        ),
        ('flavor = tiny\nscript = judge', 'expected an absolute path'),
        ('flavor = tiny\nconsole_expression = (', 'in the syntax of RE2'),
    ],
    ids=['flavor', 'none', 'two', 'relative', 'expression'],
)
def test_what_is_wrong_is_kept_for_those_who_need_it(read, lines, words):
    found = place(read(f'[quarantine]\n{lines}\n'))
    with pytest.raises(errors.Misconfigured, match=words):
        raise found.settings


def test_wrong_account_is_told_when_it_is_used(read):
    found = place(read('[quarantine]\nauth_type = nothing-like-it\n'))
    with pytest.raises(errors.Misconfigured, match=r'group \[quarantine\]'):
        found.session()


def test_further_cloud_has_a_group_of_its_own_or_the_publishing_account(read):
    loaded = read(
        f'[quarantine]\nflavor = tiny\nconsole_line = x\n{ACCOUNT}'
        '[quarantine:north]\nflavor = large\nconsole_line = y\n'
        f'{ACCOUNT}'
    )
    north, south = place(loaded, 'north'), place(loaded, 'south')
    assert (north.settings.flavor, north.group) == (
        'large',
        'quarantine:north',
    )
    assert north.session() is not None
    assert south.settings.flavor == 'tiny'
    assert south.session() is None


def test_wrong_value_in_the_group_of_a_further_cloud_is_kept(read):
    loaded = read('[quarantine:north]\nboot_timeout = soon\n')
    with pytest.raises(errors.Misconfigured, match='quarantine:north'):
        raise place(loaded, 'north').settings


GROUP = """\
[subscription:main]
url = http://example.org/list
list_identifier = 0c6a3f0e-58c3-4d8b-b0a0-6f2b6e6f6d01
endorser_subject = CN=Jane Doe,O=Example,C=CH
endorser_issuer = CN=Example CA,O=Example,C=CH
"""


def test_subscription_asks_for_it(read):
    asking = subscription.subscriptions(read(f'{GROUP}quarantine = true\n'))
    assert asking['main'].quarantine
    assert not subscription.subscriptions(read(GROUP))['main'].quarantine


def test_options_of_hosts_that_fetch_beforehand(read):
    assert precache.settings(read('')).aggregates == ()
    found = precache.settings(
        read(
            '[precache]\naggregates = fast, big, fast\n'
            'subscriptions = main, other\nrefresh = 60\n'
        )
    )
    assert found.aggregates == ('fast', 'big')
    assert found.subscriptions == {'main', 'other'}
    assert found.again_after == 60
    assert precache.settings(read('')).subscriptions is None

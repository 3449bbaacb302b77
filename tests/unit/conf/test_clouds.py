# SPDX-License-Identifier: Apache-2.0
"""Several clouds from one configuration, and whose password goes where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hepix_vm.cli import configured
from hepix_vm import conf
from hepix_vm.conf import openstack
from hepix_vm import errors

FIRST = """
[openstack]
auth_type = password
auth_url = http://127.0.0.1:1/v3
username = us
password = hush
project_name = images
user_domain_id = default
project_domain_id = default
region_name = north
import_deadline = 77
timeout = 5
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Any:
    def load(text: str) -> Any:
        file = tmp_path / 'hepix_vm.conf'
        file.write_text(text)
        file.chmod(0o640)
        return conf.load([str(file)])

    return load


def account(session: Any) -> tuple[str, str | None, str | None]:
    """User, password and project; keystoneauth keeps them to itself."""
    auth = session.auth
    return auth._username, auth._password, auth._project_name


def test_without_further_groups_there_is_one_cloud(loaded):
    made = loaded(FIRST)
    assert openstack.clouds(made) == ()
    assert openstack.options(made)['region_name'] == 'north'
    assert list(configured.site(made).clouds) == ['default']


def test_another_region_takes_the_account_and_what_it_does_not_set(loaded):
    made = loaded(
        f'{FIRST}\n[openstack:south]\nregion_name = south\ntimeout = 9\n'
    )
    assert openstack.clouds(made) == ('south',)
    found = openstack.options(made, 'south')
    assert (found['region_name'], found['import_deadline']) == ('south', 77)
    session = openstack.session(made, 'south')
    assert session.timeout == 9
    assert session.auth.auth_url == 'http://127.0.0.1:1/v3'
    assert account(session) == ('us', 'hush', 'images')
    # The first one is as it was.
    first = openstack.session(made)
    assert first.timeout == 5
    assert openstack.options(made)['region_name'] == 'north'


def test_another_keystone_is_told_no_password_of_ours(loaded):
    made = loaded(
        f'{FIRST}\n[openstack:partner]\nauth_type = password\n'
        'auth_url = http://127.0.0.1:2/v3\nusername = them\n'
    )
    session = openstack.session(made, 'partner')
    assert session.auth.auth_url == 'http://127.0.0.1:2/v3'
    assert account(session) == ('them', None, None)
    # What is no account is taken over all the same.
    assert openstack.options(made, 'partner')['import_deadline'] == 77


def test_keystone_alone_is_no_account(loaded):
    made = loaded(
        f'{FIRST}\n[openstack:partner]\nauth_url = http://127.0.0.1:2/v3\n'
    )
    assert openstack.session(made, 'partner') is None


def test_account_of_another_kind(loaded):
    made = loaded(
        f'{FIRST}\n[openstack:partner]\n'
        'auth_type = v3applicationcredential\n'
        'auth_url = http://127.0.0.1:2/v3\n'
        'application_credential_id = an-id\n'
        'application_credential_secret = a-secret\n'
    )
    (method,) = openstack.session(made, 'partner').auth.auth_methods
    assert method.application_credential_id == 'an-id'


def test_default_cloud_without_an_account_is_left_out_when_others_have_one(
    loaded,
):
    text = FIRST.replace('[openstack]', '[openstack:only]')
    site = configured.site(loaded(text))
    assert list(site.clouds) == ['only']
    assert site.clouds['only'].region == 'north'
    assert site.clouds['only'].group == 'openstack:only'


@pytest.mark.parametrize('name', ['default', '', 'a b', '-x', 'x' * 65])
def test_name_that_cannot_be_used_is_one_sentence(loaded, name):
    made = loaded(f'{FIRST}\n[openstack:{name}]\nregion_name = south\n')
    with pytest.raises(errors.Misconfigured, match='rename the group'):
        openstack.clouds(made)


@pytest.mark.parametrize(
    'line', ['interface = secret', 'import_deadline = 1', 'auth_type = none2']
)
def test_mistake_in_a_further_group_names_it(loaded, line):
    made = loaded(f'{FIRST}\n[openstack:south]\n{line}\n')
    with pytest.raises(errors.Misconfigured, match=r'\[openstack:south\]'):
        openstack.options(made, 'south')
        openstack.session(made, 'south')


def test_manner_of_publishing(loaded):
    text = '[publish]\nkeep = 3\nparallel = 7\nmembers_interval = 5\nwait = 2'
    manner = configured.site(loaded(text)).publishing
    assert (manner.keep, manner.parallel) == (3, 7)
    assert (manner.members_age, manner.patience) == (5, 2)


def test_looks_of_a_cloud_are_read_when_they_are_needed(loaded):
    site = configured.site(loaded('[publish]\nname = {nothing}\n'))
    with pytest.raises(errors.Misconfigured, match='nothing'):
        site.cloud.rules()

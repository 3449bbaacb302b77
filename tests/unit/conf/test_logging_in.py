# SPDX-License-Identifier: Apache-2.0
"""A Keystone in trouble ends a login; the login never waits for itself."""

from __future__ import annotations

import threading

from hepix_vm import conf as options
from hepix_vm.conf import openstack
from keystoneauth1 import exceptions as ks_exc
import pytest

URL = 'http://keystone.example/v3'
#: Seconds: a machine may be busy.
LIMIT = 60


@pytest.fixture
def session(tmp_path):
    path = tmp_path / 'hepix_vm.conf'
    path.write_text(
        '[openstack]\nauth_type = password\n'
        f'auth_url = {URL}\nusername = me\npassword = x\n'
        'project_name = p\nuser_domain_id = default\n'
        'project_domain_id = default\n'
    )
    path.chmod(0o600)
    return openstack.session(options.load((str(path),)))


def logged_in(session) -> list[object]:
    """What comes of a login, in a thread that might not end."""
    came: list[object] = []

    def log_in() -> None:
        try:
            came.append(session.get_token())
        except ks_exc.ClientException as exc:
            came.append(exc)

    thread = threading.Thread(target=log_in, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), 'the login waits for itself'
    return came


def test_versions_that_need_a_login_do_not_end_it(
    session, requests_mock
) -> None:
    requests_mock.get(URL, status_code=401)
    requests_mock.post(
        f'{URL}/auth/tokens',
        json={
            'token': {
                'methods': ['password'],
                'expires_at': '2999-01-01T00:00:00Z',
                'issued_at': '2026-01-01T00:00:00Z',
                'user': {
                    'id': 'u',
                    'name': 'me',
                    'domain': {'id': 'default', 'name': 'Default'},
                },
            }
        },
        headers={'X-Subject-Token': 'a token'},
    )
    assert logged_in(session) == ['a token']


def test_a_refused_login_is_told(session, requests_mock) -> None:
    requests_mock.get(URL, status_code=401)
    requests_mock.post(f'{URL}/auth/tokens', status_code=401)
    (came,) = logged_in(session)
    assert isinstance(came, ks_exc.Unauthorized)

# SPDX-License-Identifier: Apache-2.0
"""A process of its own: what it needs, and what it refuses to start with."""

import contextlib
import json
import sys

from keystoneauth1 import exceptions as ks_exc
import pytest
import requests_mock

from hepix_vm.context import assembling
from hepix_vm.context import standalone
from hepix_vm import errors
from tests import catalogue_rows
from tests.unit.context import parts
from tests.unit.context import sites
from tests.unit.context import test_facts_api
from tests.unit.context import test_identity
from tests.unit.context import test_vendordata

KEYSTONE = 'http://keystone.example.org/v3'
NOVA = test_facts_api.NOVA


@pytest.fixture
def ended(monkeypatch):
    """Ends the threads that assembling began."""
    with contextlib.ExitStack() as stack:
        for module, name in (
            (assembling.site_state, 'SiteState'),
            (assembling.audit, 'Audit'),
            (assembling.following, 'Following'),
            (assembling.reader, 'shared'),
        ):
            really = getattr(module, name)

            def make(*arguments, really=really):
                made = really(*arguments)
                stack.callback(made.close)
                return made

            monkeypatch.setattr(module, name, make)
        yield


@pytest.fixture
def site(tmp_path):
    return sites.make(tmp_path / 'context')


@pytest.fixture
def config(tmp_path, site, ended):
    path = tmp_path / 'catalogue.sqlite'
    catalogue_rows.Rows(f'sqlite:///{path}').close()
    file = tmp_path / 'hepix_vm.conf'
    file.write_text(
        # Threads end in this time, and what Nova said is not asked anew.
        f'[catalogue]\nconnection = sqlite:///{path}\nstore_timeout = 60\n'
        f'[context]\ndirectory = {site}\nfacts_ttl = 3600\nbehind = direct\n'
        f'metadata_proxy_shared_secret = {test_identity.SECRET.decode()}\n'
        f'[openstack]\nauth_type = none\nendpoint = {NOVA}\n'
    )
    return file


@pytest.fixture
def nova():
    with requests_mock.Mocker() as mocker:
        mocker.get(
            f'{NOVA}/servers/{test_identity.UUID}',
            json={
                'server': test_facts_api.server(
                    test_identity.UUID, tenant_id=test_identity.PROJECT
                )
            },
        )
        mocker.get(f'{NOVA}/servers/detail', json={'servers': []})
        yield mocker


def _app(config):
    return standalone.assemble((str(config),))


def _ask(app, path='/context/default.tgz', **environ):
    return parts.ask(app, path, script='', **environ)


def _questions(nova):
    """About one instance; what has changed is asked besides."""
    return sum(
        one.path.endswith(test_identity.UUID) for one in nova.request_history
    )


def test_the_signature_is_believed_and_nova_asked(config, site, nova):
    app = _app(config)
    # However long it takes, what Nova said is still new.
    app._guests._wsgi._clock = lambda: 0.0
    for _ in range(3):
        assert _ask(app)[::2] == (200, sites.build(site).tgz)
    assert _questions(nova) == 1
    wrong = test_identity.signature(secret=b'guessed')
    assert _ask(app, HTTP_X_INSTANCE_ID_SIGNATURE=wrong)[0] == 403
    assert _ask(app, HTTP_X_TENANT_ID='another')[0] == 404
    assert _questions(nova) == 1


def test_nova_that_is_away_is_a_503(config):
    app = _app(config)
    with requests_mock.Mocker() as mocker:
        mocker.get(requests_mock.ANY, exc=ks_exc.ConnectFailure('no route'))
        assert _ask(app)[::2] == (503, b'')


@pytest.mark.parametrize(
    'path', ['/', '/latest/meta-data', '/vendordata', '/default.tgz']
)
def test_what_is_nova_s_is_not_here(config, nova, path):
    assert _ask(_app(config), path)[::2] == (404, b'')


@pytest.mark.parametrize(
    ('line', 'says'),
    [
        ('metadata_proxy_shared_secret', 'anybody could sign'),
        ('auth_type', r'\[openstack\]'),
    ],
)
def test_what_is_missing_is_told(config, line, says):
    config.write_text(
        ''.join(
            kept
            for kept in config.read_text().splitlines(True)
            if not kept.startswith(line)
        )
    )
    with pytest.raises(errors.Misconfigured, match=says):
        _app(config)


def test_a_configuration_that_cannot_be_used_ends_it(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(standalone, '_log', lambda files: None)
    monkeypatch.setenv(standalone.VARIABLE, str(tmp_path / 'no.conf'))
    with pytest.raises(SystemExit) as ended:
        standalone.make()
    assert ended.value.code == 2
    assert 'no.conf' in caplog.text


def test_the_environment_names_the_configuration(
    config, site, nova, monkeypatch
):
    monkeypatch.setattr(standalone, '_log', lambda files: None)
    monkeypatch.setenv(standalone.VARIABLE, str(config))
    assert _ask(standalone.make())[2] == sites.build(site).tgz


def test_options_of_the_log_that_say_nonsense_are_told(config):
    config.write_text('[DEFAULT]\nlog_config_append = /absent/log.ini\n')
    with pytest.raises(errors.Misconfigured, match=r'oslo\.log'):
        standalone._log((str(config),))


@pytest.fixture
def with_tokens(config):
    config.write_text(
        config.read_text()
        + f'[keystone_authtoken]\nwww_authenticate_uri = {KEYSTONE}\n'
        f'auth_type = none\nendpoint = {KEYSTONE}\n'
    )
    return config


def test_without_a_token_nobody_learns_anything(with_tokens, nova):
    pytest.importorskip('keystonemiddleware')
    app = _app(with_tokens)
    for headers in (
        {},
        # What the middleware would leave there.
        {'HTTP_X_IDENTITY_STATUS': 'Confirmed', 'HTTP_X_ROLES': 'service'},
    ):
        status, _, body = test_vendordata._ask(app, **headers)
        assert status == 401
        assert b'tgz' not in body
    assert nova.call_count == 0
    # Guests are served beside it.
    assert _ask(app)[0] == 200


def test_with_keystone_s_word_nova_is_answered(
    with_tokens, site, nova, monkeypatch
):
    """The middleware is real; what Keystone says of the token is not."""
    auth_token = pytest.importorskip('keystonemiddleware.auth_token')

    domain = {'id': 'd', 'name': 'Default'}

    def valid(self, token, *arguments, **keywords):
        assert token == 'nova-s'
        return {
            'token': {
                'methods': ['password'],
                'expires_at': '2999-01-01T00:00:00.000000Z',
                'issued_at': '2026-01-01T00:00:00.000000Z',
                'user': {'id': 'n', 'name': 'nova', 'domain': domain},
                'project': {'id': 's', 'name': 's', 'domain': domain},
                'roles': [{'id': 'r', 'name': 'service'}],
            }
        }

    monkeypatch.setattr(auth_token.AuthProtocol, 'fetch_token', valid)
    status, _, body = test_vendordata._ask(
        _app(with_tokens), HTTP_X_AUTH_TOKEN='nova-s'
    )
    assert status == 200
    found = json.loads(body)
    assert found['sha256_tar'] == sites.build(site).sha256_tar


def test_without_the_middleware_it_does_not_start(with_tokens, monkeypatch):
    monkeypatch.setitem(sys.modules, 'keystonemiddleware', None)
    with pytest.raises(errors.Misconfigured, match='keystonemiddleware'):
        _app(with_tokens)

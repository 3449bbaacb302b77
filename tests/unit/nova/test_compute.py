# SPDX-License-Identifier: Apache-2.0
"""What the quarantine and pre-caching ask of Nova over HTTP."""

from __future__ import annotations

from typing import Any

from keystoneauth1 import session as sessions
from keystoneauth1 import token_endpoint
import pytest
import requests
import requests_mock

from hepix_vm import errors
from hepix_vm.nova import compute
from hepix_vm.nova import quarantine
from tests.unit.nova import computes as c

URL = 'http://cloud.test'
SERVER = '0f0e0d0c-0000-4000-8000-00000000000a'


@pytest.fixture
def cloud():
    with requests_mock.Mocker() as mocker:
        mocker.get(
            f'{URL}/flavors/detail',
            json={
                'flavors': [
                    {'id': '1', 'name': 'tiny', 'links': []},
                    {'id': 'f00d', 'name': 'large', 'links': []},
                ]
            },
        )
        yield mocker


@pytest.fixture
def nova(cloud):
    session = sessions.Session(token_endpoint.Token(URL, 'token'))
    return compute.Compute(session, None, 'public', 'quarantine')


def shown(**changes: Any) -> dict[str, Any]:
    return {
        'id': SERVER,
        'name': c.NAME,
        'status': 'ACTIVE',
        'metadata': {quarantine.KEY: c.IMAGE},
        'addresses': {},
    } | changes


@pytest.mark.parametrize(
    ('changes', 'body'),
    [
        (
            {},
            {'flavorRef': '1', 'networks': 'none'},
        ),
        (
            {'flavor': 'f00d', 'networks': ('a', 'b'), 'zone': 'lab'},
            {
                'flavorRef': 'f00d',
                'networks': [{'uuid': 'a'}, {'uuid': 'b'}],
                'availability_zone': 'lab',
            },
        ),
    ],
    ids=['plain', 'all'],
)
def test_server_is_made_as_the_settings_say(cloud, nova, changes, body):
    made = cloud.post(f'{URL}/servers', json={'server': shown()})
    assert nova.create(c.NAME, c.IMAGE, c.settings(**changes)) == SERVER
    sent = made.last_request.json()['server']
    assert (
        sent
        == {
            'name': c.NAME,
            'imageRef': c.IMAGE,
            'metadata': {quarantine.KEY: c.IMAGE},
            'min_count': 1,
            'max_count': 1,
        }
        | body
    )
    version = made.last_request.headers['OpenStack-API-Version']
    assert version == f'compute {compute.VERSION}'


def test_flavor_that_is_not_there_is_said(nova):
    with pytest.raises(errors.Misconfigured, match=r"flavor.*'huge'"):
        nova.create(c.NAME, c.IMAGE, c.settings(flavor='huge'))


def test_server_is_a_value_and_none_when_it_is_gone(cloud, nova):
    path = f'{URL}/servers/{SERVER}'
    cloud.get(
        path,
        json={
            'server': shown(
                status='ERROR',
                fault={'message': 'No valid host', 'code': 500},
                addresses={
                    'lab': [
                        {'addr': '192.0.2.7', 'version': 4},
                        {'addr': '2001:db8::7', 'version': 6},
                    ]
                },
            )
        },
    )
    assert nova.server(SERVER) == quarantine.Server(
        SERVER,
        'ERROR',
        c.IMAGE,
        'No valid host',
        {'lab': ('192.0.2.7', '2001:db8::7')},
    )
    cloud.get(path, json={'server': shown(status='SOFT_DELETED')})
    assert nova.server(SERVER) is None
    cloud.get(path, status_code=404)
    assert nova.server(SERVER) is None


def test_server_whose_cell_does_not_answer_is_not_known(cloud, nova):
    partial = {'id': SERVER, 'status': 'UNKNOWN', 'tenant_id': 'a project'}
    cloud.get(f'{URL}/servers/{SERVER}', json={'server': partial})
    with pytest.raises(errors.TryAgain, match='its cell does not answer'):
        nova.server(SERVER)


def test_servers_of_a_name_are_those_of_exactly_that_name(cloud, nova):
    listed = cloud.get(
        f'{URL}/servers/detail',
        json={
            'servers': [
                shown(),
                shown(id='b', name=f'{c.NAME}b'),
                shown(id='c', status='DELETED'),
                shown(id='d', metadata={}),
            ]
        },
    )
    found = nova.named(c.NAME)
    assert [(one.server_id, one.image_id) for one in found] == [
        (SERVER, c.IMAGE),
        ('d', ''),
    ]
    # In its own project only.
    assert listed.last_request.qs == {'name': [f'^{c.NAME}$']}


def test_console_is_asked_for_whole(cloud, nova):
    asked = cloud.post(
        f'{URL}/servers/{SERVER}/action', json={'output': 'login:'}
    )
    assert nova.console(SERVER) == 'login:'
    assert asked.last_request.json() == {
        'os-getConsoleOutput': {'length': None}
    }


def test_server_that_is_gone_already_is_deleted(cloud, nova):
    deleted = cloud.delete(f'{URL}/servers/{SERVER}', status_code=404)
    nova.delete(SERVER)
    assert deleted.called


def test_aggregates_are_known_by_their_names_and_asked_by_their_ids(
    cloud, nova
):
    cloud.get(
        f'{URL}/os-aggregates',
        json={'aggregates': [{'id': 7, 'name': 'fast', 'hosts': []}]},
    )
    assert nova.aggregates() == {'fast': 7}
    asked = cloud.post(f'{URL}/os-aggregates/7/images', status_code=202)
    nova.cache_images(7, iter(['a', 'b']))
    assert asked.last_request.json() == {'cache': [{'id': 'a'}, {'id': 'b'}]}


CALLS = {
    'create': lambda nova: nova.create(c.NAME, c.IMAGE, c.settings()),
    'server': lambda nova: nova.server(SERVER),
    'named': lambda nova: nova.named(c.NAME),
    'console': lambda nova: nova.console(SERVER),
    'delete': lambda nova: nova.delete(SERVER),
    'aggregates': lambda nova: nova.aggregates(),
    'cache': lambda nova: nova.cache_images(7, ['a']),
}


@pytest.mark.parametrize('call', CALLS)
@pytest.mark.parametrize(
    ('answer', 'kind'),
    [
        ({'status_code': 401}, errors.Misconfigured),
        ({'status_code': 403}, errors.Misconfigured),
        ({'status_code': 409}, errors.TryAgain),
        ({'status_code': 500}, errors.TryAgain),
        ({'status_code': 501}, errors.Misconfigured),
        ({'status_code': 503}, errors.TryAgain),
        ({'exc': requests.ConnectionError('refused')}, errors.TryAgain),
        ({'exc': requests.ReadTimeout('silent')}, errors.TryAgain),
    ],
    ids=['401', '403', '409', '500', '501', '503', 'refused', 'silent'],
)
def test_failures_of_nova_are_errors_of_ours(
    cloud, nova, monkeypatch, call, answer, kind
):
    # Between two attempts to connect.
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    cloud.register_uri(requests_mock.ANY, requests_mock.ANY, **answer)
    with pytest.raises(kind, match=r'^Nova: '):
        CALLS[call](nova)


def test_quota_that_is_used_up_is_not_a_wrong_account(cloud, nova):
    cloud.post(
        f'{URL}/servers',
        status_code=403,
        json={
            'forbidden': {
                'message': 'Quota exceeded for instances',
                'code': 403,
            }
        },
    )
    with pytest.raises(errors.TryAgain, match='Quota exceeded'):
        nova.create(c.NAME, c.IMAGE, c.settings())


def test_group_of_the_account_is_named(cloud, nova):
    cloud.get(f'{URL}/servers/detail', status_code=403)
    with pytest.raises(errors.Misconfigured, match=r'\[quarantine\] may not'):
        nova.named(c.NAME)

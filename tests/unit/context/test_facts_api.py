# SPDX-License-Identifier: Apache-2.0
"""What Nova's API says of instances, and how it is asked."""

import datetime
import itertools

from keystoneauth1 import exceptions
from keystoneauth1 import session as sessions
from keystoneauth1 import token_endpoint
import pytest
import requests
import requests_mock

from hepix_vm.context import facts
from hepix_vm.context import facts_api
from hepix_vm.context import identity
from hepix_vm import errors

NOVA = 'http://nova.example.org/v2.1'
NAMES = [f'0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6{n:03x}' for n in range(300)]
ONE = NAMES[1]
#: Seconds that a busy machine may take for what happens soon.
SOON = 120


def server(name=ONE, **changes):
    """A server as Nova 31 to 34 shows it to an administrator."""
    return {
        'id': name,
        'name': 'vm',
        'status': 'ACTIVE',
        'tenant_id': 'p',
        'user_id': 'u',
        'image': {'id': 'an image', 'links': []},
        'flavor': {
            'vcpus': 2,
            'ram': 4096,
            'disk': 20,
            'ephemeral': 5,
            'swap': 512,
            'original_name': 'm1.medium',
            'extra_specs': {'b': '2', 'a': '1'},
        },
        'OS-EXT-AZ:availability_zone': 'nova',
        'OS-EXT-SRV-ATTR:host': 'compute-1',
        'OS-SRV-USG:launched_at': '2026-11-22T13:00:00.000000',
        **changes,
    }


def expected(name=ONE):
    return facts.Facts(
        uuid=name,
        project='p',
        name='vm',
        availability_zone='nova',
        host='compute-1',
        flavor='m1.medium',
        image='an image',
        launched_at=1795352400,
        vcpus=2,
        ram=4096,
        swap=512,
        root=20,
        ephemeral=5,
        extra_specs=(('a', '1'), ('b', '2')),
    )


@pytest.fixture
def nova():
    with requests_mock.Mocker() as mocker:
        yield mocker


@pytest.fixture
def make():
    def made(**values):
        session = sessions.Session(
            auth=token_endpoint.Token(NOVA, 'a token'), timeout=600
        )
        return facts_api.Servers(
            session,
            None,
            'internal',
            # However long it takes: no time passes unless a test says so.
            **{'timeout': 5.0, 'clock': lambda: 0.0, **values},
        )

    return made


def _shown(nova, *names, **changes):
    for name in names:
        nova.get(
            f'{NOVA}/servers/{name}',
            json={'server': server(name, **changes)},
        )


def test_a_server_is_asked_for_in_the_form_that_tells_all(nova, make):
    _shown(nova, ONE)
    assert make().ask([ONE]) == {ONE: expected()}
    [asked] = nova.request_history
    assert asked.headers['OpenStack-API-Version'] == 'compute 2.47'
    assert asked.timeout == 5.0


def test_what_nova_does_not_tell_is_not_known():
    assert facts_api.facts_of(
        {
            'id': ONE,
            'tenant_id': 'p',
            'image': '',
            'flavor': {},
            'OS-EXT-AZ:availability_zone': '',
            'OS-EXT-SRV-ATTR:host': None,
            'OS-SRV-USG:launched_at': None,
        }
    ) == facts.Facts(ONE, 'p')


def test_a_time_with_a_zone_is_understood_too():
    shown = server(**{'OS-SRV-USG:launched_at': '2026-11-22T13:00:00+00:00'})
    assert facts_api.facts_of(shown) == expected()


@pytest.mark.parametrize('status', ['DELETED', 'SOFT_DELETED'])
def test_a_server_that_is_gone_is_unknown(nova, make, status):
    _shown(nova, ONE, status=status)
    assert make().ask([ONE])[ONE].status == 404


def test_a_server_that_is_not_there_is_unknown(nova, make):
    nova.get(f'{NOVA}/servers/{ONE}', status_code=404)
    found = make().ask([ONE])[ONE]
    assert found.reason == identity.Reason.INSTANCE_UNKNOWN


@pytest.mark.parametrize('status', [401, 403])
def test_an_account_that_may_not_see_servers_sees_none(nova, make, status):
    nova.get(f'{NOVA}/servers/{ONE}', status_code=status)
    with pytest.raises(errors.TryAgain, match=str(status)):
        make().ask([ONE])


@pytest.mark.parametrize(
    'answer',
    [
        {'status_code': 500},
        {'status_code': 503},
        {'status_code': 204},
        {'text': 'no JSON'},
        {'json': []},
        {'json': {}},
        {'json': {'server': None}},
        {'json': {'server': server(flavor=None)}},
        {'json': {'server': server(**{'OS-SRV-USG:launched_at': 'soon'})}},
    ],
)
def test_what_cannot_be_told_of_one_is_told_of_the_others(nova, make, answer):
    nova.get(f'{NOVA}/servers/{NAMES[0]}', **answer)
    _shown(nova, ONE)
    found = make().ask(NAMES[:2])
    assert found[NAMES[0]].status == 503
    assert found[NAMES[0]].reason == identity.Reason.NOVA_FAILED
    assert found[ONE] == expected()


def test_an_account_that_sees_no_hosts_is_told_once(nova, make, caplog):
    shown = server()
    del shown['OS-EXT-SRV-ATTR:host']
    nova.get(f'{NOVA}/servers/{ONE}', json={'server': shown})
    servers = make()
    for _ in range(2):
        assert servers.ask([ONE])[ONE].host is None
    assert caplog.text.count('on which hosts') == 1


def test_when_there_is_no_time_left_the_rest_comes_again(nova, make):
    _shown(nova, *NAMES[:4])
    clock = itertools.count(0.0, 3.0)
    found = make(clock=lambda: next(clock)).ask(NAMES[:4])
    assert found[NAMES[0]] == expected(NAMES[0])
    assert found[NAMES[1]] == expected(NAMES[1])
    assert found[NAMES[3]].status == 503


def _listed(nova, *pages):
    """A listing of so many pages, each with the link to the next."""
    return nova.get(
        f'{NOVA}/servers/detail',
        [
            {
                'json': {
                    'servers': page,
                    **({} if page is pages[-1] else {'servers_links': []}),
                }
            }
            for page in pages
        ],
    )


def test_what_has_changed_is_listed_with_some_overlap(nova, make, monkeypatch):
    listing = _listed(nova, [server(name) for name in NAMES[:50]])
    before = datetime.datetime.now(datetime.UTC)
    [found] = make().changed(100)
    assert found == {name: expected(name) for name in NAMES[:50]}
    # requests_mock lowers it.
    query = listing.last_request.qs
    assert query['all_tenants'] == ['1']
    since = datetime.datetime.fromisoformat(query['changes-since'][0].upper())
    back = (before - since).total_seconds()
    # What is told in whole seconds has been rounded down.
    assert 100 + facts_api.OVERLAP - SOON <= back < 101 + facts_api.OVERLAP
    assert listing.last_request.timeout == facts_api.PATIENCE


def test_a_long_listing_is_read_page_by_page(nova, make):
    shown = [server(name) for name in NAMES[:25]]
    listing = _listed(nova, shown[:10], shown[10:20], shown[20:])
    pages = make().changed(10)
    assert listing.call_count == 0
    assert next(pages) == {name: expected(name) for name in NAMES[:10]}
    assert listing.call_count == 1
    assert [len(page) for page in pages] == [10, 5]
    markers = [one.qs.get('marker') for one in nova.request_history]
    assert markers == [None, [NAMES[9]], [NAMES[19]]]


def test_what_is_gone_or_cannot_be_read_is_told_as_such(nova, make):
    _listed(
        nova,
        [
            server(NAMES[0]),
            server(NAMES[1], status='DELETED'),
            server(NAMES[2], status='SOFT_DELETED'),
            server(NAMES[3], flavor=None),
        ],
    )
    [found] = make().changed(10)
    assert found[NAMES[0]] == expected(NAMES[0])
    assert [found[name].status for name in NAMES[1:4]] == [404, 404, 503]
    assert 'cannot be read' in found[NAMES[3]].detail


@pytest.mark.parametrize(
    'answer',
    [
        {'status_code': 400},
        {'status_code': 403},
        {'status_code': 500},
        {'exc': requests.exceptions.ReadTimeout},
        {'text': 'no JSON'},
        {'json': []},
        {'json': {'servers': None}},
        {'json': {'servers': ['no server']}},
        {'json': {'servers': [{'status': 'ACTIVE'}]}},
        {'json': {'servers': [], 'servers_links': []}},
    ],
)
def test_a_listing_that_fails_is_no_listing(nova, make, answer):
    nova.get(f'{NOVA}/servers/detail', **answer)
    with pytest.raises((errors.TryAgain, exceptions.ClientException)):
        list(make().changed(10))


def test_a_listing_that_fails_later_has_told_of_its_good_pages(nova, make):
    shown = [server(name) for name in NAMES[:10]]
    nova.get(
        f'{NOVA}/servers/detail',
        [
            {'json': {'servers': shown, 'servers_links': []}},
            {'status_code': 400},
        ],
    )
    pages = make().changed(10)
    assert len(next(pages)) == 10
    with pytest.raises(errors.TryAgain, match='400'):
        next(pages)

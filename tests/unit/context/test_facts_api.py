# SPDX-License-Identifier: Apache-2.0
"""What Nova's API says of instances, and how it is asked."""

import itertools

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


def test_many_are_one_listing_of_what_has_changed(nova, make):
    listing = nova.get(
        f'{NOVA}/servers/detail',
        json={'servers': [server(name) for name in NAMES[:50]]},
    )
    servers = make()
    # Ten more than were asked for: they will ask next.
    assert servers.ask(NAMES[:40]) == {
        name: expected(name) for name in NAMES[:50]
    }
    assert listing.call_count == 1
    query = listing.last_request.qs
    assert query['all_tenants'] == ['1']
    assert query['limit'] == ['200']
    assert query['changes-since'][0].endswith('z')


def test_those_not_in_it_are_asked_for_one_by_one(nova, make):
    nova.get(
        f'{NOVA}/servers/detail',
        json={
            'servers': [
                server(NAMES[0]),
                server(NAMES[1], status='DELETED'),
            ]
        },
    )
    _shown(nova, *NAMES[2:10])
    nova.get(f'{NOVA}/servers/{NAMES[1]}', status_code=404)
    found = make().ask(NAMES[:10])
    assert found[NAMES[0]] == expected(NAMES[0])
    assert found[NAMES[1]].status == 404
    assert found[NAMES[9]] == expected(NAMES[9])


def test_a_listing_is_not_repeated_at_once(nova, make):
    listing = nova.get(f'{NOVA}/servers/detail', json={'servers': []})
    _shown(nova, *NAMES[:20])
    clock = [0.0]
    servers = make(clock=lambda: clock[0])
    for moment, listed in ((0.0, 1), (1.0, 1), (facts_api.PAUSE, 2)):
        clock[0] = moment
        assert len(servers.ask(NAMES[:10])) == 10
        assert listing.call_count == listed


def test_a_long_listing_is_read_page_by_page_while_there_is_time(
    nova, make, monkeypatch
):
    monkeypatch.setattr(facts_api, 'PAGE', 10)
    moments = iter([0.0, 1.0, 2.0, 3.0])
    pages = [NAMES[start : start + 10] for start in range(0, 50, 10)]

    def page(request, context):
        marker = request.qs.get('marker', [''])[0]
        place = NAMES.index(marker) // 10 + 1 if marker else 0
        return {'servers': [server(name) for name in pages[place]]}

    listing = nova.get(f'{NOVA}/servers/detail', json=page)
    _shown(nova, *NAMES[30:40])
    servers = make(clock=lambda: next(moments, 3.0))
    assert servers.ask(NAMES[:40]) == {
        name: expected(name) for name in NAMES[:40]
    }
    assert listing.call_count == 3


def test_when_there_is_no_time_left_the_rest_comes_again(nova, make):
    _shown(nova, *NAMES[:4])
    clock = itertools.count(0.0, 3.0)
    found = make(clock=lambda: next(clock)).ask(NAMES[:4])
    assert found[NAMES[0]] == expected(NAMES[0])
    assert found[NAMES[1]] == expected(NAMES[1])
    assert found[NAMES[3]].status == 503


_FAILING = [
    {'status_code': 400},
    {'status_code': 403},
    {'status_code': 500},
    {'exc': requests.exceptions.ReadTimeout},
    {'text': 'no JSON'},
    {'json': {'servers': None}},
]


@pytest.mark.parametrize('answer', _FAILING)
def test_while_a_listing_fails_servers_are_asked_for_one_by_one(
    nova, make, caplog, answer
):
    listing = nova.get(f'{NOVA}/servers/detail', **answer)
    _shown(nova, *NAMES[:10])
    clock = [0.0]
    servers = make(clock=lambda: clock[0])
    for moment, listed in ((0.0, 1), (1.0, 1), (facts_api.PAUSE, 2)):
        clock[0] = moment
        assert servers.ask(NAMES[:10]) == {
            name: expected(name) for name in NAMES[:10]
        }
        # The session sends one again that got no answer.
        assert listing.call_count in (listed, 2 * listed)
    assert caplog.text.count('does not list servers') == 1


def test_a_listing_that_fails_later_keeps_its_good_pages(
    nova, make, monkeypatch
):
    monkeypatch.setattr(facts_api, 'PAGE', 10)
    shown = [server(name) for name in NAMES[:10]]
    nova.get(
        f'{NOVA}/servers/detail',
        [{'json': {'servers': shown}}, {'status_code': 400}],
    )
    _shown(nova, *NAMES[10:15])
    assert make().ask(NAMES[:15]) == {
        name: expected(name) for name in NAMES[:15]
    }


def test_what_cannot_be_read_of_a_listing_is_asked_for_by_itself(nova, make):
    nova.get(
        f'{NOVA}/servers/detail',
        json={
            'servers': [
                *[server(name) for name in NAMES[:8]],
                server(NAMES[8], flavor=None),
                'no server',
            ]
        },
    )
    _shown(nova, NAMES[8])
    assert make().ask(NAMES[:9]) == {
        name: expected(name) for name in NAMES[:9]
    }

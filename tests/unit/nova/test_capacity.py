# SPDX-License-Identifier: Apache-2.0
"""What is asked of Nova and Placement about hosts, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

from keystoneauth1 import session as sessions
from keystoneauth1 import token_endpoint
import pytest
import requests
import requests_mock

from hepix_vm import errors
from hepix_vm.nova import capacity

URL = 'http://cloud.test/v2.1'
FIRST = '11111111-0000-4000-8000-000000000001'
SECOND = '11111111-0000-4000-8000-000000000002'


@pytest.fixture
def cloud():
    with requests_mock.Mocker() as mocker:
        yield mocker


@pytest.fixture
def asked():
    # Nova and Placement at one place.
    session = sessions.Session(token_endpoint.Token(URL, 'token'))
    return capacity.Capacity(session, None, 'public', 'openstack:x', 7.0)


def shown(provider: str = FIRST, host: str = 'wn1', **changes: Any) -> Any:
    return {
        'id': provider,
        'hypervisor_hostname': f'{host}.example.org',
        'hypervisor_type': 'QEMU',
        'cpu_info': {'arch': 'x86_64', 'model': 'EPYC-Rome'},
        'service': {'id': 'x', 'host': host, 'disabled_reason': None},
    } | changes


def listing(cloud: Any, *pages: Any) -> None:
    answers = [{'json': {'hypervisors': page}} for page in pages]
    cloud.get(f'{URL}/os-hypervisors/detail', answers)


def inventories(cloud: Any, provider: str, **classes: Any) -> None:
    cloud.get(
        f'{URL}/resource_providers/{provider}/inventories',
        json={'inventories': classes, 'resource_provider_generation': 1},
    )


def inventory(total: Any, reserved: int = 0, ratio: Any = 1.0) -> Any:
    return {
        'total': total,
        'reserved': reserved,
        'allocation_ratio': ratio,
        'max_unit': 1,
    }


def test_hypervisors_page_by_page(cloud, asked):
    listing(
        cloud,
        [shown()],
        [shown(SECOND, 'wn2', cpu_info='{"model": "Nehalem"}')],
        [],
    )
    assert asked.hypervisors() == (
        capacity.Hypervisor(FIRST, 'wn1', 'QEMU', 'EPYC-Rome'),
        capacity.Hypervisor(SECOND, 'wn2', 'QEMU', 'Nehalem'),
    )
    asked_for = [one.qs.get('marker') for one in cloud.request_history]
    assert asked_for == [None, [FIRST], [SECOND]]
    (first, *_) = cloud.request_history
    assert first.headers['OpenStack-API-Version'] == 'compute 2.53'
    assert first.timeout == 7.0


@pytest.mark.parametrize(
    'info',
    [
        None,
        '',
        'x',
        '[' * 100000,
        '5',
        [],
        {},
        {'model': 5},
        {'model': ''},
        {'model': 'a\nb'},
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_processor_that_is_not_told_has_no_model(cloud, asked, info):
    listing(cloud, [shown(cpu_info=info, hypervisor_type=None)], [])
    (found,) = asked.hypervisors()
    assert (found.cpu_model, found.hypervisor_type) == (None, None)


def test_long_texts_are_cut(cloud, asked):
    item = shown(cpu_info={'model': 'm' * 999}, hypervisor_type='t' * 999)
    listing(cloud, [item], [])
    (found,) = asked.hypervisors()
    assert (len(found.cpu_model), len(found.hypervisor_type)) == (255, 64)


@pytest.mark.parametrize(
    'page',
    [
        None,
        5,
        [5],
        [{}],
        [shown('../../v2.1/servers')],
        [shown(service=None)],
        [shown(service={})],
    ],
)
def test_other_answers_of_nova_are_not_taken(cloud, asked, page):
    listing(cloud, page)
    with pytest.raises(errors.TryAgain, match='Nova: list hypervisors'):
        asked.hypervisors()


def test_a_nova_that_never_ends_is_not_listened_to(cloud, asked):
    listing(cloud, [shown()])
    with pytest.raises(errors.TryAgain, match='Nova: list hypervisors'):
        asked.hypervisors()


def test_aggregates_of_hosts(cloud, asked):
    cloud.get(
        f'{URL}/os-aggregates',
        json={
            'aggregates': [
                {'name': 'epyc', 'hosts': ['wn1', 'wn2']},
                {'name': 'batch', 'hosts': ['wn1']},
                {'name': 'none', 'hosts': []},
            ]
        },
    )
    assert asked.aggregates() == {'wn1': ('batch', 'epyc'), 'wn2': ('epyc',)}


@pytest.mark.parametrize('body', [[], {}, {'aggregates': [5]}, 5])
def test_other_answers_about_aggregates_are_not_taken(cloud, asked, body):
    cloud.get(f'{URL}/os-aggregates', json=body)
    with pytest.raises(errors.TryAgain, match='Nova: list aggregates'):
        asked.aggregates()


@pytest.mark.parametrize(
    ('classes', 'expected'),
    [
        ({'VCPU': inventory(64, 0, 4.0)}, 256),
        ({'VCPU': inventory(64, 4, 1.5)}, 90),
        # Each is rounded down by itself.
        ({'VCPU': inventory(3, 0, 1.5), 'PCPU': inventory(7, 0, 1.3)}, 13),
        ({'PCPU': inventory(32, 2), 'MEMORY_MB': inventory(1000)}, 30),
        ({'VCPU': inventory(4, 9, 2.0)}, 0),
        ({'MEMORY_MB': inventory(1000)}, None),
        ({}, None),
    ],
)
def test_total_is_what_placement_gives_out(cloud, asked, classes, expected):
    inventories(cloud, FIRST, **classes)
    assert asked.total_cpu(FIRST) == expected


def test_a_host_that_placement_does_not_know_has_no_total(cloud, asked):
    cloud.get(f'{URL}/resource_providers/{FIRST}/inventories', status_code=404)
    assert asked.total_cpu(FIRST) is None


@pytest.mark.parametrize(
    'body',
    [
        [],
        {},
        {'inventories': 5},
        {'inventories': {'VCPU': {}}},
        {'inventories': {'VCPU': inventory('x')}},
        {'inventories': {'VCPU': inventory(1, 0, None)}},
        {'inventories': {'VCPU': inventory(2**31 - 1, 0, 16.0)}},
    ],
)
def test_other_answers_of_placement_are_not_taken(cloud, asked, body):
    cloud.get(f'{URL}/resource_providers/{FIRST}/inventories', json=body)
    with pytest.raises(errors.TryAgain, match='Placement: show inventories'):
        asked.total_cpu(FIRST)


def test_a_ratio_that_is_no_number_is_not_taken(cloud, asked):
    text = json.dumps({'inventories': {'VCPU': inventory(1, 0, float('inf'))}})
    cloud.get(f'{URL}/resource_providers/{FIRST}/inventories', text=text)
    with pytest.raises(errors.TryAgain, match='expected JSON'):
        asked.total_cpu(FIRST)


def test_an_answer_that_is_no_json_is_not_taken(cloud, asked):
    cloud.get(f'{URL}/os-aggregates', text='<html>')
    with pytest.raises(errors.TryAgain, match='expected JSON'):
        asked.aggregates()


@pytest.mark.parametrize('status', [401, 403])
def test_account_that_may_not_ask_is_a_matter_of_configuration(
    cloud, asked, status
):
    cloud.get(f'{URL}/os-hypervisors/detail', status_code=status)
    with pytest.raises(errors.Misconfigured, match=r'\[openstack:x\]'):
        asked.hypervisors()


@pytest.mark.parametrize(
    'answer',
    [
        {'status_code': 404},
        {'status_code': 503},
        {'exc': requests.exceptions.ConnectionError},
        {'exc': requests.exceptions.ReadTimeout},
    ],
)
def test_a_nova_that_is_away_is_asked_again_later(cloud, asked, answer):
    cloud.get(f'{URL}/os-hypervisors/detail', **answer)
    with pytest.raises(errors.TryAgain, match='Nova: list hypervisors'):
        asked.hypervisors()

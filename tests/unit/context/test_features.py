# SPDX-License-Identifier: Apache-2.0
"""Machine and job features: keys, units, and what is left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hepix_vm.catalogue import hosts
from hepix_vm.context import facts as facts_
from hepix_vm.context import features
from hepix_vm.context import ratings

NOW = 1_800_000_000
UUID = '7c3a3a3e-0d1f-4c39-9a0c-3a3e0d1f4c39'
PROJECT = '7f2c0d6a5b9e4f0f8a3f0f8b2f6d1c11'
FACTS = facts_.Facts(
    uuid=UUID,
    project=PROJECT,
    host='wn1',
    launched_at=NOW - 600,
    vcpus=8,
    ram=16384,
    swap=2048,
    root=20,
    ephemeral=100,
    extra_specs=(('hepix:wall_limit_secs', '172800'), ('hw:numa', '1')),
)
HOST = hosts.Host(
    'wn1', 128, 'EPYC-Rome', ('batch', 'epyc'), 'QEMU', NOW - 3600
)
TABLE = ratings.parse(
    b"""
ratings:
  - {host: wn1, hs06: 2048.5, hs23: 2000}
  - {aggregate: epyc, hs23: 1000}
  - {host: old*, hs06: 100}
wall_limits:
  - {project: 7f2c0d6a5b9e4f0f8a3f0f8b2f6d1c11, seconds: 86400}
""",
    'ratings.yaml',
)
STATE = features.Snapshot(
    hosts={'wn1': HOST, 'wn2': dataclasses.replace(HOST, host='wn2')},
    table=TABLE,
    looked=True,
)
SETTINGS = features.Settings()


def machine(
    state: features.Snapshot = STATE,
    settings: features.Settings = SETTINGS,
    **changes: Any,
) -> dict[str, str]:
    facts = dataclasses.replace(FACTS, **changes)
    return features.machine(facts, state, settings, NOW)


def job(
    state: features.Snapshot = STATE,
    settings: features.Settings = SETTINGS,
    **changes: Any,
) -> dict[str, str]:
    facts = dataclasses.replace(FACTS, **changes)
    return features.job(facts, state, settings, NOW)


def ordered(**changes: Any) -> features.Snapshot:
    return dataclasses.replace(STATE, **changes)


def test_a_machine_with_all_that_is_known():
    assert machine(ordered(host_drains={'wn1': NOW + 90000})) == {
        'total_cpu': '128',
        'hs06': '2048.5',
        'hs23': '2000',
        'shutdowntime': str(NOW + 90000),
        'grace_secs': '43200',
    }


def test_a_job_with_all_that_is_known():
    state = ordered(server_drains={UUID: NOW + 90000})
    assert job(state) == {
        'allocated_cpu': '8',
        'hs06_job': '128.031',
        'hs23_job': '125',
        'shutdowntime_job': str(NOW + 90000),
        'grace_secs_job': '43200',
        'jobstart_secs': str(NOW - 600),
        'job_id': UUID,
        'wall_limit_secs': '172800',
        'cpu_limit_secs': str(172800 * 8),
        'max_rss_bytes': str(16 * 2**30),
        'max_swap_bytes': str(2 * 2**30),
        'scratch_limit_bytes': str(100 * 2**30),
    }


def test_names_of_2012_are_in_minutes_and_megabytes():
    settings = features.Settings(names_2012=True)
    found = job(settings=settings, ram=1000, extra_specs=())
    assert {name: found[name] for name in features.JOB[-4:]} == {
        'jobstart': str(NOW - 600),
        'mem_limit': '1048',
        'run_limit': '1440',
        'cpu_limit': str(1440 * 8),
    }
    assert found.keys() - job().keys() == set(features.JOB[-4:])


def test_what_is_not_known_is_not_there():
    bare = facts_.Facts(UUID, 'another project')
    for names_2012 in (False, True):
        settings = features.Settings(grace_secs=0, names_2012=names_2012)
        nothing = features.Snapshot()
        assert features.machine(bare, nothing, settings, NOW) == {}
        assert features.job(bare, nothing, settings, NOW) == {'job_id': UUID}
        assert features.job(bare, STATE, settings, NOW) == {'job_id': UUID}


@pytest.mark.parametrize(
    ('fact', 'gone'),
    [
        ({'host': None}, {'hs06_job', 'hs23_job'}),
        (
            {'vcpus': None},
            {'allocated_cpu', 'hs06_job', 'hs23_job', 'cpu_limit_secs'},
        ),
        (
            {'vcpus': 0},
            {'allocated_cpu', 'hs06_job', 'hs23_job', 'cpu_limit_secs'},
        ),
        ({'launched_at': None}, {'jobstart_secs'}),
        ({'ram': None}, {'max_rss_bytes'}),
        ({'swap': None}, {'max_swap_bytes'}),
        ({'root': 0, 'ephemeral': 0}, {'scratch_limit_bytes'}),
        ({'root': None, 'ephemeral': None}, {'scratch_limit_bytes'}),
        (
            {'extra_specs': (), 'project': 'x'},
            {'wall_limit_secs', 'cpu_limit_secs'},
        ),
    ],
)
def test_each_fact_has_its_keys(fact, gone):
    assert job().keys() - job(**fact).keys() == gone


def test_no_swap_is_a_limit_and_the_root_disk_is_scratch():
    found = job(swap=0, ephemeral=0)
    assert found['max_swap_bytes'] == '0'
    assert found['scratch_limit_bytes'] == str(20 * 2**30)


def test_hs06_is_from_whichever_is_known():
    found = machine(host='wn2')
    assert (found['hs06'], found['hs23']) == ('1000', '1000')
    assert job(host='wn2')['hs06_job'] == '62.5'
    found = machine(host='old7')
    assert found['hs06'] == '100'
    assert 'hs23' not in found


def test_rating_without_processors_has_no_share():
    assert machine(host='old7').keys() == {'hs06', 'grace_secs'}
    assert not {'hs06_job', 'hs23_job'} & job(host='old7').keys()


@pytest.mark.parametrize('total', [None, 0, -1])
def test_a_host_without_processors_has_no_total(total):
    host = dataclasses.replace(HOST, total_cpu=total)
    state = ordered(hosts={'wn1': host})
    assert machine(state).keys() == {'hs06', 'hs23', 'grace_secs'}
    assert 'hs06_job' not in job(state)


def test_what_was_said_of_a_host_long_ago_is_left_out():
    settings = features.Settings(hosts_max_age=3600)
    assert machine(settings=settings)['total_cpu'] == '128'
    settings = features.Settings(hosts_max_age=3599)
    # Its name is known all the same, its aggregates are not.
    assert machine(settings=settings).keys() == {'hs06', 'hs23', 'grace_secs'}
    assert machine(settings=settings, host='wn2').keys() == {'grace_secs'}
    assert 'hs06_job' not in job(settings=settings)


def test_orders_are_told_however_old_they_are():
    state = ordered(
        hosts={}, table=ratings.EMPTY, host_drains={'wn1': NOW - 9000}
    )
    assert machine(state)['shutdowntime'] == str(NOW - 9000)


@pytest.mark.parametrize(
    ('host', 'server', 'expected'),
    [
        (None, None, None),
        (NOW + 1, None, NOW + 1),
        (None, NOW + 2, NOW + 2),
        (NOW + 1, NOW + 2, NOW + 1),
        (NOW + 3, NOW + 2, NOW + 2),
    ],
)
def test_a_server_ends_by_the_earlier_order(host, server, expected):
    state = ordered(
        host_drains={} if host is None else {'wn1': host, 'wn2': NOW},
        server_drains={} if server is None else {UUID: server, 'x': NOW},
    )
    told = None if expected is None else str(expected)
    assert job(state).get('shutdowntime_job') == told
    # The hypervisor does not end for the sake of one server.
    told = None if host is None else str(host)
    assert machine(state).get('shutdowntime') == told


def test_an_order_for_no_host_is_for_nobody():
    state = ordered(host_drains={'': NOW})
    assert 'shutdowntime' not in machine(ordered(host_drains={}), host=None)
    assert 'shutdowntime' not in machine(state, host='wn1')


def test_without_orders_no_grace_is_promised():
    settings = features.Settings(grace_secs=0)
    assert 'grace_secs' not in machine(settings=settings)
    assert 'grace_secs_job' not in job(settings=settings)


@pytest.mark.parametrize(
    'text', ['0', '-5', '2 days', '1e5', '', '99999999999']
)
def test_a_spec_that_says_no_seconds_gives_way_to_the_project(text):
    found = job(extra_specs=(('hepix:wall_limit_secs', text),))
    assert found['wall_limit_secs'] == '86400'
    assert found['cpu_limit_secs'] == str(86400 * 8)


def test_the_spec_has_the_name_that_the_site_gives_it():
    settings = features.Settings(wall_limit_spec='site:seconds')
    specs = (('hepix:wall_limit_secs', '10'), ('site:seconds', '20'))
    assert job(settings=settings, extra_specs=specs)['wall_limit_secs'] == '20'


def test_a_share_too_small_to_tell_is_left_out():
    host = dataclasses.replace(HOST, total_cpu=10**9)
    state = ordered(hosts={'wn1': host})
    assert 'hs06_job' not in job(state, vcpus=1)

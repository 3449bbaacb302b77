# SPDX-License-Identifier: Apache-2.0
"""Whatever is known of a server, readers can read its features."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings as settings_
from hypothesis import strategies as st

from hepix_vm.catalogue import hosts
from hepix_vm.context import facts as facts_
from hepix_vm.context import features
from hepix_vm.context import ratings
from hepix_vm import errors

#: A busy machine draws slowly; what is drawn stays the same.
BUSY = settings_(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
NAMES = st.sampled_from(['wn1', 'wn2', 'a', '']) | st.text(max_size=12)
NUMBERS = st.none() | st.integers(-(2**63), 2**63) | st.integers(0, 1000)
TIMES = st.dictionaries(NAMES, st.integers(0, 2**40), max_size=3)
FACTS = st.builds(
    facts_.Facts,
    uuid=st.uuids().map(str),
    project=NAMES,
    name=st.none() | st.text(max_size=20),
    host=st.none() | NAMES,
    launched_at=NUMBERS,
    vcpus=NUMBERS,
    ram=NUMBERS,
    swap=NUMBERS,
    root=NUMBERS,
    ephemeral=NUMBERS,
    extra_specs=st.lists(
        st.tuples(st.just('hepix:wall_limit_secs'), st.text(max_size=12)),
        max_size=2,
    ).map(tuple),
)
HOSTS = st.builds(
    hosts.Host,
    host=NAMES,
    total_cpu=NUMBERS,
    cpu_model=st.none() | NAMES,
    aggregates=st.lists(NAMES, max_size=2).map(tuple),
    hypervisor_type=st.none() | NAMES,
    seen_at=st.integers(0, 2**40),
)
RATING = st.decimals(
    min_value='0.000001', max_value=10**7, places=6, allow_nan=False
)
TABLES = st.builds(
    ratings.Table,
    st.lists(
        st.builds(
            ratings.Rating,
            host=st.just(('*',)) | st.tuples(NAMES),
            hs06=st.none() | RATING,
            hs23=RATING,
        ),
        max_size=2,
    ).map(tuple),
    st.lists(
        st.builds(
            ratings.WallLimit,
            project=st.tuples(NAMES),
            seconds=st.integers(1, 10**9),
        ),
        max_size=2,
    ).map(tuple),
)
STATES = st.builds(
    features.Snapshot,
    hosts=st.lists(HOSTS, max_size=3).map(
        lambda found: {one.host: one for one in found}
    ),
    host_drains=TIMES,
    server_drains=TIMES,
    table=TABLES,
)
SETTINGS = st.builds(
    features.Settings,
    grace_secs=st.integers(0, 10**6),
    hosts_max_age=st.integers(60, 10**6),
    names_2012=st.booleans(),
)
KEY = re.compile(r'[a-z0-9_]+', re.ASCII)
INTEGER = re.compile(r'0|[1-9][0-9]*', re.ASCII)
DECIMAL = re.compile(r'(0|[1-9][0-9]*)(\.[0-9]*[1-9])?', re.ASCII)


@BUSY
@given(FACTS, STATES, SETTINGS, st.integers(0, 2**40))
def test_every_value_is_a_bare_number_or_the_uuid(facts, state, settings, now):
    machine = features.machine(facts, state, settings, now)
    job = features.job(facts, state, settings, now)
    assert machine.keys() <= set(features.MACHINE)
    assert job.keys() <= set(features.JOB)
    assert job.pop('job_id') == facts.uuid
    for key, value in (machine | job).items():
        assert KEY.fullmatch(key)
        form = DECIMAL if key.startswith('hs') else INTEGER
        assert form.fullmatch(value), (key, value)


@BUSY
@given(FACTS, STATES, SETTINGS, st.integers(0, 2**40))
def test_limits_of_a_job_go_together(facts, state, settings, now):
    machine = features.machine(facts, state, settings, now)
    job = features.job(facts, state, settings, now)
    if 'cpu_limit_secs' in job:
        wall, cpus = job['wall_limit_secs'], job['allocated_cpu']
        assert int(job['cpu_limit_secs']) == int(wall) * int(cpus)
    if 'shutdowntime' in machine:
        ends = int(job['shutdowntime_job'])
        assert ends <= int(machine['shutdowntime'])
    if 'hs06_job' in job:
        assert {'hs06', 'total_cpu'} <= machine.keys()
    assert ('grace_secs' in machine) is ('grace_secs_job' in job)


@given(
    st.binary(max_size=200)
    | st.text('-:{}[] ,ahostprjecnd0123456789*\n\'"&', max_size=80).map(
        lambda text: f'ratings: [{{{text}'.encode()
    )
)
def test_a_table_is_read_or_refused_in_one_line(content):
    try:
        table = ratings.parse(content, 'ratings.yaml')
    except errors.Misconfigured as exc:
        assert '\n' not in str(exc)
    else:
        assert isinstance(table, ratings.Table)

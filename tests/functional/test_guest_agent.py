# SPDX-License-Identifier: Apache-2.0
"""The guest's agent, and one of old, at a real nova-metadata."""

from __future__ import annotations

from collections.abc import Iterator
import json
import pathlib
import subprocess
from typing import Any

import pytest

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import waits
from tests.functional import metadata
from tests.guests import machine
from tests.guests import signing

pytestmark = pytest.mark.timeout(1200)

LIMIT = metadata.LIMIT
OLD = machine.AGENT.parents[2] / 'tests' / 'guests' / 'old-guest'


@pytest.fixture(scope='module')
def server(cloud: clouds.Cloud, rows: catalogue_rows.Rows) -> Iterator[Any]:
    with metadata.server(cloud, rows) as made:
        yield made


@pytest.fixture(scope='module')
def agent(cloud: clouds.Cloud, server: Any) -> Iterator[signing.Agent]:
    """Its network, with an agent like Neutron's in front of nova."""
    headers = metadata.signed(cloud, server.id, server.tenant_id)
    with signing.signing(cloud.endpoints['nova-metadata'], headers) as made:
        waits.until(
            'features',
            lambda: made.ask('/machinefeatures/')[0] == 200,
            LIMIT,
            log=cloud.log('nova-metadata'),
        )
        yield made


@pytest.fixture
def guest(agent: signing.Agent, tmp_path: pathlib.Path) -> machine.Machine:
    """The machine of that server, as it boots."""
    agent.asked.clear()
    path = machine.tools(tmp_path / 'tools', machine.SHELLS[0])
    (tmp_path / 'guest').mkdir()
    return machine.Machine(tmp_path / 'guest', path, agent)


def _status(cloud: clouds.Cloud, server: Any) -> dict[str, Any]:
    """What the site's administrator sees of it."""
    config = hepix.config_file(cloud.layout.work)
    done = cloud.run(
        *('hepix-vm', '--config-file', str(config)),
        *('context', 'status', '-f', 'json'),
    )
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout):
        if server.id in row.values():
            return dict(row)
    return {}


def test_the_agent_runs_what_nova_serves_and_the_site_sees_it(
    cloud, server, guest, agent
):
    done = guest.run('epilog')
    assert done.returncode == 0, done.stderr
    *asked, told = agent.asked
    assert asked == ['/context/manifest', '/context/default.tgz.b64']
    context = guest.state / 'context'
    site = hepix.context_directory(cloud.layout.work)
    for name in ('prolog.sh', 'epilog.sh'):
        assert (context / name).read_bytes() == (site / name).read_bytes()
        assert f'{name} start: done' in done.stderr
    digest = told.removeprefix('/context/ran/')
    assert f'context ran: sha256={digest}' in done.stderr
    waits.until(
        'the administrator to see that it ran',
        lambda: {'ran', digest} <= set(_status(cloud, server).values()),
        LIMIT,
        log=cloud.log('nova-metadata'),
    )


def test_features_of_a_real_server_become_files(server, guest):
    done = guest.run('features')
    assert done.returncode == 0, done.stderr
    job = guest.top / 'etc' / 'jobfeatures'
    assert (job / 'job_id').read_text() == f'{server.id}\n'
    assert (job / 'allocated_cpu').read_text() == '1\n'
    assert int((job / 'jobstart_secs').read_text()) > 0


def test_a_guest_of_old_runs_it_under_a_name_of_its_own(
    cloud, agent, tmp_path
):
    agent.asked.clear()
    (tmp_path / 'user').write_text('[hepix]\ncontext=atlas\nrequiressl=\n')
    done = subprocess.run(
        [*machine.inside(agent), str(OLD), 'start'],
        env={
            'PATH': machine.SYSTEM,
            'CONTEXT_DIR': str(tmp_path / 'hepix' / 'context'),
            'CDS': '',
            'USER_DATA': str(tmp_path / 'user'),
        },
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert agent.asked == ['/context/atlas.tgz']
    site = hepix.context_directory(cloud.layout.work)
    prolog = tmp_path / 'hepix' / 'context' / 'prolog.sh'
    assert prolog.read_bytes() == (site / 'prolog.sh').read_bytes()

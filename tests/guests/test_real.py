# SPDX-License-Identifier: Apache-2.0
"""The agent at our own server rather than at a stand-in for it."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import time

import pytest

from tests.guests import machine
from tests.guests import origin
from tests.guests import signing
from tests.guests import site

FILES = {**site.SCRIPTS, 'site/squid.conf': b'cache.example.org\n'}
BOTH = ['prolog start', 'epilog start']


@pytest.fixture(scope='module')
def real(
    key: site.Key, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[origin.Origin]:
    """Behind neutron, which is where most guests are."""
    top = tmp_path_factory.mktemp('real')
    with origin.serving(top, 'neutron', FILES, key.private) as made:
        yield made


@pytest.fixture(params=machine.SHELLS)
def client(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    real: origin.Origin,
    paths: dict[str, str],
) -> machine.Machine:
    """A machine at our server."""
    real.agent.asked.clear()
    return machine.Machine(tmp_path, paths[request.param], real)


def _noted(real: origin.Origin) -> dict[str, str]:
    """By what a guest did, the digest."""
    text = real.hepix_vm('context', 'status', origin.UUID, '-f', 'json')
    return {row['what']: row['sha256'] for row in json.loads(text)}


def test_what_the_site_signed_runs_and_is_told(client, real, key):
    client.trusts(key)
    done = client.run('epilog')
    assert done.returncode == 0, done.stderr
    assert client.calls == BOTH
    assert 'signed=yes' in done.stderr
    context = client.state / 'context'
    assert (context / 'site/squid.conf').read_bytes() == b'cache.example.org\n'
    *asked, told = real.agent.asked
    assert asked == [
        '/context/manifest',
        '/context/manifest.sig',
        '/context/default.tgz.b64',
    ]
    assert told.startswith('/context/ran/')
    digest = told.rpartition('/')[2]
    end = time.monotonic() + signing.LIMIT
    while (noted := _noted(real)).get('ran') != digest:
        assert time.monotonic() < end, noted
    assert noted.get('tgz.b64') == digest


def test_another_key_is_believed_here_no_more_than_there(client):
    client.trusts(site.Key())
    done = client.run('epilog')
    assert done.returncode == 1
    assert 'the manifest is not signed by the key in' in done.stderr
    assert client.calls == []


def test_pilots_that_read_files_find_every_value(client):
    """As those of PanDA and JAliEn do."""
    done = client.run('features')
    assert done.returncode == 0, done.stderr
    etc = client.top / 'etc'
    found = {
        kind: {
            path.name: path.read_text().strip()
            for path in (etc / kind).iterdir()
        }
        for kind in ('machinefeatures', 'jobfeatures')
    }
    job = found['jobfeatures']
    assert job.pop('job_id') == origin.UUID
    values = {**found['machinefeatures'], **job}
    assert {key: int(value) for key, value in values.items()} == {
        'grace_secs': int(values['grace_secs']),
        'grace_secs_job': int(values['grace_secs']),
        'allocated_cpu': 2,
        'jobstart_secs': 1795352400,
        'max_rss_bytes': 4096 * 2**20,
        'max_swap_bytes': 512 * 2**20,
        'scratch_limit_bytes': 5 * 2**30,
    }
    assert int(values['grace_secs']) > 0

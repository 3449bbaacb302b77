# SPDX-License-Identifier: Apache-2.0
"""The process and the proxies as they are shipped, in front of a real nova.

Of the samples nothing but addresses is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
import os
import pathlib
import subprocess
import sys
from typing import Any
import uuid

import pytest

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import waits
from tests.functional import fronts
from tests.functional import metadata

LIMIT = metadata.LIMIT
HERE = pathlib.Path(__file__).parent
#: Bytes that no compression makes less: answers are as large as they get.
LARGE = 700_000
FORMS = (
    '/context/default.tgz',
    '/context/atlas.tgz',
    '/context/default.tgz.b64',
    '/context/manifest',
    '/context/',
    '/jobfeatures/job_id',
    '/jobfeatures/',
    '/machinefeatures/',
)

Ask = Callable[..., metadata.Answer]


@pytest.fixture(scope='module')
def process(
    cloud: clouds.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """With another context than the one that nova itself serves."""
    site = tmp_path_factory.mktemp('context')
    (site / 'prolog.sh').write_text(hepix.PROLOG)
    (site / 'epilog.sh').write_text(hepix.EPILOG)
    (site / 'large').write_bytes(os.urandom(LARGE))
    service = fronts.process_as_shipped(
        cloud, {'context': {'directory': str(site)}}
    )
    cloud.start(service)
    yield
    cloud.end_further(service.name)


@pytest.fixture(scope='module', params=['haproxy', 'apache'])
def front(
    request: pytest.FixtureRequest, cloud: clouds.Cloud, process: None
) -> Iterator[str]:
    """Each proxy in turn."""
    make = {
        'haproxy': fronts.haproxy_as_shipped,
        'apache': fronts.apache_as_shipped,
    }[request.param]
    service = make(cloud)
    cloud.start(service)
    yield str(request.param)
    cloud.end_further(service.name)


@pytest.fixture(scope='module')
def server(cloud: clouds.Cloud, rows: catalogue_rows.Rows) -> Iterator[Any]:
    with metadata.server(cloud, rows) as made:
        yield made


@pytest.fixture
def headers(cloud, server):
    return metadata.signed(cloud, server.id, server.tenant_id)


@pytest.fixture
def ask(cloud, front) -> Ask:
    return lambda *what: metadata.ask(cloud.site.url(fronts.PROXY), *what)


def _direct(
    cloud: clouds.Cloud, headers: metadata.Headers, path: str
) -> metadata.Answer:
    """Of the process itself, once both halves of it know what to say."""
    url = cloud.site.url(fronts.PROCESS)
    return waits.until(
        path,
        lambda: (
            came
            if (came := metadata.ask(url, headers, path)).status == 200
            else None
        ),
        LIMIT,
        log=cloud.log(fronts.PROCESS),
    )


@pytest.mark.parametrize('path', FORMS)
def test_what_is_the_site_s_comes_from_the_process(cloud, headers, ask, path):
    expected = _direct(cloud, headers, path)
    came = waits.until(
        path,
        lambda: found if (found := ask(headers, path)).status == 200 else None,
        LIMIT,
        log=cloud.log(fronts.PROXY),
    )
    assert came.body == expected.body
    assert came.headers['content-type'] == expected.headers['content-type']


def test_all_else_is_nova_s(server, headers, ask):
    came = ask(headers, '/openstack/latest/meta_data.json')
    assert (came.status, json.loads(came.body)['uuid']) == (200, server.id)
    came = ask(headers, '/contextual')
    assert came.status == 404
    assert b'Not Found' in came.body


@pytest.mark.parametrize(
    'path',
    [
        '/context/nothing',
        '/context/..%2fdefault.tgz',
        '/context/%64efault.tgz',
        '/context//default.tgz',
        '/machinefeatures/nothing',
        '/jobfeatures/job_id/more',
    ],
)
def test_what_there_is_not_is_refused_without_a_word(headers, ask, path):
    """What a proxy itself refuses may have a page of its own."""
    came = ask(headers, path)
    assert came.status == 404
    assert len(came.body) < 1000


@pytest.mark.parametrize('which', [1, 2, 3])
@pytest.mark.parametrize('first', [True, False])
def test_a_header_that_comes_twice_is_refused(headers, ask, which, first):
    name, value = headers[which]
    forged = (name, value.translate(str.maketrans('0123456789', '1234567890')))
    headers.insert(which if first else len(headers), forged)
    assert ask(headers).status == 403


@pytest.mark.parametrize('which', [1, 2, 3])
def test_no_other_way_to_write_a_header_counts(headers, ask, which):
    name, value = headers[which]
    assert ask([*headers, (name.replace('-', '_'), 'x')]).status == 200
    headers[which] = (name.replace('-', '_'), value)
    assert ask(headers).status == 403


def test_another_instance_is_nobody(cloud, server, ask):
    nobody = metadata.signed(cloud, str(uuid.uuid4()), server.tenant_id)
    assert ask(nobody).status == 404
    assert ask([]).status == 403


@pytest.mark.parametrize(
    'path', ['/vendordata', '//vendordata', '/vendordata/']
)
def test_no_guest_reaches_what_nova_asks_for(
    cloud, server, headers, ask, path
):
    """Not even one that had the token of an administrator."""
    token = ('X-Auth-Token', cloud.session().get_token())
    question = json.dumps(
        {'project-id': server.tenant_id, 'instance-id': server.id}
    ).encode()
    came = ask([*headers, token], path, 'POST', question)
    assert came.status != 200
    assert b'tgz_base64' not in came.body


def test_nova_reaches_it_and_nothing_else(cloud, server, headers, front):
    if front != 'haproxy':
        pytest.skip('the sample of haproxy alone has a frontend for nova')
    url = cloud.site.url('vendordata')
    token = ('X-Auth-Token', cloud.session().get_token())
    question = json.dumps(
        {'project-id': server.tenant_id, 'instance-id': server.id}
    ).encode()
    asked = (headers, '/vendordata', 'POST', question)
    assert metadata.ask(url, *asked).status == 401
    came = metadata.ask(url, [token], *asked[1:])
    assert (came.status, b'tgz_base64' in came.body) == (200, True)
    assert metadata.ask(url, headers).status == 404
    assert metadata.ask(url, headers, '/latest/meta-data/').status == 404


class Slow:
    """Clients in a process of their own."""

    def __init__(self, cloud: clouds.Cloud, headers: metadata.Headers) -> None:
        self.process = subprocess.Popen(
            (
                *(sys.executable, HERE / 'slow_clients.py'),
                str(cloud.site.ports[fronts.PROXY]),
                '\n'.join(f'{name}: {value}' for name, value in headers),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line: str) -> Any:
        """Have them do something."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f'{line}\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def slow(cloud, headers, front) -> Iterator[Slow]:
    made = Slow(cloud, headers)
    yield made
    made.process.kill()
    made.process.communicate()


def test_two_thousand_that_are_slow_keep_nobody_else_waiting_for_ever(
    cloud, headers, ask, slow
):
    """Neither who sends nothing or half of it, nor who takes no answer."""
    url = '/context/default.tgz.b64'
    size = len(_direct(cloud, headers, url).body)
    assert size > LARGE
    assert slow('idle 1000') == 1000
    assert ask(headers, url).status == 200
    assert slow('writers 900') == 1900
    assert ask(headers, url).status == 200
    # More than the process has threads.
    assert slow('readers 100') == 100
    for path in (url, '/context/manifest', '/jobfeatures/job_id'):
        assert ask(headers, path).status == 200
    # Who asked and was slow to read has not lost anything either.
    assert slow('answers') == {f'200 {size}': 100}
    assert slow('ended') == 1900
    assert ask(headers, url).status == 200

# SPDX-License-Identifier: Apache-2.0
"""The site context, asked of a real nova-metadata about a real server."""

import base64
from collections.abc import Iterator
import gzip
import hashlib
import hmac
import json
import pathlib
import subprocess
import uuid

from oslo_config import cfg
import pytest

from hepix_vm import conf as options
from hepix_vm.conf import context as conf_context
from hepix_vm.conf import inside
from hepix_vm.context import manifest
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import waits
from tests.functional import metadata
from tests.unit.context import sites

LIMIT = metadata.LIMIT


def _settings(cloud: clouds.Cloud) -> conf_context.ContextSettings:
    """What the metadata service itself was told."""
    host = cfg.ConfigOpts()
    inside.register(host)
    host(
        [],
        default_config_files=[str(cloud.layout.etc / 'nova' / 'nova.conf')],
        default_config_dirs=[],
    )
    return conf_context.context_settings(
        options.load((host.hepix_vm.config_file,), modules=('context',))
    )


@pytest.fixture(scope='module')
def server(cloud: clouds.Cloud, rows: catalogue_rows.Rows) -> Iterator[object]:
    """A server that exists for the metadata service."""
    with metadata.server(cloud, rows) as made:
        yield made


def _ask(
    cloud: clouds.Cloud,
    headers: metadata.Headers,
    path: str = metadata.BUNDLE,
    method: str = 'GET',
) -> tuple[int, dict[str, str], bytes]:
    """One request to nova's metadata service."""
    url = cloud.endpoints['nova-metadata']
    answer = metadata.ask(url, headers, path, method)
    return answer.status, dict(answer.headers), answer.body


@pytest.fixture
def headers(cloud: clouds.Cloud, server: object) -> metadata.Headers:
    return metadata.signed(cloud, server.id, server.tenant_id)


def _refused(answer: tuple[int, dict[str, str], bytes]) -> int:
    status, headers, body = answer
    assert body == b''
    assert headers['content-length'] == '0'
    return status


def test_a_signed_request_gets_the_site_s_bundle(cloud, headers, tmp_path):
    status, found, body = _ask(cloud, headers)
    assert status == 200
    assert found['content-type'] == 'application/gzip'
    assert found['content-length'] == str(len(body))
    site = _settings(cloud).source.directory
    made = sites.build(site)
    assert gzip.decompress(body) == made.tar

    (tmp_path / 'default.tgz').write_bytes(body)
    (tmp_path / 'guest').mkdir()
    subprocess.run(
        ['tar', '-zxf', '../default.tgz'],
        cwd=tmp_path / 'guest',
        check=True,
        timeout=LIMIT,
    )
    for file in made.files:
        unpacked = tmp_path / 'guest' / file.path
        assert unpacked.read_bytes() == (site / file.path).read_bytes()
        assert unpacked.stat().st_mode & 0o777 == file.mode
    assert {'prolog.sh', 'epilog.sh'} <= {file.path for file in made.files}


def test_head_is_answered_without_a_body(cloud, headers):
    status, found, body = _ask(cloud, headers, method='HEAD')
    assert (status, body) == (200, b'')
    assert int(found['content-length']) > 0


def test_a_wrong_signature_is_refused(cloud, headers):
    guessed = hmac.new(b'guessed', headers[1][1].encode(), hashlib.sha256)
    headers[3] = (headers[3][0], guessed.hexdigest())
    assert _refused(_ask(cloud, headers)) == 403


def test_a_signature_for_another_instance_is_refused(cloud, server):
    other = metadata.signed(cloud, str(uuid.uuid4()), server.tenant_id)
    other[1] = ('X-Instance-ID', server.id)
    assert _refused(_ask(cloud, other)) == 403


def test_another_project_finds_nothing(cloud, server):
    other = cloud.add_project('context-other')
    assert (
        _refused(_ask(cloud, metadata.signed(cloud, server.id, other))) == 404
    )


def test_an_unknown_instance_finds_nothing(cloud, server):
    unknown = metadata.signed(cloud, str(uuid.uuid4()), server.tenant_id)
    assert _refused(_ask(cloud, unknown)) == 404


def test_no_headers_are_refused(cloud, server):
    assert _refused(_ask(cloud, [])) == 403


@pytest.mark.parametrize('missing', [1, 2, 3])
def test_a_missing_header_is_refused(cloud, headers, missing):
    del headers[missing]
    assert _refused(_ask(cloud, headers)) == 403


@pytest.mark.parametrize('which', [1, 2, 3])
@pytest.mark.parametrize('first', [True, False])
def test_a_doubled_header_never_changes_who_asks(cloud, headers, which, first):
    """A server joins the two (refused) or keeps one (then it must fit)."""
    name, value = headers[which]
    forged = (name, value.translate(str.maketrans('0123456789', '1234567890')))
    headers.insert(which if first else len(headers), forged)
    assert _refused(_ask(cloud, headers)) in (403, 404)


def test_the_same_header_twice_is_refused(cloud, headers):
    status, _, body = _ask(cloud, [*headers, *headers])
    assert (status, body) == (403, b'')


def test_another_provider_s_headers_prove_nothing(cloud, server):
    answer = _ask(
        cloud,
        [
            ('X-Forwarded-For', '10.0.0.5'),
            ('X-Metadata-Provider', str(uuid.uuid4())),
        ],
    )
    assert _refused(answer) == 403


@pytest.mark.parametrize(
    'path',
    [
        '/context/atlas',
        '/context/-atlas.tgz',
        '/context/' + 'x' * 65 + '.tgz',
        '/context/manifest.sig',
        '/context/..%2f..%2fetc%2fpasswd',
        '/context/%2e%2e/default.tgz',
        '/context/default.tgz/more',
        '/context/default.tgz%00',
        '/context/' + 'x' * 3000,
        '/machinefeatures/no_such_key',
        '/jobfeatures/job_id/more',
        '/jobfeatures/JOB_ID',
    ],
)
def test_another_name_finds_nothing(cloud, headers, path):
    assert _refused(_ask(cloud, headers, path)) == 404


@pytest.mark.parametrize('name', ['atlas', 'a' * 64, 'LHCb-2012_v1.2'])
def test_every_name_of_a_user_is_the_site_s_bundle(cloud, headers, name):
    mine = _ask(cloud, headers)
    assert mine[0] == 200
    assert _ask(cloud, headers, f'/context/{name}.tgz')[::2] == mine[::2]
    status, found, body = _ask(cloud, headers, f'/context/{name}.tgz.b64')
    assert (status, base64.b64decode(body)) == (200, mine[2])
    assert found['content-type'] == 'text/plain; charset=UTF-8'


def test_the_manifest_says_what_the_bundle_is(cloud, headers):
    tar = gzip.decompress(_ask(cloud, headers)[2])
    said = manifest.parse(_ask(cloud, headers, '/context/manifest')[2])
    assert said.sha256_tar == hashlib.sha256(tar).hexdigest()
    assert said.size_tar == len(tar)
    assert {'prolog.sh', 'epilog.sh'} <= {file.path for file in said.files}


@pytest.mark.parametrize('path', ['/context', '/context/'])
def test_the_index_names_what_there_is(cloud, headers, path):
    status, _, body = _ask(cloud, headers, path)
    assert status == 200
    assert body == b'default.tgz\ndefault.tgz.b64\nmanifest\n'


def test_an_instance_is_told_of_itself_under_the_other_mounts(
    cloud, server, headers
):
    path = '/jobfeatures/job_id'
    assert _ask(cloud, headers, path)[::2] == (200, server.id.encode())
    assert _ask(cloud, headers, '/jobfeatures/allocated_cpu')[2] == b'1'
    keys = _ask(cloud, headers, '/machinefeatures/')[2].split()
    assert b'grace_secs' in keys
    assert _refused(_ask(cloud, [], path)) == 403


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE'])
def test_nothing_can_be_written(cloud, headers, method):
    assert _refused(_ask(cloud, headers, method=method)) == 403


def test_nova_s_own_metadata_is_as_it_was(cloud, server, headers):
    status, _, body = _ask(cloud, headers, '/openstack/latest/meta_data.json')
    assert status == 200
    assert json.loads(body)['uuid'] == server.id
    assert _ask(cloud, headers, '/contextual')[0] == 404


def _wait_for_tar(
    cloud: clouds.Cloud, headers: metadata.Headers, tar: bytes
) -> None:
    waits.until(
        'the new bundle',
        lambda: gzip.decompress(_ask(cloud, headers)[2]) == tar,
        LIMIT,
        log=cloud.log('nova-metadata'),
    )


def _log(cloud: clouds.Cloud) -> str:
    return cloud.log('nova-metadata').read_text(errors='replace')


def test_a_change_is_served_and_a_broken_one_is_not(cloud, headers):
    """One file comes, then a symbolic link beside it, then both go."""
    site = _settings(cloud).source.directory
    before = sites.build(site).tar
    added, trap = site / 'added_by_a_test', site / 'trap'
    try:
        added.write_text('new\n')
        good = sites.build(site).tar
        _wait_for_tar(cloud, headers, good)

        trap.symlink_to(pathlib.Path('/etc/passwd'))
        complaint = f'{trap}: is a symbolic link'
        known = _log(cloud).count(complaint)

        def is_noticed() -> bool:
            assert gzip.decompress(_ask(cloud, headers)[2]) == good
            return _log(cloud).count(complaint) > known

        waits.until('the link to be noticed', is_noticed, LIMIT)
        assert gzip.decompress(_ask(cloud, headers)[2]) == good
    finally:
        added.unlink(missing_ok=True)
        trap.unlink(missing_ok=True)
    _wait_for_tar(cloud, headers, before)


def test_each_answer_is_a_line_in_the_log(cloud, server, headers):
    _ask(cloud, headers)
    wrong = [*headers[:3], ('X-Instance-ID-Signature', '0' * 64)]
    _ask(cloud, wrong)
    waits.until(
        'both lines in the log',
        lambda: (
            f'context served: instance={server.id}' in _log(cloud)
            and 'status=403 reason=signature-wrong' in _log(cloud)
        ),
        LIMIT,
        log=cloud.log('nova-metadata'),
    )
    assert cloud.metadata_secret not in _log(cloud)


def test_a_server_that_is_gone_finds_nothing(cloud, server, headers):
    """Last of all; nova itself remembers a server for some seconds."""
    server.delete()
    waits.until(
        'the metadata service to forget a deleted server',
        lambda: _ask(cloud, headers)[0] == 404,
        LIMIT,
        log=cloud.log('nova-metadata'),
    )
    assert _refused(_ask(cloud, headers)) == 404

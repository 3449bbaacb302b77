# SPDX-License-Identifier: Apache-2.0
"""Answers of servers that a well-behaved one does not give."""

from __future__ import annotations

import hashlib

import pytest
import requests
import requests_mock

from hepix_vm.endorse import targets
from hepix_vm.endorse.targets import interface
from hepix_vm.endorse.targets import registry
from hepix_vm import errors
from tests.unit.endorse import test_draft

HERE = 'http://127.0.0.1:1/'
IMAGE = test_draft.image()


@pytest.fixture
def server():
    with requests_mock.Mocker() as mocker:
        yield mocker


def web(scheme='http', **access):
    address = HERE.replace('http', scheme, 1)
    return targets.choose(address, HERE, targets.Access(**access))


def upload(tmp_path):
    path = tmp_path / 'image'
    path.write_bytes(b'one')
    return targets.Upload(path, path.open('rb'), IMAGE, lambda _done: None)


@pytest.mark.parametrize(
    ('status', 'kind', 'why'),
    [
        (401, errors.Misconfigured, '--token-file'),
        (403, errors.Misconfigured, '--token-file'),
        (405, errors.Misconfigured, 'has to take GET'),
        (429, errors.TryAgain, '429'),
        (503, errors.TryAgain, '503'),
    ],
)
def test_status(server, status, kind, why):
    server.get(f'{HERE}list', status_code=status)
    with pytest.raises(kind, match=why):
        web().read_list('list')


def test_names_are_quoted(server):
    server.get(f'{HERE}a%20b/%23c', content=b'list')
    assert web().read_list('a b/#c') == b'list'


def test_credentials(server):
    server.get(f'{HERE}list', content=b'')
    web(token='hush').read_list('list')
    assert server.last_request.headers['Authorization'] == 'Bearer hush'
    web(user='me', password='hush').read_list('list')
    assert server.last_request.headers['Authorization'].startswith('Basic ')


def test_certificates(server, tmp_path):
    server.get(f'{HERE}list', content=b'')
    certificate, key, ca = (tmp_path / n for n in ('cert', 'key', 'ca'))
    web(client_certificate=certificate, ca_file=ca).read_list('list')
    sent = server.last_request
    assert sent.cert == (str(certificate), str(certificate))
    assert sent.verify == str(ca)
    web(client_certificate=certificate, client_key=key).read_list('list')
    assert server.last_request.cert == (str(certificate), str(key))


def test_server_that_does_not_say_the_size(server):
    server.head(f'{HERE}image', status_code=200)
    with pytest.raises(errors.Misconfigured, match='does not say the size'):
        web().size('image')


def test_list_without_end(server):
    server.get(f'{HERE}list', content=bytes(interface.LARGEST_LIST + 1))
    with pytest.raises(errors.Misconfigured, match='expected a list'):
        web().read_list('list')


def test_connection_that_breaks_while_the_list_is_read(server):
    class Broken:
        closed = False

        def read(self, *_args, **_more):
            raise OSError('connection reset')

        def close(self):
            pass

    server.get(f'{HERE}list', body=Broken())
    with pytest.raises(errors.TryAgain, match='connection reset'):
        web().read_list('list')


def test_upload_that_arrives_cut(server, tmp_path):
    server.request('PUT', requests_mock.ANY, status_code=201)
    server.request('DELETE', requests_mock.ANY, exc=requests.ConnectionError)
    server.request('HEAD', requests_mock.ANY, headers={'Content-Length': '2'})
    with pytest.raises(errors.TryAgain, match='the server has 2'):
        web('dav').put_image('image', upload(tmp_path))
    methods = [sent.method for sent in server.request_history]
    assert methods == ['PUT', 'HEAD', 'DELETE']


class TestRegistry:
    BASE = 'http://127.0.0.1:1/v2/'

    def _registry(self, server, **access):
        server.get(self.BASE, status_code=200)
        return targets.choose(
            'oci+http://127.0.0.1:1/grid/workers:stable',
            HERE,
            targets.Access(**access),
        )

    def test_where_blobs_are(self, server):
        place = self._registry(server)
        digest = 'sha256:' + 64 * 'a'
        for uri in (
            f'{self.BASE}grid/workers/blobs/{digest}',
            f'oci://127.0.0.1:1/grid/workers@{digest}',
        ):
            assert place.locate(uri) == digest
        for uri in (
            f'{self.BASE}grid/other/blobs/{digest}',
            f'{self.BASE}grid/workers/blobs/sha256:../..',
            f'{self.BASE}grid/workers/blobs/{digest}/x',
        ):
            assert place.locate(uri) is None
        place.close()

    def test_access(self, server, tmp_path):
        place = self._registry(
            server, client_certificate=tmp_path, token='hush'
        )
        assert place._client.session.cert == (str(tmp_path), str(tmp_path))
        assert place._client.auth.token == 'hush'

    @pytest.mark.parametrize(
        ('status', 'kind'),
        [
            (404, None),
            (429, errors.TryAgain),
            (500, errors.TryAgain),
            (400, errors.Misconfigured),
        ],
    )
    def test_status(self, server, status, kind):
        place = self._registry(server)
        server.get(
            f'{self.BASE}grid/workers/manifests/stable', status_code=status
        )
        if kind is None:
            assert place.read_list('') is None
            return
        with pytest.raises(kind, match=str(status)):
            place.read_list('')

    def test_connection_that_breaks(self, server):
        place = self._registry(server)
        server.get(
            f'{self.BASE}grid/workers/manifests/stable',
            exc=requests.ConnectionError,
        )
        with pytest.raises(errors.TryAgain):
            place.read_list('')

    @pytest.mark.parametrize('manifest', [b'[]', b'{', b'{"layers": [{}]}'])
    def test_manifest_that_is_none(self, server, manifest):
        place = self._registry(server)
        server.get(
            f'{self.BASE}grid/workers/manifests/stable', content=manifest
        )
        with pytest.raises(errors.Misconfigured, match='another tag'):
            place.read_list('')

    def test_blob_that_is_another(self, server):
        place = self._registry(server)
        digest = 'sha256:' + hashlib.sha256(b'list').hexdigest()
        layer = {'mediaType': registry.LIST_TYPE, 'digest': digest}
        server.get(
            f'{self.BASE}grid/workers/manifests/stable',
            json={'layers': [layer]},
        )
        server.get(f'{self.BASE}grid/workers/blobs/{digest}', content=b'other')
        with pytest.raises(errors.TryAgain, match='other bytes'):
            place.read_list('')


def test_unknown_ca_is_not_tried_again():
    failed = requests.exceptions.SSLError('unknown ca')
    said = interface.away(HERE, failed)
    assert isinstance(said, errors.Misconfigured)
    assert '--ca-file' in str(said)

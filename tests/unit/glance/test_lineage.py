# SPDX-License-Identifier: Apache-2.0
"""What stands around Glance never stands in its way."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import io
import json
from pathlib import Path
import time
from typing import Any
import uuid

import pytest

from hepix_vm.catalogue import reader
from hepix_vm.glance import lineage
from hepix_vm.glance import service
from tests import catalogue_rows

NOW = int(time.time())
CREATED = '2026-01-02T03:04:05Z'
DATA = b'an endorsed image'
COPY = b'what a server made of it'
PARENT, SERVER, IMAGE = (str(uuid.UUID(int=n)) for n in (1, 2, 3))


@dataclasses.dataclass
class Token:
    """What keystonemiddleware knows of a token."""

    role_names: tuple[str, ...] = ('service',)
    username: str = 'nova'


@dataclasses.dataclass
class Auth:
    """What keystonemiddleware leaves in a request."""

    service: Token | None = dataclasses.field(default_factory=Token)


class Images:
    """As much of an image service as these requests ask for."""

    def __init__(self) -> None:
        self.image: dict[str, Any] = {
            'id': IMAGE,
            'created_at': CREATED,
            'owner': 'mine',
            'min_disk': 1,
            'base_image_ref': PARENT,
            'instance_uuid': SERVER,
            'image_type': 'snapshot',
            'status': 'queued',
        }
        self.status = {'POST': '201 Created', 'PUT': '204 No Content'}
        self.looked_at: list[str] = []

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answer one request."""
        method = environ['REQUEST_METHOD']
        body = environ['wsgi.input'].read()
        # As the mapper of paths does.
        environ['SCRIPT_NAME'], environ['PATH_INFO'] = '/v2', '/gone'
        if method == 'GET':
            assert not body
            self.looked_at.append(environ['REQUEST_METHOD'])
        if method == 'PUT':
            self.image |= {
                'status': 'active',
                'size': len(body),
                'os_hash_algo': 'sha512',
                'os_hash_value': catalogue_rows.sha512(body),
            }
        write = start(
            self.status.get(method, '200 OK'), [('X-Made-By', 'images')]
        )
        if method == 'PUT':
            return []
        write(b'')
        return [json.dumps(self.image).encode()]


class Cloud:
    """The service, and what stands around it."""

    def __init__(self, connection: str) -> None:
        self.images = Images()
        self.lineage = lineage.Lineage(
            self.images,
            reader.ReaderSettings(connection, store_timeout=60),
            service.Nova(),
            clock=lambda: NOW,
        )

    def ask(
        self, method: str, path: str, body: bytes = b'', auth: Any = None
    ) -> tuple[str, bytes]:
        """Send a request; returns status and body."""
        said: list[str] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            assert headers == [('X-Made-By', 'images')]
            said.append(status)
            return lambda data: None

        environ = {
            'REQUEST_METHOD': method,
            'PATH_INFO': path,
            'CONTENT_LENGTH': str(len(body)),
            'wsgi.input': io.BytesIO(body),
            'keystone.token_auth': auth or Auth(),
        }
        parts = self.lineage(environ, start)
        return said[0], b''.join(parts)

    def snapshot(self, auth: Any = None) -> None:
        """Both requests of a snapshot."""
        status, body = self.ask('POST', '/v2/images', b'{}', auth)
        assert status == '201 Created'
        assert json.loads(body)['id'] == IMAGE
        path = f'/v2/images/{IMAGE}/file'
        answer = self.ask('PUT', path, COPY, auth)
        assert answer == ('204 No Content', b'')


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[catalogue_rows.Rows]:
    """A catalogue with the parent."""
    one = catalogue_rows.in_file(tmp_path / 'catalogue.sqlite')
    one.subscription('trusted')
    one.endorse(DATA)
    one.record(PARENT, DATA, boot='')
    yield one
    one.close()


@pytest.fixture
def cloud(rows: catalogue_rows.Rows) -> Cloud:
    """A service beside that catalogue."""
    return Cloud(rows.connection)


def test_snapshot_is_recorded_as_glance_stores_it(
    cloud: Cloud, rows: catalogue_rows.Rows
) -> None:
    cloud.snapshot()
    row = rows.recorded(IMAGE)
    assert row is not None
    assert (row.state, row.parent) == ('positive', PARENT)
    assert row.final_sha512 == catalogue_rows.sha512(COPY)
    assert (row.final_size, row.created_at) == (len(COPY), 1767323045)
    assert (row.project, json.loads(row.boot)) == ('mine', {'min_disk': '1'})


@pytest.mark.parametrize(
    'auth',
    [
        Auth(None),
        Auth(Token(username='cinder')),
        Auth(Token(role_names=('member',))),
        object(),
    ],
    ids=['no service', 'cinder', 'no role', 'no keystone'],
)
def test_nobody_but_nova_is_believed(
    cloud: Cloud, rows: catalogue_rows.Rows, auth: Any
) -> None:
    cloud.snapshot(auth)
    assert rows.recorded(IMAGE) is None
    assert cloud.images.looked_at == []


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('base_image_ref', None),
        ('base_image_ref', ''),
        ('base_image_ref', "' or 1=1"),
        ('base_image_ref', [PARENT]),
        ('instance_uuid', None),
        ('image_type', None),
        ('image_type', ['snapshot']),
        ('image_type', 'other'),
        ('created_at', 'never'),
        ('min_disk', 'many'),
        ('kernel_id', 'a kernel'),
        ('block_device_mapping', '[{"volume_id": "x"}]'),
    ],
    ids=str,
)
def test_what_nova_does_not_say_is_not_guessed(
    cloud: Cloud, rows: catalogue_rows.Rows, name: str, value: Any
) -> None:
    cloud.images.image[name] = value
    cloud.snapshot()
    row = rows.recorded(IMAGE)
    # How large a disk has to be is Nova's to say.
    assert (row is None) is (name != 'min_disk')


@pytest.mark.parametrize(
    ('method', 'status'),
    [('POST', '403 Forbidden'), ('PUT', '409 Conflict')],
)
def test_what_glance_refused_is_not_recorded(
    cloud: Cloud, rows: catalogue_rows.Rows, method: str, status: str
) -> None:
    cloud.images.status[method] = status
    assert cloud.ask('POST', '/v2/images')[0] == cloud.images.status['POST']
    path = f'/v2/images/{IMAGE}/file'
    assert cloud.ask('PUT', path, COPY)[0] == cloud.images.status['PUT']
    assert rows.recorded(IMAGE) is None


@pytest.mark.parametrize(
    'hidden',
    [
        {'os_hash_algo': 'md5'},
        {'os_hash_value': None},
        {'status': 'saving'},
        {'id': SERVER},
        {'size': None},
    ],
    ids=['algorithm', 'hash', 'status', 'id', 'size'],
)
def test_what_glance_does_not_show_is_not_recorded(
    cloud: Cloud, rows: catalogue_rows.Rows, hidden: dict[str, Any]
) -> None:
    cloud.ask('POST', '/v2/images')
    real = cloud.images.__call__

    def shown(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ['REQUEST_METHOD'] == 'GET':
            cloud.images.image |= hidden
        return real(environ, start)

    cloud.lineage._app = shown
    assert cloud.ask('PUT', f'/v2/images/{IMAGE}/file', COPY)[0][:3] == '204'
    assert rows.recorded(IMAGE) is None


@pytest.mark.parametrize('connection', ['sqlite:////nowhere/x', 'nonsense'])
def test_snapshot_is_made_while_the_catalogue_is_away(
    connection: str, caplog: Any
) -> None:
    Cloud(connection).snapshot()
    assert 'verdict=not-recorded' in caplog.text


def test_other_requests_pass_untouched(cloud: Cloud) -> None:
    for method, path in (
        ('GET', '/v2/images'),
        ('POST', '/v2/images/x/import'),
        ('PUT', f'/v2/images/{IMAGE}/stage'),
        ('PUT', '/v2/images/../file'),
    ):
        cloud.ask(method, path)
    assert cloud.images.looked_at == ['GET']

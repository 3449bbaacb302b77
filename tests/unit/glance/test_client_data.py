# SPDX-License-Identifier: Apache-2.0
"""The data of an image, as Glance gives them out over HTTP."""

from __future__ import annotations

import io

from keystoneauth1 import session as sessions
from keystoneauth1 import token_endpoint
import pytest
import requests_mock

from hepix_vm import errors
from hepix_vm.glance import client

URL = 'http://cloud.test'
IMAGE = '0f0e0d0c-0000-4000-8000-000000000001'
FILE = f'{URL}/v2/images/{IMAGE}/file'
OCTETS = {'Content-Type': 'application/octet-stream'}


@pytest.fixture
def cloud():
    version = {
        'id': 'v2.16',
        'status': 'CURRENT',
        'links': [{'rel': 'self', 'href': f'{URL}/v2/'}],
    }
    with requests_mock.Mocker() as mocker:
        for path in ('/', '/versions'):
            mocker.get(URL + path, json={'versions': [version]})
        yield mocker


@pytest.fixture
def glance(cloud):
    session = sessions.Session(token_endpoint.Token(URL, 'token'))
    return client.Glance(session, None, 'public')


def test_data_come_as_they_are(cloud, glance):
    data = bytes(range(256)) * 1000
    cloud.get(FILE, content=data, headers=OCTETS)
    assert b''.join(glance.data(IMAGE)) == data


def test_an_image_without_data_has_none(cloud, glance):
    cloud.get(FILE, status_code=204, headers=OCTETS)
    assert list(glance.data(IMAGE)) == []


@pytest.mark.parametrize(
    ('status', 'kind'),
    [
        (401, errors.Misconfigured),
        (403, errors.Misconfigured),
        (404, errors.TryAgain),
        (503, errors.TryAgain),
    ],
)
def test_a_refusal_is_told_as_ours(cloud, glance, status, kind):
    cloud.get(FILE, status_code=status)
    with pytest.raises(kind, match=f'read data of image {IMAGE}'):
        list(glance.data(IMAGE))


def test_a_connection_that_drops_on_the_way_is_told_as_ours(cloud, glance):
    class Dropping(io.RawIOBase):
        left = 3

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:
            self.left -= 1
            if not self.left:
                raise ConnectionResetError('dropped')
            buffer[:] = b'x' * len(buffer)
            return len(buffer)

    cloud.get(FILE, body=Dropping(), headers=OCTETS)
    with pytest.raises(errors.TryAgain, match=r'read data .*dropped'):
        list(glance.data(IMAGE))

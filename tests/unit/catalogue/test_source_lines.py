# SPDX-License-Identifier: Apache-2.0
"""What one fetch leaves to the next over a connection that stays open."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm import errors
from tests import registries
from tests.unit.catalogue import servers
from tests.unit.catalogue import simulator

NOTHING = fetch.Validators()
PATIENT = fetch.FetchSettings(
    timeout=60, list_deadline=120, max_list_size=100_000
)
HURRIED = dataclasses.replace(PATIENT, list_deadline=0.5)


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as made:
        made.tell('/list', servers.keeping(servers.answer(b'a list')))
        made.tell('/other', servers.keeping(servers.answer(b'another')))
        yield made


@pytest.fixture
def kept() -> Iterator[None]:
    with fetch.connections_kept():
        yield


def content(url: str, settings: fetch.FetchSettings = PATIENT) -> bytes:
    got = fetch.fetch_list(url, settings, NOTHING)
    assert isinstance(got, fetch.Fetched)
    return got.content


def reached(**access: Any) -> fetch.FetchSettings:
    return dataclasses.replace(PATIENT, access=fetch.Access(**access))


@pytest.mark.parametrize(
    'ends', [servers.answer(b'a list'), servers.without_length(b'a list')]
)
def test_connection_that_its_server_ended_is_opened_again(server, kept, ends):
    server.tell('/ends', ends)
    for _ in range(3):
        assert content(server.url('/ends')) == b'a list'
        assert content(server.url('/list')) == b'a list'


def test_what_follows_a_list_is_not_the_next_one(server, kept):
    forged = b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'
    server.tell(
        '/more', servers.keeping(servers.declaring(6, b'a list' + forged))
    )
    assert content(server.url('/more')) == b'a list'
    assert content(server.url('/other')) == b'another'


@pytest.mark.parametrize(
    'broken',
    [
        servers.declaring(9000, b'truncated'),
        servers.chunks_cut_off(b'truncated'),
        servers.keeping(servers.nonsense),
        servers.keeping(servers.endless),
    ],
    ids=['truncated', 'chunks', 'nonsense', 'endless'],
)
def test_fetch_that_fails_leaves_nothing_to_the_next(server, kept, broken):
    content(server.url('/list'))
    url = server.tell('/broken', broken)
    with pytest.raises(errors.TryAgain):
        content(url)
    assert content(server.url('/other')) == b'another'
    assert 1 < server.connections <= 3


@pytest.mark.parametrize(
    'slow',
    [servers.hanging, servers.dripping_headers, servers.dripping_body],
    ids=lambda behaviour: behaviour.__name__,
)
def test_kept_connection_is_cut_off_at_the_deadline(server, kept, slow):
    content(server.url('/list'))
    url = server.tell('/slow', servers.keeping(slow))
    with pytest.raises(errors.TryAgain, match=r'not finished within 0\.5 s'):
        content(url, dataclasses.replace(HURRIED, max_list_size=10**9))
    assert content(server.url('/other')) == b'another'


def test_refusal_keeps_its_connection(server, kept):
    url = server.tell('/gone', servers.keeping(servers.status(404)))
    with pytest.raises(errors.TryAgain, match='found 404'):
        content(url)
    assert content(server.url('/other')) == b'another'


def test_what_asks_otherwise_has_a_connection_of_its_own(kept, tmp_path: Path):
    key = simulator.key(tmp_path / 'key')
    other = simulator.key(tmp_path / 'other')
    with simulator.running(key) as server:
        server.tell('/list', servers.keeping(servers.answer(b'a list')))
        url = server.url('/list')
        ours = reached(url=url, ca_file=str(key.pem))
        assert content(url, ours) == b'a list'
        assert content(url, ours) == b'a list'
        assert server.connections == 1
        with pytest.raises(errors.TryAgain, match='is not believed'):
            content(url, reached(url=url, ca_file=str(other.pem)))
        shows = reached(
            url=url, ca_file=str(key.pem), client_certificate=str(key.both)
        )
        assert content(url, shows) == b'a list'
        assert server.connections == 2


def test_secret_is_of_one_fetch_and_not_of_its_connection(kept, tmp_path):
    key = registries.Key(tmp_path, 'server')
    token = tmp_path / 'token'
    token.touch(mode=0o600)
    token.write_text('abc')
    with simulator.running(key) as server:
        server.tell('/list', servers.keeping(servers.answer(b'a list')))
        url = server.url('/list')
        for token_file in (str(token), None):
            content(
                url,
                reached(url=url, ca_file=str(key.pem), token_file=token_file),
            )
        assert server.connections == 1
        shown = [headers.get('Authorization') for _, headers in server.asked]
        assert shown == ['Bearer abc', None]

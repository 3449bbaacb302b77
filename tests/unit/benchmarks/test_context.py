# SPDX-License-Identifier: Apache-2.0
"""Guests that boot at once, without a cloud."""

from __future__ import annotations

from collections.abc import Iterator
from http import server
import socket
import subprocess
import sys
import threading

import pytest

from benchmarks import context
from benchmarks import guests
from benchmarks import processes

ANSWERS = {
    '/good': (200, b'a manifest', 10),
    '/refused': (404, b'', 0),
    '/empty': (200, b'', 0),
    '/cut': (200, b'a man', 10),
}


class Handler(server.BaseHTTPRequestHandler):
    """Answers as above, and closes."""

    def do_GET(self) -> None:
        """Answer."""
        status, body, size = ANSWERS[self.path]
        self.send_response(status)
        self.send_header('Content-Length', str(size))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests begin as soon as they can."""
    monkeypatch.setattr(guests, '_AHEAD', 0.0)


@pytest.fixture
def url() -> Iterator[tuple[str, int]]:
    with server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield ('127.0.0.1', made.server_address[1])
        made.shutdown()
        thread.join()


def _asked(*paths: str) -> list[str]:
    return [
        context._request('secret', 'localhost', path, 'an instance', 'p')
        for path in paths
    ]


def test_every_guest_gets_all_that_it_asks_for(url: tuple[str, int]) -> None:
    requests = [_asked('/good', '/good', '/good')] * 7
    found = guests.wave(url, requests, 0.1, 2)
    assert len(found.seconds) == 21
    assert (found.failures, found.trouble) == (0, '')
    assert 0 < max(found.seconds) <= found.ended - found.began
    assert found.processor > 0


@pytest.mark.parametrize(
    ('path', 'trouble'),
    [
        ('/refused', '404'),
        ('/empty', 'an empty body'),
        ('/cut', '5 bytes of 10'),
    ],
)
def test_anything_else_is_a_failure(
    url: tuple[str, int], path: str, trouble: str
) -> None:
    found = guests.wave(url, [_asked(path, '/good')], 0.1, 1)
    assert found.failures == 1
    assert trouble in found.trouble
    assert len(found.seconds) == 2


def test_guests_that_find_nobody_have_failed() -> None:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        url = ('127.0.0.1', one.getsockname()[1])
        found = guests.wave(url, [_asked('/good')], 0.1, 1)
    assert found.failures == 1
    assert 'Connection' in found.trouble


def test_no_answer_at_all_is_a_failure(
    url: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, 'LIMIT', 0.0)
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        one.listen()
        asked = [(0.0, _asked('/good', '/good'))]
        crowd = guests.Crowd('127.0.0.1', one.getsockname()[1], asked)
        with guests._Running(crowd) as running:
            running._connect(guests._Guest(asked[0][1]))
            found = running.run()
    assert (found.failures, found.seconds) == (4, [])
    assert 'no answer' in found.trouble


def test_a_session_is_measured_as_a_whole() -> None:
    script = 'import sys; sum(range(5 * 10**6)); print("up"); sys.stdin.read()'
    with subprocess.Popen(
        [sys.executable, '-u', '-c', script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline()
        found = processes.of_session(process.pid)
        process.stdin.close()
    assert found.memory > 1
    assert found.processor > 0


def test_bundles_of_many_files_are_built() -> None:
    names = [row.name for row in context.built(files=5, rounds=1)]
    assert names == [
        'build a bundle of 500 files',
        'build a bundle of 500 files, processor',
    ]


def test_rounds_are_told_by_their_middle() -> None:
    ours = context._Contender('context', [])
    for number, trouble in enumerate(('', '503: busy', '')):
        ours.waves.append(
            guests.Wave([0.1, 0.2 + number], bool(trouble), trouble, 5, 7, 1)
        )
        ours.processor.append(0.5 + number)
        ours.memory.append(100.0 + number)
    found = {row.name: row for row in context._rows('boot', ours, ours)}
    assert {name: row.figure for name, row in found.items()} == {
        'boot, a request': 1000,
        'boot, p99': 1200,
        'boot, failures': 1,
        'boot, processor': 750,
        'boot, memory': 102,
    }
    assert '503: busy' in found['boot, failures'].peer
    assert found['boot, memory'].peer_figure == 100

# SPDX-License-Identifier: Apache-2.0
"""The proxy does to calls what it is told, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
import http.server
import json
import threading

import pytest
import requests

from tests.cloud import waits
from tests import misbehaving

IMAGE = '0f3b1a52-6d0c-4a0e-9a53-0d3f8a4b6c11'
LIMIT = 60


class _Real(http.server.BaseHTTPRequestHandler):
    """Says what it was asked, and that it is at its own address."""

    asked: list[tuple[str, str, bytes]]

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        size = int(self.headers.get('Content-Length', 0))
        self.asked.append((self.command, self.path, self.rfile.read(size)))
        at = f'http://127.0.0.1:{self.server.server_port}/v2'
        content = json.dumps({'url': at}).encode()
        if self.path == '/nothing':
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('X-Real', 'yes')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer


@pytest.fixture
def asked() -> list[tuple[str, str, bytes]]:
    return []


@pytest.fixture
def proxy(asked) -> Iterator[misbehaving.Proxy]:
    handler = type('Real', (_Real,), {'asked': asked})
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as real:
        thread = threading.Thread(target=real.serve_forever)
        thread.start()
        url = f'http://127.0.0.1:{real.server_port}'
        try:
            with misbehaving.before({'glance': url}) as made:
                yield made
        finally:
            real.shutdown()
            thread.join()


def ask(
    proxy: misbehaving.Proxy, method: str, path: str, **more: object
) -> requests.Response:
    return requests.request(
        method,
        proxy.urls['glance'] + path,
        timeout=more.pop('timeout', LIMIT),
        **more,
    )


def tell(
    proxy: misbehaving.Proxy, fault: misbehaving.Fault, **more: object
) -> misbehaving.Rule:
    rule = misbehaving.Rule(fault, **more)
    proxy.rules.append(rule)
    return rule


def test_without_rules_calls_are_passed_on(proxy, asked) -> None:
    answer = ask(proxy, 'POST', '/v2/images?a=b', json={'id': IMAGE})
    assert (answer.status_code, answer.headers['X-Real']) == (200, 'yes')
    assert asked == [
        ('POST', '/v2/images?a=b', json.dumps({'id': IMAGE}).encode())
    ]
    (call,) = proxy.calls
    assert (call.path, call.query, call.subject) == (
        '/v2/images',
        'a=b',
        IMAGE,
    )


def test_answers_name_the_proxy_in_place_of_the_service(proxy) -> None:
    answer = ask(proxy, 'GET', '/')
    assert answer.json() == {'url': proxy.urls['glance'] + '/v2'}


@pytest.mark.parametrize('method', ['HEAD', 'DELETE', 'PATCH', 'PUT'])
def test_methods_are_passed_on(proxy, asked, method) -> None:
    assert ask(proxy, method, '/x').status_code == 200
    assert asked == [(method, '/x', b'')]


def test_an_answer_without_content_has_none(proxy) -> None:
    answer = ask(proxy, 'DELETE', '/nothing')
    assert (answer.status_code, answer.content) == (204, b'')


def test_chunked_bodies_are_passed_on(proxy, asked) -> None:
    ask(proxy, 'PUT', '/stage', data=iter([b'one', b'two']))
    assert asked == [('PUT', '/stage', b'onetwo')]


@pytest.mark.parametrize('status', [401, 403, 409, 413, 500, 503])
def test_an_answer_in_place_of_the_service(proxy, asked, status) -> None:
    rule = tell(proxy, misbehaving.Answer(status))
    assert ask(proxy, 'GET', '/').status_code == status
    assert asked == []
    assert rule.fired == 1
    assert ask(proxy, 'GET', '/').status_code == 200


@pytest.mark.parametrize('after', [False, True])
def test_dropped_connections(proxy, asked, after) -> None:
    tell(proxy, misbehaving.Drop(after))
    with pytest.raises(requests.ConnectionError):
        ask(proxy, 'GET', '/')
    assert bool(asked) is after


@pytest.mark.parametrize('after', [False, True])
def test_silence(proxy, asked, after) -> None:
    tell(proxy, misbehaving.Hang(LIMIT, after))
    with pytest.raises(requests.Timeout):
        ask(proxy, 'GET', '/', timeout=1)
    if after:
        waits.until('the service to be asked', lambda: asked, LIMIT)
    assert bool(asked) is after


def test_an_answer_that_is_cut(proxy, asked) -> None:
    tell(proxy, misbehaving.Cut(5))
    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        ask(proxy, 'GET', '/')
    assert '5 bytes read' in str(caught.value)
    assert asked


def test_silence_ends(proxy) -> None:
    tell(proxy, misbehaving.Hang(0.1))
    with pytest.raises(requests.ConnectionError):
        ask(proxy, 'GET', '/')


@pytest.mark.parametrize('after', [False, True])
def test_something_is_done_before_or_after_the_service(
    proxy, asked, after
) -> None:
    reached: list[int] = []
    tell(proxy, misbehaving.Do(lambda call: reached.append(len(asked)), after))
    assert ask(proxy, 'GET', '/').status_code == 200
    assert reached == [int(after)]


@pytest.mark.parametrize('after', [False, True])
def test_something_is_done_in_place_of_going_on(proxy, asked, after) -> None:
    reached: list[int] = []
    does = misbehaving.Do(lambda call: reached.append(1), after, drops=True)
    tell(proxy, does)
    with pytest.raises(requests.ConnectionError):
        ask(proxy, 'GET', '/')
    assert reached == [1]
    assert bool(asked) is after


def test_rules_choose_by_method_shape_subject_and_number(proxy) -> None:
    path = f'/v2/images/{IMAGE}'
    tell(
        proxy,
        misbehaving.Answer(409),
        method='GET',
        shape='glance GET /v2/images/*',
        when=lambda call: call.subject == IMAGE,
        nth=2,
    )
    found = [
        ask(proxy, *words).status_code
        for words in (
            ('GET', path),
            ('PATCH', path),
            ('GET', path.replace('0', '1')),
            ('GET', path),
            ('GET', path),
        )
    ]
    assert found == [200, 200, 200, 409, 200]


def test_a_rule_may_hold_for_every_call(proxy) -> None:
    rule = tell(proxy, misbehaving.Answer(500), nth=0)
    assert [ask(proxy, 'GET', '/').status_code for _ in range(3)] == [500] * 3
    assert rule.fired == 3
    proxy.forget()
    assert ask(proxy, 'GET', '/').status_code == 200
    assert [call.number for call in proxy.calls] == [1]


@pytest.mark.parametrize(
    ('path', 'shape'),
    [
        (f'/v2/images/{IMAGE}/file', 'glance GET /v2/images/*/file'),
        (f'/v2/images/{IMAGE}/tags/a', 'glance GET /v2/images/*/tags/*'),
        (f'/v2/images/{IMAGE}/members', 'glance GET /v2/images/*/members'),
        (
            f'/v2/images/{IMAGE}/members/{"0" * 32}',
            'glance GET /v2/images/*/members/*',
        ),
    ],
)
def test_the_shape_of_a_call_names_nobody(proxy, path, shape) -> None:
    ask(proxy, 'GET', path)
    assert [call.shape for call in proxy.calls] == [shape]


def test_a_service_that_is_away_is_told_like_that() -> None:
    with misbehaving.before({'glance': 'http://127.0.0.1:9'}) as proxy:
        assert ask(proxy, 'GET', '/').status_code == 502

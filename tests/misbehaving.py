# SPDX-License-Identifier: Apache-2.0
"""A proxy before real services that misbehaves as it is told.

Whoever logs in through it finds it in the catalogue in place of the
services: addresses in JSON answers are rewritten. So it sees every call of
its clients, and nobody else's, and the cloud stays as it is::

    with misbehaving.before({'keystone': ..., 'glance': ...}) as proxy:
        proxy.rules.append(misbehaving.Rule(misbehaving.Answer(503), nth=3))
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import http.client
import http.server
import json
import re
import socket
import threading
from typing import Any
import urllib.parse

ADDRESS = '127.0.0.1'
#: The service of files: all of them are asked for alike.
WEB = 'web'
#: Seconds that a real service may take for an answer on a busy machine.
PATIENCE = 120
_UUID = re.compile(
    r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
)
#: Of one connection only (RFC 9110, section 7.6.1), and what changes here.
_OWN_HEADERS = frozenset(
    (
        'connection',
        'content-length',
        'keep-alive',
        'te',
        'trailer',
        'transfer-encoding',
        'upgrade',
    )
)


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A request as the proxy saw it.

    :ivar number: of all calls since the start or :meth:`Proxy.forget`, from 1
    :ivar path: without its query
    :ivar values: what the body says, where it is a JSON object
    """

    number: int
    service: str
    method: str
    path: str
    query: str = ''
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> str:
        """What is asked for, of whichever image or server."""
        if self.service == WEB:
            return f'{self.service} {self.method}'
        path = _UUID.sub('*', self.path)
        # Names that people choose stand behind these.
        path = re.sub(r'/(tags|members)/[^/]+$', r'/\1/*', path)
        return f'{self.service} {self.method} {path}'

    @property
    def subject(self) -> str:
        """The id of what is asked about, or ''."""
        found = _UUID.search(self.path)
        return found[0] if found else str(self.values.get('id', ''))


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Answer like that; the request does not reach the service."""

    status: int


@dataclasses.dataclass(frozen=True, slots=True)
class Drop:
    """End the connection without an answer.

    :ivar after: the request reached the service
    """

    after: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Hang:
    """Be silent for some seconds, then end the connection.

    :ivar after: the request reached the service
    """

    seconds: float
    after: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """End the connection within the service's answer.

    :ivar size: bytes of its body that still come
    """

    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Do:
    """Do something, such as killing the client, then go on.

    :ivar after: the service has answered, and the client does not know
    :ivar drops: end the connection instead of going on
    """

    action: Callable[[Call], object]
    after: bool = False
    drops: bool = False


Fault = Answer | Drop | Hang | Cut | Do


@dataclasses.dataclass(slots=True)
class Rule:
    """What happens to which calls.

    :ivar nth: of the calls that fit, from 1; 0 means each of them
    :ivar seen: calls that fitted so far
    :ivar fired: how often it happened
    """

    fault: Fault
    method: str = ''
    shape: str = ''
    when: Callable[[Call], bool] = lambda call: True
    nth: int = 1
    seen: int = 0
    fired: int = 0

    def takes(self, call: Call) -> bool:
        """Whether this call meets the fault; counts."""
        if (
            self.method not in ('', call.method)
            or self.shape not in ('', call.shape)
            or not self.when(call)
        ):
            return False
        self.seen += 1
        if self.nth not in (0, self.seen):
            return False
        self.fired += 1
        return True


class Proxy:
    """Fronts of several services; made by :func:`before`.

    :ivar urls: by service, where clients find it here
    :ivar rules: the first that fits counts
    :ivar calls: so far
    """

    def __init__(
        self, services: Mapping[str, str], elsewhere: Mapping[str, str]
    ) -> None:
        self.urls: dict[str, str] = {}
        self.rules: list[Rule] = []
        self.calls: list[Call] = []
        self.ended = threading.Event()
        self._said = dict(services)
        self._services = {**services, **elsewhere}
        self._lock = threading.Lock()

    def forget(self) -> None:
        """No rules and no calls any more."""
        with self._lock:
            self.rules.clear()
            self.calls.clear()

    def open(self, name: str, url: str) -> None:
        """A front at this address."""
        self.urls[name] = url

    def real(self, name: str) -> str:
        """Where the service itself is."""
        return self._services[name]

    def seen(
        self, service: str, method: str, target: str, values: Mapping[str, Any]
    ) -> tuple[Call, Fault | None]:
        """Count a call; returns what happens to it."""
        path, _, query = target.partition('?')
        with self._lock:
            call = Call(
                len(self.calls) + 1, service, method, path, query, values
            )
            self.calls.append(call)
            for rule in self.rules:
                if rule.takes(call):
                    return call, rule.fault
        return call, None

    def rewritten(self, body: bytes) -> bytes:
        """Name the fronts in place of the services."""
        for name, url in self.urls.items():
            for known in (self._said[name], self._services[name]):
                body = body.replace(known.encode(), url.encode())
        return body


@contextlib.contextmanager
def before(
    services: Mapping[str, str], elsewhere: Mapping[str, str] | None = None
) -> Iterator[Proxy]:
    """Stand before services.

    :param services: URL without a path, by name, such as ``glance``
    :param elsewhere: where services are that keystone does not name
    """
    proxy = Proxy(services, elsewhere or {})
    with contextlib.ExitStack() as stack:
        for name in services:
            server = _Server(proxy, name)
            stack.callback(server.server_close)
            proxy.open(name, f'http://{ADDRESS}:{server.server_port}')
            thread = threading.Thread(
                target=server.serve_forever, args=(0.05,), daemon=True
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        # First of all: what hangs lets go.
        stack.callback(proxy.ended.set)
        yield proxy


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: Proxy, name: str) -> None:
        self.proxy = proxy
        self.name = name
        super().__init__((ADDRESS, 0), _Front)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that went away, or were killed, are what is tested."""


class _Front(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server: _Server

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _meet(self) -> None:
        self.close_connection = True
        proxy, name = self.server.proxy, self.server.name
        body = self._body()
        call, fault = proxy.seen(name, self.command, self.path, _object(body))
        match fault:
            case Answer(status):
                self._reply(status, [], _sentence(status))
                return
            case Drop(after=False):
                self._drop()
                return
            case Hang(seconds, after=False):
                proxy.ended.wait(seconds)
                self._drop()
                return
            case Do(action, after=False):
                action(call)
                if fault.drops:
                    self._drop()
                    return
        status, headers, content = self._passed_on(body)
        match fault:
            case Drop(after=True):
                self._drop()
                return
            case Hang(seconds, after=True):
                proxy.ended.wait(seconds)
                self._drop()
                return
            case Do(action, after=True):
                action(call)
                if fault.drops:
                    self._drop()
                    return
            case Cut(size):
                self._reply(status, headers, content, size)
                self._drop()
                return
        self._reply(status, headers, content)

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = _meet

    def _body(self) -> bytes:
        if 'chunked' not in self.headers.get('Transfer-Encoding', ''):
            return self.rfile.read(int(self.headers.get('Content-Length', 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b';')[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b''.join(pieces)

    def _passed_on(
        self, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        place = urllib.parse.urlsplit(self.server.proxy.real(self.server.name))
        real = http.client.HTTPConnection(place.netloc, timeout=PATIENCE)
        headers = {
            key: value
            for key, value in self.headers.items()
            if key.lower() not in _OWN_HEADERS and key.lower() != 'host'
        }
        try:
            # An empty body is one, too: its length is then said.
            real.request(
                self.command,
                self.path,
                body
                if body or self.command in ('PATCH', 'POST', 'PUT')
                else None,
                headers,
            )
            answer = real.getresponse()
            content = answer.read()
        except OSError:
            # As the client would meet a service that is down.
            return 502, [], b'the service itself does not answer'
        finally:
            real.close()
        if 'json' in answer.headers.get('Content-Type', ''):
            content = self.server.proxy.rewritten(content)
        kept = [
            (key, value)
            for key, value in answer.headers.items()
            if key.lower() not in _OWN_HEADERS
        ]
        return answer.status, kept, content

    def _reply(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        size: int | None = None,
    ) -> None:
        # Date and Server are the service's own.
        self.send_response_only(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header('Connection', 'close')
        if status >= 200 and status not in (204, 304):
            self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content[:size])
            self.wfile.flush()

    def _drop(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _object(body: bytes) -> Mapping[str, Any]:
    if body[:1] != b'{':
        return {}
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sentence(status: int) -> bytes:
    """As the services themselves would say it."""
    title = http.HTTPStatus(status).phrase
    return f'<html><title>{status} {title}</title></html>'.encode()

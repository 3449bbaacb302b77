# SPDX-License-Identifier: Apache-2.0
"""A real HTTP server on loopback that misbehaves as it is told."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import gzip
from http import server
import select
import socket
import threading
from typing import Any

Behaviour = Callable[['Handler'], None]


class Handler(server.BaseHTTPRequestHandler):
    """Does what the server was told for the path."""

    server: Server
    protocol_version = 'HTTP/1.1'

    def do_GET(self) -> None:
        """Answer as told; 404 for the rest."""
        self.close_connection = True
        self.server.asked.append((self.path, dict(self.headers)))
        with contextlib.suppress(OSError):
            self.server.behaviour(self.path)(self)

    def do_CONNECT(self) -> None:
        """Be a proxy: carry bytes to any port of loopback, and back."""
        self.close_connection = True
        self.server.asked.append((self.path, dict(self.headers)))
        refuses = self.server.behaviours.get('CONNECT')
        with contextlib.suppress(OSError):
            if refuses is not None:
                refuses(self)
                return
            port = int(self.path.rpartition(':')[2])
            with socket.create_connection(('127.0.0.1', port)) as there:
                self.send_response(200)
                self.end_headers()
                _carry(self.connection, there)

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""


def _carry(one: socket.socket, other: socket.socket) -> None:
    """Until one of them ends."""
    across = {one: other, other: one}
    while True:
        for source in select.select([one, other], [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            across[source].sendall(data)


class Server(server.ThreadingHTTPServer):
    """Serves behaviours by path.

    :ivar asked: paths and headers of the requests so far
    :ivar connections: that clients opened so far
    :ivar ending: ends the behaviours that would never end by themselves
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.behaviours: dict[str, Behaviour] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.ending = threading.Event()

    def behaviour(self, path: str) -> Behaviour:
        """What the next request for a path meets."""
        return self.behaviours.get(path, status(404))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count it, and answer in a thread of its own."""
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are expected here."""

    def tell(self, path: str, behaviour: Behaviour) -> str:
        """Behave like that at a path; returns its URL."""
        self.behaviours[path] = behaviour
        return self.url(path)

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f'http://127.0.0.1:{self.server_address[1]}{path}'


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server that is ended on the way out."""
    with Server() as made, serving(made):
        yield made


@contextlib.contextmanager
def serving(made: Server) -> Iterator[None]:
    """Have a server answer meanwhile."""
    thread = threading.Thread(target=made.serve_forever, args=[0.05])
    thread.start()
    try:
        yield
    finally:
        made.ending.set()
        made.shutdown()
        thread.join()


def _send(
    handler: Handler, code: int, body: bytes, headers: dict[str, str]
) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def answer(body: bytes, **headers: str) -> Behaviour:
    """A well-behaved answer; header names with ``_`` for ``-``."""
    named = {name.replace('_', '-'): v for name, v in headers.items()}
    return lambda handler: _send(
        handler, 200, body, {'Content-Length': str(len(body))} | named
    )


def keeping(behaviour: Behaviour) -> Behaviour:
    """The connection stays open for the next request."""

    def behave(handler: Handler) -> None:
        handler.close_connection = False
        behaviour(handler)

    return behave


def status(code: int, **headers: str) -> Behaviour:
    """A status without a body."""
    return lambda handler: _send(
        handler, code, b'', {'Content-Length': '0'} | headers
    )


def revalidated(body: bytes, etag: str, modified: str) -> Behaviour:
    """200 at first, 304 to who has it already."""

    def behave(handler: Handler) -> None:
        if (
            handler.headers['If-None-Match'] == etag
            and handler.headers['If-Modified-Since'] == modified
        ):
            status(304)(handler)
        else:
            answer(body, ETag=etag, Last_Modified=modified)(handler)

    return behave


def declaring(length: int, body: bytes) -> Behaviour:
    """Another Content-Length than there are bytes."""
    return lambda handler: _send(
        handler, 200, body, {'Content-Length': str(length)}
    )


def without_length(body: bytes) -> Behaviour:
    """The end of the connection is the end of the body."""
    return lambda handler: _send(handler, 200, body, {'Connection': 'close'})


def chunks_cut_off(body: bytes) -> Behaviour:
    """A chunked body whose end never comes."""

    def behave(handler: Handler) -> None:
        _send(handler, 200, b'', {'Transfer-Encoding': 'chunked'})
        handler.wfile.write(b'%x\r\n%s\r\nffff\r\n' % (len(body), body))

    return behave


def endless(handler: Handler) -> None:
    """A body that does not end, some tens of megabytes a second.

    Faster, those who keep it until their deadline need a lot of memory.
    """
    _send(handler, 200, b'', {'Connection': 'close'})
    while not handler.server.ending.wait(0.001):
        handler.wfile.write(b'x' * 65536)


def compressed_bomb(size: int) -> Behaviour:
    """A few bytes that unpack to many."""
    packed = gzip.compress(bytes(size))
    return answer(packed, Content_Encoding='gzip')


def hanging(handler: Handler) -> None:
    """Never a word."""
    handler.server.ending.wait()


def dripping_body(handler: Handler) -> None:
    """A byte of the body now and then."""
    _send(handler, 200, b'', {'Content-Length': '1000000'})
    while not handler.server.ending.wait(0.05):
        handler.wfile.write(b'x')


def dripping_body_without_length(handler: Handler) -> None:
    """The same; cutting it off looks like its end."""
    _send(handler, 200, b'', {'Connection': 'close'})
    while not handler.server.ending.wait(0.05):
        handler.wfile.write(b'x')


def dripping_headers(handler: Handler) -> None:
    """A byte of the headers now and then."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nX-Long: ')
    while not handler.server.ending.wait(0.05):
        handler.wfile.write(b'x')


def nonsense(handler: Handler) -> None:
    """Not HTTP."""
    handler.wfile.write(b'\x00\x01 what is this\r\n\r\n')


def hung_up(handler: Handler) -> None:
    """The connection ends without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)

# SPDX-License-Identifier: Apache-2.0
"""The metadata address of one guest, in front of a real server.

Like neutron's metadata agent it says who asks, signs that, and hands on
neither what a guest's headers say nor most of an answer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import http.client
import http.server
import socket
import urllib.parse

from tests.guests import site

#: Seconds; for what takes a part of one on an idle machine.
LIMIT = 300.0


class Agent:
    """Hands on what is asked, and notes it.

    :ivar asked: paths, in their order
    """

    def __init__(
        self,
        listening: socket.socket,
        holder: int,
        url: str,
        headers: Sequence[tuple[str, str]],
    ) -> None:
        self.holder = holder
        self.asked: list[str] = []
        self._to = urllib.parse.urlsplit(url)
        self._headers = headers
        self._answering = site.Answering(listening, self._handler())

    def close(self) -> None:
        """End all threads."""
        self._answering.close()

    def ask(self, path: str) -> tuple[int, str, bytes]:
        """One request: status, type and body of the answer."""
        assert self._to.hostname
        connection = http.client.HTTPConnection(
            self._to.hostname, self._to.port, timeout=LIMIT
        )
        with contextlib.closing(connection):
            connection.putrequest('GET', path)
            for name, value in self._headers:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            kind = answer.getheader('Content-Type', '')
            return answer.status, kind, answer.read()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                agent.asked.append(self.path)
                status, kind, body = agent.ask(self.path)
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header('Content-Type', kind)
                    self.send_header('Content-Length', str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def signing(url: str, headers: Sequence[tuple[str, str]]) -> Iterator[Agent]:
    """A network whose only guest is the one of these headers.

    :param url: of the server, in the network of the tests
    """
    with site.network() as (listener, holder):
        agent = Agent(listener, holder, url, headers)
        with contextlib.closing(agent):
            yield agent

# SPDX-License-Identifier: Apache-2.0
"""Stand-in for neutron: a network service that has nothing.

Nova asks the network service even for servers without networks: lists must
come back empty and quotas unlimited. Anything else is refused.

``python network.py ADDRESS PORT`` needs nothing but the standard library.
"""

import http.server
import json
import re
import sys
from typing import Any

_PATH = re.compile(r'/v2\.0/([a-z0-9_-]+?)(?:\.json)?(/[^?]+)?(?:\?.*)?')
QUOTAS = (
    'floatingip',
    'network',
    'port',
    'router',
    'security_group',
    'security_group_rule',
    'subnet',
)


def answer(path: str, host: str) -> tuple[int, dict[str, Any]]:
    """Return status and body for a GET of ``path``."""
    match = _PATH.fullmatch(path)
    if match is None:
        link = {'rel': 'self', 'href': f'http://{host}/v2.0/'}
        version = {'id': 'v2.0', 'status': 'CURRENT', 'links': [link]}
        return 200, {'versions': [version]}
    collection, member = match.groups()
    if collection == 'quotas':
        return 200, {'quota': dict.fromkeys(QUOTAS, -1)}
    if member:
        return 404, _error('NotFound', 'this stand-in has nothing')
    return 200, {collection.replace('-', '_'): []}


def _error(kind: str, message: str) -> dict[str, Any]:
    return {'NeutronError': {'type': kind, 'message': message, 'detail': ''}}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers reads as above, refuses writes."""

    protocol_version = 'HTTP/1.1'

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        """Answer a read."""
        self._send(*answer(self.path, self.headers.get('Host', '')))

    def do_POST(self) -> None:
        """Refuse a write."""
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self._send(501, _error('NotImplemented', 'this stand-in only reads'))

    do_PUT = do_POST
    do_DELETE = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Log requests on standard output."""
        print(format % args, flush=True)


if __name__ == '__main__':
    http.server.ThreadingHTTPServer(
        (sys.argv[1], int(sys.argv[2])), Handler
    ).serve_forever()

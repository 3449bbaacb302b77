# SPDX-License-Identifier: Apache-2.0
"""Clients that hold what they get: ``python slow_clients.py PORT HEADERS``.

``idle N``, ``writers N`` and ``readers N`` on the input open connections that
send nothing, half of a request, or a whole one without taking the answer.
``ended`` waits until the server has ended those that never asked, and
``answers`` takes the answers that are due at last. Each line is answered by
one.
"""

from __future__ import annotations

import collections
import contextlib
import json
import resource
import socket
import sys

_ADDRESS = '127.0.0.1'
#: Seconds; a server that is slower than that is broken.
_LIMIT = 300
#: Seconds of silence after which the server is asked whether it is there.
_ASKED_AFTER = 10
_BEGUN = b'GET /context/default.tgz HTTP/1.1\r\nX: '


def _connected() -> socket.socket:
    one = socket.socket()
    # The less fits into here, the sooner a server has to wait.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.settimeout(_LIMIT)
    # A server whose queue was full may never know of a connection that its
    # client takes for made, and says so only when it hears from the client.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ASKED_AFTER)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASKED_AFTER)
    one.connect((_ADDRESS, int(sys.argv[1])))
    return one


def _opened(kind: str, many: int) -> list[socket.socket]:
    whole = (
        'GET /context/default.tgz.b64 HTTP/1.1\nHost: x\n'
        f'Connection: close\n{sys.argv[2]}\n\n'
    ).replace('\n', '\r\n')
    sent = {'idle': b'', 'writers': _BEGUN, 'readers': whole.encode()}[kind]
    made = [_connected() for _ in range(many)]
    for one in made:
        one.sendall(sent)
    return made


def _all_of(one: socket.socket) -> bytes:
    """What comes until the server ends it."""
    found = b''
    with contextlib.suppress(ConnectionResetError):
        while piece := one.recv(65536):
            found += piece
    one.close()
    return found


def _answers(held: list[socket.socket]) -> dict[str, int]:
    """How many answers there are, by status and bytes of the body."""
    found = collections.Counter[str]()
    for one in held:
        head, _, body = _all_of(one).partition(b'\r\n\r\n')
        status = head.split(b' ')[1] if b' ' in head else b'none'
        found[f'{status.decode()} {len(body)}'] += 1
    return dict(found)


def main() -> None:
    """Do as asked."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asking: list[socket.socket] = []
    others: list[socket.socket] = []
    for line in sys.stdin:
        said: object
        match line.split():
            case ['ended']:
                for one in others:
                    _all_of(one)
                said = len(others)
            case ['answers']:
                said = _answers(asking)
            case [kind, many]:
                mine = asking if kind == 'readers' else others
                mine += _opened(kind, int(many))
                said = len(mine)
        print(json.dumps(said), flush=True)


if __name__ == '__main__':
    main()

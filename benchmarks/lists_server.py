# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.lists_server FOLDER``: lists on loopback, quickly.

Serves the files of a folder under their names; whoever has one already is
told so. Prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import pathlib
import sys

#: Every file has this one: a benchmark changes none.
ETAG = '"as it was"'
_UNCHANGED = f'HTTP/1.1 304 Not Modified\r\nETag: {ETAG}\r\n\r\n'.encode()


class _Connection(asyncio.Protocol):
    """Answers request after request; bodies are not expected."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._received = b''

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when the headers are there."""
        self._received += data
        while b'\r\n\r\n' in self._received:
            head, _, self._received = self._received.partition(b'\r\n\r\n')
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if b'\r\nif-none-match: ' + ETAG.encode() in head.lower():
            self._transport.write(_UNCHANGED)
            return
        name = head.split(b' ', 2)[1].decode().rpartition('/')[2]
        body = (self._folder / name).read_bytes()
        self._transport.write(
            f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n'
            f'ETag: {ETAG}\r\n\r\n'.encode()
            + body
        )


async def _serve(folder: pathlib.Path) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(folder), '127.0.0.1', 0, backlog=1024
    )
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == '__main__':
    asyncio.run(_serve(pathlib.Path(sys.argv[1])))

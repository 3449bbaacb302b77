# SPDX-License-Identifier: Apache-2.0
"""Servers of images that know ranges, well or badly."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import dataclasses
import re
import socket

from tests.unit.catalogue import servers

#: Long before any answer, so it is a strong validator.
MODIFIED = 'Tue, 01 Jul 2025 10:00:00 GMT'
_RANGE = re.compile(r'bytes=([0-9]+)-([0-9]*)')


@dataclasses.dataclass
class Image:
    """What is served, and how; may be changed between requests.

    :ivar cuts: after how many bytes of its body each of the next answers is
        cut off
    :ivar ranges: whether they are known
    :ivar conditions: whether ``If-Range`` is known
    :ivar changes: of the headers of partial answers; None leaves one out
    :ivar answers: status and bytes of each answer so far
    """

    body: bytes
    etag: str | None = '"1"'
    modified: str | None = None
    cuts: list[int] = dataclasses.field(default_factory=list)
    ranges: bool = True
    conditions: bool = True
    changes: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    answers: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def __call__(self, handler: servers.Handler) -> None:
        """Answer a request."""
        found = _RANGE.fullmatch(handler.headers.get('Range', ''))
        condition = handler.headers['If-Range']
        known = (self.etag, self.modified)
        if (
            not self.ranges
            or found is None
            or (self.conditions and condition and condition not in known)
        ):
            self._send(handler, 200, self.body, {})
            return
        first = int(found[1])
        if first >= len(self.body):
            self._send(
                handler, 416, b'', {'Content-Range': f'bytes */{first}'}
            )
            return
        last = min(int(found[2] or first), len(self.body) - 1)
        whole = f'bytes {first}-{last}/{len(self.body)}'
        headers = {'Content-Range': whole} | dict(self.changes)
        self._send(handler, 206, self.body[first : last + 1], headers)

    def _send(
        self,
        handler: servers.Handler,
        status: int,
        body: bytes,
        changes: Mapping[str, str | None],
    ) -> None:
        headers = {
            'Content-Length': str(len(body)),
            'ETag': self.etag,
            'Last-Modified': self.modified,
        } | dict(changes)
        handler.send_response(status)
        for name, value in headers.items():
            if value is not None:
                handler.send_header(name, value)
        cut = self.cuts.pop(0) if self.cuts else len(body)
        # Noted before it is sent: the client goes on at the header.
        self.answers.append((status, min(cut, len(body))))
        handler.end_headers()
        handler.wfile.write(body[:cut])
        if cut < len(body):
            handler.wfile.flush()
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)

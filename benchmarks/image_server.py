# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.image_server FILE``: one image on loopback, quickly.

The kernel copies the file into the connection. Prints its port and serves
until its standard input ends.
"""

from __future__ import annotations

from http import server
import pathlib
import sys
import threading


class _Handler(server.BaseHTTPRequestHandler):
    """The same file for each path."""

    path_of_file: pathlib.Path

    def do_GET(self) -> None:
        """Answer with all of it."""
        with self.path_of_file.open('rb') as image:
            size = self.path_of_file.stat().st_size
            self.send_response(200)
            self.send_header('Content-Length', str(size))
            self.send_header('ETag', '"as it was"')
            self.end_headers()
            self.wfile.flush()
            self.connection.sendfile(image, count=size)

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


def _serve(path: pathlib.Path) -> None:
    _Handler.path_of_file = path
    with server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler) as made:
        print(made.server_address[1], flush=True)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        sys.stdin.read()
        made.shutdown()


if __name__ == '__main__':
    _serve(pathlib.Path(sys.argv[1]))

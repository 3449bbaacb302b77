# SPDX-License-Identifier: Apache-2.0
"""Our own server of a site's context, as a process; Nova is a stand-in.

Run as a program it serves what ``HEPIX_VM_CONFIG_FILE`` says, at a port that
it prints, until its input ends.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import http.server
import json
import os
from pathlib import Path
import re
import socketserver
import subprocess
import sys
import threading
import time
from wsgiref import simple_server

from hepix_vm.context import standalone
from tests import catalogue_rows
from tests.guests import signing
from tests.unit.context import test_facts_api
from tests.unit.context import test_identity

ROOT = Path(__file__).parents[2]
UUID = test_identity.UUID
HEADERS = [
    ('X-Forwarded-For', '10.0.0.5'),
    ('X-Instance-ID', UUID),
    ('X-Tenant-ID', test_identity.PROJECT),
    ('X-Instance-ID-Signature', test_identity.signature()),
]
_ASKS = (
    'import sys; from hepix_vm.cli import main;'
    ' sys.exit(main.main(sys.argv[1:]))'
)


@dataclasses.dataclass(frozen=True)
class Origin:
    """A site, its server, and the way of one guest to it.

    :param agent: stands for Neutron's
    """

    top: Path
    agent: signing.Agent

    @property
    def holder(self) -> int:
        """The process whose network it is."""
        return self.agent.holder

    @property
    def directory(self) -> Path:
        """Of the site."""
        return self.top / 'context'

    def hepix_vm(self, *words: str) -> str:
        """Run a command of the site's administrator; return what it says."""
        done = subprocess.run(
            [
                *(sys.executable, '-W', 'ignore', '-c', _ASKS),
                *('--config-file', str(self.top / 'hepix_vm.conf'), *words),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=signing.LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def serving(
    top: Path, behind: str, files: dict[str, bytes], key: bytes | None = None
) -> Iterator[Origin]:
    """A site with these files.

    :param behind: the option of that name
    :param key: that signs manifests, PEM
    """
    with _nova() as nova:
        _configure(top, behind, nova, key)
        for name, content in files.items():
            target = top / 'context' / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        with _process(top) as url, signing.signing(url, HEADERS) as agent:
            end = time.monotonic() + signing.LIMIT
            # Features are there once the catalogue has been read.
            while agent.ask('/machinefeatures/')[0] != 200:
                assert time.monotonic() < end, 'no features, see above'
                time.sleep(0.05)
            yield Origin(top, agent)


def _configure(top: Path, behind: str, nova: str, key: bytes | None) -> None:
    catalogue = f'sqlite:///{top / "catalogue.sqlite"}'
    catalogue_rows.Rows(catalogue).close()
    lines = [
        f'[DEFAULT]\nlog_file = {top / "log"}',
        f'[catalogue]\nconnection = {catalogue}\nstore_timeout = 60',
        f'[context]\ndirectory = {top / "context"}\nbehind = {behind}',
        'audit_interval = 1\nrefresh_interval = 1',
        f'metadata_proxy_shared_secret = {test_identity.SECRET.decode()}',
    ]
    if key is not None:
        file = top / 'signing.pem'
        file.touch(mode=0o600)
        file.write_bytes(key)
        lines.append(f'signing_key = {file}')
    lines.append(f'[openstack]\nauth_type = none\nendpoint = {nova}')
    (top / 'hepix_vm.conf').write_text('\n'.join([*lines, '']))


@contextlib.contextmanager
def _nova() -> Iterator[str]:
    """Knows one server."""
    shown = json.dumps(
        {
            'server': test_facts_api.server(
                UUID, tenant_id=test_identity.PROJECT
            )
        }
    ).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = re.search(f'/servers/{UUID}$', self.path)
            self.send_response(200 if known else 404)
            self.send_header('Content-Type', 'application/json')
            self.end_headers()
            self.wfile.write(shown if known else b'{}')

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_port}'
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def _process(top: Path) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-m', 'tests.guests.origin'],
        cwd=ROOT,
        env={
            **os.environ,
            standalone.VARIABLE: str(top / 'hepix_vm.conf'),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            port = child.stdout.readline().strip()
            assert port.isdigit(), (top / 'log').read_text()
            yield f'http://127.0.0.1:{port}'
        finally:
            assert child.stdin is not None
            child.stdin.close()
            child.wait(signing.LIMIT)


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True


class _Handler(simple_server.WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    """Serve until the input ends."""
    with simple_server.make_server(
        '127.0.0.1', 0, standalone.make(), _Server, _Handler
    ) as server:
        threading.Thread(
            target=server.serve_forever, args=(0.05,), daemon=True
        ).start()
        print(server.server_port, flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Real servers to publish at: WebDAV, an OCI registry, an object store."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
from typing import Any

import bcrypt
from cheroot.ssl import builtin
from cheroot import wsgi
import requests
from wsgidav import wsgidav_app

from tests.cloud import cache
from tests.cloud import environment
from tests.cloud import ports
from tests.cloud import waits

LIMIT = 240
#: Of every account here; they live on loopback for the length of a test.
USER, SECRET = 'endorser', 'hush'


@contextlib.contextmanager
def reserved(*names: str) -> Iterator[dict[str, int]]:
    """Ports of the loopback address that are nobody else's meanwhile."""
    block = ports.reserve(names, cache.root() / 'ports', random.Random())
    try:
        yield block.ports
    finally:
        block.release()


@contextlib.contextmanager
def unanswered() -> Iterator[int]:
    """A port of the loopback address at which nobody listens meanwhile."""
    with socket.socket() as held:
        held.bind((ports.ADDRESS, 0))
        yield int(held.getsockname()[1])


@contextlib.contextmanager
def webdav(
    folder: pathlib.Path,
    certificate: pathlib.Path | None = None,
    key: pathlib.Path | None = None,
    *,
    anonymous: bool = False,
) -> Iterator[str]:
    """WsgiDAV on a folder; yields its address, which ends in a slash."""
    accounts: Any = True if anonymous else {USER: {'password': SECRET}}
    app = wsgidav_app.WsgiDAVApp(
        {
            'provider_mapping': {'/': str(folder)},
            'simple_dc': {'user_mapping': {'*': accounts}},
            'http_authenticator': {
                'domain_controller': None,
                'accept_basic': True,
                'accept_digest': False,
                'default_to_digest': False,
            },
            'logging': {'enable': False},
            'verbose': 0,
            'fs_dav_provider': {'shadow_map': {}},
        }
    )
    server = wsgi.Server(('127.0.0.1', 0), app)
    scheme = 'http'
    if certificate is not None and key is not None:
        scheme = 'https'
        server.ssl_adapter = builtin.BuiltinSSLAdapter(
            str(certificate), str(key)
        )
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield f'{scheme}://127.0.0.1:{server.bind_addr[1]}/'
    finally:
        server.stop()
        thread.join(LIMIT)


@contextlib.contextmanager
def _running(
    argv: list[object], log: pathlib.Path, url: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that has answered, ended by its id."""

    def answers() -> bool:
        try:
            return requests.get(url, timeout=10).status_code < 500
        except requests.RequestException:
            return False

    with (
        log.open('wb') as stream,
        subprocess.Popen(
            [str(a) for a in argv],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        ) as process,
    ):
        try:
            waits.until(
                f'{log.stem} to answer',
                answers,
                LIMIT,
                log=log,
                alive=lambda: process.poll() is None,
            )
            yield process
        finally:
            # The session is this process and its children.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


@contextlib.contextmanager
def registry(folder: pathlib.Path, *, open_to_all: bool) -> Iterator[str]:
    """Debian's docker-registry; yields HOST:PORT."""
    with reserved('registry') as ports_:
        address = f'{ports.ADDRESS}:{ports_["registry"]}'
        with _registry(folder, address, open_to_all=open_to_all):
            yield address


def _registry(
    folder: pathlib.Path, address: str, *, open_to_all: bool
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    # The one form of passwords that it reads.
    hashed = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()
    (folder / 'htpasswd').write_text(f'{USER}:{hashed}\n')
    configuration: dict[str, Any] = {
        'version': 0.1,
        'log': {'level': 'error'},
        'storage': {'filesystem': {'rootdirectory': str(folder / 'store')}},
        'http': {'addr': address},
    }
    if not open_to_all:
        configuration['auth'] = {
            'htpasswd': {'realm': 'tests', 'path': str(folder / 'htpasswd')}
        }
    path = folder / 'registry.yml'
    path.write_text(json.dumps(configuration))
    argv: list[object] = ['docker-registry', 'serve', path]
    log = folder / 'docker-registry.log'
    return _running(argv, log, f'http://{address}/v2/')


def swift_environment() -> pathlib.Path:
    """An environment with Swift, in the cache."""

    def build(folder: pathlib.Path) -> None:
        environment.call(
            [environment.interpreter(), '-m', 'venv', str(folder)]
        )
        environment.install(
            folder / 'bin' / 'python', ['swift>=2.35,<2.39'], print
        )

    return cache.built(cache.root() / 'venv' / 'swift-1', build, print)


@contextlib.contextmanager
def object_store(folder: pathlib.Path) -> Iterator[str]:
    """Swift with its S3 interface, which checks signatures; yields its URL."""
    python = swift_environment() / 'bin' / 'python'
    script = pathlib.Path(__file__).with_name('swift_server.py')
    with reserved('proxy', 'object', 'container', 'account') as backends:
        port = backends.pop('proxy')
        argv: list[object] = [
            *(python, script, folder, port, json.dumps(backends)),
            *(USER, SECRET),
        ]
        url = f'http://{ports.ADDRESS}:{port}'
        log = folder / 'swift.log'
        with _running(argv, log, f'{url}/healthcheck'):
            # That one asks these, and does not wait for them.
            for name, backend in backends.items():
                answer = ports.HttpAnswer(backend)
                waits.until(f'the {name} server', answer, LIMIT, log=log)
            yield url

# SPDX-License-Identifier: Apache-2.0
"""A real OCI registry on loopback, and a token server beside it.

The registry is Debian's ``docker-registry``; what is pushed goes through the
``oras`` library, as endorsers do it. TLS and tokens come from keys made on
the spot.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
import contextlib
import datetime
from http import server
import ipaddress
import json
from pathlib import Path
import random
import ssl
import subprocess
import threading
import time
from typing import Any
import urllib.parse
import uuid

import bcrypt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import utils
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509.oid import NameOID
import oras.client

from tests.cloud import cache
from tests.cloud import ports
from tests.cloud import waits

PROGRAM = 'docker-registry'

#: Who may push and, where a registry asks, pull.
USER, PASSWORD = 'robot$puller', 'a secret: with a colon'

_SERVICE = 'the registry of the tests'
_ISSUER = 'the token server of the tests'


class Key:
    """A key with a self-signed certificate.

    :param host: address that the certificate is for
    :param days: of its life, from now on; below 0 it is over
    :ivar pem: file with the certificate
    :ivar both: file with certificate and key
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        host: str = '127.0.0.1',
        days: int = 1,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 9 * day)
            .not_valid_after(now + days * day)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.IPAddress(ipaddress.ip_address(host))]
                ),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = folder / f'{name}.pem'
        self.both = folder / f'{name}-with-key.pem'
        encoded = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.pem.write_bytes(encoded)
        self.both.touch(mode=0o600)
        self.both.write_bytes(
            encoded
            + self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def token(self, **claims: Any) -> str:
        """A token (JWT, ES256) that a registry believes."""
        now = int(time.time())
        payload = {
            'iss': _ISSUER,
            'aud': _SERVICE,
            'nbf': now - 600,
            'iat': now - 600,
            'exp': now + 3600,
            'jti': str(uuid.uuid4()),
        } | claims
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        header = {
            'typ': 'JWT',
            'alg': 'ES256',
            'x5c': [base64.b64encode(der).decode()],
        }
        text = '.'.join(
            _url64(json.dumps(p).encode()) for p in (header, payload)
        )
        signature = self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(signature)
        return f'{text}.{_url64(r.to_bytes(32) + s.to_bytes(32))}'


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


class TokenServer(server.ThreadingHTTPServer):
    """Gives tokens over TLS: anybody may pull, USER may push, too.

    :ivar asked: query and Authorization header of each request
    :ivar open_to_all: whether those without a password get one
    """

    daemon_threads = True

    def __init__(self, key: Key) -> None:
        super().__init__(('127.0.0.1', 0), _TokenHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(key.both)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.key = key
        self.asked: list[tuple[dict[str, list[str]], str | None]] = []
        self.open_to_all = True

    @property
    def realm(self) -> str:
        """The URL that the registry names."""
        return f'https://127.0.0.1:{self.server_address[1]}/token'

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that do not trust the certificate are expected here."""


class _TokenHandler(server.BaseHTTPRequestHandler):
    server: TokenServer

    def do_GET(self) -> None:
        """Answer with a token, or 401."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        shown = self.headers['Authorization']
        self.server.asked.append((query, shown))
        pair = base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()
        known = shown == f'Basic {pair}'
        if not known and (shown or not self.server.open_to_all):
            self.send_error(401)
            return
        body = json.dumps(
            {'token': self.server.key.token(access=_access(query, known))}
        ).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""


def _access(query: dict[str, list[str]], push: bool) -> list[dict[str, Any]]:
    granted = []
    for scope in query.get('scope', []):
        kind, name, actions = scope.split(':')
        allowed = [a for a in actions.split(',') if push or a == 'pull']
        granted.append({'type': kind, 'name': name, 'actions': allowed})
    return granted


def _all(repository: str) -> list[dict[str, Any]]:
    return _access({'scope': [f'repository:{repository}:pull,push']}, True)


class Registry:
    """One registry; made by :func:`running`.

    :ivar folder: what it stores is below ``store``
    :ivar host: ``127.0.0.1:PORT``
    :ivar ca: PEM file for its clients
    :ivar tokens: its token server, if it has one
    """

    def __init__(self, folder: Path, auth: str, tls: bool = True) -> None:
        self.folder = folder
        self.auth = auth
        self.tls = tls
        self.key = Key(folder, 'registry')
        self.ca = str(self.key.pem)
        self.tokens = TokenServer(self.key) if auth == 'token' else None
        self._ports = ports.reserve(
            ['registry'], cache.root() / 'ports', random.Random()
        )
        self.host = f'127.0.0.1:{self._ports.ports["registry"]}'
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        """The URL of ``PROJECT/NAME:TAG`` or ``PROJECT/NAME@DIGEST``."""
        return f'{"oci" if self.tls else "oci+http"}://{self.host}/{name}'

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.folder / 'registry.log'
        config = self.folder / 'registry.json'
        # JSON is YAML, which the registry reads.
        config.write_text(json.dumps(self._config()))
        with log.open('ab') as stream:
            process = subprocess.Popen(
                [PROGRAM, 'serve', str(config)],
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={'PATH': '/usr/bin:/bin', 'OTEL_TRACES_EXPORTER': 'none'},
            )
        self._process = process
        waits.until(
            f'the registry to listen at {self.host}',
            lambda: ports.answers(self._ports.ports['registry']) or None,
            120,
            log=log,
            alive=lambda: process.poll() is None,
        )

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """End it and let go of its port."""
        self.kill()
        self._ports.release()
        if self.tokens is not None:
            self.tokens.server_close()

    def push(self, name: str, files: dict[str, tuple[bytes, str]]) -> str:
        """Push an artefact as ``oras push`` does.

        :param files: bytes and media type by file name
        :returns: the digest of its manifest
        """
        client = oras.client.OrasClient(
            hostname=self.host,
            insecure=not self.tls,
            tls_verify=self.ca,
            auth_backend='basic' if self.auth == 'htpasswd' else 'token',
        )
        if self.auth == 'htpasswd':
            client.auth.set_basic_auth(USER, PASSWORD)
        elif self.auth == 'token':
            # The library keeps its first token, one to pull, for the push.
            repository = name.partition(':')[0]
            client.auth.set_token_auth(self.key.token(access=_all(repository)))
        folder = self.folder / 'pushed' / uuid.uuid4().hex
        folder.mkdir(parents=True)
        named = []
        for file, (content, media_type) in files.items():
            (folder / file).write_bytes(content)
            named.append(f'{folder / file}:{media_type}')
        response = client.push(
            target=f'{self.host}/{name}',
            files=named,
            disable_path_validation=True,
            quiet=True,
        )
        assert response.status_code == 201, response.text
        return str(response.headers['Docker-Content-Digest'])

    def stored(self, digest: str) -> Path:
        """The file in which the registry keeps a blob."""
        value = digest.removeprefix('sha256:')
        return (
            self.folder
            / 'store/docker/registry/v2/blobs/sha256'
            / value[:2]
            / value
            / 'data'
        )

    def _config(self) -> dict[str, Any]:
        http: dict[str, Any] = {'addr': self.host, 'secret': 'of the tests'}
        if self.tls:
            http['tls'] = {
                'certificate': str(self.key.both),
                'key': str(self.key.both),
            }
        config: dict[str, Any] = {
            'version': 0.1,
            'log': {'level': 'info', 'accesslog': {'disabled': False}},
            'storage': {
                'filesystem': {'rootdirectory': str(self.folder / 'store')}
            },
            'http': http,
        }
        if self.auth == 'htpasswd':
            hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4))
            users = self.folder / 'users'
            users.write_text(f'{USER}:{hashed.decode()}\n')
            config['auth'] = {
                'htpasswd': {'realm': 'tests', 'path': str(users)}
            }
        if self.tokens is not None:
            config['auth'] = {
                'token': {
                    'realm': self.tokens.realm,
                    'service': _SERVICE,
                    'issuer': _ISSUER,
                    'rootcertbundle': self.ca,
                }
            }
        return config


@contextlib.contextmanager
def running(
    folder: Path, auth: str = 'none', tls: bool = True
) -> Iterator[Registry]:
    """A registry that is ended on the way out.

    :param auth: ``none``, ``htpasswd`` or ``token``
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Registry(folder, auth, tls)
    thread = None
    try:
        if made.tokens is not None:
            thread = threading.Thread(
                target=made.tokens.serve_forever, args=[0.05]
            )
            thread.start()
        made.start()
        yield made
    finally:
        if made.tokens is not None and thread is not None:
            made.tokens.shutdown()
            thread.join()
        made.end()

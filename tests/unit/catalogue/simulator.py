# SPDX-License-Identifier: Apache-2.0
"""The server of an endorser, well until it is told otherwise.

One newest list, in the two forms in which subscribers fetch it: at a URL,
and as an artefact of a registry. What goes wrong is scripted: the next
requests, or all of them, meet a behaviour of :mod:`servers` instead.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
import contextlib
import hashlib
import json
from pathlib import Path
import socket
import ssl

from hepix_vm.catalogue.sources import manifest
from tests import registries
from tests.unit.catalogue import servers

LIST = '/list'
NAME = 'vo/images'
MANIFEST = f'/v2/{NAME}/manifests/latest'


def digest_of(data: bytes) -> str:
    """The name of a blob."""
    return f'sha256:{hashlib.sha256(data).hexdigest()}'


def blob(data: bytes) -> str:
    """The path of a blob."""
    return f'/v2/{NAME}/blobs/{digest_of(data)}'


def artefact(data: bytes, media_type: str = manifest.LIST_TYPE) -> bytes:
    """A manifest of one file."""
    layer = {
        'mediaType': media_type,
        'digest': digest_of(data),
        'size': len(data),
    }
    return json.dumps(
        {
            'schemaVersion': 2,
            'mediaType': manifest.MANIFEST_TYPES[0],
            'layers': [layer],
        }
    ).encode()


class Simulator(servers.Server):
    """A web server and a registry with the same list.

    :ivar list: the newest signed list
    :ivar script: behaviours of the next requests, whatever they ask for
    :ivar behaviours: of every request for a path, after the script
    """

    def __init__(self) -> None:
        super().__init__()
        self.list = b''
        self.script: collections.deque[servers.Behaviour] = collections.deque()
        self._scheme = 'http'

    def behaviour(self, path: str) -> servers.Behaviour:
        """The script's next, what was told for the path, or well."""
        if self.script:
            return self.script.popleft()
        return self.behaviours.get(path) or self._well(path)

    def misbehave(self, behaviour: servers.Behaviour, *paths: str) -> None:
        """Behave like that from now on; default: where lists are asked for."""
        for path in paths or (LIST, MANIFEST):
            self.tell(path, behaviour)

    def heal(self) -> None:
        """Be well again."""
        self.script.clear()
        self.behaviours.clear()

    def url(self, path: str) -> str:
        """The URL of a path."""
        return super().url(path).replace('http', self._scheme, 1)

    def artefact_url(self) -> str:
        """Where the list is in the registry."""
        scheme = 'oci' if self._scheme == 'https' else 'oci+http'
        return f'{scheme}://127.0.0.1:{self.server_address[1]}/{NAME}:latest'

    def use_tls(self, key: registries.Key) -> None:
        """Speak TLS, before the first request."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(key.both)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self._scheme = 'https'

    def _well(self, path: str) -> servers.Behaviour:
        described = artefact(self.list)
        if path == LIST:
            etag = f'"{digest_of(self.list)}"'
            return servers.revalidated(self.list, etag, 'some time ago')
        if path == MANIFEST:
            return servers.answer(
                described, Docker_Content_Digest=digest_of(described)
            )
        if path == blob(self.list):
            return servers.answer(self.list)
        return servers.status(404)


@contextlib.contextmanager
def running(key: registries.Key | None = None) -> Iterator[Simulator]:
    """A simulator that is ended on the way out.

    :param key: for TLS
    """
    with Simulator() as made:
        if key is not None:
            made.use_tls(key)
        with servers.serving(made):
            yield made


@contextlib.contextmanager
def nobody() -> Iterator[int]:
    """A port that nobody listens at, and nobody else gets."""
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        yield int(taken.getsockname()[1])


def key(folder: Path, **changes: object) -> registries.Key:
    """A key of a server, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return registries.Key(folder, 'server', **changes)  # type: ignore[arg-type]

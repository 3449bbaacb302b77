# SPDX-License-Identifier: Apache-2.0
"""A site as a guest sees it: bundles, and a server that may be hostile.

The server listens on the metadata address of a network namespace of its own.
A small process holds the namespace and hands its listening socket over.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import http.server
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import serialization

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import forms
from hepix_vm.context import manifest

ADDRESS = '169.254.169.254'
CONTEXT = '/context/'
#: 2026-01-01 and a day that is far from it
CREATED = 1767225600
NEVER = 4102444800

_HOLDER = f"""
import socket, subprocess, sys
subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
subprocess.run(
    ['ip', 'address', 'add', '{ADDRESS}/32', 'dev', 'lo'], check=True)
listening = socket.create_server(('{ADDRESS}', 80), backlog=64)
to = socket.socket(fileno=int(sys.argv[1]))
socket.send_fds(to, [b'x'], [listening.fileno()])
listening.close()
sys.stdin.read()
"""

SCRIPT = b"""#!/bin/sh
echo "%s $1 in $PWD" >> "$CALLS"
echo "site: %s $1"
"""


def script(name: str, code: int = 0) -> bytes:
    """A script that notes its call and ends with a status."""
    text = SCRIPT.replace(b'%s', name.encode())
    return text + b'exit %d\n' % code if code else text


SCRIPTS = {'prolog.sh': script('prolog'), 'epilog.sh': script('epilog')}


class Key:
    """A key pair of a site."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def private(self) -> bytes:
        """PEM."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def public(self) -> bytes:
        """PEM."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What a site publishes."""

    tar: bytes
    manifest: bytes

    @property
    def sha256(self) -> str:
        """Of the tar."""
        return _sha256(self.tar)

    @property
    def tgz(self) -> bytes:
        """The tar in gzip."""
        return forms.gzip(self.tar)

    def signature(self, key: Key) -> bytes:
        """Of the manifest, as it is served."""
        return forms.base64(manifest.sign(self.manifest, key.private))

    def answers(self, key: Key | None = None) -> dict[str, Answer]:
        """What a good server says."""
        found = {
            f'{CONTEXT}manifest': Answer(body=self.manifest),
            f'{CONTEXT}default.tgz.b64': Answer(body=forms.base64(self.tgz)),
            f'{CONTEXT}ran/{self.sha256}': Answer(body=b'noted\n'),
            f'{CONTEXT}failed/{self.sha256}': Answer(body=b'noted\n'),
        }
        if key is not None:
            found[f'{CONTEXT}manifest.sig'] = Answer(body=self.signature(key))
        return found


def about(
    tar: bytes,
    files: dict[str, bytes],
    serial: int = 7,
    expires: int | None = NEVER,
    directories: tuple[str, ...] = (),
) -> Bundle:
    """A tar with the manifest that the site would write."""
    return Bundle(
        tar,
        manifest.render(
            manifest.Manifest(
                serial,
                CREATED,
                expires,
                _sha256(tar),
                len(tar),
                tuple(
                    bundle.BundleFile(
                        name,
                        0o755 if name in archive.SCRIPTS else 0o644,
                        len(content),
                        _sha256(content),
                    )
                    for name, content in sorted(files.items())
                ),
                directories,
            )
        ),
    )


def made(
    files: dict[str, bytes] | None = None,
    serial: int = 7,
    expires: int | None = NEVER,
) -> Bundle:
    """A good bundle."""
    files = SCRIPTS if files is None else files
    members = [
        archive.Member(directory, True, None)
        for directory in sorted(
            {name.rpartition('/')[0] for name in files if '/' in name}
        )
    ]
    members += [
        archive.Member(name, False, content) for name, content in files.items()
    ]
    tar = archive.pack(archive.ordered(members, 'test'), 'test')
    return about(tar, files, serial, expires)


def hostile(*headers: tarfile.TarInfo, content: bytes = b'') -> bytes:
    """A tar of good scripts, and members that no site would send."""
    packed = io.BytesIO()
    with tarfile.open(
        fileobj=packed, mode='w', format=tarfile.GNU_FORMAT
    ) as tar:
        for name, text in SCRIPTS.items():
            header = tarfile.TarInfo(name)
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text))
        for header in headers:
            if header.isreg():
                header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return packed.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, to: str = '', mode: int = 0o644
) -> tarfile.TarInfo:
    """A header as one likes it."""
    header = tarfile.TarInfo(name)
    header.type = kind
    header.linkname = to
    header.mode = mode
    header.devmajor, header.devminor = 1, 3
    return header


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer of the server.

    :param short: bytes of the body that are announced and not sent
    :param hangs: never answers
    :param announced: says how long the body is
    :param junk: bytes of headers that mean nothing
    """

    status: int = 200
    body: bytes = b''
    location: str | None = None
    short: int = 0
    hangs: bool = False
    announced: bool = True
    junk: int = 0


class Answering:
    """An HTTP server in a thread of its own, on a socket that listens."""

    def __init__(
        self,
        listening: socket.socket,
        handler: type[http.server.BaseHTTPRequestHandler],
    ) -> None:
        self._server = http.server.ThreadingHTTPServer(
            (ADDRESS, 80), handler, bind_and_activate=False
        )
        self._server.socket.close()
        self._server.socket = listening
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,)
        )
        self._thread.start()

    def close(self) -> None:
        """End all threads."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Server:
    """Says what it is told to, and notes what it was asked.

    :ivar answers: by path; of several the last is said again and again
    :ivar asked: paths, in their order
    """

    def __init__(self, listening: socket.socket, holder: int) -> None:
        self.holder = holder
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.end = threading.Event()
        self._answering = Answering(listening, self._handler())

    def close(self) -> None:
        """End all threads."""
        self.end.set()
        self._answering.close()

    def forget(self) -> None:
        """Begin the next test; what hangs still is let go."""
        self.end.set()
        self.end = threading.Event()
        self.answers = {}
        self.asked = []

    def say(self, answers: dict[str, Answer]) -> None:
        """Answer so from now on."""
        self.answers.update({path: [one] for path, one in answers.items()})

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                answers = site.answers.get(self.path, [Answer(404, b'\n')])
                one = answers.pop(0) if len(answers) > 1 else answers[0]
                with contextlib.suppress(ConnectionError):
                    self._answer(one)

            def _answer(self, one: Answer) -> None:
                if one.hangs:
                    site.end.wait()
                    return
                self.send_response(one.status)
                if one.announced:
                    length = len(one.body) + one.short
                    self.send_header('Content-Length', str(length))
                for number in range(one.junk // 1024):
                    self.send_header(f'X-{number}', 'x' * 1024)
                if one.location is not None:
                    self.send_header('Location', one.location)
                self.end_headers()
                self.wfile.write(one.body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def network() -> Iterator[tuple[socket.socket, int]]:
    """A network namespace with the metadata address.

    :returns: a socket that listens there, and the process that holds it
    """
    ours, theirs = socket.socketpair()
    root = () if os.geteuid() == 0 else ('--map-root-user',)
    with ours, contextlib.ExitStack() as stack:
        with theirs:
            number = theirs.fileno()
            holder = subprocess.Popen(
                [
                    *('unshare', '--net', *root, sys.executable),
                    *('-c', _HOLDER, str(number)),
                ],
                stdin=subprocess.PIPE,
                pass_fds=[number],
            )
        stack.callback(holder.wait)
        stack.callback(lambda: holder.stdin and holder.stdin.close())
        ours.settimeout(300)
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        assert fds, 'no network namespace, see above'
        yield socket.socket(fileno=fds[0]), holder.pid


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server in a network of its own."""
    with (
        network() as (listener, holder),
        contextlib.closing(Server(listener, holder)) as server,
    ):
        yield server


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

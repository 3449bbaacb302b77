# SPDX-License-Identifier: Apache-2.0
"""What publishing needs of a place, and what a place needs to be reached."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import hashlib
from pathlib import Path
from typing import IO
from typing import Protocol
import urllib.parse

import requests

from hepix_vm import errors
from hepix_vm import imagelist

#: Called with the bytes done so far.
Progress = Callable[[int], None]

BLOCK = 2**20
#: A signed list is never larger than what subscribers take.
LARGEST_LIST = 16 * 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """How to be let in.

    :param user: name for Basic authentication, with ``password``
    :param token: a bearer token
    :param client_certificate: PEM file, for TLS
    :param client_key: PEM file, not encrypted, for TLS
    :param ca_file: PEM file of the CAs of https servers
    :param s3_endpoint: URL of the object store
    :param timeout: seconds to wait for a connection or for an answer
    """

    user: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    token: str | None = dataclasses.field(default=None, repr=False)
    client_certificate: Path | None = None
    client_key: Path | None = None
    ca_file: Path | None = None
    s3_endpoint: str | None = None
    timeout: float = 60

    @property
    def has_secret(self) -> bool:
        """Whether a secret would be sent."""
        return self.password is not None or self.token is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """An image that belongs to the published list.

    :param name: where it lies, as :meth:`Target.locate` says
    :param title: file name for people
    :param size: bytes
    """

    name: str
    title: str
    size: int


class Target(Protocol):
    """A place to publish at; each method is one step.

    Errors are ``TryAgain`` where the place is away and ``Misconfigured``
    where it refuses.
    """

    def locate(self, uri: str) -> str | None:
        """The name under which this place serves a URI; None: it does not."""

    def size(self, name: str) -> int | None:
        """Bytes of what is there, None if nothing is."""

    def read_list(self, name: str) -> bytes | None:
        """The message that is there, None if nothing is."""

    def put_image(self, name: str, upload: Upload) -> None:
        """Put an image; nobody sees a part of it where that can be had."""

    def put_list(
        self, name: str, message: bytes, layers: Sequence[Layer]
    ) -> None:
        """Put a message in place of the one before it, at once."""

    def close(self) -> None:
        """Let go of connections."""


def below(base: str, uri: str) -> str | None:
    """The path of a URI relative to a base that ends in a slash.

    :returns: None if the URI is not below it, or would leave it
    """
    ours, other = urllib.parse.urlsplit(base), urllib.parse.urlsplit(uri)
    if (ours.scheme, ours.netloc.lower()) != (
        other.scheme,
        other.netloc.lower(),
    ):
        return None
    if other.query or other.fragment or not other.path.startswith(ours.path):
        return None
    name = urllib.parse.unquote(other.path[len(ours.path) :])
    parts = name.split('/')
    if any(
        part in ('', '.', '..') or part.startswith('.') or '\\' in part
        for part in parts
    ):
        return None
    return name if name.isprintable() else None


def away(url: str, exc: Exception) -> errors.HepixError:
    """What a failed connection means to the endorser."""
    reason = ' '.join(str(exc).split())[:300]
    said = f'{url}: {type(exc).__name__}: {reason}'
    if isinstance(exc, requests.exceptions.SSLError):
        return errors.Misconfigured(
            f'{said}; give the CA of the server with --ca-file'
        )
    return errors.TryAgain(said)


class Upload:
    """An image file while it is sent: its reading is told and checked.

    The last bytes are handed out only when all of them have the digest
    that the list names, so that a file that changed is not put in place.

    :param path: of the file
    :param source: the open file
    :param image: what the file has to be
    """

    def __init__(
        self,
        path: Path,
        source: IO[bytes],
        image: imagelist.ImageEntry,
        progress: Progress,
    ) -> None:
        self.path = path
        self.size = image.size
        self._source = source
        self._expected = image.sha512
        self._progress = progress
        self._hasher = hashlib.sha512()
        self._done = 0

    def __len__(self) -> int:
        return self.size

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        :raises hepix_vm.errors.Misconfigured: the file is another one now
        """
        left = self.size - self._done
        block = self._source.read(min(size, left) if size >= 0 else left)
        self._hasher.update(block)
        self._done += len(block)
        ended = self._done == self.size
        if (not block and size and left) or (
            ended and self._hasher.hexdigest() != self._expected
        ):
            raise errors.Misconfigured(
                f'{self.path}: the file changed while it was published; '
                'publish again'
            )
        self._progress(self._done)
        return block

    def tell(self) -> int:
        """Bytes read so far."""
        return self._done

    def seek(self, offset: int, whence: int = 0) -> int:
        """Begin again, as a redirect needs it."""
        if offset or whence:
            raise OSError('an upload begins at its beginning')
        self._source.seek(0)
        self._hasher = hashlib.sha512()
        self._done = 0
        return 0

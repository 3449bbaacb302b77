# SPDX-License-Identifier: Apache-2.0
"""A download on its way to disk: hashed while it is written, resumed if cut.

What was received stays beside the name of where it came from and of the
version that it is of, so that a later process can ask for the rest. It is
read and hashed again before it goes on, and nothing is called whole that has
not the digest.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import dataclasses
import hashlib
import json
import os
import stat
import time

from oslo_log import log

from hepix_vm.catalogue import fetch
from hepix_vm import errors
from hepix_vm.glance import place as place_

LOG = log.getLogger(__name__)

Told = Callable[[int], None]

_BLOCK = 2**20
#: Pieces that wait to be hashed; they bound the memory.
_WAITING = 4
#: How often one run goes on where it was cut off, and seconds in between.
_ATTEMPTS = 5
_PAUSE = 1.0
_MOST_ORIGIN = 16 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One image.

    :ivar size: bytes
    """

    url: str
    sha512: str
    size: int


def receive(
    place: place_.Place,
    wanted: Wanted,
    settings: fetch.FetchSettings,
    told: Told,
) -> None:
    """Download what is missing; ``place.whole`` is there afterwards.

    For who has the place alone. What can be gone on with stays when it
    fails, what is wrong does not.

    :param told: called with the number of bytes that are here
    :raises errors.NotBelieved: other bytes came
    :raises errors.TryAgain: they cannot be had now
    :raises OSError: they cannot be written
    """
    deadline = time.monotonic() + settings.image_deadline
    with part(place, wanted) as received:
        try:
            kept = received.size
            _fill(received, wanted, settings, deadline, told)
            found = received.digest()
            if found != wanted.sha512 and kept:
                LOG.warning(
                    'image %s: the part that was kept is not of what was '
                    'endorsed, or was damaged; it is downloaded again',
                    wanted.url,
                )
                received.begin(fetch.Validators())
                _fill(received, wanted, settings, deadline, told)
                found = received.digest()
            if received.size != wanted.size or found != wanted.sha512:
                raise errors.NotBelieved(
                    f'{wanted.url}: expected {wanted.size} bytes with sha512 '
                    f'{wanted.sha512[:16]}..., found {received.size} bytes '
                    f'with {found[:16]}...; the server does not have what was '
                    'endorsed; tell the endorser'
                )
        except errors.NotBelieved:
            received.forget()
            raise
    place.part.rename(place.whole)
    place.origin.unlink(missing_ok=True)


def _fill(
    received: Part,
    wanted: Wanted,
    settings: fetch.FetchSettings,
    deadline: float,
    told: Told,
) -> None:
    """Go on as long as that gets further."""
    attempts = 0
    while received.size < wanted.size:
        before = received.size
        left = max(deadline - time.monotonic(), 0.001)
        try:
            _ask(
                received,
                wanted,
                dataclasses.replace(settings, image_deadline=left),
                told,
            )
            return
        except errors.AskedToWait:
            raise
        except errors.TryAgain as exc:
            attempts += 1
            if (
                received.size <= before
                or not received.resumes
                or attempts == _ATTEMPTS
                or time.monotonic() + _PAUSE >= deadline
            ):
                raise
            LOG.warning(
                'image %s was cut off at %d of %d bytes and goes on: %s',
                wanted.url,
                received.size,
                wanted.size,
                exc,
            )
            time.sleep(_PAUSE)


def _ask(
    received: Part,
    wanted: Wanted,
    settings: fetch.FetchSettings,
    told: Told,
) -> None:
    """Receive what one answer has."""
    image = fetch.image_from(
        wanted.url,
        settings,
        wanted.size,
        fetch.Held(received.size, received.validators),
    )
    with contextlib.closing(image.pieces):
        if not image.offset:
            received.begin(image.validators)
        told(received.size)
        for piece in image.pieces:
            if received.size + len(piece) > wanted.size:
                raise errors.NotBelieved(
                    f'{wanted.url}: expected {wanted.size} bytes, found more'
                )
            received.add(piece)
            told(received.size)


class Part:
    """What is here of an image; made by :func:`part`.

    :ivar size: bytes
    :ivar validators: of the version that they are of
    """

    def __init__(
        self,
        place: place_.Place,
        url: str,
        descriptor: int,
        pool: futures.Executor,
    ) -> None:
        self.size = 0
        self.validators = fetch.Validators()
        self._place = place
        self._url = url
        self._descriptor = descriptor
        self._pool = pool
        self._hasher = hashlib.sha512()
        self._hashing: list[futures.Future[None]] = []
        self._has_begun = False

    @property
    def resumes(self) -> bool:
        """Whether its rest can be asked for."""
        known = self.validators
        return bool(self.size and (known.etag or known.last_modified))

    def forget(self) -> None:
        """What came from here is wrong; what came from elsewhere stays."""
        if self.size or self._has_begun:
            self._has_begun = True
            self.validators = fetch.Validators()

    def clear(self) -> None:
        """Remove what cannot be gone on with, unless it is of another URL."""
        left = os.fstat(self._descriptor).st_size
        if not self.resumes and (self._has_begun or not left):
            self._place.empty()

    def begin(self, validators: fetch.Validators) -> None:
        """Forget what is here; bytes of that version follow."""
        self.digest()
        self._has_begun = True
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.size = 0
        self.validators = validators
        self._hasher = hashlib.sha512()
        new = self._place.new_origin
        new.unlink(missing_ok=True)
        known = {'url': self._url, **dataclasses.asdict(validators)}
        handle = os.open(
            new,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
            0o600,
        )
        with os.fdopen(handle, 'w', encoding='utf-8') as stream:
            json.dump(known, stream)
        new.rename(self._place.origin)

    def add(self, piece: bytes) -> None:
        """Append bytes."""
        if len(self._hashing) >= _WAITING:
            self._hashing.pop(0).result()
        # OpenSSL lets go of the interpreter while we write.
        self._hashing.append(self._pool.submit(self._hasher.update, piece))
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.size += len(piece)

    def digest(self) -> str:
        """SHA-512 of what is here."""
        while self._hashing:
            self._hashing.pop(0).result()
        return self._hasher.hexdigest()

    def take_up(self, size: int) -> None:
        """Read what an earlier run left, if its rest can be asked for."""
        left = os.fstat(self._descriptor).st_size
        validators = _origin(self._place, self._url)
        if not 0 < left <= size or validators is None:
            # It goes away when other bytes come, and not before: it may be
            # of another server that has the same image.
            return
        while piece := os.read(self._descriptor, _BLOCK):
            self._hasher.update(piece)
            self.size += len(piece)
        self.validators = validators
        LOG.info('image %s: %d of %d bytes are here', self._url, left, size)


@contextlib.contextmanager
def part(place: place_.Place, wanted: Wanted) -> Iterator[Part]:
    """What is here of an image; it goes away if its rest cannot be had.

    :raises OSError: it cannot be read or written
    """
    descriptor = os.open(
        place.part,
        os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o600,
    )
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, f'{place.part} is no file')
        with futures.ThreadPoolExecutor(1) as pool:
            made = Part(place, wanted.url, descriptor, pool)
            try:
                made.take_up(wanted.size)
                yield made
            except BaseException:
                made.clear()
                raise
    finally:
        os.close(descriptor)


def _origin(place: place_.Place, url: str) -> fetch.Validators | None:
    """With what the rest can be asked for; None: not from that URL."""
    try:
        handle = os.open(place.origin, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, encoding='utf-8') as stream:
            found = json.loads(stream.read(_MOST_ORIGIN))
        known = fetch.Validators(found['etag'], found['last_modified'])
        if found['url'] != url:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        # Whatever was damaged: the part begins again.
        return None
    if not all(
        isinstance(value, str | None)
        for value in (known.etag, known.last_modified)
    ):
        return None
    return known if known.etag or known.last_modified else None

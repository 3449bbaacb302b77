# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of one image lie on local disk, and who may touch them.

A place is named by the SHA-512 of its content, so there is one of each
content, whoever endorses it and under whatever name. Processes and threads
share it by ``flock`` on a file beside it: one alone while it is filled or
emptied, any number while they read.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import fcntl
import os
from pathlib import Path
import re
import stat

from hepix_vm import errors

_SHA512 = re.compile(r'[0-9a-f]{128}')
_SUFFIXES = ('', '.part', '.json', '.new', '.lock')


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Paths of one content; made by :func:`place`."""

    directory: Path
    sha512: str

    @property
    def whole(self) -> Path:
        """All bytes, found to be right."""
        return self.directory / self.sha512

    @property
    def part(self) -> Path:
        """The first bytes of a download."""
        return self.directory / f'{self.sha512}.part'

    @property
    def origin(self) -> Path:
        """Where the part came from, and how to ask for the rest."""
        return self.directory / f'{self.sha512}.json'

    @property
    def new_origin(self) -> Path:
        """The same while it is written."""
        return self.directory / f'{self.sha512}.new'

    @property
    def locked(self) -> Path:
        """What is locked."""
        return self.directory / f'{self.sha512}.lock'

    def empty(self) -> None:
        """Remove what is there; for who has it alone."""
        for path in (self.part, self.origin, self.new_origin, self.whole):
            path.unlink(missing_ok=True)

    def used_at(self) -> float:
        """When something here last changed, UNIX seconds; 0: nothing is."""
        found = 0.0
        for path in (self.whole, self.part, self.origin):
            with contextlib.suppress(FileNotFoundError):
                found = max(found, path.lstat().st_mtime)
        return found


def folder(directory: Path) -> Path:
    """Make the directory where it is absent.

    :raises errors.LocalFault: others may write to it
    :raises OSError: it cannot be made
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise errors.LocalFault(
            f'spool directory {directory}: expected that its owner alone may '
            f'write to it, found mode {mode:o}; run chmod 700'
        )
    return directory


def place(directory: Path, sha512: str) -> Place:
    """The place of a content.

    :raises errors.NotBelieved: that is no SHA-512
    """
    if not _SHA512.fullmatch(sha512):
        raise errors.NotBelieved(
            f'image: expected a SHA-512 of 128 lower-case hexadecimal digits, '
            f'found {sha512!r:.140}; tell the endorser'
        )
    return Place(directory, sha512)


def places(directory: Path) -> list[Place]:
    """Every place that has something; other files are passed over."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for path in directory.iterdir():
            sha512, dot, suffix = path.name.partition('.')
            if _SHA512.fullmatch(sha512) and dot + suffix in _SUFFIXES:
                found.add(sha512)
    return [Place(directory, sha512) for sha512 in sorted(found)]


class Lock:
    """A hold on a place; :func:`shared` and :func:`alone` take one.

    :ivar is_alone: whether nobody else has one
    """

    def __init__(self, place: Place, descriptor: int) -> None:
        self._place = place
        self._descriptor = descriptor
        self.is_alone = False

    def take_alone(self) -> bool:
        """Be the only one, if there is no other now.

        If there is, the hold is lost.
        """
        self.is_alone = self._take(fcntl.LOCK_EX)
        return self.is_alone

    def share(self) -> bool:
        """Let others in who only read; False: another came in between."""
        self.is_alone = False
        return self._take(fcntl.LOCK_SH)

    def release(self) -> None:
        """Let go; the last one leaves no lock behind."""
        try:
            if self.is_alone:
                self._place.locked.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)

    def _take(self, how: int) -> bool:
        try:
            fcntl.flock(self._descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return self._is_there()

    def _is_there(self) -> bool:
        """Whether it is still this file; its last holder removes it."""
        ours = os.fstat(self._descriptor)
        try:
            found = self._place.locked.lstat()
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (found.st_dev, found.st_ino)


def shared(place: Place) -> Lock | None:
    """A hold with others; None while another has the place alone."""
    return _taken(place, Lock.share)


@contextlib.contextmanager
def alone(place: Place) -> Iterator[bool]:
    """Have a place to oneself inside; False where others use it."""
    lock = _taken(place, Lock.take_alone)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def _taken(place: Place, how: Callable[[Lock], bool]) -> Lock | None:
    descriptor = os.open(
        place.locked,
        os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o600,
    )
    lock = Lock(place, descriptor)
    try:
        if how(lock):
            return lock
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None

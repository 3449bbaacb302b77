# SPDX-License-Identifier: Apache-2.0
"""Endorsed bytes on local disk, between their server and Glance.

There is at most one copy of a content, named by its SHA-512 and used by
whoever needs it at that time. Nothing gets that name before all of its bytes
were hashed, and a file that is found there is hashed again before it is used:
a machine that lost power may have lost bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import time

from oslo_log import log

from hepix_vm.catalogue import fetch
from hepix_vm import errors
from hepix_vm.glance import place as place_
from hepix_vm.glance import receiving
from hepix_vm.glance import room
from hepix_vm import hashing

LOG = log.getLogger(__name__)

#: Seconds between two looks whether another process is done.
_LOOK = 0.05
_DAY = 86400


@contextlib.contextmanager
def downloaded(
    url: str,
    sha512: str,
    size: int,
    settings: fetch.FetchSettings,
    told: Callable[[int], None] = lambda received: None,
    *,
    keep: bool = False,
) -> Iterator[Path]:
    """A file with exactly the endorsed bytes, which nobody may change.

    It is gone when the last of its users is done, but stays for the next
    run where one of them was cut off or has to try again.

    :param told: called with the number of bytes that are here, also while
        another process downloads them; what it raises ends the download
    :param keep: the file stays when all was well, for a use soon
    :raises errors.NotBelieved: when other bytes came
    :raises errors.TryAgain: when they cannot be had now; what came stays
    :raises errors.LocalFault: when they cannot be written
    """
    directory = Path(settings.spool_directory)
    place = place_.place(directory, sha512)
    wanted = receiving.Wanted(url, sha512, size)
    with contextlib.ExitStack() as given:
        with _disk(directory):
            place_.folder(directory)
            lock = _brought(place, wanted, settings, told, given)
        stays = True
        try:
            yield place.whole
            stays = keep
        except Exception as exc:
            stays = isinstance(exc, errors.TryAgain)
            raise
        finally:
            _leave(place, lock, stays)


def prune(
    settings: fetch.FetchSettings,
    now: float,
    wanted: Collection[str] | None = None,
) -> None:
    """Remove what nobody has gone on with or used for some days.

    :param now: UNIX seconds
    :param wanted: SHA-512 of what is still to be used, if that is known;
        what is not among it is removed whatever its age
    :raises errors.LocalFault: the spool directory cannot be used
    """
    directory = Path(settings.spool_directory)
    before = now - settings.leftovers_days * _DAY
    with _disk(directory):
        for place in place_.places(directory):
            with place_.alone(place) as is_alone:
                if not is_alone:
                    continue
                unwanted = wanted is not None and place.sha512 not in wanted
                if unwanted or place.used_at() <= before:
                    LOG.info('spool: %s is a leftover', place.sha512[:16])
                    place.empty()


def _brought(
    place: place_.Place,
    wanted: receiving.Wanted,
    settings: fetch.FetchSettings,
    told: receiving.Told,
    given: contextlib.ExitStack,
) -> place_.Lock:
    """A hold on a place that has all bytes."""
    deadline = time.monotonic() + settings.image_deadline
    while True:
        lock = place_.shared(place)
        if lock is not None:
            try:
                if _is_ready(lock, place, wanted, settings, told, given):
                    return lock
            except BaseException:
                lock.release()
                raise
            lock.release()
        if time.monotonic() >= deadline:
            raise errors.TryAgain(
                f'{wanted.url}: another process downloads it and was not '
                f'done within {settings.image_deadline:g} s'
            )
        told(0)
        time.sleep(_LOOK)


def _is_ready(
    lock: place_.Lock,
    place: place_.Place,
    wanted: receiving.Wanted,
    settings: fetch.FetchSettings,
    told: receiving.Told,
    given: contextlib.ExitStack,
) -> bool:
    """Have all bytes there; False: another process came in between."""
    deadline = time.monotonic() + settings.image_deadline
    if _is_right(place, wanted):
        # Who waits for room is to know that this file will go away.
        given.enter_context(room.taken(place.directory, 0, deadline))
        return True
    if not lock.take_alone():
        return False
    place.whole.unlink(missing_ok=True)
    here = 0
    with contextlib.suppress(FileNotFoundError):
        here = min(place.part.lstat().st_size, wanted.size)
    share = given.enter_context(
        room.taken(
            place.directory,
            wanted.size - here,
            deadline,
            lambda missing: _make_room(place.directory, missing),
        )
    )

    def received(size: int) -> None:
        share.left(wanted.size - size)
        told(size)

    receiving.receive(place, wanted, settings, received)
    share.left(0)
    return lock.share()


def _is_right(place: place_.Place, wanted: receiving.Wanted) -> bool:
    """Whether all bytes are there and are those."""
    try:
        descriptor = os.open(
            place.whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return False
    try:
        found = hashing.hash_file(descriptor, ('sha512',))
    finally:
        os.close(descriptor)
    if (found.size, found.digests['sha512']) == (wanted.size, wanted.sha512):
        return True
    LOG.warning(
        'spool: %s has other bytes than it had, or another size was '
        'endorsed; it is downloaded again',
        place.whole,
    )
    return False


def _leave(place: place_.Place, lock: place_.Lock, stays: bool) -> None:
    """Let go of the bytes; the last one removes them."""
    try:
        try:
            if lock.take_alone() and stays:
                os.utime(place.whole)
            elif lock.is_alone:
                # With what a process left that ended before it was tidy.
                place.empty()
        finally:
            lock.release()
    except OSError as exc:
        # The next run finds it; what was done with it is done.
        LOG.warning('spool: %s stays: %s', place.whole, exc.strerror)


def _make_room(directory: Path, missing: int) -> None:
    """Remove whole images that nobody uses, the oldest first."""
    for place in sorted(
        place_.places(directory), key=lambda place: place.used_at()
    ):
        if missing <= 0:
            return
        with place_.alone(place) as is_alone:
            if is_alone and place.whole.exists():
                LOG.info('spool: %s makes room for another', place.sha512[:16])
                missing -= place.whole.lstat().st_size
                place.whole.unlink()


@contextlib.contextmanager
def _disk(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise errors.LocalFault(
            f'spool directory {directory}: {exc.strerror or exc}; see [fetch] '
            'spool_directory'
        ) from exc

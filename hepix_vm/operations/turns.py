# SPDX-License-Identifier: Apache-2.0
"""One publishing at a time, on this machine and on others.

On one machine a lock on a file in the spool directory, which the kernel
gives back when its process is killed; between machines the catalogue's
lease. Whatever the holder writes asks for the lease's number, so one that was
paused and replaced writes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import fcntl
import os
from pathlib import Path
import socket
import threading
import time

from oslo_log import log

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm import errors

LOG = log.getLogger(__name__)

#: The lease of publishing.
PUBLISH = 'publish'

#: Seconds of silence that end a turn, and between two signs of life.
LEASE_TIME = 30.0
_BEAT = 5.0
_LOOK = 0.2


@contextlib.contextmanager
def taken(
    store: database.Database,
    directory: Path,
    now: int,
    patience: float,
    waiting: Callable[[str], None] = lambda holder: None,
    name: str = PUBLISH,
) -> Iterator[database.Database]:
    """The catalogue as the only one who may write for publishing.

    :param directory: where the lock's file is; made when it is absent
    :param now: UNIX seconds
    :param patience: seconds to wait for another one
    :param waiting: told who it is that is waited for
    :raises errors.TryAgain: when the other one is not done by then
    :raises errors.LocalFault: when the directory cannot be used
    """
    end = time.monotonic() + patience
    place = f'{socket.gethostname()}:{directory}'
    with _alone(directory / f'{name}.lock', end, waiting):
        fence = _lease(store, name, place, now, end, waiting)
        ended = threading.Event()
        beating = threading.Thread(
            target=_beat,
            args=(store, name, fence, ended),
            name=f'{name}-lease',
            daemon=True,
        )
        beating.start()
        try:
            yield store.fenced(name, fence)
        finally:
            ended.set()
            beating.join()
            with contextlib.suppress(*database.FAILURES):
                lease.release(store, fence, name)


@contextlib.contextmanager
def _alone(
    file: Path, end: float, waiting: Callable[[str], None]
) -> Iterator[None]:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as exc:
        raise errors.LocalFault(
            f'spool directory {file.parent}: {exc.strerror}; see [fetch] '
            'spool_directory'
        ) from exc
    try:
        told = False
        while not _locked(descriptor):
            holder = 'another process of this machine'
            if not told:
                waiting(holder)
                told = True
            _expect_time(holder, end)
            time.sleep(_LOOK)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lease(
    store: database.Database,
    name: str,
    place: str,
    now: int,
    end: float,
    waiting: Callable[[str], None],
) -> int:
    """Take the lease when nobody holds it, or its holder is silent."""
    watch = lease.Watch(LEASE_TIME)
    told = ''
    while True:
        asked = time.monotonic()
        with store.reading() as connection:
            row = lease.look(connection, name)
        if (
            row is None
            or not row.holder
            # Whoever held it from here had the lock, which is ours.
            or row.holder.rpartition(' ')[0] == place
            or watch.silent(row, asked, time.monotonic())
        ):
            fence = lease.take(
                store, f'{place} {os.getpid()}'[-255:], row, now, name
            )
            if fence is not None:
                return fence
            continue
        if row.holder != told:
            waiting(row.holder)
            told = row.holder
        _expect_time(row.holder, end)
        time.sleep(_LOOK)


def _expect_time(holder: str, end: float) -> None:
    if time.monotonic() >= end:
        raise errors.TryAgain(
            f'another publishing ({holder}) is under way; wait for its end, '
            'or raise [publish] wait'
        )


def _beat(
    store: database.Database, name: str, fence: int, ended: threading.Event
) -> None:
    """Say now and then that the holder lives."""
    while not ended.wait(_BEAT):
        try:
            if not lease.beat(store, fence, name):
                LOG.error('another publishing has taken over')
                return
        except database.FAILURES as exc:
            LOG.warning(
                'the lease "%s" cannot be renewed: %s',
                name,
                database.cause(exc),
            )

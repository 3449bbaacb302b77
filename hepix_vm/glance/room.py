# SPDX-License-Identifier: Apache-2.0
"""Room on the disk for several downloads of a process at once.

What a download still needs is kept in account, so that two that fit one at a
time do not both begin and then both fail. Other processes are not seen but
by what they have written.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import threading
import time

from oslo_log import log

from hepix_vm import errors

LOG = log.getLogger(__name__)

#: Seconds between two looks at the disk; others than us make room, too.
_LOOK = 1.0


class Share:
    """What one download has been given; made by :func:`taken`."""

    def __init__(self, device: int, need: int) -> None:
        self.device = device
        self.need = need

    def left(self, need: int) -> None:
        """So many bytes are still to be written."""
        # An int is replaced as a whole: readers see the old or the new one.
        self.need = need


_changed = threading.Condition()
_shares: list[Share] = []


@contextlib.contextmanager
def taken(
    directory: Path,
    need: int,
    deadline: float,
    made: Callable[[int], None] = lambda missing: None,
) -> Iterator[Share]:
    """Room for so many bytes more; the share ends on the way out.

    Waits while other downloads of this process have a share, since what
    they wrote goes away when they end.

    :param deadline: until when to wait, in seconds of the monotonic clock
    :param made: called with the bytes that are missing; may make room
    :raises errors.LocalFault: there is not enough
    :raises OSError: the disk cannot be asked
    """
    share = Share(directory.stat().st_dev, need)
    waits = False
    with _changed:
        while need:
            missing = _missing(directory, share)
            if missing > 0:
                made(missing)
                missing = _missing(directory, share)
            if missing <= 0:
                break
            others = any(s.device == share.device for s in _shares)
            if not others or time.monotonic() >= deadline:
                raise errors.LocalFault(
                    f'spool directory {directory}: expected room for {need} '
                    f'bytes more, found {max(need - missing, 0)}; make room, '
                    'or see [fetch] spool_directory'
                )
            if not waits:
                LOG.info(
                    'spool directory %s: %d bytes wait for the end of another '
                    'download',
                    directory,
                    need,
                )
                waits = True
            _changed.wait(_LOOK)
        _shares.append(share)
    try:
        yield share
    finally:
        with _changed:
            _shares.remove(share)
            _changed.notify_all()


def _missing(directory: Path, share: Share) -> int:
    disk = os.statvfs(directory)
    promised = sum(s.need for s in _shares if s.device == share.device)
    return share.need + promised - disk.f_bavail * disk.f_frsize

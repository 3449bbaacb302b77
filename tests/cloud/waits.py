# SPDX-License-Identifier: Apache-2.0
"""Waiting with a limit, and saying what the service logged when it ends."""

from collections.abc import Callable
import pathlib
import time
from typing import TypeVar

from tests.cloud import errors

T = TypeVar('T')
LOG_LINES = 25
_TAIL_BYTES = 65536


def tail(log: pathlib.Path, lines: int = LOG_LINES) -> str:
    """Return the last lines of a log, or a sentence that there is none."""
    try:
        with log.open('rb') as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode('utf-8', 'replace')
    except OSError as error:
        return f'(no log: {error})'
    kept = text.splitlines()[-lines:]
    return '\n'.join(kept) if kept else '(the log is empty)'


def with_log(message: str, log: pathlib.Path | None) -> str:
    """Return a message followed by the last lines of a log, if any."""
    if log is None:
        return message
    return f'{message}; the last lines of {log}:\n{tail(log)}'


def until(
    what: str,
    probe: Callable[[], T | None],
    seconds: float,
    *,
    log: pathlib.Path | None = None,
    alive: Callable[[], bool] | None = None,
    interval: float = 0.2,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call ``probe`` until it returns something true, and return that.

    :param what: what is waited for, such as ``glance to answer``
    :param seconds: the limit
    :param log: whose last lines the error shows
    :param alive: when it returns false the wait ends at once
    :raises errors.NotReady: at the limit or when nothing is alive any more
    """
    end = clock() + seconds
    while True:
        living = alive is None or alive()
        found = probe()
        if found:
            return found
        if not living:
            raise errors.NotReady(
                with_log(f'waited for {what}, but its process ended', log)
            )
        if clock() >= end:
            raise errors.NotReady(
                with_log(f'waited {seconds:.0f} s in vain for {what}', log)
            )
        sleep(interval)

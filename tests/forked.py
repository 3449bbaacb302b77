# SPDX-License-Identifier: Apache-2.0
"""Work in a forked child, as a server's worker does it."""

from __future__ import annotations

from collections.abc import Callable
import os
import time
import traceback

#: Seconds that a child may take on a busy machine.
LIMIT = 300


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked child; returns its exit status.

    :raises AssertionError: the child hangs; it is killed
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - it must not return
            traceback.print_exc()
        finally:
            os._exit(status)
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found, ended = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(ended)
        time.sleep(0.02)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise AssertionError('the child hangs')

# SPDX-License-Identifier: Apache-2.0
"""Programs of the site that are given JSON on standard input.

They are executed as they are, without a shell and without arguments, in a
session and an environment of their own, for a limited time. What they are
given is data that others wrote, what they answer is text to be shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
import select
import signal
import stat
import subprocess
import tempfile
import time
from typing import Any

from hepix_vm import errors

#: All that is in the environment.
ENVIRONMENT = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8'}

#: Bytes of the output that are kept: the last ones.
KEPT = 4096

# Seconds between two looks whether it has ended, while something that it has
# started keeps its output open.
_LOOK = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    :ivar status: exit status, minus a signal's number; None: it took too long
        and was killed
    :ivar output: the last :data:`KEPT` bytes of what it said
    """

    status: int | None
    output: bytes

    @property
    def how(self) -> str:
        """The end in words."""
        if self.status is None:
            return 'was killed after its time'
        if self.status < 0:
            return f'was ended by signal {-self.status}'
        return f'ended with exit status {self.status}'


def run(
    option: str,
    path: Path,
    given: Any,
    seconds: float,
    leave_rest: bool = False,
) -> Ended:
    """Run a program to its end, or kill it with all of its process group.

    :param option: what names it, as ``[quarantine] script``
    :param given: JSON values
    :param leave_rest: whether what it has started may go on when it has ended
        in time
    :raises errors.Misconfigured: when it must not, or cannot, be executed
    """
    check(option, path)
    # A file: one that does not read all of its input harms nobody.
    with tempfile.TemporaryFile() as stream:
        stream.write(json.dumps(given, sort_keys=True).encode() + b'\n')
        stream.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell, no argument
                [str(path)],
                stdin=stream,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd='/',
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as exc:
            raise errors.Misconfigured(
                f'option {option}: {path} cannot be executed: '
                f'{exc.strerror}; a script needs a first line such as '
                '#!/bin/sh'
            ) from exc
    with process:
        return _ended(process, time.monotonic() + seconds, leave_rest)


def check(option: str, path: Path) -> None:
    """See that a program is what only the site can have put there.

    :raises errors.Misconfigured: unless it is a regular file at an absolute
        path that is executable, belongs to root or to this account, and
        cannot be changed or exchanged by everybody
    """
    place = f'option {option}: {path}'
    if not path.is_absolute():
        raise errors.Misconfigured(f'{place}: expected an absolute path')
    try:
        found = path.resolve(strict=True)
        status = found.stat()
        folders = {folder: folder.stat() for folder in found.parents}
    except (OSError, RuntimeError) as exc:
        raise errors.Misconfigured(
            f'{place}: expected a program, found: '
            f'{getattr(exc, "strerror", None) or exc}'
        ) from exc
    wrong = ''
    if not stat.S_ISREG(status.st_mode):
        wrong = 'expected a regular file, found something else'
    elif not os.access(found, os.X_OK):
        wrong = 'this account may not execute it; run "chmod +x" on it'
    elif status.st_mode & stat.S_IWOTH:
        wrong = 'everybody may write it; run "chmod o-w" on it'
    elif status.st_uid not in (0, os.geteuid()):
        wrong = (
            'expected one that belongs to root or to this account, found one '
            f'of user id {status.st_uid}'
        )
    for folder, its in folders.items():
        if its.st_mode & stat.S_IWOTH and not its.st_mode & stat.S_ISVTX:
            wrong = wrong or (
                'everybody may exchange it, because everybody may write '
                f'the directory {folder}; run "chmod o-w" on that'
            )
    if wrong:
        raise errors.Misconfigured(f'{place}: {wrong}')


def _ended(
    process: subprocess.Popen[bytes], end: float, leave_rest: bool
) -> Ended:
    pipe = process.stdout
    assert pipe is not None  # noqa: S101 - asked for
    os.set_blocking(pipe.fileno(), False)
    output = b''
    open_ = True
    try:
        while True:
            # Before its output: what it said until its end is there by then.
            over = _is_over(process.pid)
            left = end - time.monotonic()
            wait = 0 if over else max(0.0, min(_LOOK, left))
            select.select([pipe] if open_ else [], [], [], wait)
            chunk = pipe.read(65536) if open_ else b''
            open_ = open_ and chunk != b''
            output = (output + (chunk or b''))[-KEPT:]
            if over and not chunk:
                break
            if left <= 0:
                break
    finally:
        # Not collected yet, so the number is still its own.
        over = _is_over(process.pid)
        if not (over and leave_rest):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    return Ended(status if over else None, output)


def _is_over(pid: int) -> bool:
    """Whether a child has ended; it stays to be waited for."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, flags) is not None

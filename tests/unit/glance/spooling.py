# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.unit.glance.spooling HOW JSON``: a process that downloads.

``once`` downloads, says ``here`` and waits for its standard input to end.
``limited`` does so with little memory, ``small`` with small files only.
``killed`` forks processes that download, each killed one step later than the
one before, and a process after each that downloads in peace.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import resource
import signal
import sys
from typing import Any

from hepix_vm.catalogue import fetch
from hepix_vm import errors
from hepix_vm.glance import spool

_MIB = 2**20


def once(asked: dict[str, Any]) -> None:
    """Download, and hold the file until told."""
    with _downloaded(asked) as path:
        size = path.stat().st_size
        print(f'here {size}', flush=True)
        sys.stdin.read()


def limited(asked: dict[str, Any]) -> None:
    """The same with no more memory than what is used now and some."""
    status = Path('/proc/self/status').read_text()
    used = next(
        int(line.split()[1]) * 1024
        for line in status.splitlines()
        if line.startswith('VmData:')
    )
    limit = used + 80 * _MIB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    once(asked)


def small(asked: dict[str, Any]) -> None:
    """The same where files cannot be large."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MIB, _MIB))
    try:
        once(asked)
    except errors.LocalFault as exc:
        print(exc)


def killed(asked: dict[str, Any]) -> None:
    """Print after each kill what was left, and how it went on."""
    folder = Path(asked['spool'])
    step = 0
    while True:
        step += 1
        status = _forked(asked, step)
        left = sorted(path.suffix for path in folder.iterdir())
        again = _forked(asked, 0)
        after = [path.name for path in folder.iterdir()]
        print(json.dumps([status, left, again, after]), flush=True)
        if status == 0:
            return


def _forked(asked: dict[str, Any], kill: int) -> int:
    child = os.fork()
    if not child:
        status = 70
        try:
            if kill:
                _kill_at(kill, asked['spool'])
            with _downloaded(asked):
                status = 0
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(waited)


def _kill_at(step: int, folder: str) -> None:
    """Die at the N-th thing that is done to the files of the spool."""
    count = 0

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in _EVENTS and (
            isinstance(arguments[0], int) or folder in str(arguments[0])
        ):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


_EVENTS = (
    'open',
    'os.mkdir',
    'os.rename',
    'os.remove',
    'os.truncate',
    'os.utime',
    'fcntl.flock',
)


def _downloaded(asked: dict[str, Any]) -> Any:
    settings = fetch.FetchSettings(
        timeout=60, image_deadline=300, spool_directory=asked['spool']
    )
    return spool.downloaded(
        asked['url'], asked['sha512'], asked['size'], settings
    )


if __name__ == '__main__':
    {'once': once, 'limited': limited, 'small': small, 'killed': killed}[
        sys.argv[1]
    ](json.loads(sys.argv[2]))

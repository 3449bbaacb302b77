# SPDX-License-Identifier: Apache-2.0
"""Processes by id and session, and ending all of them.

Every process that a cloud starts leads a session of its own and carries the
cloud's token in its environment. What belongs to the cloud is therefore found
in ``/proc`` by session, by token and by descent, also when the process that
started it is gone. Processes are always signalled by their id.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
import dataclasses
import os
import pathlib
import signal
import time

from tests.cloud import errors

TOKEN_VARIABLE = 'HEPIX_VM_CLOUD_TOKEN'
# Nothing of a cloud that ends must last, so nobody gets long to tidy up.
GRACE = 3.0
LIMIT = 600.0
_PROC = pathlib.Path('/proc')


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table (proc(5), ``/proc/PID/stat``)."""

    pid: int
    state: str
    parent: int
    session: int
    threads: int
    started: int
    """Start time in clock ticks since boot: tells a re-used id apart."""


@dataclasses.dataclass(frozen=True, slots=True)
class Leader:
    """A process that was started as the leader of its own session."""

    pid: int
    started: int


def parse_stat(text: str) -> Process:
    """Read a line of ``/proc/PID/stat``; names may hold spaces and ``)``."""
    pid, _, rest = text.partition(' (')
    fields = rest.rpartition(') ')[2].split()
    return Process(
        pid=int(pid),
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        threads=int(fields[17]),
        started=int(fields[19]),
    )


def look(pid: int) -> Process | None:
    """Return a living process; None when it is gone or only a zombie.

    One whose first thread has ended is shown as a zombie while others live,
    which still hold its files and ports.
    """
    try:
        found = parse_stat((_PROC / str(pid) / 'stat').read_text('latin-1'))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if found.state in 'ZX' and found.threads <= 1 else found


def table() -> dict[int, Process]:
    """Return every living process of the machine by its id."""
    pids = (int(path.name) for path in _PROC.glob('[0-9]*'))
    return {pid: found for pid in pids if (found := look(pid)) is not None}


def boot() -> str:
    """Return the id of this boot: process ids mean nothing after another."""
    return (_PROC / 'sys/kernel/random/boot_id').read_text().strip()


def is_running(leader: Leader) -> bool:
    """Say whether the very process that was started is alive."""
    found = look(leader.pid)
    return found is not None and found.started == leader.started


def _has_token(pid: int, token: str) -> bool:
    wanted = f'{TOKEN_VARIABLE}={token}'.encode()
    try:
        environment = (_PROC / str(pid) / 'environ').read_bytes()
    except OSError:
        return False
    return wanted in environment.split(b'\0')


def _in_session(process: Process, leaders: dict[int, Leader]) -> bool:
    leader = leaders.get(process.session)
    if leader is None or process.started < leader.started:
        return False
    # The kernel gives no id away that still names a session. So the members
    # are ours unless their leader is alive and is another process.
    alive = look(leader.pid)
    return alive is None or alive.started == leader.started


def belonging(
    processes: dict[int, Process],
    leaders: Iterable[Leader],
    token: str | None,
) -> set[int]:
    """Return the ids of all processes of a cloud, without the caller's.

    :param token: the cloud's token; None finds by session and descent alone
    """
    by_pid = {leader.pid: leader for leader in leaders}
    found = {
        process.pid
        for process in processes.values()
        if _in_session(process, by_pid)
        or (token is not None and _has_token(process.pid, token))
    }
    found.discard(os.getpid())
    grown = True
    while grown:
        children = {
            process.pid
            for process in processes.values()
            if process.parent in found and process.pid != os.getpid()
        }
        grown = not children <= found
        found |= children
    return found


def machines(folder: pathlib.Path) -> set[int]:
    """Return the ids of QEMU's processes with files below a folder.

    libvirt makes them nobody's children, in sessions of their own, and takes
    the token away from them.
    """
    found = set()
    for path in _PROC.glob('[0-9]*'):
        try:
            argv = (path / 'cmdline').read_bytes()
        except OSError:
            continue
        program = argv.partition(b'\0')[0].rpartition(b'/')[2]
        if program.startswith(b'qemu-system') and (
            f'{folder}/'.encode() in argv
        ):
            found.add(int(path.name))
    return {pid for pid in found if look(pid) is not None}


def send(pids: Collection[int], number: signal.Signals) -> None:
    """Signal processes by id; those that are gone already do not matter."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _gone(find: Callable[[], set[int]], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while find():
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def end_all(
    find: Callable[[], set[int]],
    grace: float = GRACE,
    limit: float = LIMIT,
) -> None:
    """Terminate all processes that ``find`` returns, kill what is left.

    :param grace: seconds between SIGTERM and SIGKILL
    :raises errors.CloudError: when some survive SIGKILL for ``limit`` seconds
    """
    send(find(), signal.SIGTERM)
    if _gone(find, grace):
        return
    end = time.monotonic() + limit
    while left := find():
        if time.monotonic() >= end:
            raise errors.CloudError(
                f'processes {sorted(left)} survive SIGKILL: look at them '
                'with ps and end them by hand'
            )
        send(left, signal.SIGKILL)
        _gone(find, 0.5)

# SPDX-License-Identifier: Apache-2.0
"""``qemu-img`` at arm's length, for disks that may be hostile.

It runs in a process of its own with limits on time, memory and file size,
ends with the thread that started it, gets no standard input and no
environment. A disk is named by a JSON description with its format, the
driver for plain files and an absolute path: nothing is probed, no protocol is
spoken, no chain of backing files is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
from pathlib import Path
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any

from hepix_vm import errors

#: Drivers by format. The size of a VHD's disk is what its footer says, not
#: the cylinders, heads and sectors that are rounded down from it.
_DRIVERS: Mapping[str, Mapping[str, Any]] = {
    'raw': {'driver': 'raw'},
    'qcow2': {'driver': 'qcow2', 'backing': None},
    'vdi': {'driver': 'vdi'},
    'vhd': {'driver': 'vpc', 'force_size_calc': 'current_size'},
    'vmdk': {'driver': 'vmdk', 'backing': None},
}
#: Formats that ``qemu-img check`` knows.
_CHECKED = frozenset({'qcow2', 'vdi', 'vmdk'})

_PROGRAMS = ('setpriv', 'prlimit', 'nice', 'qemu-img')
_OUTPUT = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use.

    :ivar until: moment of ``time.monotonic`` at which it is ended
    :ivar memory: bytes of address space
    :ivar size: bytes of the largest file, and of the disk in it
    """

    until: float
    memory: int
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """A plain file with a disk.

    :ivar path: absolute
    :ivar format: a key of the drivers above
    """

    path: Path
    format: str

    @property
    def name(self) -> str:
        """What qemu-img calls it."""
        return 'json:' + json.dumps(
            {
                **_DRIVERS[self.format],
                'read-only': True,
                'file': {'driver': 'file', 'filename': str(self.path)},
            }
        )


def disk_size(disk: Disk, limits: Limits) -> int:
    """Bytes of the disk in a file.

    :raises errors.NotBelieved: when it is too large, or is not alone
    """
    info = _json(limits, 'info', '--output=json', disk.name)
    size = info.get('virtual-size')
    if not isinstance(size, int) or size < 1:
        raise errors.NotBelieved('qemu-img finds no disk in it')
    for key in ('backing-filename', 'full-backing-filename'):
        if key in info:
            raise errors.NotBelieved('qemu-img finds that it needs a file')
    if size > limits.size:
        raise errors.NotBelieved(
            f'the disk has {size} bytes, [conversion] max_size allows '
            f'{limits.size}'
        )
    return size


def check(disk: Disk, limits: Limits) -> None:
    """Look at the structure of a disk, where qemu-img can.

    :raises errors.NotBelieved: when it is damaged
    """
    if disk.format in _CHECKED:
        _run(limits, 'check', '-q', disk.name)


def needed(disk: Disk, target: str, limits: Limits) -> int:
    """Bytes on a file system that a conversion needs at most."""
    measured = _json(
        limits, 'measure', '--output=json', '-O', target, disk.name
    ).get('required')
    if not isinstance(measured, int):
        raise errors.NotBelieved('qemu-img cannot measure it')
    return measured


def convert(disk: Disk, made: Disk, limits: Limits) -> None:
    """Write the disk into a new file of another format.

    :raises errors.NotBelieved: when it cannot be read, or is too much
    :raises errors.LocalFault: when it cannot be written
    """
    _run(limits, 'convert', '-O', made.format, disk.name, str(made.path))


def require_same(disk: Disk, made: Disk, limits: Limits) -> None:
    """Compare two disks, byte by byte.

    :raises errors.NotBelieved: when they differ
    """
    sizes = {disk_size(disk, limits), disk_size(made, limits)}
    if len(sizes) > 1:
        raise errors.NotBelieved(
            'the converted disk has another size than the endorsed one'
        )
    _run(limits, 'compare', '-q', disk.name, made.name)


def _json(limits: Limits, *arguments: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_run(limits, *arguments))
    except ValueError as exc:
        raise errors.NotBelieved('qemu-img answers no JSON') from exc
    if not isinstance(found, dict):
        raise errors.NotBelieved('qemu-img answers no JSON object')
    return found


def _run(limits: Limits, *arguments: str) -> str:
    left = limits.until - time.monotonic()
    if left <= 0:
        raise _too_slow()
    command = [*_command(limits, left), *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            done = subprocess.run(  # noqa: S603 - a list; see the module
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={'LC_ALL': 'C', 'MALLOC_ARENA_MAX': '2'},
                cwd='/',
                timeout=left,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise _too_slow() from exc
        except OSError as exc:
            raise errors.LocalFault(
                f'{command[0]} cannot be run: {exc.strerror}'
            ) from exc
        out.seek(0)
        err.seek(0)
        if done.returncode:
            raise _failed(
                arguments[0], done.returncode, err.read(_OUTPUT), limits
            )
        return out.read(_OUTPUT).decode('utf-8', 'replace')


def _command(limits: Limits, left: float) -> list[str]:
    found = {name: shutil.which(name) for name in _PROGRAMS}
    missing = sorted(name for name, path in found.items() if path is None)
    if missing:
        raise errors.LocalFault(
            f'conversion needs {", ".join(missing)}; install qemu-utils and '
            'util-linux, or empty [conversion] steps'
        )
    programs = {name: str(path) for name, path in found.items()}
    return [
        programs['setpriv'],
        '--pdeathsig=KILL',
        programs['prlimit'],
        f'--as={limits.memory}',
        f'--cpu={int(left) + 1}',
        f'--fsize={limits.size}',
        '--core=0',
        programs['nice'],
        '-n10',
        programs['qemu-img'],
    ]


def _failed(
    what: str, status: int, said: bytes, limits: Limits
) -> errors.HepixError:
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return _too_slow()
    text = said.decode('ascii', 'replace')
    if 'No space left on device' in text:
        return errors.LocalFault(
            'the disk is full while an image is converted; see [fetch] '
            'spool_directory'
        )
    if 'Cannot allocate memory' in text or status == -signal.SIGABRT:
        return errors.NotBelieved(
            f'qemu-img {what} needs more than the {limits.memory} bytes of '
            'memory that [conversion] max_memory allows'
        )
    if 'File too large' in text or status == -signal.SIGXFSZ:
        return errors.NotBelieved(
            f'the converted file has more than {limits.size} bytes, all that '
            '[conversion] max_size allows'
        )
    if what == 'compare' and status == 1:
        return errors.NotBelieved(
            'the converted disk differs from the endorsed one'
        )
    return errors.NotBelieved(
        f'qemu-img {what} refuses it (status {status}): {_last_line(text)}'
    )


def _last_line(text: str) -> str:
    """What qemu-img said last, in printable characters and not too long.

    It names our own file in full; what it says comes behind.
    """
    lines = text.strip().splitlines() or ['']
    line = lines[-1].rpartition('}')[2].strip(' \'":') or 'no reason given'
    return ''.join(c if c.isprintable() else '?' for c in line)[:200]


def _too_slow() -> errors.TryAgain:
    return errors.TryAgain(
        'the conversion takes longer than [conversion] deadline allows'
    )

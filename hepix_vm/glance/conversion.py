# SPDX-License-Identifier: Apache-2.0
"""Endorsed bytes in a form that Nova boots, with the same disk in them.

What is unwrapped and converted is this site's own work: no endorser has
signed the bytes that come out. So a step is taken only where the site allows
it, the disk is compared before and after, and the catalogue keeps from which
endorsed bytes the new ones were made.
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
import secrets
import shutil
import time

from hepix_vm import errors
from hepix_vm.glance import content
from hepix_vm.glance import formats
from hepix_vm.glance import headers
from hepix_vm.glance import qemu
from hepix_vm.glance import room
from hepix_vm.glance import unpacking
from hepix_vm import hashing


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What the site allows, and how much of it.

    :ivar steps: those of ``formats.STEPS`` that are allowed
    :ivar target: ``qcow2`` or ``raw``, for disks that Nova does not boot
    :ivar deadline: seconds that one image may take
    :ivar memory: bytes of address space that ``qemu-img`` may have
    :ivar max_size: bytes of a disk, and of a file that is written
    """

    steps: frozenset[str] = frozenset()
    target: str = 'qcow2'
    deadline: float = 3600
    memory: int = 2 * 2**30
    max_size: int = 100 * 2**30


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
    """Bytes that were made of endorsed ones.

    :ivar path: of a file that is gone afterwards
    :ivar size: bytes of the file
    :ivar step: what was done, such as ``gunzip+vdi-to-qcow2``
    :ivar disk_format: for Glance
    """

    path: Path
    sha512: str
    size: int
    step: str
    disk_format: str


#: Told what happens now: ``unpack``, ``convert``, ``compare``.
Told = Callable[[str], None]

_NAME = re.compile(r'converting-[0-9a-f]{16}')
_LOCK = 'converting.lock'


@contextlib.contextmanager
def converted(
    path: Path,
    judged: formats.Convertible,
    settings: Settings,
    folder: Path,
    told: Told = lambda what: None,
) -> Iterator[Converted]:
    """The disk of endorsed bytes in a form that Nova boots.

    Several at a time may work in the same folder.

    :param path: the file that was judged
    :param folder: where the new file lies, such as ``converted`` in the spool
        directory; made when it is absent
    :raises errors.NotBelieved: when the disk cannot be converted without
        loss, has a flaw, or is too large
    :raises errors.TryAgain: when it takes too long
    :raises errors.LocalFault: when there is no space, or no ``qemu-img``
    """
    with _workplace(folder) as place:
        try:
            made = _made(path.absolute(), judged, settings, place, told)
        except OSError as exc:
            raise _fault(folder, exc) from exc
        yield made


def _made(
    path: Path,
    judged: formats.Convertible,
    settings: Settings,
    place: Path,
    told: Told,
) -> Converted:
    limits = qemu.Limits(
        time.monotonic() + settings.deadline,
        settings.memory,
        settings.max_size,
    )
    if judged.wrapping:
        told('unpack')
        path = _unpacked(path, judged, limits, place)
    if not judged.converts:
        return _described(path, judged.step, judged.disk.value)
    made = qemu.Disk(place / f'disk.{settings.target}', settings.target)
    _convert(qemu.Disk(path, judged.disk.value), made, limits, told)
    return _described(
        made.path, f'{judged.step}-to-{made.format}', made.format
    )


def prune(folder: Path) -> None:
    """Remove what conversions left that were killed.

    :raises errors.LocalFault: when it cannot be removed
    """
    try:
        if folder.is_dir():
            with _locked(folder):
                _prune(folder)
    except OSError as exc:
        raise _fault(folder, exc) from exc


def _unpacked(
    path: Path, judged: formats.Convertible, limits: qemu.Limits, place: Path
) -> Path:
    def tick() -> None:
        if time.monotonic() > limits.until:
            raise errors.TryAgain(
                'the conversion takes longer than [conversion] deadline allows'
            )

    disk = place / 'disk'
    if judged.member is not None:
        need = judged.member.size
        pieces = unpacking.extracted(path, judged.member, tick)
    else:
        # What gzip says of the size holds for the last 4 GiB of it.
        need = 0
        pieces = unpacking.gunzipped(path, tick)
    with _room(place, need, limits):
        sha512 = unpacking.write(pieces, disk, limits.size)
    # What is on the disk now, not what was meant to be written.
    if _hashes(disk).digests['sha512'] != sha512:
        raise errors.LocalFault(
            f'conversion folder {place.parent}: what was written reads '
            'differently; look at the disk'
        )
    _require(disk, judged.disk)
    return disk


def _convert(
    disk: qemu.Disk, made: qemu.Disk, limits: qemu.Limits, told: Told
) -> None:
    size = qemu.disk_size(disk, limits)
    if disk.format == 'vhd' and size != _vhd_size(disk.path):
        raise errors.NotBelieved(
            f'qemu-img finds a disk of {size} bytes, its footer says another '
            'size'
        )
    qemu.check(disk, limits)
    need = qemu.needed(disk, made.format, limits)
    told('convert')
    with _room(made.path.parent, need, limits):
        qemu.convert(disk, made, limits)
    told('compare')
    qemu.require_same(disk, made, limits)
    _require(made.path, content.Kind(made.format))


def _vhd_size(path: Path) -> int:
    with path.open('rb') as source:
        return headers.vhd_size(source)


def _require(path: Path, kind: content.Kind) -> None:
    """The file is what it is to be, and nothing else."""
    found = content.of_file(path)
    if found.kind is not kind or found.flaw:
        raise errors.NotBelieved(
            f'expected {kind} inside, found {found.kind}'
            f'{": " if found.flaw else ""}{found.flaw}'
        )


def _room(
    place: Path, need: int, limits: qemu.Limits
) -> contextlib.AbstractContextManager[object]:
    """Room on the disk that no download of this process counts on."""
    return room.taken(place, need, limits.until)


def _described(path: Path, step: str, format_: str) -> Converted:
    hashes = _hashes(path)
    return Converted(
        path, hashes.digests['sha512'], hashes.size, step, format_
    )


def _hashes(path: Path) -> hashing.Hashes:
    with path.open('rb', buffering=0) as source:
        return hashing.hash_file(source, ('sha512',))


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A directory of our own, locked as long as we live."""
    place = folder.absolute() / f'converting-{secrets.token_hex(8)}'
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder):
            _prune(folder)
            place.mkdir(mode=0o700)
            held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(held, fcntl.LOCK_EX)
    except OSError as exc:
        raise _fault(folder, exc) from exc
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(held)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else makes or removes directories meanwhile."""
    descriptor = os.open(
        folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _prune(folder: Path) -> None:
    for place in folder.iterdir():
        if not _NAME.fullmatch(place.name) or place.is_symlink():
            continue
        descriptor = os.open(
            place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(place)
        finally:
            os.close(descriptor)


def _fault(folder: Path, exc: OSError) -> errors.LocalFault:
    return errors.LocalFault(
        f'conversion folder {folder}: {exc.strerror}; see [fetch] '
        'spool_directory'
    )

# SPDX-License-Identifier: Apache-2.0
"""What an image file is: size, digests, format, architecture; in one pass.

Formats are recognised by their content, with the inspectors that Glance and
Nova judge images with; so an image that those would refuse, because it
refers to other files, is not endorsed in the first place.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import lzma
import os
from pathlib import Path
import re
import stat
from typing import Any
import zlib

from oslo_utils.imageutils import format_inspector

from hepix_vm.endorse import partitions
from hepix_vm import errors
from hepix_vm import hashing

#: Formats that content shows; without its marks a file is not of the format.
RECOGNISED = frozenset(format_inspector.ALL_FORMATS) - {'raw', 'gpt'} | {'ova'}
_HEAD = 256 * 1024
_INSIDE = 2**20
_ARCHITECTURE = re.compile(
    r'(?<![a-z0-9])(?:(x86[_-]64|amd64|x64)|(aarch64|arm64)|(i[3-6]86)'
    r'|(ppc64le|ppc64el)|(riscv64)|(s390x))(?![a-z0-9])'
)
_ARCHITECTURES = ('x86_64', 'aarch64', 'i386', 'ppc64le', 'riscv64', 's390x')
_COMPRESSIONS: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b'\x1f\x8b', 'gz', lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    (b'BZh', 'bz2', bz2.BZ2Decompressor),
    (b'\xfd7zXZ\x00', 'xz', lambda: lzma.LZMADecompressor(memlimit=2**28)),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Examined:
    """What a file turned out to be.

    :param size: bytes
    :param digests: lower-case hex digits by algorithm
    :param format: as image lists call it (``qcow2``, ``raw``, ``raw.gz``);
        None if the content tells none
    :param arch: None if neither disk nor file name tells it
    :param warnings: what an endorser should look at, in words
    """

    size: int
    digests: Mapping[str, str] = dataclasses.field(hash=False)
    format: str | None = None
    arch: str | None = None
    warnings: tuple[str, ...] = ()


def examine(
    path: Path,
    algorithms: Sequence[str] = ('sha512',),
    progress: Callable[[int, int], None] | None = None,
) -> Examined:
    """Read an image file once and say what it is.

    :param algorithms: digests that are wanted
    :param progress: called with bytes done and bytes in all
    :raises hepix_vm.errors.Misconfigured: it is no regular file, is empty,
        changes meanwhile, has several formats at once, or refers to others
    """
    try:
        with path.open('rb', buffering=0) as source:
            before = os.fstat(source.fileno())
            if not stat.S_ISREG(before.st_mode) or not before.st_size:
                raise errors.Misconfigured(
                    f'{path}: expected an image, found '
                    + ('no data' if before.st_size == 0 else 'no file')
                )
            inspected = _Inspected(source, before.st_size)
            found = hashing.hash_file(
                inspected,
                algorithms,
                progress and (lambda done: progress(done, before.st_size)),
            )
            after = os.fstat(source.fileno())
            if found.size != before.st_size or _state(after) != _state(before):
                raise errors.Misconfigured(
                    f'{path}: the file changed while it was read'
                )
            kind, warnings = _format(path, inspected)
            descriptor = source.fileno()
            arch = _architecture(
                path, kind, lambda at, size: os.pread(descriptor, size, at)
            )
    except OSError as exc:
        raise errors.Misconfigured(
            f'{path}: expected a readable image, found: {exc.strerror}'
        ) from exc
    return Examined(found.size, found.digests, kind, arch, warnings)


def _state(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


class _Inspected:
    """A file object that shows inspectors what is read through it."""

    def __init__(
        self, source: hashing.Readable | None = None, size: int = 0
    ) -> None:
        self.head = bytearray()
        self._source = source
        self._left = size
        self._block = b''
        self._wrapper = format_inspector.InspectWrapper(self)
        self._undecided = True

    def readinto(self, buffer: memoryview, /) -> int | None:
        assert self._source is not None  # noqa: S101 - set by examine()
        # Not beyond the size that it had: a file may grow without end.
        count = self._source.readinto(buffer[: self._left])
        self._left -= count or 0
        if count:
            self.feed(buffer[:count])
        return count

    def read(self, size: int) -> bytes:
        """What the inspectors ask for: the block at hand."""
        del size
        return self._block

    def feed(self, block: memoryview | bytes) -> None:
        """Show the next bytes of the image."""
        self.head += block[: max(0, _HEAD - len(self.head))]
        if self._undecided:
            self._block = bytes(block)
            self._wrapper.read(len(self._block))
            self._undecided = self._wrapper.formats is None

    def matching(self) -> dict[str, Any]:
        """Inspectors that recognise the image, by the names of formats."""
        self._wrapper.close()
        found = self._wrapper.formats or []
        return {str(one): one for one in found if str(one) != 'raw'}


def _format(
    path: Path, inspected: _Inspected
) -> tuple[str | None, tuple[str, ...]]:
    """Format and warnings."""
    found = inspected.matching()
    head = bytes(inspected.head)
    if not found:
        return _compressed(head) or _archive(head), ()
    # A disk of a machine that boots it by BIOS begins like a partition table.
    table = found.pop('gpt', None)
    if len(found) > 1:
        raise errors.Misconfigured(
            f'{path}: expected one image format, found the marks of '
            f'{" and ".join(sorted(found))}; clouds refuse such a file'
        )
    for kind, inspector in found.items():
        problem = _unsafe(inspector)
        if problem:
            raise errors.Misconfigured(
                f'{path}: clouds refuse this {kind} image: {problem}; make '
                'one that needs no other file'
            )
        return kind, ()
    problem = _unsafe(table)
    return 'raw', (f'{path.name}: {problem}',) if problem else ()


def _unsafe(inspector: Any) -> str:
    """Why Glance and Nova would refuse an image, '' if they would not."""
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as exc:
        return '; '.join(
            f'{name}: {failure}' for name, failure in exc.failures.items()
        )
    except format_inspector.ImageFormatError as exc:
        return str(exc)
    return ''


def _archive(head: bytes) -> str | None:
    """An appliance is a tar archive whose first member is its descriptor."""
    if head[257:262] != b'ustar':
        return None
    return 'ova' if head[:100].rstrip(b'\0').endswith(b'.ovf') else None


def _compressed(head: bytes) -> str | None:
    for mark, suffix, decompressor in _COMPRESSIONS:
        if not head.startswith(mark):
            continue
        inside = _Inspected()
        with contextlib.suppress(
            zlib.error, OSError, ValueError, EOFError, lzma.LZMAError
        ):
            inside.feed(decompressor().decompress(head, _INSIDE))
        names = inside.matching().keys()
        kinds = {'raw' if name == 'gpt' else name for name in names}
        return f'{kinds.pop()}.{suffix}' if len(kinds) == 1 else None
    return None


def _architecture(
    path: Path, kind: str | None, read: partitions.Read
) -> str | None:
    disk: partitions.Read | None = None
    if kind == 'raw':
        disk = read
    elif kind == 'qcow2':
        disk = partitions.in_qcow2(read)
    told = {partitions.architecture(disk)} if disk else set()
    for match in _ARCHITECTURE.finditer(path.name.lower()):
        told.add(_ARCHITECTURES[(match.lastindex or 1) - 1])
    told.discard(None)
    # Disk and name that disagree tell nothing: a person has to say it.
    return told.pop() if len(told) == 1 else None

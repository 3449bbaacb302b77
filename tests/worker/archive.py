# SPDX-License-Identifier: Apache-2.0
"""The archive that a kernel unpacks into memory for its root.

Its form is "newc" of cpio, as the kernel's documentation describes it
(driver-api/early-userspace/buffer-format), with gzip around it.
"""

from __future__ import annotations

import gzip
import pathlib
import stat

_MAGIC = '070701'
_LAST = 'TRAILER!!!'
_ALIGNED = 4


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNED)


def entry(name: str, mode: int, data: bytes, number: int) -> bytes:
    """Return one file of the archive; it is root's, and of no time.

    :param mode: with its kind, as ``stat`` has it
    :param number: of the inode
    """
    encoded = name.encode() + b'\0'
    fields = (
        *(number, mode, 0, 0, 1, 0, len(data)),
        *(0, 0, 0, 0, len(encoded), 0),
    )
    header = _MAGIC + ''.join(f'{field:08X}' for field in fields)
    return _padded(header.encode() + encoded) + _padded(data)


def packed(root: pathlib.Path) -> bytes:
    """Return a tree as the archive; the same tree gives the same bytes."""
    content = bytearray()
    for number, path in enumerate(sorted(root.rglob('*')), 1):
        name = str(path.relative_to(root))
        if path.is_symlink():
            data, mode = str(path.readlink()).encode(), stat.S_IFLNK | 0o777
        elif path.is_dir():
            data, mode = b'', stat.S_IFDIR | 0o755
        else:
            data, mode = path.read_bytes(), path.stat().st_mode
        content += entry(name, mode, data, number)
    content += entry(_LAST, 0, b'', 0)
    return gzip.compress(bytes(content), 6, mtime=0)

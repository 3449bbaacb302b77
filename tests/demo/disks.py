# SPDX-License-Identifier: Apache-2.0
"""Small real disk images: a partition table and an ext2 file system."""

from __future__ import annotations

from pathlib import Path
import struct
import subprocess

_MIB = 2**20
_START = _MIB // 512


def raw(path: Path, label: str, mebibytes: int = 8) -> Path:
    """Make a raw disk with one partition of that label."""
    sectors = (mebibytes - 1) * _MIB // 512
    with path.open('wb') as disk:
        disk.truncate(mebibytes * _MIB)
        disk.seek(446)
        disk.write(
            struct.pack(
                '<B3sB3sII',
                0x80,
                b'\xfe\xff\xff',
                0x83,
                b'\xfe\xff\xff',
                _START,
                sectors,
            )
        )
        disk.seek(510)
        disk.write(b'\x55\xaa')
    subprocess.run(
        [
            'mke2fs',
            '-q',
            '-F',
            '-t',
            'ext2',
            '-L',
            label,
            '-E',
            f'offset={_MIB}',
            str(path),
            f'{(mebibytes - 1) * 1024}k',
        ],
        check=True,
        capture_output=True,
        env={'PATH': '/usr/sbin:/sbin:/usr/bin:/bin'},
    )
    return path


def qcow2(path: Path, label: str, mebibytes: int = 8) -> Path:
    """Make the same as a qcow2 image."""
    plain = raw(path.with_suffix('.raw'), label, mebibytes)
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', str(plain), str(path)],
        check=True,
        capture_output=True,
    )
    plain.unlink()
    return path

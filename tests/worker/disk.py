# SPDX-License-Identifier: Apache-2.0
"""A disk that boots a kernel: one FAT partition and syslinux."""

from __future__ import annotations

import pathlib
import struct

from tests.cloud import environment

MIB = 2**20
SIZE = 48
"""MiB; what is not written takes no place."""
_START = MIB // 512
_SECTORS = (SIZE - 1) * MIB // 512
#: Of the package "syslinux".
_BOOT = pathlib.Path('/usr/lib/SYSLINUX/mbr.bin')
_CODE = 440
_SYSLINUX = """default worker
prompt 0
serial 0 115200
label worker
 kernel vmlinuz
 append initrd=initrd console=ttyS0 quiet panic=5 no_timer_check
"""
"""An emulated timer on a busy machine may be late for the kernel's check of
it, after which it does without one."""


def first_sector(code: bytes) -> bytes:
    """Return the first sector of a disk with one active FAT partition.

    A file system without partitions is no disk for who looks at formats.

    :param code: what the firmware runs, at most 440 bytes
    :raises ValueError: when it is longer
    """
    if len(code) > _CODE:
        raise ValueError(f'{len(code)} bytes do not go before the partitions')
    none = b'\xfe\xff\xff'
    partition = struct.pack(
        '<B3sB3sII', 0x80, none, 0x0C, none, _START, _SECTORS
    )
    sector = code.ljust(_CODE, b'\0') + b'hpx1\0\0' + partition
    return sector.ljust(510, b'\0') + b'\x55\xaa'


def make(
    target: pathlib.Path,
    kernel: pathlib.Path,
    initrd: bytes,
    work: pathlib.Path,
) -> None:
    """Write a qcow2 disk.

    :param work: a folder for what is needed on the way
    :raises errors.CloudError: when a program fails
    """
    raw = work / f'{target.stem}.raw'
    files = {'initrd': initrd, 'syslinux.cfg': _SYSLINUX.encode()}
    for name, content in files.items():
        (work / name).write_bytes(content)
    with raw.open('wb') as stream:
        stream.write(first_sector(_BOOT.read_bytes()))
        stream.truncate(SIZE * MIB)
    part = f'{raw}@@{MIB}'
    environment.call(
        [
            *('mformat', '-i', part, '-T', str(_SECTORS), '-H', str(_START)),
            *('-h', '64', '-s', '32', '-v', 'WORKER', '::'),
        ],
        {'MTOOLS_SKIP_CHECK': '1'},
    )
    for source in (kernel, *(work / name for name in files)):
        environment.call(
            ['mcopy', '-o', '-i', part, str(source), f'::{source.name}']
        )
    environment.call(['syslinux', '--install', '--offset', str(MIB), str(raw)])
    environment.call(
        ['qemu-img', 'convert', '-O', 'qcow2', '-c', str(raw), str(target)]
    )
    raw.unlink()

# SPDX-License-Identifier: Apache-2.0
"""Disk images in many formats: made by qemu-img, and spoilt on purpose."""

from __future__ import annotations

from collections.abc import Iterable
import gzip
import hashlib
import io
from pathlib import Path
import struct
import subprocess
import tarfile

MIB = 2**20

VMDK_TEXT = """# Disk DescriptorFile
version=1
CID=8e98770f
parentCID=ffffffff
createType="monolithicSparse"

RW 8192 SPARSE "disk.vmdk"

ddb.adapterType = "ide"
"""

OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References>{files}</References>
<DiskSection><Info>Disks</Info>{disks}</DiskSection>
<VirtualSystem ovf:id="vm"><Info>A machine</Info></VirtualSystem>
</Envelope>
"""


def _driver(format_: str) -> str:
    """The name of a format in qemu-img."""
    return {'vhd': 'vpc'}.get(format_, format_)


def _convert(*arguments: str) -> None:
    subprocess.run(
        ['qemu-img', 'convert', *arguments], check=True, timeout=120
    )


def raw(path: Path, size: int = 4 * MIB, start: bytes = b'') -> Path:
    """A raw disk: some data, a hole, and some data.

    :param start: the first bytes
    """
    block = b''.join(
        hashlib.sha512(number.to_bytes(4, 'big')).digest()
        for number in range(512)
    )
    with path.open('wb') as file:
        file.write(start.ljust(512, b'\0'))
        file.write(block)
        file.seek(size // 2)
        file.write(block)
        file.truncate(size)
    return path


def partitioned() -> bytes:
    """A boot sector with one partition."""
    entry = struct.pack('<B3sB3sII', 0x80, b'\1\1\0', 0x83, bytes(3), 63, 99)
    return bytes(446) + entry + bytes(48) + b'\x55\xaa'


def converted(source: Path, format_: str, options: str = '') -> Path:
    """The raw disk in another format, made by qemu-img."""
    path = source.with_name(f'{source.stem}.{format_}')
    more = ['-o', options] if options else []
    _convert(
        '-f', 'raw', '-O', _driver(format_), *more, str(source), str(path)
    )
    return path


def created(path: Path, format_: str, size: str, *options: str) -> Path:
    """An empty disk, made by qemu-img."""
    command = ['qemu-img', 'create', '-q', '-f', format_, *options]
    subprocess.run(
        [*command, str(path), size],
        check=True,
        timeout=120,
        cwd=path.parent,
    )
    return path


def overlay(path: Path, backing: Path) -> Path:
    """A qcow2 that needs another disk, which need not be there."""
    names = ('-u', '-F', 'raw', '-b', str(backing))
    return created(path, 'qcow2', '4M', *names)


def content(path: Path, format_: str) -> bytes:
    """The disk in a file, read by qemu-img."""
    plain = path.with_name(f'{path.name}.plain')
    _convert('-f', _driver(format_), '-O', 'raw', str(path), str(plain))
    data = plain.read_bytes()
    plain.unlink()
    return data


def compressed(source: Path) -> Path:
    """The same in gzip."""
    path = source.with_name(f'{source.name}.gz')
    path.write_bytes(gzip.compress(source.read_bytes(), 1))
    return path


def changed(path: Path, offset: int, data: bytes) -> Path:
    """Overwrite some bytes; counted from the end where negative."""
    with path.open('r+b') as file:
        file.seek(offset, 2 if offset < 0 else 0)
        file.write(data)
    return path


def vhd_changed(path: Path, offset: int, data: bytes) -> Path:
    """Overwrite bytes of both copies of a VHD's footer."""
    whole = bytearray(path.read_bytes())
    footer = whole[-512:]
    footer[offset : offset + len(data)] = data
    footer[64:68] = bytes(4)
    footer[64:68] = struct.pack('>I', ~sum(footer) & 0xFFFFFFFF)
    whole[-512:] = footer
    if whole.startswith(b'conectix'):
        whole[:512] = footer
    path.write_bytes(whole)
    return path


def vmdk_described(
    path: Path, text: str, sectors: int = 20, capacity: int | None = None
) -> Path:
    """Give a sparse VMDK another descriptor.

    :param sectors: what its header says of the descriptor's length
    :param capacity: what its header says of the disk's sectors
    """
    changed(path, 512, text.encode().ljust(20 * 512, b'\0'))
    changed(path, 36, struct.pack('<Q', sectors))
    if capacity is not None:
        changed(path, 12, struct.pack('<Q', capacity))
    return path


def ovf(
    names: Iterable[str], file: str = '', disk: str = '', files: str = ''
) -> bytes:
    """An OVF descriptor with a disk for each name.

    :param file: more attributes of each file
    :param disk: more attributes of each disk
    :param files: more files
    """
    names = list(names)
    return OVF.format(
        files=files
        + ''.join(
            f'<File ovf:href="{name}" ovf:id="file{number}" {file}/>'
            for number, name in enumerate(names)
        ),
        disks=''.join(
            f'<Disk ovf:diskId="disk{number}" ovf:fileRef="file{number}" '
            f'ovf:capacity="1" {disk}/>'
            for number in range(len(names))
        ),
    ).encode()


def tar(
    path: Path,
    members: Iterable[tuple[str, bytes]],
    format_: int = tarfile.USTAR_FORMAT,
) -> Path:
    """An archive of plain files."""
    with tarfile.open(path, 'w', format=format_) as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def ova(path: Path, disk: Path, name: str = 'disk.vmdk') -> Path:
    """An appliance with that disk."""
    return tar(path, [('vm.ovf', ovf([name])), (name, disk.read_bytes())])

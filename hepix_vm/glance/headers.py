# SPDX-License-Identifier: Apache-2.0
"""Headers of disk formats, beyond what oslo.utils' inspectors look at.

Each function reads a few fields at fixed places and follows none of them.
Sources: QEMU's ``docs/interop/qcow2.txt`` and ``block/{vdi,vmdk,vpc}.c``,
Microsoft's "Virtual Hard Disk Image Format Specification", VMware's "Virtual
Disk Format 5.0".
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import os
import struct
from typing import BinaryIO

_VHD_COOKIE = b'conectix'
_VHD_FOOTER = 512
_VHD_FIXED = 2
_VHD_DYNAMIC = 3

_VDI_PLAIN = (1, 2)

# QEMU reads so much of a descriptor whatever the header says its size is.
_VMDK_DESCRIPTOR_AT = 512
_VMDK_DESCRIPTOR = 20 * 512
_VMDK_ACCESS = ('rw', 'rdonly', 'noaccess')


def flaw(kind: str, source: BinaryIO) -> str:
    """Why a disk must not be used; '' when nothing speaks against it.

    :param kind: ``qcow2``, ``vmdk``, ``vhd``, ``vdi``; others have no flaw
    :param source: the whole file
    """
    look = _LOOKS.get(kind)
    try:
        return '' if look is None else look(source)
    except struct.error:
        return 'its header is not complete'


def ends_like_vhd(source: BinaryIO) -> bool:
    """Whether the last sector is the footer of a fixed VHD."""
    footer = _at(source, max(0, _size(source) - _VHD_FOOTER), _VHD_FOOTER)
    return (
        footer.startswith(_VHD_COOKIE)
        and len(footer) == _VHD_FOOTER
        and _vhd_type(footer) == _VHD_FIXED
    )


def vhd_size(source: BinaryIO) -> int:
    """Bytes of the disk in a VHD, which its footer says exactly.

    :raises struct.error: when there is no footer
    """
    footer = _at(source, max(0, _size(source) - _VHD_FOOTER), _VHD_FOOTER)
    return int(struct.unpack_from('>Q', footer, 48)[0])


def _size(source: BinaryIO) -> int:
    return source.seek(0, os.SEEK_END)


def _at(source: BinaryIO, offset: int, length: int) -> bytes:
    source.seek(offset)
    return source.read(length)


def _qcow2(source: BinaryIO) -> str:
    (method,) = struct.unpack('>I', _at(source, 32, 4))
    return 'it is encrypted, and Nova has no key' if method else ''


def _vhd_type(footer: bytes) -> int:
    return int(struct.unpack_from('>I', footer, 60)[0])


def _vhd(source: BinaryIO) -> str:
    size = _size(source)
    footer = _at(source, max(0, size - _VHD_FOOTER), _VHD_FOOTER)
    if len(footer) < _VHD_FOOTER or not footer.startswith(_VHD_COOKIE):
        return 'it does not end with the footer of a VHD'
    (said,) = struct.unpack_from('>I', footer, 64)
    if ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF != said:
        return 'the checksum of its footer is wrong'
    kind = _vhd_type(footer)
    if kind == _VHD_FIXED:
        if vhd_size(source) != size - _VHD_FOOTER:
            return 'its footer gives another size than it has'
        return ''
    if kind != _VHD_DYNAMIC:
        return 'it holds only what differs from another disk'
    if _at(source, 0, _VHD_FOOTER) != footer:
        return 'its footer contradicts its header'
    return ''


def _vdi(source: BinaryIO) -> str:
    header = _at(source, 0, 512)
    (kind,) = struct.unpack_from('<I', header, 0x4C)
    if kind not in _VDI_PLAIN:
        return 'it holds only what differs from another disk'
    (data,) = struct.unpack_from('<I', header, 0x158)
    size, block, extra, blocks, there = struct.unpack_from(
        '<QIIII', header, 0x170
    )
    if size > blocks * block:
        return 'its header gives it too few blocks'
    if data + there * (block + extra) > _size(source):
        return 'it ends before its last block'
    return ''


def _vmdk(source: BinaryIO) -> str:
    header = _at(source, 0, 64)
    (sectors,) = struct.unpack_from('<Q', header, 12)
    if not header.startswith(b'KDMV') or not sectors:
        return 'its data is in another file'
    (declared,) = struct.unpack_from('<Q', header, 36)
    text = _at(
        source,
        _VMDK_DESCRIPTOR_AT,
        max(_VMDK_DESCRIPTOR, min(declared * 512, 2**20)),
    )
    end = text.find(b'\0')
    if not 0 <= end < declared * 512:
        return 'its VMDK descriptor has no end'
    lines = [
        line.strip()
        for line in text[:end].decode('ascii', 'replace').lower().split('\n')
    ]
    # oslo.utils takes this for one more field of the header; QEMU opens it.
    if any('parentfilenamehint' in line for line in lines):
        return 'its header names a parent file'
    parents = [line for line in lines if line.startswith('parentcid=')]
    if any(line != 'parentcid=ffffffff' for line in parents):
        return 'it holds only what differs from another disk'
    extents = [line for line in lines if line.startswith(_VMDK_ACCESS)]
    if len(extents) != 1 or extents[0].split()[2:3] != ['sparse']:
        return 'its VMDK descriptor is not that of one sparse file'
    return ''


_LOOKS: Mapping[str, Callable[[BinaryIO], str]] = {
    'qcow2': _qcow2,
    'vmdk': _vmdk,
    'vhd': _vhd,
    'vdi': _vdi,
}

# SPDX-License-Identifier: Apache-2.0
"""The architecture that a disk's partition table tells.

The Discoverable Partitions Specification of the UAPI group gives the root
and /usr partitions of each architecture types of their own. Where a disk
uses them its architecture is known; most other disks tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import struct
import uuid
import zlib

#: Reads ``size`` bytes at ``offset``; fewer at the end.
Read = Callable[[int, int], bytes]

_TYPES = {
    '44479540-f297-41b2-9af7-d131d5f0458a': 'i386',
    '75250d76-8cc6-458e-bd66-bd47cc81a812': 'i386',
    '4f68bce3-e8cd-4db1-96e7-fbcaf984b709': 'x86_64',
    '8484680c-9521-48c6-9c11-b0720656f69e': 'x86_64',
    'b921b045-1df0-41c3-af44-4c6f280d3fae': 'aarch64',
    'b0e01050-ee5f-4390-949a-9101b17104e9': 'aarch64',
    'c31c45e6-3f39-412e-80fb-4809c4980599': 'ppc64le',
    '15bb03af-77e7-4d4a-b12b-c0d084f7491c': 'ppc64le',
    '72ec70a6-cf74-40e6-bd49-4bda08e8f224': 'riscv64',
    'beaec34b-8442-439b-a40b-984381ed097d': 'riscv64',
    '5eead9a9-fe09-4a1e-a1d7-520d00531306': 's390x',
    '8a4f5770-50aa-4ed3-874a-99b710db6fea': 's390x',
}
_SECTOR = 512
_MOST_ENTRIES = 1024
# Bits of an entry of a qcow2 table that are an offset.
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_ZEROS = 1


def architecture(read: Read) -> str | None:
    """The architecture of a disk, None if its table does not tell one.

    :param read: bytes of the disk as a machine sees it
    """
    found = {_TYPES[kind] for kind in _partition_types(read) if kind in _TYPES}
    return found.pop() if len(found) == 1 else None


def _partition_types(read: Read) -> Iterator[str]:
    """Types in a GUID partition table (UEFI 2.10 section 5.3)."""
    header = read(_SECTOR, 92)
    if len(header) < 92 or not header.startswith(b'EFI PART'):
        return
    start, count, size = struct.unpack_from('<QII', header, 72)
    if not 1 <= count <= _MOST_ENTRIES or size != 128:
        return
    entries = read(start * _SECTOR, count * size)
    for position in range(0, len(entries) - 15, size):
        kind = entries[position : position + 16]
        if any(kind):
            yield str(uuid.UUID(bytes_le=kind))


def in_qcow2(read: Read) -> Read | None:
    """The first cluster of the disk in a qcow2 file.

    The partition table lies there: a cluster has 64 KiB by default.

    :param read: bytes of the file
    :returns: None where the cluster cannot be read plainly: encrypted,
        never written, or compressed otherwise than by default
    """
    header = read(0, 104)
    if len(header) < 72 or not header.startswith(b'QFI\xfb'):
        return None
    bits, encrypted, table = _qcow2_header(header)
    if not 9 <= bits <= 21 or encrypted:
        return None
    second = _entry(read, table) & _OFFSET
    entry = _entry(read, second) if second else 0
    cluster = _cluster(read, entry, bits)
    if cluster is None:
        return None
    return lambda offset, size: cluster[offset : offset + size]


def _qcow2_header(header: bytes) -> tuple[int, int, int]:
    bits, _size, encrypted, _count, table = struct.unpack_from(
        '>IQIIQ', header, 20
    )
    return bits, encrypted, table


def _entry(read: Read, offset: int) -> int:
    data = read(offset, 8)
    return int.from_bytes(data, 'big') if len(data) == 8 else 0


def _cluster(read: Read, entry: int, bits: int) -> bytes | None:
    size = 1 << bits
    if entry & _COMPRESSED:
        shift = 62 - (bits - 8)
        offset = entry & ((1 << shift) - 1)
        sectors = (entry >> shift & ((1 << (bits - 8)) - 1)) + 1
        data = read(offset, sectors * _SECTOR - offset % _SECTOR)
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
        except zlib.error:
            return None
    offset = entry & _OFFSET
    if not offset or entry & _ZEROS:
        return None
    return read(offset, size)

# SPDX-License-Identifier: Apache-2.0
"""Small disk images, byte by byte."""

from __future__ import annotations

import io
import struct
import tarfile
import uuid
import zlib

SECTOR = 512
ROOT_X86_64 = '4f68bce3-e8cd-4db1-96e7-fbcaf984b709'
ROOT_ARM64 = 'b921b045-1df0-41c3-af44-4c6f280d3fae'
LINUX = '0fc63daf-8483-4772-8e79-3d69d8477de4'


def gpt(*types: str, size: int = 64 * 1024, entry: int = 128) -> bytes:
    """A raw disk with a GUID partition table."""
    disk = bytearray(size)
    # A protective MBR: one partition of type EE from sector 1.
    disk[446:462] = struct.pack(
        '<B3sB3sII', 0, b'\0\2\0', 0xEE, b'\xff\xff\xff', 1, 0xFFFFFFFF
    )
    disk[510:512] = b'\x55\xaa'
    struct.pack_into(
        '<8s64xQII', disk, SECTOR, b'EFI PART', 2, len(types), entry
    )
    for number, kind in enumerate(types):
        at = 2 * SECTOR + number * 128
        disk[at : at + 16] = uuid.UUID(kind).bytes_le
    return bytes(disk)


def qcow2(
    disk: bytes,
    *,
    bits: int = 16,
    compressed: bool = False,
    backing: int = 0,
    encrypted: int = 0,
    entry: int | None = None,
) -> bytes:
    """A qcow2 image of version 2 whose first cluster holds the disk.

    :param entry: the first entry of the second table instead
    """
    cluster = 1 << bits
    data = disk[:cluster].ljust(cluster, b'\0')
    offset = 3 * cluster
    if compressed:
        packer = zlib.compressobj(9, zlib.DEFLATED, -12)
        data = packer.compress(data) + packer.flush()
        sectors = (len(data) - 1) // SECTOR
        data = data.ljust((sectors + 1) * SECTOR, b'\0')
        value = 1 << 62 | sectors << (62 - (bits - 8)) | offset
    else:
        value = 1 << 63 | offset
    header = struct.pack(
        '>4sIQIIQIIQQIIQ',
        b'QFI\xfb',
        2,
        backing,
        8 if backing else 0,
        bits,
        cluster,
        encrypted,
        1,
        cluster,
        0,
        0,
        0,
        0,
    )
    image = bytearray(offset)
    image[: len(header)] = header
    if backing:
        image[backing : backing + 8] = b'disk.img'
    struct.pack_into('>Q', image, cluster, 1 << 63 | 2 * cluster)
    struct.pack_into(
        '>Q', image, 2 * cluster, value if entry is None else entry
    )
    return bytes(image) + data


def appliance(first: str) -> bytes:
    """A tar archive whose first member has a name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.USTAR_FORMAT) as t:
        member = tarfile.TarInfo(first)
        member.size = 3
        t.addfile(member, io.BytesIO(b'ovf'))
    return out.getvalue()

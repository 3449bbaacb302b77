# SPDX-License-Identifier: Apache-2.0
"""The forms in which a bundle travels; no I/O.

======================  ================================================
:func:`gzip`            to a guest whose request comes straight to us
:func:`pkzip`           the same through neutron's metadata agent, which
                        spoils gzip in some releases: GNU gzip, and with it
                        ``tar -zxf``, unpacks a PKZIP file of one member
:func:`base64`          text, which nothing on the way can spoil
======================  ================================================

All three carry the same compressed data. They have no time and no name of
the machine that made them; with the same zlib they are the same bytes.
"""

from __future__ import annotations

import binascii
import struct
import zlib

GZIP_TYPE = 'application/gzip'
#: With a charset the agent hands the bytes on as they are.
PKZIP_TYPE = 'application/octet-stream; charset=ISO-8859-1'
TEXT_TYPE = 'text/plain; charset=UTF-8'

#: What ``unzip`` calls the only member.
MEMBER = b'context.tar'

# Deflate, no flags, no time, most compression, operating system unknown.
_GZIP_HEADER = b'\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff'
_GZIP_TRAILER = struct.Struct('<II')

# 1980-01-01, the first day that the format knows.
_DAY = 1 << 5 | 1
_UNIX_MODE = 0o100644
# Lines of 57 bytes make 76 characters, as MIME has it.
_LINE = 57


def gzip(tar: bytes) -> bytes:
    """One gzip member."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b''.join(
        (
            _GZIP_HEADER,
            squeeze.compress(tar),
            squeeze.flush(),
            _GZIP_TRAILER.pack(zlib.crc32(tar), len(tar)),
        )
    )


def pkzip(tgz: bytes) -> bytes:
    """One member of a PKZIP file, of what :func:`gzip` made."""
    deflated = tgz[len(_GZIP_HEADER) : -_GZIP_TRAILER.size]
    crc, size = _GZIP_TRAILER.unpack(tgz[-_GZIP_TRAILER.size :])
    # version 2.0, no flags, deflate, time, day, digest, sizes, name, extra
    about = struct.pack(
        '<HHHHHIIIHH',
        *(20, 0, zlib.DEFLATED, 0, _DAY),
        *(crc, len(deflated), size, len(MEMBER), 0),
    )
    local = b'PK\x03\x04' + about + MEMBER
    # made by Unix; comment, disk, kind, mode and place of the member
    central = (
        b'PK\x01\x02'
        + struct.pack('<BB', 20, 3)
        + about
        + struct.pack('<HHHII', 0, 0, 0, _UNIX_MODE << 16, 0)
        + MEMBER
    )
    end = b'PK\x05\x06' + struct.pack(
        '<HHHHIIH',
        *(0, 0, 1, 1),
        *(len(central), len(local) + len(deflated), 0),
    )
    return b''.join((local, deflated, central, end))


def base64(content: bytes) -> bytes:
    """Text in lines of 76 characters."""
    return b''.join(
        binascii.b2a_base64(content[start : start + _LINE])
        for start in range(0, len(content), _LINE)
    )

# SPDX-License-Identifier: Apache-2.0
"""A guest of 1 MiB that boots on any PC: it says one line and stops.

Its boot sector writes to the first serial port and halts, so that a test
sees on the console that these very bytes have run, within a second even
where QEMU emulates the processor.
"""

from __future__ import annotations

import struct

SIZE = 2**20
SAYS = 'hepix_vm test guest: up'
_START = 0x7C00
_PARTITIONS = 446
#: 16-bit code: write what follows it up to a zero byte, then halt.
_CODE = bytes.fromhex(
    'fa'  # cli
    '31c0'  # xor ax,ax
    '8ed8'  # mov ds,ax
    'be227c'  # mov si,text
    'ac'  # next: lodsb
    '08c0'  # or al,al
    '7412'  # jz end
    '88c3'  # mov bl,al
    'bafd03'  # mov dx,line status
    'ec'  # busy: in al,dx
    'a820'  # test al,transmitter empty
    '74fb'  # jz busy
    'baf803'  # mov dx,data
    '88d8'  # mov al,bl
    'ee'  # out dx,al
    'ebe9'  # jmp next
    'f4'  # end: hlt
    'ebfd'  # jmp end
)


def image(says: str = SAYS, mark: str = '') -> bytes:
    """Return a raw disk image.

    :param says: the line on the console
    :param mark: makes another image of the same guest
    """
    text = f'\r\n{says}\r\n\0'.encode('ascii')
    code = _CODE + text
    if struct.unpack_from('<H', code, 6)[0] != _START + len(_CODE):
        raise AssertionError('the text is not where the code looks for it')
    if len(code) > _PARTITIONS:
        raise ValueError(f'{says!r} is too long for a boot sector')
    # One partition, so that format inspectors see a disk.
    entry = struct.pack(
        '<B3sB3sII', 0x80, b'\0\x02\0', 0x83, b'\0\x21\0', 1, SIZE // 512 - 1
    )
    sector = code.ljust(_PARTITIONS, b'\0') + entry
    sector = sector.ljust(510, b'\0') + b'\x55\xaa'
    return (sector + mark.encode()).ljust(SIZE, b'\0')

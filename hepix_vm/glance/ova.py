# SPDX-License-Identifier: Apache-2.0
"""The one disk in an OVA: a tar archive with an OVF descriptor.

The archive is read in place and nothing is taken out under a name of its
own. Taken is what the OVF specification (DMTF DSP0243) asks for: a flat
archive of plain files in POSIX.1 (ustar, pax) format. Whatever two readers
could understand differently is refused.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import re
from typing import BinaryIO

from hepix_vm import errors
from hepix_vm.glance import ovf

_BLOCK = 512
_END = bytes(_BLOCK)
_MEMBERS = 100
_DESCRIPTOR = 2**20
_EXTENDED = 64 * 1024
_TRAILING = 2**20
_NAME = re.compile(r'[^/\\\x00-\x1f\x7f]{1,255}')
# Mode, owner, group, time and numbers of a device.
_NUMBERS = (
    (100, 108),
    (108, 116),
    (116, 124),
    (136, 148),
    (329, 337),
    (337, 345),
)
_KINDS = {
    b'1': 'a hard link',
    b'2': 'a symbolic link',
    b'3': 'a character device',
    b'4': 'a block device',
    b'5': 'a directory',
    b'6': 'a pipe',
    b'L': 'a GNU long name',
    b'K': 'a GNU long link',
    b'S': 'a GNU sparse file',
}


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A plain file in an archive.

    :ivar name: never a path; compared with other names and nothing else
    :ivar offset: bytes from the beginning of the archive to its data
    :ivar size: bytes
    """

    name: str
    offset: int
    size: int


def disk(path: Path) -> Member:
    """Where the only disk of an OVA is.

    :raises errors.NotBelieved: when it is no OVA with exactly one disk
    :raises errors.LocalFault: when it cannot be read
    """
    try:
        with path.open('rb') as source:
            return _disk(source)
    except OSError as exc:
        raise errors.LocalFault(
            f'image file {path}: {exc.strerror}; see [fetch] spool_directory'
        ) from exc


def members(source: BinaryIO) -> tuple[Member, ...]:
    """All files of an archive, in its order.

    :raises errors.NotBelieved: for anything but plain files with plain
        names that differ, all there to their last byte
    """
    size = source.seek(0, os.SEEK_END)
    found: dict[str, Member] = {}
    at = 0
    override: dict[str, str] | None = None
    while True:
        source.seek(at)
        header = source.read(_BLOCK)
        if header == _END:
            break
        at += _BLOCK
        kind, name, length = _header(header)
        if kind == b'g':
            if _extended(source, at, length, size):
                raise _refused('it names or measures all files alike')
        elif kind == b'x':
            if override is not None:
                raise _refused('a header is about no file')
            override = _extended(source, at, length, size)
        else:
            said = override or {}
            name = said.get('path', name)
            length = _decimal(said['size']) if 'size' in said else length
            override = None
            _add(found, Member(_plain(name), at, length), size)
        at += -(-length // _BLOCK) * _BLOCK
    if override is not None:
        raise _refused('a header is about no file')
    _nothing_behind(source, at, size)
    return tuple(found.values())


def _disk(source: BinaryIO) -> Member:
    files = {member.name: member for member in members(source)}
    descriptors = [n for n in files if n.lower().endswith('.ovf')]
    if len(descriptors) != 1:
        raise _refused(
            f'expected one OVF descriptor, found {len(descriptors)}'
        )
    descriptor = files[descriptors[0]]
    if descriptor.size > _DESCRIPTOR:
        raise _refused(
            f'its OVF descriptor has {descriptor.size} bytes, at most '
            f'{_DESCRIPTOR} are read'
        )
    source.seek(descriptor.offset)
    named = ovf.disk(source.read(descriptor.size))
    member = files.get(named.href)
    if member is None or member is descriptor:
        raise _refused('the disk of its OVF descriptor is not in the archive')
    if named.size is not None and named.size != member.size:
        raise _refused(
            f'its disk has {member.size} bytes, its OVF descriptor says '
            f'{named.size}'
        )
    return member


def _add(found: dict[str, Member], member: Member, size: int) -> None:
    if member.offset + member.size > size:
        raise _refused('it ends before its last file does')
    if member.name in found:
        raise _refused('two of its files have the same name')
    if len(found) >= _MEMBERS:
        raise _refused(f'it has more than {_MEMBERS} files')
    found[member.name] = member


def _header(block: bytes) -> tuple[bytes, str, int]:
    """Type, name and size of a header; see POSIX.1, ustar."""
    if len(block) < _BLOCK:
        raise _refused('it ends before its last file does')
    blanked = block[:148] + b' ' * 8 + block[156:]
    if sum(blanked) != _number(block[148:156]):
        raise _refused('the checksum of a header is wrong')
    if block[257:262] != b'ustar':
        raise _refused('a header is not that of a POSIX archive')
    kind = block[156:157]
    if kind == b'\0':
        kind = b'0'
    if kind not in (b'0', b'x', b'g'):
        what = _KINDS.get(kind, 'a file of unknown type')
        raise _refused(f'it contains {what}; expected plain files')
    for start, end in _NUMBERS:
        # Nothing is done with them, but other readers stop at a wrong one.
        if block[start:end].strip(b' \0'):
            _number(block[start:end])
    name = _text(block[:100])
    prefix = _text(block[345:500])
    if prefix and block[257:263] != b'ustar\0':
        # GNU's own format keeps times there, which some readers overlook.
        raise _refused('a header keeps more than the POSIX format does')
    return (
        kind,
        f'{prefix}/{name}' if prefix else name,
        _number(block[124:136]),
    )


def _number(field: bytes) -> int:
    """Octal digits, or base 256 behind a mark as GNU and star write it."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], 'big')
    # A zero byte ends it: where one stands before, some readers see nothing.
    found = re.fullmatch(rb' *([0-7]+)[ \0]*', field)
    if not found:
        raise _refused('a number in a header is none')
    return int(found[1], 8)


def _decimal(digits: str) -> int:
    if not re.fullmatch('[0-9]{1,19}', digits):
        raise _refused('a number in a header is none')
    return int(digits)


def _text(field: bytes) -> str:
    try:
        return field.partition(b'\0')[0].decode()
    except UnicodeDecodeError as exc:
        raise _refused('the name of a file is not in UTF-8') from exc


def _plain(name: str) -> str:
    name = name.removeprefix('./')
    if not _NAME.fullmatch(name) or name in ('.', '..'):
        raise _refused(
            f'it has a file named {name[:64]!r}; expected names without '
            'directories'
        )
    return name


def _extended(
    source: BinaryIO, at: int, length: int, size: int
) -> dict[str, str]:
    """The records of a pax header that say where or how large a file is."""
    if length > _EXTENDED or at + length > size:
        raise _refused('an extended header is too long')
    source.seek(at)
    rest = source.read(length)
    records: dict[str, str] = {}
    while rest:
        digits, _, _ = rest.partition(b' ')
        if not re.fullmatch(rb'[1-9][0-9]{0,5}', digits):
            raise _refused('an extended header is damaged')
        record, rest = rest[: int(digits)], rest[int(digits) :]
        key, equals, value = record[len(digits) + 1 :].partition(b'=')
        whole = len(record) == int(digits) and value.endswith(b'\n')
        if not equals or not whole:
            raise _refused('an extended header is damaged')
        if key.startswith(b'GNU.sparse') or key == b'hdrcharset':
            raise _refused(f'it uses {_text(key)[:32]!r}; write plain files')
        if key in (b'path', b'size'):
            if key.decode() in records or b'\0' in value:
                raise _refused('an extended header is damaged')
            records[key.decode()] = _text(value[:-1])
    return records


def _nothing_behind(source: BinaryIO, at: int, size: int) -> None:
    if size - at > _TRAILING:
        raise _refused('there is more behind its end')
    source.seek(at)
    rest = source.read(size - at)
    if len(rest) < 2 * _BLOCK or rest.strip(b'\0'):
        raise _refused('it does not end as an archive does')


def _refused(why: str) -> errors.NotBelieved:
    return errors.NotBelieved(f'the OVA cannot be used: {why}')

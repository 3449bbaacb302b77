# SPDX-License-Identifier: Apache-2.0
"""Disks out of gzip and tar: as streams, in bounded memory, sparse on disk.

What comes out may be a thousand times larger than what goes in, so whoever
reads these streams says when it is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import hashlib
import os
from pathlib import Path
from typing import BinaryIO
import zlib

from hepix_vm import errors
from hepix_vm.glance import content
from hepix_vm.glance import ova

#: Called for each piece; what it raises ends the work.
Tick = Callable[[], None]

_READ = 256 * 1024
_PIECE = 2**20
_HOLE = bytes(64 * 1024)
# What is looked at of a gzip file to tell what it holds.
_BEGINNING = 2 * 2**20
_FIRST_MEMBERS = 64
_GZIP = 16 + zlib.MAX_WBITS


def beginning(path: Path) -> bytes:
    """The first bytes that a gzip file holds, enough to tell their format.

    :raises errors.NotBelieved: when they cannot be decompressed
    :raises errors.LocalFault: when they cannot be read
    """
    found = b''
    try:
        with path.open('rb') as source:
            data = source.read(_BEGINNING)
        for _ in range(_FIRST_MEMBERS):
            inflater = zlib.decompressobj(_GZIP)
            found += inflater.decompress(data, content.BEGINNING - len(found))
            data = inflater.unused_data.lstrip(b'\0')
            if not data or len(found) >= content.BEGINNING:
                break
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    except zlib.error as exc:
        raise _damaged(exc) from exc
    return found


def beginning_of_member(path: Path, member: ova.Member) -> bytes:
    """The same of a file in a tar archive.

    :raises errors.LocalFault: when it cannot be read
    """
    start = dataclasses.replace(
        member, size=min(member.size, content.BEGINNING)
    )
    return b''.join(extracted(path, start))


def gunzipped(path: Path, tick: Tick = lambda: None) -> Iterator[bytes]:
    """What a gzip file (RFC 1952) holds, all its members in a row.

    :raises errors.NotBelieved: when it is damaged, is cut off, or has
        anything but zeros behind its end
    :raises errors.LocalFault: when it cannot be read
    """
    try:
        with path.open('rb') as source:
            yield from _inflated(source, tick)
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    except zlib.error as exc:
        raise _damaged(exc) from exc


def extracted(
    path: Path, member: ova.Member, tick: Tick = lambda: None
) -> Iterator[bytes]:
    """The bytes of one file in an archive.

    :raises errors.LocalFault: when they cannot be read
    """
    try:
        with path.open('rb') as source:
            source.seek(member.offset)
            left = member.size
            while left:
                tick()
                piece = source.read(min(_PIECE, left))
                if not piece:
                    raise errors.LocalFault(
                        f'image file {path} has become shorter; somebody '
                        'else writes into [fetch] spool_directory'
                    )
                left -= len(piece)
                yield piece
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def write(pieces: Iterator[bytes], target: Path, most: int) -> str:
    """Write a stream into a new file, with holes in place of zeros.

    :param most: bytes that the file may have
    :returns: SHA-512 of what was in the stream
    :raises errors.NotBelieved: when there is more
    :raises errors.LocalFault: when it cannot be written
    """
    digest = hashlib.sha512()
    size = 0
    try:
        with target.open('xb') as file:
            for piece in pieces:
                size += len(piece)
                if size > most:
                    raise errors.NotBelieved(
                        f'the disk has more than {most} bytes, all that '
                        '[conversion] max_size allows'
                    )
                digest.update(piece)
                _write_sparsely(file, piece)
            file.truncate(size)
    except OSError as exc:
        raise errors.LocalFault(
            f'conversion folder {target.parent}: {exc.strerror}; see [fetch] '
            'spool_directory'
        ) from exc
    return digest.hexdigest()


def _inflated(source: BinaryIO, tick: Tick) -> Iterator[bytes]:
    data = source.read(_READ)
    while data:
        inflater = zlib.decompressobj(_GZIP)
        while not inflater.eof:
            tick()
            piece = inflater.decompress(data, _PIECE)
            data = inflater.unconsumed_tail
            if piece:
                yield piece
            elif not data and not inflater.eof:
                data = source.read(_READ)
                if not data:
                    raise errors.NotBelieved(
                        'the compressed bytes end too early'
                    )
        # Some tools fill the last block of a tape with zeros.
        data = inflater.unused_data.lstrip(b'\0')
        while not data and (more := source.read(_READ)):
            tick()
            data = more.lstrip(b'\0')


def _write_sparsely(file: BinaryIO, piece: bytes) -> None:
    for at in range(0, len(piece), len(_HOLE)):
        block = piece[at : at + len(_HOLE)]
        if block == _HOLE:
            file.seek(len(block), os.SEEK_CUR)
        else:
            file.write(block)


def _unreadable(path: Path, exc: OSError) -> errors.LocalFault:
    return errors.LocalFault(
        f'image file {path}: {exc.strerror}; see [fetch] spool_directory'
    )


def _damaged(exc: zlib.error) -> errors.NotBelieved:
    return errors.NotBelieved(f'the compressed bytes are damaged ({exc})')

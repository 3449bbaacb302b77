# SPDX-License-Identifier: Apache-2.0
"""Files are hashed in one pass, whatever they are read from."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import threading

import pytest

from hepix_vm import hashing


def expected(data: bytes, *algorithms: str) -> hashing.Hashes:
    return hashing.Hashes(
        len(data),
        {name: hashlib.new(name, data).hexdigest() for name in algorithms},
    )


class Broken(io.RawIOBase):
    """Gives one block, then fails as a disk does."""

    def __init__(self) -> None:
        self.blocks = 0

    def readinto(self, buffer: memoryview, /) -> int:
        self.blocks += 1
        if self.blocks > 1:
            raise OSError('the disk is away')
        return len(buffer)


class Watched:
    """Tells whether it is read by anybody but the thread that made it."""

    def __init__(self, data: bytes) -> None:
        self.source = io.BytesIO(data)
        self.maker = threading.get_ident()

    def readinto(self, buffer: memoryview, /) -> int:
        assert threading.get_ident() == self.maker
        return self.source.readinto(buffer)


@pytest.mark.parametrize('size', [0, 1, 7, 8, 9, 15, 16, 17, 1000])
@pytest.mark.parametrize('algorithms', [('sha512',), ('sha256', 'sha512')])
def test_digests_are_right_at_every_edge_of_the_blocks(
    size: int, algorithms: tuple[str, ...]
) -> None:
    data = os.urandom(size)
    hashes = hashing.hash_file(io.BytesIO(data), algorithms, block=8)
    assert hashes == expected(data, *algorithms)


def test_descriptor_is_read_and_stays_open(tmp_path: pathlib.Path) -> None:
    data = os.urandom(5 * hashing.BLOCK + 3)
    path = tmp_path / 'image'
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        hashes = hashing.hash_file(descriptor, ['sha512'])
        assert hashes == expected(data, 'sha512')
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == len(data)
    finally:
        os.close(descriptor)


def test_reading_begins_where_the_source_stands() -> None:
    source = io.BytesIO(b'headcontent')
    source.seek(4)
    hashes = hashing.hash_file(source, ['sha256'])
    assert hashes == expected(b'content', 'sha256')


def test_pipe_with_short_reads_is_hashed_whole() -> None:
    data = os.urandom(300_000)
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, 'wb') as pipe:
            pipe.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert hashing.hash_file(reading, ['sha512']) == expected(
            data, 'sha512'
        )
    finally:
        os.close(reading)
        writer.join()


def test_progress_counts_every_byte_in_the_callers_thread() -> None:
    seen: list[tuple[int, int]] = []
    hashing.hash_file(
        Watched(b'x' * 20),
        ['sha512'],
        lambda done: seen.append((done, threading.get_ident())),
        block=8,
    )
    here = threading.get_ident()
    assert seen == [(8, here), (16, here), (20, here)]


def test_progress_can_end_the_pass() -> None:
    source = io.BytesIO(b'x' * 100)

    def stop(done: int) -> None:
        if done >= 16:
            raise InterruptedError('cancelled')

    with pytest.raises(InterruptedError, match='cancelled'):
        hashing.hash_file(source, ['sha512'], stop, block=8)
    assert source.tell() == 16


def test_failing_disk_is_told() -> None:
    with pytest.raises(OSError, match='the disk is away'):
        hashing.hash_file(Broken(), ['sha512'], block=8)


def test_source_that_would_block_is_told() -> None:
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        with pytest.raises(BlockingIOError, match='no data yet'):
            hashing.hash_file(reading, ['sha512'])
    finally:
        os.close(reading)
        os.close(writing)


def test_closed_descriptor_is_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match='Bad file descriptor'):
        hashing.hash_file(reading, ['sha512'])


@pytest.mark.parametrize('algorithms', [(), ('sha512', 'crc-of-hope')])
def test_nothing_is_read_without_known_algorithms(
    algorithms: tuple[str, ...],
) -> None:
    source = io.BytesIO(b'content')
    with pytest.raises(ValueError, match=r'algorithm|hash type'):
        hashing.hash_file(source, algorithms)
    assert source.tell() == 0


@pytest.mark.parametrize('block', [0, -1])
def test_block_of_nothing_never_hashes_to_the_empty_file(block: int) -> None:
    with pytest.raises(ValueError, match='at least one byte'):
        hashing.hash_file(io.BytesIO(b'content'), ['sha512'], block=block)


def test_no_thread_is_left_behind() -> None:
    before = set(threading.enumerate())
    hashing.hash_file(io.BytesIO(b'x' * 100), ['sha256', 'sha512'], block=8)
    with pytest.raises(OSError, match='away'):
        hashing.hash_file(Broken(), ['sha512'], block=8)
    # Those of what ran before may end meanwhile.
    assert set(threading.enumerate()) <= before

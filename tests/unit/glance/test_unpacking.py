# SPDX-License-Identifier: Apache-2.0
"""Streams out of gzip and tar, in bounded memory and sparse on disk."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
import tracemalloc
import zlib

import pytest

from hepix_vm import errors
from hepix_vm.glance import content
from hepix_vm.glance import ova
from hepix_vm.glance import unpacking

MIB = 2**20
DATA = b'some data, and some more ' * 30_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'packed'


def unpacked(path: Path) -> bytes:
    return b''.join(unpacking.gunzipped(path))


@pytest.mark.parametrize('data', [b'', b'x', DATA, bytes(5 * MIB)])
def test_what_gzip_has_packed_comes_out(path, data):
    path.write_bytes(gzip.compress(data))
    assert unpacked(path) == data


def test_members_in_a_row_are_one_stream(path):
    path.write_bytes(b''.join(gzip.compress(DATA) for _ in range(4)))
    assert unpacked(path) == DATA * 4


def test_many_small_members_are_one_stream(path):
    path.write_bytes(gzip.compress(b'') * 3000 + gzip.compress(DATA))
    assert unpacked(path) == DATA


def test_a_name_and_a_comment_are_passed_over(path):
    with gzip.open(path, 'wb') as file:
        file.write(DATA)
    assert unpacked(path) == DATA


@pytest.mark.parametrize('zeros', [1, 512, 3 * MIB])
def test_zeros_behind_the_end_are_padding(path, zeros):
    path.write_bytes(gzip.compress(DATA) + bytes(zeros))
    assert unpacked(path) == DATA


@pytest.mark.parametrize('zeros', [0, 512, 3 * MIB])
def test_anything_else_behind_the_end_is_refused(path, zeros):
    path.write_bytes(gzip.compress(DATA) + bytes(zeros) + b'hidden')
    with pytest.raises(errors.NotBelieved, match='damaged'):
        unpacked(path)


@pytest.mark.parametrize('cut', [1, 8, 9, 40])
def test_what_was_cut_off_is_refused(path, cut):
    path.write_bytes(gzip.compress(DATA)[:-cut])
    with pytest.raises(errors.NotBelieved, match='end too early'):
        unpacked(path)


@pytest.mark.parametrize('at', [-1, -6, 40])
def test_damage_is_noticed(path, at):
    packed = bytearray(gzip.compress(DATA))
    packed[at] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(errors.NotBelieved, match='damaged'):
        unpacked(path)


def bomb(path: Path, size: int) -> None:
    """A file of a thousandth of what comes out of it."""
    squeeze = zlib.compressobj(9, wbits=31)
    with path.open('wb') as file:
        for _ in range(size // MIB):
            file.write(squeeze.compress(bytes(MIB)))
        file.write(squeeze.flush())


def test_a_bomb_is_left_when_it_is_enough(path, tmp_path):
    bomb(path, 128 * MIB)
    tracemalloc.start()
    try:
        with pytest.raises(errors.NotBelieved, match='more than 8388608 byt'):
            unpacking.write(
                unpacking.gunzipped(path), tmp_path / 'disk', 8 * MIB
            )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB


def test_each_piece_is_a_moment_to_stop(path):
    bomb(path, 64 * MIB)
    left = iter(range(10))

    def tick() -> None:
        if next(left, None) is None:
            raise errors.TryAgain('enough')

    with pytest.raises(errors.TryAgain, match='enough'):
        for piece in unpacking.gunzipped(path, tick):
            assert len(piece) <= MIB


def test_members_without_content_are_moments_to_stop_too(path):
    path.write_bytes(gzip.compress(b'') * 1000)
    ticks = []
    assert list(unpacking.gunzipped(path, lambda: ticks.append(1))) == []
    assert len(ticks) >= 1000


@pytest.mark.parametrize('data', [b'', DATA, bytes(3 * MIB)])
def test_the_beginning_is_as_much_as_tells_a_format(path, data):
    path.write_bytes(gzip.compress(data))
    assert unpacking.beginning(path) == data[: content.BEGINNING]


def test_the_beginning_may_be_in_several_members(path):
    path.write_bytes(gzip.compress(b'ab') + gzip.compress(b'cd') * 10_000)
    found = unpacking.beginning(path)
    assert found.startswith(b'abcdcd')
    assert len(found) < 1000


def test_the_beginning_of_a_damaged_file_is_refused(path):
    path.write_bytes(b'\x1f\x8b\x09 no deflate')
    with pytest.raises(errors.NotBelieved, match='damaged'):
        unpacking.beginning(path)


def test_a_file_of_an_archive_is_its_bytes_alone(path):
    path.write_bytes(b'before' + DATA + b'behind')
    member = ova.Member('disk', 6, len(DATA))
    assert b''.join(unpacking.extracted(path, member)) == DATA
    start = unpacking.beginning_of_member(path, member)
    assert start == DATA[: content.BEGINNING]


def test_a_file_that_becomes_shorter_meanwhile_is_noticed(path):
    path.write_bytes(DATA)
    member = ova.Member('disk', 0, len(DATA) + 1)
    with pytest.raises(errors.LocalFault, match='has become shorter'):
        list(unpacking.extracted(path, member))


def test_a_file_that_cannot_be_read_is_the_machines_fault(path):
    member = ova.Member('disk', 0, 1)
    for read in (
        lambda: list(unpacking.gunzipped(path)),
        lambda: list(unpacking.extracted(path, member)),
        lambda: unpacking.beginning(path),
        lambda: unpacking.beginning_of_member(path, member),
    ):
        with pytest.raises(errors.LocalFault, match='spool_directory'):
            read()


@pytest.mark.parametrize(
    'pieces',
    [
        [],
        [DATA],
        [bytes(4 * MIB)],
        [DATA, bytes(4 * MIB), DATA, bytes(77)],
        [bytes(65536), b'x', bytes(65535), bytes(65537)],
    ],
    ids=['nothing', 'data', 'zeros', 'both', 'unaligned'],
)
def test_what_is_written_is_what_was_in_the_stream(tmp_path, pieces):
    target = tmp_path / 'disk'
    digest = unpacking.write(iter(pieces), target, 10 * MIB)
    assert target.read_bytes() == b''.join(pieces)
    assert digest == hashlib.sha512(b''.join(pieces)).hexdigest()


def test_zeros_take_no_room(tmp_path):
    target = tmp_path / 'disk'
    unpacking.write(iter([bytes(64 * MIB), b'x']), target, 100 * MIB)
    assert target.stat().st_size == 64 * MIB + 1
    assert target.stat().st_blocks * 512 < MIB


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    target = tmp_path / 'disk'
    target.symlink_to(os.devnull)
    with pytest.raises(errors.LocalFault, match='conversion folder'):
        unpacking.write(iter([b'x']), target, MIB)

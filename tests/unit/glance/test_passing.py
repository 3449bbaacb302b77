# SPDX-License-Identifier: Apache-2.0
"""Bytes that pass by once: what they are, without keeping them."""

from __future__ import annotations

from collections.abc import Iterator
import hashlib
from pathlib import Path

import pytest

from hepix_vm import errors
from hepix_vm.glance import content
from hepix_vm.glance import passing
from tests import disk_files


def pieces(data: bytes, size: int = 65536) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize('format_', ['raw', 'qcow2', 'vmdk', 'vhdx', 'vdi'])
def test_what_passes_is_known_as_if_it_were_a_file(tmp_path, format_):
    # Larger than what is remembered of both ends.
    plain = disk_files.raw(tmp_path / 'disk.raw', 12 * 2**20)
    path = plain
    if format_ != 'raw':
        path = disk_files.converted(plain, format_)
    data = path.read_bytes()
    found = passing.read(pieces(data), len(data))
    assert found.sha512 == hashlib.sha512(data).hexdigest()
    assert found.size == len(data)
    assert found.content == content.of_file(path)
    assert found.content.kind == format_


def test_an_end_beyond_what_is_remembered_is_looked_at(tmp_path: Path):
    plain = disk_files.raw(tmp_path / 'disk.raw', 24 * 2**20)
    fixed = disk_files.converted(plain, 'vhd', 'subformat=fixed,force_size=on')
    data = fixed.read_bytes()
    assert len(data) > passing.BEGINNING + passing.END
    assert passing.read(pieces(data), len(data)).content == content.of_file(
        fixed
    )


@pytest.mark.parametrize('size', [97, 65537, 3 * 2**20])
def test_the_size_of_pieces_does_not_matter(size):
    data = bytes(range(256)) * 64 * 200
    found = passing.read(pieces(data, size), len(data))
    assert found.sha512 == hashlib.sha512(data).hexdigest()
    assert found.content.kind is content.Kind.RAW


def test_no_bytes_are_some_bytes():
    found = passing.read([], 0)
    assert found.sha512 == hashlib.sha512().hexdigest()


@pytest.mark.parametrize('size', [9, 11])
def test_another_number_of_bytes_is_told(size):
    with pytest.raises(errors.NotBelieved, match=f'expected {size} bytes'):
        passing.read([b'x' * 10], size)


def test_no_more_is_read_than_is_expected():
    def endless() -> Iterator[bytes]:
        while True:
            yield b'x' * 1000

    with pytest.raises(errors.NotBelieved, match='more than that'):
        passing.read(endless(), 5000)

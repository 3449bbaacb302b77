# SPDX-License-Identifier: Apache-2.0
"""What an image file is, from its content."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import struct

import pytest

from hepix_vm.endorse import partitions
from hepix_vm.endorse import recognise
from hepix_vm import errors
from tests.unit.endorse import disks

RAW = disks.gpt(disks.LINUX, disks.ROOT_X86_64)


def examine(tmp_path, data, name='image', **more):
    path = tmp_path / name
    path.write_bytes(data)
    return recognise.examine(path, **more)


def refused(tmp_path, data, name='image'):
    with pytest.raises(errors.Misconfigured) as caught:
        examine(tmp_path, data, name)
    return str(caught.value)


def test_one_pass_gives_size_and_the_digests_that_are_asked_for(tmp_path):
    seen = []
    found = examine(
        tmp_path,
        RAW,
        algorithms=('sha512', 'sha256'),
        progress=lambda done, size: seen.append((done, size)),
    )
    assert found.size == len(RAW)
    assert found.digests == {
        name: hashlib.new(name, RAW).hexdigest()
        for name in ('sha512', 'sha256')
    }
    assert seen[-1] == (len(RAW), len(RAW))


@pytest.mark.parametrize(
    ('data', 'kind', 'arch'),
    [
        (RAW, 'raw', 'x86_64'),
        (disks.gpt(disks.ROOT_ARM64), 'raw', 'aarch64'),
        (disks.gpt(disks.LINUX), 'raw', None),
        (disks.qcow2(RAW), 'qcow2', 'x86_64'),
        (disks.qcow2(RAW, compressed=True), 'qcow2', 'x86_64'),
        (disks.appliance('disk.ovf'), 'ova', None),
        (disks.appliance('notes.txt'), None, None),
        (gzip.compress(RAW, mtime=0), 'raw.gz', None),
        (bz2.compress(RAW), 'raw.bz2', None),
        (lzma.compress(RAW), 'raw.xz', None),
        (gzip.compress(disks.qcow2(RAW), mtime=0), 'qcow2.gz', None),
        (gzip.compress(b'only text', mtime=0), None, None),
        (b'\x1f\x8b broken', None, None),
        (b'<html>not found</html>' * 9, None, None),
    ],
)
def test_format_and_architecture(tmp_path, data, kind, arch):
    found = examine(tmp_path, data)
    assert (found.format, found.arch) == (kind, arch)


@pytest.mark.parametrize(
    ('name', 'arch'),
    [
        ('Fedora-x86_64-43.qcow2', 'x86_64'),
        ('debian-13-amd64.raw', 'x86_64'),
        ('alma-aarch64.ova', 'aarch64'),
        ('old-i686.img', 'i386'),
        ('node-ppc64el', 'ppc64le'),
        ('xamd64x', None),
        ('multi-arm64-amd64', None),
    ],
)
def test_architecture_by_the_name_of_the_file(tmp_path, name, arch):
    found = examine(tmp_path, disks.gpt(disks.LINUX), name)
    assert found.arch == arch


def test_disk_and_name_that_disagree_tell_no_architecture(tmp_path):
    assert examine(tmp_path, RAW, 'disk-aarch64.img').arch is None
    assert examine(tmp_path, RAW, 'disk-x86_64.img').arch == 'x86_64'


def test_two_architectures_on_one_disk_tell_none(tmp_path):
    both = disks.gpt(disks.ROOT_X86_64, disks.ROOT_ARM64)
    assert examine(tmp_path, both).arch is None


def test_image_that_refers_to_another_file_is_refused(tmp_path):
    said = refused(tmp_path, disks.qcow2(RAW, backing=200))
    assert 'backing file' in said
    assert 'no other file' in said


def test_truncated_image_is_refused(tmp_path):
    """It says that it is one, and ends before anybody could check it."""
    header = struct.pack(
        '<4sIIQQQQIQQ', b'KDMV', 1, 3, 128, 128, 1, 1, 512, 0, 0
    )
    said = refused(tmp_path, header.ljust(600, b'\0'))
    assert 'clouds refuse this vmdk' in said


def test_beginning_of_an_image_is_none(tmp_path):
    assert examine(tmp_path, disks.qcow2(RAW)[:80]).format is None
    assert 'qcow2' in recognise.RECOGNISED


def test_two_formats_in_one_file_are_refused(tmp_path):
    data = bytearray(disks.qcow2(RAW))
    data[0x8001:0x8006] = b'CD001'
    data += bytes(max(0, 0x8800 - len(data)))
    said = refused(tmp_path, bytes(data))
    assert 'iso and qcow2' in said


def test_hybrid_disc_is_a_disc(tmp_path):
    data = bytearray(disks.gpt(disks.LINUX, size=0x10000))
    data[0x8001:0x8006] = b'CD001'
    assert examine(tmp_path, bytes(data)).format == 'iso'


def test_odd_partition_table_is_a_warning(tmp_path):
    data = bytearray(RAW)
    data[446] = 0x17
    found = examine(tmp_path, bytes(data))
    assert found.format == 'raw'
    assert 'boot flag' in found.warnings[0]


def test_no_file_no_data(tmp_path):
    assert 'no data' in refused(tmp_path, b'')
    with pytest.raises(errors.Misconfigured, match='No such file'):
        recognise.examine(tmp_path / 'absent')
    with pytest.raises(errors.Misconfigured):
        recognise.examine(tmp_path)


def test_file_that_changes_meanwhile_is_refused(tmp_path):
    path = tmp_path / 'image'
    path.write_bytes(RAW)

    def grow(_done, _size):
        with path.open('ab') as stream:
            stream.write(b'more')

    with pytest.raises(errors.Misconfigured, match='changed while'):
        recognise.examine(path, progress=grow)


@pytest.mark.parametrize(
    'image',
    [
        b'QFI\xfb',
        disks.qcow2(RAW, encrypted=1),
        disks.qcow2(RAW, bits=8),
        disks.qcow2(RAW, entry=0),
        disks.qcow2(RAW, entry=3 << 16 | 1),
        disks.qcow2(RAW, entry=1 << 62 | 3 << 16),
        disks.qcow2(RAW)[: 1 << 16],
    ],
    ids=['short', 'encrypted', 'tiny', 'absent', 'zeros', 'packed', 'cut'],
)
def test_qcow2_that_hides_its_first_cluster(image):
    def read(offset, size):
        return image[offset : offset + size]

    assert partitions.in_qcow2(read) is None


@pytest.mark.parametrize(
    'disk',
    [
        b'',
        bytes(2048),
        disks.gpt(),
        disks.gpt(disks.ROOT_X86_64, entry=129),
        disks.gpt(disks.ROOT_X86_64)[:1024],
    ],
)
def test_tables_that_tell_nothing(disk):
    def read(offset, size):
        return disk[offset : offset + size]

    assert partitions.architecture(read) is None

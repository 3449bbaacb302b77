# SPDX-License-Identifier: Apache-2.0
"""Disks that lie about themselves, or want other files, are refused."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
import struct

from oslo_utils.imageutils import format_inspector
import pytest

from hepix_vm import errors
from hepix_vm.glance import formats
from hepix_vm.glance import headers
from tests import disk_files


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return disk_files.raw(tmp_path / 'disk.raw')


def reason(path: Path, declared: str | None = None) -> str:
    judged = formats.judge(path, declared, formats.STEPS)
    assert isinstance(judged, formats.Refused), judged
    return judged.reason


def qcow2(path: Path, *options: str) -> Path:
    return disk_files.created(path, 'qcow2', '1M', *options)


def test_a_qcow2_with_a_backing_file(tmp_path, plain):
    path = disk_files.overlay(tmp_path / 'disk', plain)
    assert 'names a backing file' in reason(path, 'qcow2')


def test_a_qcow2_with_an_external_data_file(tmp_path):
    path = qcow2(tmp_path / 'disk', '-o', 'data_file=other')
    assert 'names an external data file' in reason(path, 'qcow2')


def test_a_qcow2_with_unknown_features(tmp_path):
    path = disk_files.changed(qcow2(tmp_path / 'disk'), 72, b'\x80')
    assert 'features that are not known' in reason(path, 'qcow2')


def test_a_qcow2_of_another_version(tmp_path):
    path = disk_files.changed(qcow2(tmp_path / 'disk'), 7, b'\x09')
    assert 'features that are not known' in reason(path, 'qcow2')


def test_an_encrypted_qcow2(tmp_path):
    path = disk_files.changed(qcow2(tmp_path / 'disk'), 35, b'\x01')
    assert 'Nova has no key' in reason(path, 'qcow2')


def test_a_qcow2_without_a_whole_header(tmp_path):
    path = tmp_path / 'disk'
    path.write_bytes(b'QFI\xfb\0\0\0\3')
    # Too short for any inspector, so it is what is left: a raw disk.
    assert 'the bytes are raw' in reason(path, 'qcow2')


def vmdk(plain: Path, text: str, **header: int) -> Path:
    return disk_files.vmdk_described(
        disk_files.converted(plain, 'vmdk'), text, **header
    )


def test_the_descriptor_of_these_tests_is_a_good_one(plain):
    judged = formats.judge(vmdk(plain, disk_files.VMDK_TEXT), 'vmdk', ())
    assert judged == formats.Bootable('vmdk')


def test_a_vmdk_with_a_parent_that_other_checks_let_pass(plain):
    text = disk_files.VMDK_TEXT.replace(
        'createType', 'ParentFileNameHint="/etc/passwd"\ncreateType'
    )
    path = vmdk(plain, text)
    format_inspector.detect_file_format(str(path)).safety_check()
    assert 'names a parent file' in reason(path, 'vmdk')


def test_a_vmdk_that_differs_from_another_disk(plain):
    text = disk_files.VMDK_TEXT.replace('ffffffff', '00000001')
    assert 'differs from another' in reason(vmdk(plain, text), 'vmdk')


def test_a_vmdk_whose_descriptor_goes_on_behind_its_end(plain):
    start = disk_files.VMDK_TEXT
    text = start + '#' * (512 - len(start))
    path = vmdk(
        plain, f'{text}\nparentFileNameHint="/etc/passwd"\n', sectors=1
    )
    assert 'has no end' in reason(path, 'vmdk')


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ('monolithicSparse', 'monolithicFlat'),
        ('monolithicSparse', 'vmfs'),
        ('monolithicSparse', 'twoGbMaxExtentSparse'),
        ('createType="monolithicSparse"\n', ''),
        ('"disk.vmdk"', '"/etc/passwd"'),
        ('SPARSE "disk.vmdk"', 'FLAT "other" 0'),
        ('RW 8192 SPARSE "disk.vmdk"', ''),
        ('RW 8192', 'RW 1 SPARSE "other"\nRW 8192'),
        ('version=1', 'version=1\nsomething else'),
    ],
)
def test_a_vmdk_of_anything_but_one_sparse_file(plain, before, after):
    text = disk_files.VMDK_TEXT.replace(before, after)
    assert text != disk_files.VMDK_TEXT
    said = reason(vmdk(plain, text), 'vmdk')
    assert 'its VMDK descriptor is not that of one sparse file' in said


def test_a_vmdk_without_sectors_makes_qemu_follow_its_descriptor(plain):
    path = vmdk(plain, disk_files.VMDK_TEXT, capacity=0)
    assert 'its data is in another file' in reason(path, 'vmdk')


def test_a_vmdk_that_is_a_descriptor_alone(tmp_path):
    path = tmp_path / 'disk'
    flat = disk_files.VMDK_TEXT.replace('monolithicSparse', 'monolithicFlat')
    path.write_text(
        flat.replace('SPARSE "disk.vmdk"', 'FLAT "/etc/passwd" 0') + '#' * 600
    )
    assert 'not that of one sparse file' in reason(path, 'vmdk')
    assert 'the bytes are vmdk' in reason(path, 'raw')


def test_a_descriptor_that_is_no_text_to_the_end_is_still_one(tmp_path):
    path = tmp_path / 'disk'
    path.write_bytes(disk_files.VMDK_TEXT.encode() + b'\xff' * 600)
    assert 'the bytes are vmdk' in reason(path, 'raw')


def test_text_that_oslo_utils_stumbles_over(tmp_path):
    path = tmp_path / 'disk'
    path.write_bytes(b'a' * 512 + b'\xff' * 600)
    judged = formats.judge(path, 'raw', ())
    assert isinstance(judged, formats.Refused)
    assert 'cannot be told' in judged.reason


def test_a_vmdk_whose_footer_is_none(plain):
    path = disk_files.converted(plain, 'vmdk', 'subformat=streamOptimized')
    # The table of grains is said to be known to a footer alone.
    disk_files.changed(path, 56, b'\xff' * 8)
    assert 'footer contradicts its header' in reason(path, 'vmdk')


@pytest.mark.parametrize('size', [1000, 10**6])
def test_a_vhdx_that_is_a_signature_alone(tmp_path, size):
    path = tmp_path / 'disk'
    path.write_bytes(b'vhdxfile'.ljust(size, b'\0'))
    assert 'its header is not complete' in reason(path, 'vhdx')


def test_a_vhdx_that_gives_its_size_in_another_way(plain):
    path = disk_files.converted(plain, 'vhdx')
    whole = path.read_bytes()
    # The entry of the table that says where the size is, by its GUID.
    guid = bytes.fromhex('2442a52f1bcd7648b2115dbed83bf4b8')
    at = whole.index(guid)
    disk_files.changed(path, at + 20, struct.pack('<I', 4))
    assert 'its header is not complete' in reason(path, 'vhdx')
    disk_files.changed(path, at, bytes(16))
    assert 'its header is not complete' in reason(path, 'vhdx')


@pytest.mark.parametrize('kind', ['qcow2', 'vmdk', 'vdi'])
def test_a_header_that_ends_early_is_a_flaw(kind):
    said = headers.flaw(kind, io.BytesIO(b'KDMV'))
    assert said == 'its header is not complete'
    assert headers.flaw('iso', io.BytesIO()) == ''


def test_a_disk_of_the_machine_that_fails_is_no_fault_of_the_image(
    tmp_path, monkeypatch
):
    def failing(*_given: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = disk_files.raw(tmp_path / 'disk')
    monkeypatch.setattr(
        format_inspector.InspectWrapper, '_process_chunk', failing
    )
    with pytest.raises(errors.LocalFault, match='spool_directory'):
        formats.judge(path, 'raw', ())


@pytest.mark.parametrize('kind', [3, 4, 0xFFFF])
def test_a_vdi_that_needs_another_one(plain, kind):
    path = disk_files.converted(plain, 'vdi')
    disk_files.changed(path, 0x4C, struct.pack('<I', kind))
    assert 'differs from another disk' in reason(path, 'vdi')


def test_a_vdi_that_was_cut_off(plain):
    path = disk_files.converted(plain, 'vdi')
    path.write_bytes(path.read_bytes()[:-1])
    assert 'ends before its last block' in reason(path, 'vdi')


def test_a_vdi_that_claims_more_than_its_blocks(plain):
    path = disk_files.converted(plain, 'vdi')
    disk_files.changed(path, 0x170, struct.pack('<Q', 2**40))
    assert 'too few blocks' in reason(path, 'vdi')


def test_a_vhd_that_needs_another_one(plain):
    path = disk_files.converted(plain, 'vhd')
    disk_files.vhd_changed(path, 60, struct.pack('>I', 4))
    assert 'differs from another disk' in reason(path, 'vhd')


def test_a_vhd_that_was_cut_off(plain):
    path = disk_files.converted(plain, 'vhd')
    path.write_bytes(path.read_bytes()[:-512])
    assert 'does not end with the footer' in reason(path, 'vhd')


def test_a_vhd_whose_footer_is_damaged(plain):
    path = disk_files.converted(plain, 'vhd')
    disk_files.changed(path, -464, b'\x7f')
    assert 'checksum of its footer' in reason(path, 'vhd')


def test_a_vhd_whose_two_footers_differ(plain):
    path = disk_files.converted(plain, 'vhd')
    disk_files.changed(path, 24, b'\x7f')
    assert 'footer contradicts its header' in reason(path, 'vhd')


def test_a_fixed_vhd_of_another_size_than_it_says(plain):
    path = disk_files.converted(plain, 'vhd', 'subformat=fixed,force_size')
    disk_files.vhd_changed(path, 48, struct.pack('>Q', 2**40))
    assert 'another size' in reason(path, 'vhd')


def test_a_boot_sector_without_partitions(tmp_path):
    start = bytes(510) + b'\x55\xaa'
    path = disk_files.raw(tmp_path / 'disk', start=start)
    assert 'partition table is not valid' in reason(path, 'raw')


@pytest.mark.parametrize('declared', ['raw', 'qcow2', 'iso', None])
def test_what_is_two_formats_at_once(tmp_path, plain, declared):
    path = disk_files.converted(plain, 'qcow2')
    disk_files.changed(path, 32768, b'\1CD001\1')
    said = reason(path, declared)
    assert 'the bytes are iso and qcow2 at the same time' in said


def test_an_archive_that_is_a_disk_as_well(tmp_path):
    path = disk_files.tar(tmp_path / 'vm.ova', [('a', bytes(2**16))])
    disk_files.changed(path, 510, b'\x55\xaa')
    assert 'raw and tar at the same time' in reason(path, 'ova')
    disk_files.changed(path, 0, b'QFI\xfb')
    assert 'at the same time' in reason(path, 'qcow2')


def test_compressed_bytes_that_end_like_a_boot_sector_are_compressed(
    tmp_path, plain
):
    path = disk_files.compressed(plain)
    disk_files.changed(path, 510, b'\x55\xaa')
    judged = formats.judge(path, 'raw.gz', formats.STEPS)
    # Damaged by the two bytes, but told as what it is.
    if isinstance(judged, formats.Refused):
        assert 'damaged' in judged.reason
    assert 'the bytes are gzip' in reason(path, 'raw')

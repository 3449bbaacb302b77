# SPDX-License-Identifier: Apache-2.0
"""What a list says of the format against what the bytes are."""

from __future__ import annotations

from pathlib import Path
import struct

import pytest

from hepix_vm import errors
from hepix_vm.glance import content
from hepix_vm.glance import formats
from tests import disk_files

Kind = content.Kind
BOOTABLE = ('raw', 'qcow2', 'vmdk', 'vhdx')
EVERYTHING = formats.STEPS


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return disk_files.raw(tmp_path / 'disk.raw')


def made(plain: Path, format_: str) -> Path:
    if format_ == 'raw':
        return plain
    return disk_files.converted(plain, format_)


def reason(judged: formats.Judgement) -> str:
    assert isinstance(judged, formats.Refused), judged
    return judged.reason


@pytest.mark.parametrize('format_', BOOTABLE)
@pytest.mark.parametrize('upper', [False, True])
def test_what_nova_boots_goes_in_as_endorsed(plain, format_, upper):
    path = made(plain, format_)
    declared = format_.upper() if upper else format_
    assert formats.judge(path, declared, ()) == formats.Bootable(format_)
    assert formats.judge(path, None, ()) == formats.Bootable(format_)
    assert formats.judge(path, '', ()) == formats.Bootable(format_)


def test_img_is_another_name_of_raw(plain):
    assert formats.judge(plain, 'img', ()) == formats.Bootable('raw')


def test_a_partitioned_disk_is_raw(tmp_path):
    path = disk_files.raw(tmp_path / 'disk', start=disk_files.partitioned())
    assert formats.judge(path, 'raw', ()) == formats.Bootable('raw')


def test_a_stream_optimised_vmdk_is_looked_at_to_its_end(plain):
    path = disk_files.converted(plain, 'vmdk', 'subformat=streamOptimized')
    assert formats.judge(path, 'vmdk', ()) == formats.Bootable('vmdk')


def iso(path: Path, start: bytes = b'') -> Path:
    path.write_bytes(
        start.ljust(32768, b'\0') + b'\1CD001\1'.ljust(2048, b'\0') + bytes(9)
    )
    return path


def test_an_iso_goes_in_as_it_is_also_where_it_boots_from_a_stick(tmp_path):
    for start in (b'', disk_files.partitioned()):
        path = iso(tmp_path / 'disc', start)
        assert formats.judge(path, 'iso', ()) == formats.Bootable('iso')


@pytest.mark.parametrize('format_', [*BOOTABLE, 'vdi', 'vhd'])
@pytest.mark.parametrize(
    'declared', ['raw', 'qcow2', 'vmdk', 'vdi', 'vhd', 'iso', 'ova', 'raw.gz']
)
def test_bytes_of_another_format_than_the_list_says_are_refused(
    plain, format_, declared
):
    if declared == format_:
        return
    said = reason(formats.judge(made(plain, format_), declared, EVERYTHING))
    assert said == (
        f'the list says format {declared!r}, the bytes are {format_}'
    )


@pytest.mark.parametrize('declared', ['weird', 'raw.bz2', '.gz', 'gz.raw'])
def test_a_format_that_nobody_knows_is_refused(plain, declared):
    said = reason(formats.judge(plain, declared, EVERYTHING))
    assert said.endswith('which is no format known here')


@pytest.mark.parametrize('format_', ['vdi', 'vhd'])
def test_other_formats_need_a_step_that_the_site_allows(plain, format_):
    path = made(plain, format_)
    for declared in (format_, None):
        said = reason(formats.judge(path, declared, {'gunzip', 'ova'}))
        assert f'[conversion] steps does not list {format_}' in said
        assert formats.judge(path, declared, {format_}) == (
            formats.Convertible(format_, '', Kind(format_))
        )


def test_vpc_is_another_name_of_vhd(plain):
    judged = formats.judge(made(plain, 'vhd'), 'vpc', EVERYTHING)
    assert isinstance(judged, formats.Convertible)


def test_a_fixed_vhd_is_known_by_its_end(plain):
    path = disk_files.converted(plain, 'vhd', 'subformat=fixed,force_size')
    assert formats.judge(path, 'vhd', ['vhd']) == formats.Convertible(
        'vhd', '', Kind.VHD
    )
    assert 'the bytes are vhd' in reason(
        formats.judge(path, 'raw', EVERYTHING)
    )


@pytest.mark.parametrize('format_', [*BOOTABLE, 'vdi', 'vhd'])
def test_compressed_disks_are_looked_into(plain, format_):
    path = disk_files.compressed(made(plain, format_))
    converts = format_ in ('vdi', 'vhd')
    step = f'gunzip+{format_}' if converts else 'gunzip'
    expected = formats.Convertible(step, 'gzip', Kind(format_))
    assert expected.converts is converts
    for declared in (f'{format_}.gz', f'{format_}.gzip', None):
        assert formats.judge(path, declared, EVERYTHING) == expected
    said = reason(formats.judge(path, None, ()))
    assert 'does not list gunzip' in said
    if converts:
        said = reason(formats.judge(path, None, ['gunzip']))
        assert said.endswith(f'does not list {format_}')
    assert reason(formats.judge(path, format_, EVERYTHING)) == (
        f'the list says format {format_!r}, the bytes are gzip'
    )


def test_a_compressed_fixed_vhd_shows_at_its_end_only(plain):
    disk = disk_files.converted(plain, 'vhd', 'subformat=fixed,force_size')
    judged = formats.judge(disk_files.compressed(disk), 'vhd.gz', EVERYTHING)
    assert judged == formats.Convertible('gunzip+vhd', 'gzip', Kind.VHD)


def test_compressed_bytes_of_another_format_are_refused(plain):
    path = disk_files.compressed(made(plain, 'qcow2'))
    said = reason(formats.judge(path, 'vdi.gz', EVERYTHING))
    assert said.endswith('the compressed bytes are qcow2')


def test_what_is_compressed_twice_is_refused(plain):
    path = disk_files.compressed(disk_files.compressed(plain))
    said = reason(formats.judge(path, None, EVERYTHING))
    assert 'the compressed bytes are gzip' in said


@pytest.mark.parametrize(
    ('format_', 'step'),
    [
        ('raw', 'ova'),
        ('qcow2', 'ova'),
        ('vmdk', 'ova+vmdk'),
        ('vdi', 'ova+vdi'),
        ('vhd', 'ova+vhd'),
    ],
)
def test_the_disk_of_an_ova_is_looked_at(tmp_path, plain, format_, step):
    disk = made(plain, format_)
    path = disk_files.ova(tmp_path / 'vm.ova', disk)
    for declared in ('ova', None):
        judged = formats.judge(path, declared, EVERYTHING)
        assert isinstance(judged, formats.Convertible)
        assert (judged.step, judged.disk) == (step, format_)
        assert judged.converts is ('+' in step)
        assert judged.member is not None
        assert judged.member.size == disk.stat().st_size
    assert 'does not list ova' in reason(formats.judge(path, 'ova', ['vmdk']))


def test_the_form_of_disks_in_an_ova_needs_no_step_of_its_own(tmp_path, plain):
    path = disk_files.ova(tmp_path / 'vm.ova', made(plain, 'vmdk'))
    judged = formats.judge(path, 'ova', ['ova'])
    assert isinstance(judged, formats.Convertible)
    path = disk_files.ova(tmp_path / 'other.ova', made(plain, 'vdi'))
    assert reason(formats.judge(path, 'ova', ['ova'])).endswith('list vdi')


def test_an_ova_with_a_disk_of_another_kind_is_refused(tmp_path, plain):
    disk = disk_files.compressed(plain)
    path = disk_files.ova(tmp_path / 'vm.ova', disk)
    said = reason(formats.judge(path, 'ova', EVERYTHING))
    assert 'the disk in the OVA is gzip' in said


@pytest.mark.parametrize(
    ('start', 'kind'),
    [
        (b'BZh91AY', 'bzip2'),
        (b'\xfd7zXZ\0\0', 'xz'),
        (b'\x28\xb5\x2f\xfd\0', 'zstd'),
        (b'PK\3\4\x14', 'zip'),
        (b'QED\0', 'qed'),
    ],
)
def test_forms_that_nobody_converts_are_named(tmp_path, start, kind):
    path = disk_files.raw(tmp_path / 'disk', start=start)
    said = reason(formats.judge(path, None, EVERYTHING))
    assert said.startswith(f'the list says no format, the bytes are {kind}')


@pytest.mark.parametrize(
    'start',
    [
        b'COWD\1\0\0\0',
        b'WithoutFreeSpace\2',
        b'WithouFreSpacExt\2',
        b'Bochs Virtual HD Image\0',
    ],
)
def test_what_qemu_would_take_for_a_disk_format_is_not_raw(tmp_path, start):
    path = disk_files.raw(tmp_path / 'disk', start=start)
    said = reason(formats.judge(path, 'raw', EVERYTHING))
    assert 'a format that OpenStack does not know' in said


def test_an_encrypted_disk_is_refused(tmp_path):
    header = b'LUKS\xba\xbe' + struct.pack('>H', 1)
    path = disk_files.raw(tmp_path / 'disk', start=header)
    said = reason(formats.judge(path, 'raw', EVERYTHING))
    assert 'the bytes are luks' in said


def test_a_file_that_cannot_be_read_is_the_machines_fault(tmp_path):
    with pytest.raises(errors.LocalFault, match='spool_directory'):
        formats.judge(tmp_path / 'nowhere', 'raw', ())

# SPDX-License-Identifier: Apache-2.0
"""The one disk of an OVA, and archives that are none."""

from __future__ import annotations

import io
from pathlib import Path
import tarfile

import pytest

from hepix_vm import errors
from hepix_vm.glance import ova
from hepix_vm.glance import ovf
from tests import disk_files

DISK = b'a disk' * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'vm.ova'


def why_alone(value: object) -> str:
    """Names of cases are what is said of them."""
    return value if isinstance(value, str) else ''


def good() -> list[tuple[str, bytes]]:
    return [('vm.ovf', disk_files.ovf(['disk.vmdk'])), ('disk.vmdk', DISK)]


def refused(path: Path, why: str) -> None:
    with pytest.raises(errors.NotBelieved, match=why):
        ova.disk(path)


def data(path: Path, member: ova.Member) -> bytes:
    return path.read_bytes()[member.offset : member.offset + member.size]


@pytest.mark.parametrize(
    'format_', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_the_disk_is_the_file_that_the_descriptor_names(path, format_):
    members = [*good(), ('vm.mf', b'SHA256(...)'), ('disk.nvram', b'x')]
    disk_files.tar(path, members, format_)
    member = ova.disk(path)
    assert member.name == 'disk.vmdk'
    assert data(path, member) == DISK


def test_names_with_a_dot_in_front_are_the_same_names(path):
    disk_files.tar(path, [(f'./{name}', body) for name, body in good()])
    assert ova.disk(path).name == 'disk.vmdk'


def test_other_files_than_the_disk_may_be_referenced(path):
    text = disk_files.ovf(['disk.vmdk'], files='<File ovf:href="a.iso"/>')
    disk_files.tar(path, [('vm.ovf', text), ('disk.vmdk', DISK)])
    assert data(path, ova.disk(path)) == DISK


@pytest.mark.parametrize(
    ('members', 'why'),
    [
        ([('disk.vmdk', DISK)], 'expected one OVF descriptor, found 0'),
        ([*good(), ('other.OVF', b'')], 'expected one OVF descriptor, found'),
        ([good()[0]], 'is not in the archive'),
        ([('vm.ovf', disk_files.ovf([]))], 'expected one disk, found 0'),
        (
            [
                ('vm.ovf', disk_files.ovf(['a', 'b'])),
                ('a', DISK),
                ('b', DISK),
            ],
            'expected one disk, found 2',
        ),
        ([*good(), good()[1]], 'two of its files have the same name'),
        ([*good(), ('../etc/passwd', b'')], 'without directories'),
        ([*good(), ('/etc/passwd', b'')], 'without directories'),
        ([*good(), ('a/b', b'')], 'without directories'),
        ([*good(), ('..', b'')], 'without directories'),
        ([*good(), ('./', b'')], 'without directories'),
        ([*good(), ('a\nb', b'')], 'without directories'),
        ([*good(), *((f'{n}', b'') for n in range(99))], 'more than 100'),
        ([('vm.ovf', bytes(2**20 + 1))], 'at most 1048576 are read'),
        (
            [('vm.ovf', disk_files.ovf(['vm.ovf']))],
            'is not in the archive',
        ),
        (
            [('vm.ovf', disk_files.ovf(['../disk.vmdk'])), good()[1]],
            'is not in the archive',
        ),
    ],
    ids=why_alone,
)
def test_an_archive_that_is_no_appliance_with_one_disk(path, members, why):
    disk_files.tar(path, members)
    refused(path, why)


@pytest.mark.parametrize(
    ('kind', 'why'),
    [
        (tarfile.SYMTYPE, 'a symbolic link'),
        (tarfile.LNKTYPE, 'a hard link'),
        (tarfile.CHRTYPE, 'a character device'),
        (tarfile.BLKTYPE, 'a block device'),
        (tarfile.DIRTYPE, 'a directory'),
        (tarfile.FIFOTYPE, 'a pipe'),
        (tarfile.GNUTYPE_SPARSE, 'a GNU sparse file'),
        (tarfile.CONTTYPE, 'a file of unknown type'),
        (b'Z', 'a file of unknown type'),
    ],
    ids=why_alone,
)
def test_anything_but_plain_files_is_refused(path, kind, why):
    disk_files.tar(path, good())
    with tarfile.open(path, 'a', format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo('disk')
        entry.type = kind
        entry.linkname = 'disk.vmdk'
        archive.addfile(entry)
    refused(path, f'it contains {why}; expected plain files')


def test_long_names_of_gnu_are_refused(path):
    disk_files.tar(path, [*good(), ('a' * 200, b'')], tarfile.GNU_FORMAT)
    refused(path, 'a GNU long name')


def test_a_name_in_two_parts_has_a_directory(path):
    disk_files.tar(path, [*good(), ('a' * 90 + '/' + 'b' * 90, b'')])
    refused(path, 'without directories')


def pax(path: Path, headers: dict[str, str], **more: object) -> Path:
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
        archive.pax_headers = dict(more.get('everywhere', {}))  # type: ignore
        for name, body in good():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            if name == 'disk.vmdk':
                entry.pax_headers = headers
            archive.addfile(entry, io.BytesIO(body))
    return path


def test_extended_headers_that_say_nothing_of_the_data_are_passed_over(path):
    pax(path, {'mtime': '1.5', 'SCHILY.fflags': 'none'})
    assert data(path, ova.disk(path)) == DISK


def test_an_extended_header_can_name_a_file(path):
    long_name = 'd' * 120
    members = [('vm.ovf', disk_files.ovf([long_name])), (long_name, DISK)]
    disk_files.tar(path, members, tarfile.PAX_FORMAT)
    assert ova.disk(path).name == long_name
    assert data(path, ova.disk(path)) == DISK


def extended(path: Path, records: bytes, kind: bytes = b'x') -> Path:
    """A good archive with an extended header before its last file."""
    entry = tarfile.TarInfo('header')
    entry.type = kind
    entry.size = len(records)
    head = entry.tobuf(tarfile.USTAR_FORMAT)
    body = records.ljust(-(-len(records) // 512) * 512, b'\0')
    disk_files.tar(path, good())
    whole = path.read_bytes()
    at = whole.index(b'disk.vmdk\0')
    path.write_bytes(whole[:at] + head + body + whole[at:])
    return path


def record(key: str, value: str) -> bytes:
    return tarfile.TarInfo._create_pax_generic_header(  # type: ignore
        {key: value}, b'x', 'utf-8'
    )[512:].rstrip(b'\0')


def test_an_extended_header_can_measure_a_file(path):
    extended(path, record('size', '6'))
    # The next header is looked for where this says that the data ends.
    refused(path, 'header')
    extended(path, record('size', str(len(DISK))))
    assert data(path, ova.disk(path)) == DISK


@pytest.mark.parametrize(
    ('records', 'why'),
    [
        (record('GNU.sparse.major', '1'), "it uses 'GNU.sparse.major'"),
        (record('hdrcharset', 'BINARY'), "it uses 'hdrcharset'"),
        (record('path', '../disk'), 'without directories'),
        (record('size', '-1'), 'a number in a header is none'),
        (record('size', '1' * 20), 'a number in a header is none'),
        (record('size', '9' * 19), 'ends before its last file does'),
        (record('size', '6') * 2, 'extended header is damaged'),
        (b'nonsense', 'extended header is damaged'),
        (b'3 a', 'extended header is damaged'),
        (b'999999 path=a\n', 'extended header is damaged'),
        (b'12 path=\xff\xff\xff\n', 'not in UTF-8'),
        (b'10 path=\0\n', 'damaged'),
        (bytes(2**16 + 1), 'extended header is too long'),
    ],
    ids=why_alone,
)
def test_extended_headers_that_lie_are_refused(path, records, why):
    refused(extended(path, records), why)


def test_a_header_for_all_files_names_none(path):
    extended(path, record('comment', 'hello'), b'g')
    assert data(path, ova.disk(path)) == DISK
    extended(path, record('path', 'disk'), b'g')
    refused(path, 'names or measures all files alike')


def test_an_extended_header_at_the_end_is_about_nothing(path):
    disk_files.tar(path, good())
    with tarfile.open(path, 'a', format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo('header')
        entry.type = tarfile.XHDTYPE
        archive.addfile(entry)
    refused(path, 'a header is about no file')


def test_two_extended_headers_in_a_row_are_refused(path):
    twice = extended(path, record('size', '6')).read_bytes()
    at = twice.index(b'header\0')
    path.write_bytes(twice[: at + 1024] + twice[at:])
    refused(path, 'a header is about no file')


def header_field(path: Path, at: int, value: bytes, fix: bool = True) -> None:
    """Change a field of the first header."""
    whole = bytearray(path.read_bytes())
    whole[at : at + len(value)] = value
    if fix:
        whole[148:156] = b' ' * 8
        whole[148:156] = b'%06o\0 ' % sum(whole[:512])
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ('at', 'value', 'fix', 'why'),
    [
        (0, b'other', False, 'checksum of a header'),
        (148, b'zzzzzzz', False, 'a number in a header is none'),
        (124, b'-0000000001', True, 'a number in a header is none'),
        # Some readers stop at it, some begin behind it.
        (124, b'\0', True, 'a number in a header is none'),
        (124, b'77777777777', True, 'ends before its last file does'),
        (124, b'\x80' + b'\x7f' * 11, True, 'ends before its last file does'),
        (124, b'\xff' * 12, True, 'a number in a header is none'),
        (156, b'Z', True, 'a file of unknown type'),
        (257, b'\0' * 8, True, 'not that of a POSIX archive'),
        (0, b'\xff\xfe', True, 'not in UTF-8'),
        (100, b'rw-r--r--'[:8], True, 'a number in a header is none'),
        (257, b'ustar  \0' + b'\0' * 80 + b'12345678', True, 'keeps more'),
    ],
    ids=why_alone,
)
def test_headers_that_are_damaged_or_lie(path, at, value, fix, why):
    disk_files.tar(path, good())
    header_field(path, at, value, fix)
    refused(path, why)


def test_large_sizes_are_written_in_base_256(path):
    disk_files.tar(path, good())
    size = len(good()[0][1])
    header_field(path, 124, b'\x80' + size.to_bytes(11, 'big'))
    assert data(path, ova.disk(path)) == DISK


@pytest.mark.parametrize(
    ('keep', 'more', 'why'),
    [
        (512, b'', 'ends before its last file does'),
        (700, b'', 'ends before its last file does'),
        (0, b'', 'ends before its last file does'),
        (10240, b'more', 'does not end as an archive does'),
        (10240, bytes(2**20), 'more behind its end'),
    ],
    ids=['header', 'data', 'nothing', 'more', 'much more'],
)
def test_archives_of_the_wrong_length(path, keep, more, why):
    disk_files.tar(path, good())
    path.write_bytes(path.read_bytes()[:keep] + more)
    refused(path, why)


def test_an_archive_ends_with_two_blocks(path):
    disk_files.tar(path, good())
    end = path.read_bytes().rstrip(b'\0')
    blocks = -(-len(end) // 512) * 512
    path.write_bytes(end.ljust(blocks + 512, b'\0'))
    refused(path, 'does not end as an archive does')
    path.write_bytes(end.ljust(blocks, b'\0'))
    refused(path, 'ends before its last file does')


def test_a_file_that_cannot_be_read_is_the_machines_fault(tmp_path):
    with pytest.raises(errors.LocalFault, match='spool_directory'):
        ova.disk(tmp_path / 'nowhere')


@pytest.mark.parametrize('version', [1, 2])
def test_both_versions_of_ovf_are_read(version):
    text = disk_files.ovf(['a'], file='ovf:size="6"').replace(
        b'envelope/1', b'envelope/%d' % version
    )
    assert ovf.disk(text) == ovf.Disk('a', 6)


def test_a_descriptor_in_another_encoding_is_read():
    text = disk_files.ovf(['a']).decode()
    other = text.replace('UTF-8', 'UTF-16').encode('utf-16')
    assert ovf.disk(other) == ovf.Disk('a', None)


BOMB = b"""<!DOCTYPE Envelope [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>"""


@pytest.mark.parametrize(
    ('descriptor', 'why'),
    [
        (b'', 'not well-formed'),
        (b'<Envelope', 'not well-formed'),
        (b'\xff\xfe\xff', 'not well-formed'),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', 'not well-formed'),
        (BOMB + b'<Envelope/>', 'it has a document type'),
        (
            b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><Envelope/>',
            'it has a document type',
        ),
        (b'<a>' * 100 + b'</a>' * 100, 'nested too deeply'),
        (b'<Envelope/>', 'expected one disk, found 0'),
        (disk_files.ovf(['a'], disk='ovf:parentRef="b"'), 'needs another'),
        (disk_files.ovf(['a'], file='ovf:compression="gzip"'), 'compressed'),
        (disk_files.ovf(['a'], file='ovf:chunkSize="9"'), 'in pieces'),
        (disk_files.ovf(['a'], file='ovf:size="many"'), 'no number'),
        (
            disk_files.ovf(['a']).replace(b'fileRef="file0"', b'fileRef=""'),
            'has no file',
        ),
        (
            disk_files.ovf(['a']).replace(b'fileRef="file0"', b'fileRef="x"'),
            'has no file',
        ),
        (
            disk_files.ovf(['a'], files='<File ovf:href="b" ovf:id="file0"/>'),
            'has no file',
        ),
        (
            disk_files.ovf(['a']).replace(b'envelope/1', b'envelope/9'),
            'expected one disk, found 0',
        ),
    ],
    ids=why_alone,
)
def test_descriptors_that_name_no_single_disk(descriptor, why):
    with pytest.raises(errors.NotBelieved, match=why):
        ovf.disk(descriptor)


def test_the_size_in_the_descriptor_has_to_be_right(path):
    text = disk_files.ovf(['disk.vmdk'], file='ovf:size="6"')
    disk_files.tar(path, [('vm.ovf', text), ('disk.vmdk', DISK)])
    refused(path, 'its disk has 600 bytes, its OVF descriptor says 6')

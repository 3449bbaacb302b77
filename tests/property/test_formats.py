# SPDX-License-Identifier: Apache-2.0
"""Archives, descriptors and compressed streams, right ones and others."""

from __future__ import annotations

import contextlib
import gzip
import io
from pathlib import Path
import tarfile
import tempfile
from xml.sax import saxutils

from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from hepix_vm import errors
from hepix_vm.glance import content
from hepix_vm.glance import formats
from hepix_vm.glance import ova
from hepix_vm.glance import ovf
from hepix_vm.glance import unpacking
from tests import disk_files

NAME = st.text(
    st.characters(
        codec='utf-8',
        exclude_categories=['Cc', 'Cs'],
        exclude_characters='/\\',
    ),
    min_size=1,
    max_size=60,
).filter(lambda name: name not in ('.', '..'))
FORMAT = st.sampled_from(
    [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
MEMBERS = st.dictionaries(NAME, st.binary(max_size=1500), max_size=6)


def archive(members: dict[str, bytes], format_: int) -> bytes | None:
    """An archive of these; None when the format cannot name them."""
    made = io.BytesIO()
    try:
        with tarfile.open(fileobj=made, mode='w', format=format_) as whole:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                whole.addfile(entry, io.BytesIO(data))
    except ValueError:
        return None
    return made.getvalue()


def described(data: bytes) -> list[tuple[str, int, int]]:
    """What Python's own reader makes of an archive."""
    with tarfile.open(fileobj=io.BytesIO(data), mode='r:') as whole:
        members = whole.getmembers()
    assert all(member.isreg() for member in members)
    return [
        (member.name.removeprefix('./'), member.offset_data, member.size)
        for member in members
    ]


@settings(deadline=None)
@given(MEMBERS, FORMAT)
def test_every_flat_archive_is_read_as_it_was_written(members, format_):
    data = archive(members, format_)
    if data is None:
        return
    try:
        found = ova.members(io.BytesIO(data))
    except errors.NotBelieved as exc:
        # More than 100 bytes are one header more, in a form of GNU's own.
        assert format_ == tarfile.GNU_FORMAT
        assert 'a GNU long name' in str(exc)
        return
    assert {
        member.name: data[member.offset : member.offset + member.size]
        for member in found
    } == members


EDITS = st.lists(
    st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=6
)


@settings(max_examples=400, deadline=None)
@given(MEMBERS, FORMAT, EDITS, st.booleans(), st.integers(0, 12_000))
@example({'0': b'\0'}, tarfile.USTAR_FORMAT, [(124, 0)], True, 2048)
def test_what_is_accepted_is_read_alike_by_others(
    members, format_, edits, summed, length
):
    whole = archive(members, format_)
    if whole is None:
        return
    data = bytearray(whole)
    for at, value in edits:
        if at < len(data):
            data[at] = value
    if summed:
        for at in range(0, len(data), 512):
            if whole[at + 257 : at + 262] == b'ustar':
                header = data[at : at + 512]
                header[148:156] = b' ' * 8
                data[at + 148 : at + 156] = b'%06o\0 ' % sum(header)
    data = data[: max(length, 1024)]
    try:
        found = ova.members(io.BytesIO(data))
    except errors.NotBelieved:
        return
    assert [(m.name, m.offset, m.size) for m in found] == described(
        bytes(data)
    )
    for member in found:
        assert '/' not in member.name
        assert member.offset + member.size <= len(data)


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_an_archive_or_are_refused(data):
    try:
        ova.members(io.BytesIO(data))
    except errors.NotBelieved as exc:
        assert str(exc).startswith('the OVA cannot be used: ')


@settings(deadline=None)
@given(NAME, st.none() | st.integers(0, 10**18))
def test_the_name_of_the_disk_arrives_as_it_was_written(name, size):
    attributes = '' if size is None else f'ovf:size="{size}"'
    try:
        found = ovf.disk(
            disk_files.ovf(
                [saxutils.escape(name, {'"': '&quot;'})], file=attributes
            )
        )
    except errors.NotBelieved as exc:
        # Some characters have no place in XML 1.0 at all.
        assert 'not well-formed' in str(exc)
        assert any(not character.isprintable() for character in name)
        return
    assert found == ovf.Disk(name, size)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 900),
            st.binary(max_size=12)
            | st.sampled_from(
                [b'<Disk/>', b'<!DOCTYPE a>', b'<File/>', b'&a;', b'"', b'<']
            ),
        ),
        max_size=4,
    )
)
def test_any_descriptor_is_one_or_is_refused(edits):
    text = disk_files.ovf(['disk.vmdk'], file='ovf:size="5"')
    for at, piece in edits:
        text = text[:at] + piece + text[at:]
    try:
        found = ovf.disk(text)
    except errors.NotBelieved as exc:
        assert str(exc).startswith('the OVF descriptor cannot be used: ')
    else:
        assert isinstance(found.href, str)


def unpacked(data: bytes) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return b''.join(unpacking.gunzipped(Path(file.name)))


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    st.integers(0, 2000),
)
def test_members_in_a_row_come_out_whole(parts, zeros):
    packed = b''.join(gzip.compress(part) for part in parts) + bytes(zeros)
    assert unpacked(packed) == b''.join(parts)


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(0), st.integers(1, 255))
def test_damage_is_refused_or_changes_nothing(data, at, change):
    packed = bytearray(gzip.compress(data))
    packed[at % len(packed)] ^= change
    with contextlib.suppress(errors.NotBelieved):
        assert unpacked(bytes(packed)) == data


STARTS = (
    b'QFI\xfb\0\0\0\3',
    b'KDMV\1\0\0\0',
    b'conectix',
    b'vhdxfile',
    b'LUKS\xba\xbe\0\1',
    b'QED\0',
    b'\x1f\x8b\x08\0',
    b'# Disk DescriptorFile\n',
    b'version=1\ncreateType="monolithicSparse"\n' * 3,
    b'',
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(STARTS),
    st.binary(max_size=600),
    st.lists(
        st.tuples(
            st.sampled_from([0, 12, 36, 56, 64, 257, 510, 512, 32769]),
            st.sampled_from(
                [b'ustar\0', b'\x55\xaa', b'CD001', b'\x7f\x10\xda\xbe']
            )
            | st.binary(min_size=1, max_size=8),
        ),
        max_size=3,
    ),
    st.sampled_from([0, 100, 512, 2000, 70_000]),
    st.sampled_from([None, *sorted(formats.NAMES), 'raw.gz']),
)
def test_any_bytes_are_judged_and_what_boots_is_one_thing(
    start, more, marks, length, declared
):
    data = bytearray((start + more).ljust(length, b'\0'))
    for at, mark in marks:
        if at + len(mark) <= len(data):
            data[at : at + len(mark)] = mark
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        path = Path(file.name)
        judged = formats.judge(path, declared, formats.STEPS)
        if isinstance(judged, formats.Bootable):
            found = content.of_file(path)
            assert found == content.Content(content.Kind(judged.disk_format))
            assert formats.judge(path, judged.disk_format, ()) == judged
        elif isinstance(judged, formats.Refused):
            assert judged.reason.startswith('the list says ')

# SPDX-License-Identifier: Apache-2.0
"""Endorsed disks in another form: the same disk, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import errno
import gzip
import hashlib
import os
from pathlib import Path
import signal
import struct
import subprocess
import sys
import textwrap

import pytest

from hepix_vm import errors
from hepix_vm.glance import content
from hepix_vm.glance import conversion
from hepix_vm.glance import formats
from hepix_vm.glance import qemu
from hepix_vm.glance import unpacking
from tests import disk_files

SETTINGS = conversion.Settings(
    steps=frozenset(formats.STEPS), deadline=300, max_size=2**30
)
RAW = dataclasses.replace(SETTINGS, target='raw')


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return disk_files.raw(tmp_path / 'disk.raw')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / 'spool' / 'converted'


def judged(path: Path, declared: str | None = None) -> formats.Convertible:
    found = formats.judge(path, declared, formats.STEPS)
    assert isinstance(found, formats.Convertible), found
    return found


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()]


SOURCES = ('gz', 'vdi', 'vdi.gz', 'vhd', 'vhd.gz', 'vhd fixed', 'ova')


def source(plain: Path, form: str) -> Path:
    inner, _, more = form.partition(' ')
    if inner == 'gz':
        return disk_files.compressed(plain)
    if inner == 'ova':
        disk = disk_files.converted(plain, 'vmdk', 'subformat=streamOptimized')
        return disk_files.ova(plain.with_name('vm.ova'), disk)
    options = 'subformat=fixed,force_size' if more else ''
    disk = disk_files.converted(plain, inner.removesuffix('.gz'), options)
    return disk_files.compressed(disk) if inner.endswith('.gz') else disk


@pytest.mark.parametrize('target', ['qcow2', 'raw'])
@pytest.mark.parametrize('form', SOURCES)
def test_the_disk_stays_as_it_is(plain, folder, form, target):
    path = source(plain, form)
    settings = dataclasses.replace(SETTINGS, target=target)
    told: list[str] = []
    with conversion.converted(
        path, judged(path), settings, folder, told.append
    ) as made:
        data = made.path.read_bytes()
        assert made.size == len(data)
        assert made.sha512 == hashlib.sha512(data).hexdigest()
        assert made.disk_format == ('raw' if form == 'gz' else target)
        again = formats.judge(made.path, made.disk_format, ())
        assert again == formats.Bootable(made.disk_format)
        disk = disk_files.content(made.path, made.disk_format)
        whole = plain.read_bytes()
        # The geometry of a dynamic VHD made by qemu-img rounds up.
        assert disk[: len(whole)] == whole
        assert not disk[len(whole) :].strip(b'\0')
    assert left(folder) == []
    assert 'convert' not in told if form == 'gz' else told[-1] == 'compare'


@pytest.mark.parametrize(
    ('form', 'step'),
    [
        ('gz', 'gunzip'),
        ('vdi', 'vdi-to-qcow2'),
        ('vhd.gz', 'gunzip+vhd-to-qcow2'),
        ('ova', 'ova+vmdk-to-qcow2'),
    ],
)
def test_the_step_says_what_was_done(plain, folder, form, step):
    path = source(plain, form)
    with conversion.converted(path, judged(path), SETTINGS, folder) as made:
        assert made.step == step
        assert len(made.step) <= 64


def test_a_disk_that_nova_boots_is_taken_out_and_left_alone(
    tmp_path, plain, folder
):
    disk = disk_files.converted(plain, 'qcow2')
    path = disk_files.ova(tmp_path / 'vm.ova', disk)
    with conversion.converted(path, judged(path), RAW, folder) as made:
        assert made.path.read_bytes() == disk.read_bytes()
        assert (made.step, made.disk_format) == ('ova', 'qcow2')


def test_the_same_disk_gives_the_same_bytes(plain, folder):
    path = source(plain, 'vdi')
    found = set()
    for _ in range(2):
        with conversion.converted(
            path, judged(path), SETTINGS, folder
        ) as made:
            found.add(made.sha512)
    assert len(found) == 1


def test_a_vhd_keeps_what_its_geometry_leaves_out(tmp_path, folder):
    plain = disk_files.raw(tmp_path / 'disk.raw', 5 * disk_files.MIB + 512)
    disk_files.changed(plain, -9, b'last ones')
    path = disk_files.converted(plain, 'vhd', 'subformat=fixed,force_size')
    # As VirtualBox names itself, whose VHDs QEMU would cut to cylinders.
    disk_files.vhd_changed(path, 28, b'vbox')
    disk_files.vhd_changed(path, 56, struct.pack('>HBB', 1, 4, 17))
    with conversion.converted(path, judged(path), RAW, folder) as made:
        assert made.path.read_bytes() == plain.read_bytes()


def refused(
    path: Path,
    found: formats.Convertible,
    folder: Path,
    settings: conversion.Settings = SETTINGS,
) -> str:
    with (
        pytest.raises(errors.NotBelieved) as refusal,
        conversion.converted(path, found, settings, folder),
    ):
        pass
    assert left(folder) == []
    return str(refusal.value)


def test_a_compressed_disk_is_looked_at_whole(tmp_path, plain, folder):
    disk = disk_files.overlay(tmp_path / 'disk.qcow2', plain)
    path = disk_files.compressed(disk)
    said = refused(path, judged(path, 'qcow2.gz'), folder)
    assert 'names a backing file' in said


def test_a_vmdk_with_a_parent_in_an_ova_is_refused(tmp_path, plain, folder):
    disk = disk_files.vmdk_described(
        disk_files.converted(plain, 'vmdk'),
        disk_files.VMDK_TEXT + f'parentFileNameHint="{plain}"\n',
    )
    path = disk_files.ova(tmp_path / 'vm.ova', disk)
    assert 'names a parent file' in refused(path, judged(path), folder)


def test_raw_bytes_that_turn_out_to_be_a_vhd_are_refused(plain, folder):
    path = source(plain, 'vhd fixed')
    path = disk_files.compressed(path)
    said = refused(path, judged(path, 'raw.gz'), folder)
    assert 'expected raw inside, found vhd' in said


def test_a_disk_within_a_disk_is_refused_where_it_would_come_to_light(
    tmp_path, folder
):
    inner = disk_files.overlay(tmp_path / 'inner', Path('/etc/passwd'))
    plain = disk_files.raw(tmp_path / 'disk.raw')
    disk_files.changed(plain, 0, inner.read_bytes())
    path = disk_files.converted(plain, 'vdi')
    said = refused(path, judged(path), folder, RAW)
    assert 'expected raw inside, found qcow2' in said
    with conversion.converted(path, judged(path), SETTINGS, folder) as made:
        data = disk_files.content(made.path, 'qcow2')
        assert data == plain.read_bytes()


def test_a_damaged_disk_is_refused(plain, folder):
    path = source(plain, 'vdi')
    # Two blocks of the disk at the same place of the file.
    disk_files.changed(path, 512, b'\0' * 8)
    said = refused(path, judged(path), folder)
    assert said.startswith('qemu-img ')


def test_what_was_cut_off_is_refused(tmp_path, plain, folder):
    path = disk_files.compressed(plain)
    path.write_bytes(path.read_bytes()[:-20])
    assert 'end too early' in refused(path, judged(path), folder)
    disk = disk_files.converted(plain, 'vmdk', 'subformat=streamOptimized')
    disk.write_bytes(disk.read_bytes()[: disk.stat().st_size // 2])
    path = disk_files.ova(tmp_path / 'vm.ova', disk)
    assert 'qemu-img ' in refused(path, judged(path), folder)


def test_a_size_that_qemu_sees_differently_is_refused(
    plain, folder, monkeypatch
):
    path = source(plain, 'vhd')
    found = judged(path)
    monkeypatch.setattr(qemu, 'disk_size', lambda disk, limits: 4096)
    said = refused(path, found, folder)
    assert 'finds a disk of 4096 bytes, its footer says another' in said


def test_what_is_written_has_to_be_what_is_read(plain, folder, monkeypatch):
    path = source(plain, 'gz')
    whole = unpacking.write

    def spoiling(pieces: Iterator[bytes], target: Path, most: int) -> str:
        digest = whole(pieces, target, most)
        disk_files.changed(target, 9, b'x')
        return digest

    found = judged(path)
    monkeypatch.setattr(unpacking, 'write', spoiling)
    with (
        pytest.raises(errors.LocalFault, match='reads differently'),
        conversion.converted(path, found, SETTINGS, folder),
    ):
        pass
    assert left(folder) == []


def test_a_disk_that_fails_is_the_machines_fault(plain, folder, monkeypatch):
    def failing(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = source(plain, 'gz')
    found = judged(path)
    monkeypatch.setattr(conversion, '_hashes', failing)
    with (
        pytest.raises(errors.LocalFault, match='Input/output error'),
        conversion.converted(path, found, SETTINGS, folder),
    ):
        pass
    assert left(folder) == []


def test_a_bomb_fills_no_disk(tmp_path, folder):
    path = tmp_path / 'disk.raw.gz'
    with gzip.open(path, 'wb') as file:
        for _ in range(40):
            file.write(bytes(disk_files.MIB))
    small = dataclasses.replace(SETTINGS, max_size=32 * disk_files.MIB)
    said = refused(path, judged(path), folder, small)
    assert 'all that [conversion] max_size allows' in said


@pytest.mark.parametrize('settings', [SETTINGS, RAW])
def test_a_huge_disk_of_nothing_is_refused(tmp_path, folder, settings):
    path = disk_files.created(tmp_path / 'disk.vdi', 'vdi', '2G')
    said = refused(path, judged(path), folder, settings)
    assert f'has {2**31} bytes, [conversion] max_size allows' in said


def test_without_time_left_nothing_is_begun(plain, folder):
    late = dataclasses.replace(SETTINGS, deadline=0)
    for form in ('vdi', 'gz', 'ova'):
        path = source(plain, form)
        with (
            pytest.raises(errors.TryAgain, match='deadline'),
            conversion.converted(path, judged(path), late, folder),
        ):
            pass
        assert left(folder) == []


def test_without_space_the_disk_of_the_machine_is_to_be_looked_at(
    plain, folder, monkeypatch
):
    full = os.statvfs_result((4096, 4096, 1, 1, 1, 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, 'statvfs', lambda path: full)
    for form in ('vdi', 'ova'):
        path = source(plain, form)
        with (
            pytest.raises(errors.LocalFault, match='found 4096; make room'),
            conversion.converted(path, judged(path), SETTINGS, folder),
        ):
            pass
        assert left(folder) == []


def test_a_folder_that_cannot_be_made_is_the_machines_fault(tmp_path, plain):
    path = source(plain, 'vdi')
    with (
        pytest.raises(errors.LocalFault, match='spool_directory'),
        conversion.converted(path, judged(path), SETTINGS, plain / 'folder'),
    ):
        pass
    with pytest.raises(errors.LocalFault, match='spool_directory'):
        (tmp_path / 'file').mkdir()
        (tmp_path / 'file' / 'converting.lock').mkdir()
        conversion.prune(tmp_path / 'file')


def test_the_body_may_fail_without_leaving_anything(plain, folder):
    path = source(plain, 'vdi')
    with (
        pytest.raises(ZeroDivisionError),
        conversion.converted(path, judged(path), SETTINGS, folder),
    ):
        raise ZeroDivisionError
    assert left(folder) == []


KILLED = """
from pathlib import Path
import sys
import time
from hepix_vm.glance import conversion
from hepix_vm.glance import formats
path, folder = map(Path, sys.argv[1:])
judged = formats.judge(path, None, formats.STEPS)
with conversion.converted(
    path, judged, conversion.Settings(), folder
) as made:
    print(made.path, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def killed(plain: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, '-c', textwrap.dedent(KILLED)]
    process = subprocess.Popen(
        [*program, str(source(plain, 'vdi')), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next(
    plain, folder, killed
):
    made = Path(killed.stdout.readline().strip())
    assert made.exists()
    # While it lives it keeps what it has, whoever comes by.
    conversion.prune(folder)
    path = source(plain, 'gz')
    with conversion.converted(path, judged(path), SETTINGS, folder):
        assert made.exists()
        assert len(left(folder)) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    assert made.exists()
    with conversion.converted(path, judged(path), SETTINGS, folder):
        assert not made.exists()
        assert len(left(folder)) == 1


def test_only_our_own_names_are_removed(tmp_path, folder):
    conversion.prune(folder)
    assert not folder.exists()
    ours = folder / 'converting-0123456789abcdef'
    ours.mkdir(parents=True)
    (ours / 'disk').write_bytes(b'x')
    outside = tmp_path / 'outside'
    outside.mkdir()
    link = folder / 'converting-00000000000000ff'
    link.symlink_to(outside)
    other = folder / 'converting-else'
    other.mkdir()
    conversion.prune(folder)
    assert not ours.exists()
    assert outside.exists()
    assert other.exists()


def test_kinds_of_disks_are_known_to_qemu():
    for kind in ('raw', 'qcow2', 'vdi', 'vhd', 'vmdk'):
        assert content.Kind(kind)
        assert 'json:{"driver"' in qemu.Disk(Path('/disk'), kind).name

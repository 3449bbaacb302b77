# SPDX-License-Identifier: Apache-2.0
"""qemu-img at arm's length."""

from __future__ import annotations

import os
from pathlib import Path
import time

import pytest

from hepix_vm import errors
from hepix_vm.glance import qemu
from tests import disk_files

GIB = 2**30


def limits(**changes: float) -> qemu.Limits:
    values = {'seconds': 300, 'memory': 2 * GIB, 'size': GIB} | changes
    return qemu.Limits(
        time.monotonic() + values['seconds'],
        int(values['memory']),
        int(values['size']),
    )


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return disk_files.raw(tmp_path / 'disk.raw')


@pytest.fixture
def vdi(plain: Path) -> qemu.Disk:
    return qemu.Disk(disk_files.converted(plain, 'vdi'), 'vdi')


def target(disk: qemu.Disk, format_: str = 'qcow2') -> qemu.Disk:
    return qemu.Disk(disk.path.with_name(f'made.{format_}'), format_)


def test_a_conversion_is_measured_made_and_compared(vdi, plain):
    size = plain.stat().st_size
    assert qemu.disk_size(vdi, limits()) == size
    qemu.check(vdi, limits())
    made = target(vdi)
    needed = qemu.needed(vdi, 'qcow2', limits())
    qemu.convert(vdi, made, limits())
    assert 0 < made.path.stat().st_size <= needed
    qemu.require_same(vdi, made, limits())


def test_names_are_names_whatever_is_in_them(tmp_path, plain):
    for name in ('a,b', 'nbd:host', 'json:{}', 'a "b"', 'ü%20', '-x'):
        folder = tmp_path / name
        folder.mkdir()
        path = folder / 'disk.raw'
        path.write_bytes(plain.read_bytes())
        disk = qemu.Disk(path, 'raw')
        made = qemu.Disk(folder / 'made.qcow2', 'qcow2')
        qemu.convert(disk, made, limits())
        qemu.require_same(disk, made, limits())


def test_a_disk_that_changed_is_noticed(vdi):
    made = target(vdi, 'raw')
    qemu.convert(vdi, made, limits())
    disk_files.changed(made.path, -1, b'x')
    with pytest.raises(errors.NotBelieved, match='differs from the endorsed'):
        qemu.require_same(vdi, made, limits())
    with made.path.open('ab') as file:
        file.write(bytes(512))
    with pytest.raises(errors.NotBelieved, match='another size'):
        qemu.require_same(vdi, made, limits())


def test_a_format_is_never_guessed(tmp_path, plain):
    path = disk_files.converted(plain, 'qcow2')
    with pytest.raises(errors.NotBelieved, match='qemu-img info refuses it'):
        qemu.disk_size(qemu.Disk(path, 'vdi'), limits())
    as_raw = qemu.disk_size(qemu.Disk(path, 'raw'), limits())
    assert as_raw >= path.stat().st_size


def test_a_backing_file_is_not_opened(tmp_path, plain):
    path = disk_files.overlay(tmp_path / 'overlay', plain)
    disk = qemu.Disk(path, 'qcow2')
    made = target(disk, 'raw')
    qemu.convert(disk, made, limits())
    assert not made.path.read_bytes().strip(b'\0')
    with pytest.raises(errors.NotBelieved, match='that it needs a file'):
        qemu.disk_size(disk, limits())


def test_a_device_is_no_plain_file():
    with pytest.raises(errors.NotBelieved, match='refuses it'):
        qemu.disk_size(qemu.Disk(Path('/dev/zero'), 'raw'), limits())


def test_too_large_disks_and_files_are_refused(vdi):
    with pytest.raises(errors.NotBelieved, match='max_size allows 1024'):
        qemu.disk_size(vdi, limits(size=1024))
    made = target(vdi)
    with pytest.raises(errors.NotBelieved, match='converted file has more'):
        qemu.convert(vdi, made, limits(size=65536))


def test_memory_is_limited(vdi):
    with pytest.raises(errors.NotBelieved, match='memory'):
        qemu.convert(vdi, target(vdi), limits(memory=24 * 2**20))


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put a program in the place of qemu-img."""
    path = folder / 'bin'
    path.mkdir()
    (path / 'qemu-img').write_text(f'#!/bin/sh\n{text}\n')
    (path / 'qemu-img').chmod(0o755)
    monkeypatch.setenv('PATH', f'{path}:{os.environ["PATH"]}')


def test_time_is_limited(tmp_path, vdi, monkeypatch):
    programs(tmp_path, monkeypatch, 'exec sleep 600')
    with pytest.raises(errors.TryAgain, match='deadline'):
        qemu.check(vdi, limits(seconds=1))
    with pytest.raises(errors.TryAgain, match='deadline'):
        qemu.check(vdi, limits(seconds=0))


def test_time_of_the_processor_is_limited(tmp_path, vdi, monkeypatch):
    programs(tmp_path, monkeypatch, 'ulimit -t 1; while :; do :; done')
    with pytest.raises(errors.TryAgain, match='deadline'):
        qemu.check(vdi, limits())


@pytest.mark.parametrize(
    ('text', 'kind', 'why'),
    [
        ('kill -KILL $$', errors.TryAgain, 'deadline'),
        ('kill -XCPU $$', errors.TryAgain, 'deadline'),
        ('kill -XFSZ $$', errors.NotBelieved, 'max_size'),
        ('kill -ABRT $$', errors.NotBelieved, 'max_memory'),
        (
            'echo x: No space left on device >&2; exit 1',
            errors.LocalFault,
            'disk is full',
        ),
        (
            r'printf "\033[2Jone\ntwo \033[0m\n" >&2; exit 3',
            errors.NotBelieved,
            r'check refuses it \(status 3\): two \?\[0m$',
        ),
        ('exit 1', errors.NotBelieved, 'no reason given'),
        (
            'head -c 100000 /dev/zero | tr "\\0" a >&2; exit 1',
            errors.NotBelieved,
            ': a{200}$',
        ),
    ],
    ids=['kill', 'cpu', 'size', 'abort', 'full', 'text', 'silent', 'chatty'],
)
def test_each_end_has_its_reason(tmp_path, vdi, monkeypatch, text, kind, why):
    programs(tmp_path, monkeypatch, text)
    with pytest.raises(kind, match=why):
        qemu.check(vdi, limits())


@pytest.mark.parametrize(
    ('answer', 'why'),
    [
        ('no', 'answers no JSON'),
        ('[]', 'answers no JSON object'),
        ('{}', 'finds no disk'),
        ('{"virtual-size": 0}', 'finds no disk'),
        ('{"virtual-size": "9"}', 'finds no disk'),
        ('{"virtual-size": 9, "backing-filename": "a"}', 'needs a file'),
    ],
    ids=['text', 'list', 'nothing', 'zero', 'word', 'backing'],
)
def test_answers_are_not_believed_blindly(
    tmp_path, vdi, monkeypatch, answer, why
):
    programs(tmp_path, monkeypatch, f"echo '{answer}'")
    with pytest.raises(errors.NotBelieved, match=why):
        qemu.disk_size(vdi, limits())
    with pytest.raises(errors.NotBelieved):
        qemu.needed(vdi, 'raw', limits())


def test_it_gets_neither_our_environment_nor_our_input(
    tmp_path, vdi, monkeypatch
):
    seen = tmp_path / 'seen'
    programs(tmp_path, monkeypatch, f'/usr/bin/env > {seen}; cat >> {seen}')
    monkeypatch.setenv('OS_PASSWORD', 'secret')
    qemu.check(vdi, limits())
    text = seen.read_text()
    assert 'LC_ALL=C' in text
    assert 'secret' not in text


def test_limits_and_niceness_are_those_of_the_process(
    tmp_path, vdi, monkeypatch
):
    seen = tmp_path / 'seen'
    programs(
        tmp_path,
        monkeypatch,
        f'{{ nice; cat /proc/self/limits; }} > {seen}',
    )
    qemu.check(vdi, limits(memory=3 * GIB, size=5 * GIB))
    nice, *rows = seen.read_text().splitlines()
    assert int(nice) >= os.nice(0) + 10 or nice == '19'
    found = {row[:26].strip(): row[26:].split() for row in rows}
    assert found['Max address space'][:2] == [str(3 * GIB)] * 2
    assert found['Max file size'][:2] == [str(5 * GIB)] * 2
    assert found['Max core file size'][:2] == ['0', '0']
    assert 0 < int(found['Max cpu time'][0]) <= 301


def test_a_program_that_cannot_be_run_is_the_machines_fault(
    tmp_path, vdi, monkeypatch
):
    programs(tmp_path, monkeypatch, 'exit 0')
    broken = tmp_path / 'bin' / 'setpriv'
    broken.write_bytes(b'\0')
    broken.chmod(0o755)
    with pytest.raises(errors.LocalFault, match='cannot be run'):
        qemu.check(vdi, limits())


def test_a_machine_without_qemu_is_told_what_to_install(
    tmp_path, vdi, monkeypatch
):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(errors.LocalFault, match='install qemu-utils'):
        qemu.check(vdi, limits())

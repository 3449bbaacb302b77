# SPDX-License-Identifier: Apache-2.0
"""The disk of a worker node is made of parts that can be looked at."""

import gzip
import os
import pathlib
import stat
import subprocess

import pytest

from tests.cloud import errors
from tests import worker
from tests.worker import archive
from tests.worker import disk
from tests.worker import kernel

INIT = pathlib.Path(worker.__file__).parent / 'root' / 'init'


def make_module(needs: str) -> bytes:
    return f'\0license=GPL\0depends={needs}\0retpoline=Y\0'.encode()


def entries(data: bytes) -> dict[str, tuple[int, bytes]]:
    found = {}
    place = 0
    while True:
        assert data[place : place + 6] == b'070701'
        assert place % 4 == 0
        fields = [
            int(data[place + 6 + 8 * n : place + 14 + 8 * n], 16)
            for n in range(13)
        ]
        named = place + 110
        name = data[named : named + fields[11] - 1].decode()
        begin = -(-(named + fields[11]) // 4) * 4
        if name == 'TRAILER!!!':
            return found
        found[name] = (fields[1], data[begin : begin + fields[6]])
        place = -(-(begin + fields[6]) // 4) * 4


def test_the_archive_has_the_tree_with_its_modes_and_links(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / 'bin').mkdir()
    program = tmp_path / 'bin' / 'busybox'
    program.write_bytes(b'12345')
    program.chmod(0o755)
    (tmp_path / 'bin' / 'sh').symlink_to('busybox')
    found = entries(gzip.decompress(archive.packed(tmp_path)))
    assert found == {
        'bin': (stat.S_IFDIR | 0o755, b''),
        'bin/busybox': (stat.S_IFREG | 0o755, b'12345'),
        'bin/sh': (stat.S_IFLNK | 0o777, b'busybox'),
    }


def test_the_same_tree_gives_the_same_archive(tmp_path: pathlib.Path) -> None:
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'file').write_text('x')
    assert archive.packed(tmp_path / 'one') == archive.packed(tmp_path / 'two')


@pytest.mark.parametrize(
    ('said', 'expected'),
    [('', []), ('virtio', ['virtio']), ('a,b_c', ['a', 'b_c'])],
)
def test_a_module_says_what_it_needs(said: str, expected: list[str]) -> None:
    assert kernel.needs(make_module(said)) == expected


def test_a_module_comes_after_those_that_it_needs_and_once(
    tmp_path: pathlib.Path,
) -> None:
    modules = {}
    for name, said in {'net': 'ring,core', 'ring': 'core', 'core': ''}.items():
        modules[name] = tmp_path / f'{name}.ko'
        modules[name].write_bytes(make_module(said))
    one = kernel.Kernel(tmp_path / 'vmlinuz', modules)
    names = [path.stem for path in one.with_needed(['net', 'ring'])]
    assert names == ['core', 'ring', 'net']


def test_a_module_that_the_kernel_has_not_is_named(
    tmp_path: pathlib.Path,
) -> None:
    one = kernel.Kernel(tmp_path / 'vmlinuz', {})
    with pytest.raises(errors.CloudError, match='expected a module net'):
        one.with_needed(['net'])


def test_the_first_sector_has_one_partition_that_is_all_the_rest() -> None:
    sector = disk.first_sector(b'code')
    assert (len(sector), sector[-2:]) == (512, b'\x55\xaa')
    assert sector[:4] == b'code'
    entry = sector[446:462]
    assert (entry[0], entry[4]) == (0x80, 0x0C)
    start, length = (
        int.from_bytes(entry[8:12], 'little'),
        int.from_bytes(entry[12:], 'little'),
    )
    assert (start + length) * 512 == disk.SIZE * disk.MIB
    assert not any(sector[462:510])


def test_code_that_would_cover_the_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match='441 bytes'):
        disk.first_sector(bytes(441))


def test_what_tests_wait_for_is_what_the_machine_says() -> None:
    text = INIT.read_text()
    assert f'"{worker.UP} ' in text
    assert f"'{worker.OVER}'" in text


def test_scripts_of_the_machine_are_for_its_shell() -> None:
    scripts = [p for p in INIT.parent.rglob('*') if p.is_file()]
    assert len(scripts) > 4
    for script in scripts:
        subprocess.run(['sh', '-n', str(script)], check=True)
        assert script.stat().st_mode & 0o111, script


@pytest.mark.skipif(os.geteuid() != 0, reason='root alone updates the lists')
def test_lists_of_packages_are_had_though_another_source_fails(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = tmp_path / 'lists'
    programs = {
        'apt-cache': f'[ "$LC_ALL" = C ] && cat {lists}',
        'apt-get': 'case $1 in\n'
        f'update) echo "Depends: linux-image-6.1" > {lists}; exit 100 ;;\n'
        'download) touch "$2.deb" ;;\nesac',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f'#!/bin/sh\n{text}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    folder = tmp_path / 'folder'
    folder.mkdir()
    assert kernel._refreshed(folder) == folder / 'linux-image-6.1.deb'

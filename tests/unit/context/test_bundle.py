# SPDX-License-Identifier: Apache-2.0
"""Building and writing bundles; what is refused and why."""

import gzip
import hashlib
import io
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tarfile

import pytest

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import directory
from hepix_vm import errors
from tests.unit.context import sites

NAMES = [
    'empty',
    'epilog.sh',
    'prolog.sh',
    'site',
    'site/bin',
    'site/bin/report',
    'site/squid.conf',
]


@pytest.fixture
def site(tmp_path: pathlib.Path) -> pathlib.Path:
    return sites.make(tmp_path / 'context')


def _refusal(site: pathlib.Path, **limits: int) -> str:
    with pytest.raises(bundle.BundleRefused) as caught:
        sites.build(site, bundle.Limits(**limits))
    text = str(caught.value)
    assert str(site) in text
    assert '\n' not in text
    return text


def test_every_member_has_the_one_form(site):
    made = sites.build(site)
    with tarfile.open(fileobj=io.BytesIO(made.tar)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == NAMES
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {
        (0, 0, '', '', archive.MEMBER_TIME)
    }
    assert {m.name: oct(m.mode) for m in members} == {
        'empty': '0o755',
        'epilog.sh': '0o755',
        'prolog.sh': '0o755',
        'site': '0o755',
        'site/bin': '0o755',
        'site/bin/report': '0o755',
        'site/squid.conf': '0o644',
    }
    assert all(m.isfile() or m.isdir() for m in members)
    # magic and version of a POSIX ustar header
    assert made.tar[257:265] == b'ustar\x0000'


def test_the_digests_are_those_of_the_tar_and_of_the_files(site):
    made = sites.build(site)
    assert made.sha256_tar == hashlib.sha256(made.tar).hexdigest()
    assert [file.path for file in made.files] == [
        'epilog.sh',
        'prolog.sh',
        'site/bin/report',
        'site/squid.conf',
    ]
    prolog = made.files[1]
    assert prolog.size == len(sites.PROLOG)
    assert prolog.sha256 == hashlib.sha256(sites.PROLOG.encode()).hexdigest()


def test_the_same_content_gives_the_same_tar_whatever_its_history(tmp_path):
    first = sites.make(tmp_path / 'a')
    second = tmp_path / 'elsewhere' / 'b'
    second.mkdir(parents=True)
    # made in another order, with other times, owners and permissions
    for name in ('site', 'empty', 'site/bin'):
        (second / name).mkdir()
    for file in sorted(first.rglob('*'), reverse=True):
        if file.is_file():
            copied = second / file.relative_to(first)
            shutil.copyfile(file, copied)
            copied.chmod(0o744 if file.name == 'report' else 0o640)
            os.utime(copied, (1_000_000_000, 1_500_000_000))
    assert sites.build(first).tar == sites.build(second).tar


def test_the_tar_is_known_to_the_byte(tmp_path):
    """Another Python or another machine must find the same digest."""
    top = tmp_path / 'context'
    top.mkdir()
    sites.write(top, 'prolog.sh', sites.PROLOG)
    sites.write(top, 'epilog.sh', sites.EPILOG)
    assert sites.build(top).sha256_tar == (
        '66a9aff57c1b6faefbf5b68cc10e2bf40343876094c6623fc0bf420412584e30'
    )


def test_the_gzip_wrapper_has_no_time_and_no_name(site):
    made = sites.build(site)
    assert made.tgz[:4] == b'\x1f\x8b\x08\x00'
    assert made.tgz[4:8] == bytes(4)
    assert gzip.decompress(made.tgz) == made.tar


def test_gnu_tar_unpacks_it_like_a_guest(site, tmp_path):
    target = tmp_path / 'default.tgz'
    directory.write_atomically(target, sites.build(site).tgz)
    inside = tmp_path / 'guest'
    inside.mkdir()
    ran = subprocess.run(
        ['tar', '-zxf', str(target)],
        cwd=inside,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stderr == ''
    said = subprocess.run(
        ['./prolog.sh', 'start'],
        cwd=inside,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stdout == 'prolog start\n'
    assert (inside / 'site/squid.conf').read_bytes() == (
        site / 'site/squid.conf'
    ).read_bytes()
    assert (inside / 'empty').is_dir()
    # A second unpacking over the first one changes nothing and says nothing.
    again = subprocess.run(
        ['tar', '-zxf', str(target)],
        cwd=inside,
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert again.stderr == b''


def test_the_site_directory_may_be_a_symbolic_link(site, tmp_path):
    link = tmp_path / 'current'
    link.symlink_to(site)
    assert sites.build(link).tar == sites.build(site).tar


@pytest.mark.parametrize('missing', archive.SCRIPTS)
def test_a_missing_script_is_named(site, missing):
    (site / missing).unlink()
    assert f'expected a file {missing} at its root' in _refusal(site)


def test_a_directory_called_like_a_script_is_none(site):
    (site / 'prolog.sh').unlink()
    (site / 'prolog.sh').mkdir()
    assert 'expected a file prolog.sh' in _refusal(site)


def test_scripts_one_level_too_deep_are_explained(site):
    sites.write(site, 'context/prolog.sh', sites.PROLOG)
    assert '"context" at its root' in _refusal(site)


def test_a_missing_directory_is_one_sentence(tmp_path):
    assert 'No such file or directory' in _refusal(tmp_path / 'absent')


def test_a_file_instead_of_the_directory_is_refused(tmp_path):
    (tmp_path / 'context').write_text('')
    assert 'Not a directory' in _refusal(tmp_path / 'context')


@pytest.mark.parametrize('name', ['secret', 'site/deep'])
def test_a_symbolic_link_is_never_followed(site, tmp_path, name):
    outside = tmp_path / 'shadow'
    outside.write_text('root:secret')
    (site / name).symlink_to(outside)
    text = _refusal(site)
    assert name in text
    assert 'symbolic link' in text


def test_a_link_to_a_directory_is_refused_too(site):
    (site / 'etc').symlink_to('/etc')
    assert 'symbolic link' in _refusal(site)


def test_a_link_that_points_nowhere_is_refused(site):
    (site / 'gone').symlink_to('nowhere')
    assert 'symbolic link' in _refusal(site)


def test_a_fifo_is_refused_without_waiting_for_a_writer(site):
    os.mkfifo(site / 'pipe')
    assert 'FIFO' in _refusal(site)


def test_a_socket_is_refused(site, monkeypatch):
    monkeypatch.chdir(site)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind('s')
        assert 'socket' in _refusal(site)


@pytest.mark.skipif(os.geteuid() != 0, reason='mknod needs root')
def test_a_device_is_refused(site):
    try:
        os.mknod(site / 'null', 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip('this machine lets nobody make devices')
    assert 'character device' in _refusal(site)


def test_a_file_swapped_for_a_link_after_the_look_is_refused(
    site, tmp_path, monkeypatch
):
    outside = tmp_path / 'shadow'
    outside.write_text('root:secret')
    really = os.lstat

    def look_then_swap(name, *, dir_fd):
        found = really(name, dir_fd=dir_fd)
        if name == 'squid.conf':
            (site / 'site' / name).unlink()
            (site / 'site' / name).symlink_to(outside)
        return found

    monkeypatch.setattr(directory.os, 'lstat', look_then_swap)
    assert 'squid.conf' in _refusal(site)


def test_a_file_swapped_for_a_fifo_after_the_look_is_refused(
    site, monkeypatch
):
    really = os.lstat

    def look_then_swap(name, *, dir_fd):
        found = really(name, dir_fd=dir_fd)
        if name == 'squid.conf':
            (site / 'site' / name).unlink()
            os.mkfifo(site / 'site' / name)
        return found

    monkeypatch.setattr(directory.os, 'lstat', look_then_swap)
    assert 'was replaced while it was read' in _refusal(site)


@pytest.mark.parametrize(
    'name',
    [
        b'.git',
        b'.prolog.sh.swp',
        b'-rf',
        b'two words',
        b'new\nline',
        b'tab\there',
        b'back\\slash',
        b'$(reboot)',
        b'caf\xc3\xa9',
        b'\xff\xfe',
        b'a~',
        b'a;b',
        b'\x1b[31m',
    ],
)
def test_a_name_that_could_surprise_is_refused(site, name):
    with (pathlib.Path(os.fsdecode(bytes(site) + b'/' + name))).open('w'):
        pass
    text = _refusal(site)
    assert 'name ' in text
    assert text.isascii()
    assert text.isprintable()


def test_plain_names_of_many_kinds_pass(site):
    for name in ('A-1_b.c', 'x+y', 'user@host', 'k=v', 'a,b', '0'):
        sites.write(site, name, '')
    assert len(sites.build(site).files) == 10


def test_a_name_too_long_for_the_header_is_refused(site):
    sites.write(site, 'n' * 101, '')
    assert 'too long' in _refusal(site)


def test_a_long_path_that_ustar_can_split_passes(site, tmp_path):
    name = '/'.join(['d' * 40] * 3 + ['f' * 90])
    sites.write(site, name, 'deep')
    made = sites.build(site)
    with tarfile.open(fileobj=io.BytesIO(made.tar)) as tar:
        assert name in tar.getnames()


def test_too_deep_a_tree_is_refused(site):
    sites.write(site, '/'.join('d' * 20) + '/f', '')
    assert 'levels deep' in _refusal(site)


def test_too_many_members_are_refused(site):
    assert sites.build(site, bundle.Limits(members=7))
    text = _refusal(site, members=6)
    assert 'expected at most 6' in text
    assert 'max_files' in text


def test_a_huge_file_is_refused_without_reading_all_of_it(site):
    with (site / 'huge').open('wb') as stream:
        stream.truncate(1 << 40)
    text = _refusal(site)
    assert 'huge' in text
    assert 'max_unpacked_size' in text


def test_many_files_are_too_large_together(site):
    for number in range(5):
        sites.write(site, f'part{number}', 'x' * 3000)
    assert 'max_unpacked_size' in _refusal(site, unpacked=16000)


def test_headers_count_as_well(site):
    assert 'max_unpacked_size' in _refusal(site, unpacked=2000)


def test_an_answer_over_the_limit_is_refused(site):
    noise = random.Random(1).randbytes(bundle.COMPRESSED_LIMIT + 1)
    (site / 'noise').write_bytes(noise)
    text = _refusal(site)
    assert 'max_answer_size' in text
    assert str(bundle.COMPRESSED_LIMIT) in text


def test_an_unreadable_file_is_named(site, monkeypatch):
    really = os.open

    def refuse(name, *arguments, **keywords):
        if name == 'squid.conf':
            raise PermissionError(13, 'Permission denied')
        return really(name, *arguments, **keywords)

    monkeypatch.setattr(directory.os, 'open', refuse)
    text = _refusal(site)
    assert 'squid.conf' in text
    assert 'Permission denied' in text


def test_an_unreadable_directory_is_named(site, monkeypatch):
    def refuse(descriptor):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(directory.os, 'listdir', refuse)
    assert 'Permission denied' in _refusal(site)


def test_a_write_that_fails_leaves_the_old_file(site, tmp_path, monkeypatch):
    target = tmp_path / 'default.tgz'
    target.write_bytes(b'old')

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(directory.os, 'fsync', full)
    with pytest.raises(errors.LocalFault, match='No space left'):
        directory.write_atomically(target, b'new')
    assert target.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [
        'default.tgz'
    ]


def test_a_write_into_a_missing_directory_is_one_sentence(site, tmp_path):
    with pytest.raises(errors.LocalFault, match='absent'):
        directory.write_atomically(tmp_path / 'absent' / 'file', b'')

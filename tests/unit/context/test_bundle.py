# SPDX-License-Identifier: Apache-2.0
"""Building, writing and reading bundles; what is refused and why."""

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
        bundle.build(site, bundle.Limits(**limits))
    text = str(caught.value)
    assert str(site) in text
    assert '\n' not in text
    return text


def test_every_member_has_the_one_form(site):
    made = bundle.build(site)
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
    made = bundle.build(site)
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
    assert bundle.build(first).tar == bundle.build(second).tar


def test_the_tar_is_known_to_the_byte(tmp_path):
    """Another Python or another machine must find the same digest."""
    top = tmp_path / 'context'
    top.mkdir()
    sites.write(top, 'prolog.sh', sites.PROLOG)
    sites.write(top, 'epilog.sh', sites.EPILOG)
    assert bundle.build(top).sha256_tar == (
        '66a9aff57c1b6faefbf5b68cc10e2bf40343876094c6623fc0bf420412584e30'
    )


def test_the_gzip_wrapper_has_no_time_and_no_name(site):
    made = bundle.build(site)
    assert made.tgz[:4] == b'\x1f\x8b\x08\x00'
    assert made.tgz[4:8] == bytes(4)
    assert gzip.decompress(made.tgz) == made.tar


def test_gnu_tar_unpacks_it_like_a_guest(site, tmp_path):
    target = tmp_path / 'default.tgz'
    bundle.write_atomically(bundle.build(site), target)
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
    assert bundle.build(link).tar == bundle.build(site).tar


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
    assert len(bundle.build(site).files) == 10


def test_a_name_too_long_for_the_header_is_refused(site):
    sites.write(site, 'n' * 101, '')
    assert 'too long' in _refusal(site)


def test_a_long_path_that_ustar_can_split_passes(site, tmp_path):
    name = '/'.join(['d' * 40] * 3 + ['f' * 90])
    sites.write(site, name, 'deep')
    made = bundle.build(site)
    with tarfile.open(fileobj=io.BytesIO(made.tar)) as tar:
        assert name in tar.getnames()


def test_too_deep_a_tree_is_refused(site):
    sites.write(site, '/'.join('d' * 20) + '/f', '')
    assert 'levels deep' in _refusal(site)


def test_too_many_members_are_refused(site):
    assert bundle.build(site, bundle.Limits(members=7))
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


def test_what_was_written_is_read_back(site, tmp_path):
    target = tmp_path / 'default.tgz'
    made = bundle.build(site)
    bundle.write_atomically(made, target)
    assert bundle.read(target) == made
    assert target.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [
        'default.tgz'
    ]


def test_another_compression_of_the_same_tar_is_read(site, tmp_path):
    target = tmp_path / 'default.tgz'
    made = bundle.build(site)
    target.write_bytes(gzip.compress(made.tar, 1))
    found = bundle.read(target)
    assert found.sha256_tar == made.sha256_tar
    assert found.tgz == target.read_bytes()


def test_a_write_that_fails_leaves_the_old_file(site, tmp_path, monkeypatch):
    target = tmp_path / 'default.tgz'
    target.write_bytes(b'old')

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(bundle.os, 'fsync', full)
    with pytest.raises(errors.LocalFault, match='No space left'):
        bundle.write_atomically(bundle.build(site), target)
    assert target.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [
        'default.tgz'
    ]


def test_a_write_into_a_missing_directory_is_one_sentence(site, tmp_path):
    with pytest.raises(errors.LocalFault, match='absent'):
        bundle.write_atomically(
            bundle.build(site), tmp_path / 'absent' / 'default.tgz'
        )


def _foreign(**changes):
    """A tar like ours but for one member."""
    packed = io.BytesIO()
    with tarfile.open(
        fileobj=packed, mode='w', format=tarfile.USTAR_FORMAT
    ) as tar:
        for name in ('epilog.sh', 'prolog.sh', 'z'):
            header = tarfile.TarInfo(name)
            header.mtime = archive.MEMBER_TIME
            header.mode = 0o644 if name == 'z' else 0o755
            if name == 'z':
                for field, value in changes.items():
                    setattr(header, field, value)
            tar.addfile(header)
    return packed.getvalue()


def _read(tmp_path, content):
    target = tmp_path / 'default.tgz'
    target.write_bytes(content)
    return bundle.read(target)


def test_the_tar_that_the_refusals_start_from_is_good(tmp_path):
    assert len(_read(tmp_path, gzip.compress(_foreign())).files) == 3


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'name': '../z'}, 'refused'),
        ({'name': '/etc/z'}, 'refused'),
        ({'name': 'a/../z'}, 'refused'),
        ({'name': 'a//z'}, 'refused'),
        ({'name': './z'}, 'refused'),
        ({'name': 'prolog.sh'}, 'twice'),
        ({'name': 'a'}, 'reproducible form'),
        ({'name': 'absent/z'}, 'not in the archive'),
        ({'type': tarfile.SYMTYPE, 'linkname': '/etc'}, 'neither'),
        ({'type': tarfile.LNKTYPE, 'linkname': 'prolog.sh'}, 'neither'),
        ({'type': tarfile.FIFOTYPE}, 'neither'),
        ({'type': tarfile.CHRTYPE}, 'neither'),
        ({'mode': 0o4755}, 'reproducible form'),
        ({'mtime': 1}, 'reproducible form'),
        ({'uid': 1000}, 'reproducible form'),
        ({'uname': 'root'}, 'reproducible form'),
    ],
)
def test_a_bundle_of_another_make_is_refused(tmp_path, changes, says):
    with pytest.raises(bundle.BundleRefused, match=says):
        _read(tmp_path, gzip.compress(_foreign(**changes)))


@pytest.mark.parametrize(
    ('spoil', 'says'),
    [
        (lambda tgz: b'', 'too early'),
        (lambda tgz: tgz[:-20], 'too early'),
        (lambda tgz: tgz + b'more', 'followed by'),
        (lambda tgz: tgz + tgz, 'followed by'),
        (lambda tgz: b'PK\x03\x04' + tgz, 'not a gzip file'),
        (lambda tgz: gzip.decompress(tgz), 'not a gzip file'),
        (lambda tgz: gzip.compress(b'text'), 'not a tar archive'),
        (lambda tgz: gzip.compress(b''), 'not a tar archive'),
        (lambda tgz: gzip.compress(bytes(9 << 20)), 'at most 8388608'),
        (lambda tgz: tgz + bytes(1 << 20), 'at most 773120'),
    ],
)
def test_a_broken_bundle_file_is_refused(tmp_path, spoil, says):
    with pytest.raises(bundle.BundleRefused, match=says):
        _read(tmp_path, spoil(gzip.compress(_foreign())))


def test_a_bundle_file_with_too_many_members_is_refused(tmp_path):
    target = tmp_path / 'default.tgz'
    target.write_bytes(gzip.compress(_foreign()))
    with pytest.raises(bundle.BundleRefused, match='at most 2 members'):
        bundle.read(target, bundle.Limits(members=2))


def test_an_absent_bundle_file_is_one_sentence(tmp_path):
    with pytest.raises(bundle.BundleRefused, match='No such file'):
        bundle.read(tmp_path / 'default.tgz')


def test_damaged_archives_are_refused_never_crash(site, tmp_path):
    """Any single damaged byte of a tar is noticed or refused."""
    tar = bundle.build(site).tar
    draw = random.Random(8)
    for _ in range(300):
        spoilt = bytearray(tar)
        spoilt[draw.randrange(len(tar))] ^= 1 << draw.randrange(8)
        try:
            found = _read(tmp_path, gzip.compress(bytes(spoilt), 1))
        except bundle.BundleRefused:
            continue
        assert found.tar == spoilt
        assert found.sha256_tar != hashlib.sha256(tar).hexdigest()

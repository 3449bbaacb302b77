# SPDX-License-Identifier: Apache-2.0
"""The CD of a variant, read by others' readers, and what runs from it."""

import hashlib
import io
import shutil
import subprocess

import pycdlib
import pytest

from hepix_vm.context import archive
from hepix_vm.context import facts as facts_
from hepix_vm.context import iso
from hepix_vm.context import iso9660
from hepix_vm.context import site as site_
from hepix_vm.context import variants
from tests.unit.context import sites

OWN = {'init.sh', 'manifest', 'manifest.sig'}
SIGNATURE = b'0' * 70


@pytest.fixture
def top(tmp_path):
    """A directory with names that are hard for ISO 9660."""
    made = sites.make(tmp_path / 'context')
    sites.write(made, 'Case', '1')
    sites.write(made, 'case', '2')
    sites.write(made, 'long' * 25, 'a')
    sites.write(made, 'long' * 24 + 'more', 'b')
    sites.write(made, 'x+y@z,=.tar.gz', 'odd')
    sites.write(made, 'a/b/c/d/e/f/deep', 'deep')
    sites.write(made, 'nothing', '')
    sites.write(made, 'large', 'x' * 5000)
    for number in range(150):
        sites.write(made, f'many/configuration-{number}.conf', str(number))
    return made


def _variant(top):
    return variants.compose(
        site_.read_directory(top), facts_.Facts('u', 'project-1')
    )


def _opened(image):
    reader = pycdlib.PyCdlib()
    reader.open_fp(io.BytesIO(image))
    return reader


def _files(reader, kind):
    found = {}
    for above, _, names in reader.walk(**{f'{kind}_path': '/'}):
        for name in names:
            path = f'{above.rstrip("/")}/{name}'
            content = io.BytesIO()
            reader.get_file_from_iso_fp(content, **{f'{kind}_path': path})
            found[path[1:]] = content.getvalue()
    return found


def _expected(variant):
    members = archive.unpack(variant.bundle.tar, 1000, '')
    return {m.path: m.content for m in members if m.content is not None}


def test_a_strict_reader_finds_every_file_by_rock_ridge(top):
    variant = _variant(top)
    reader = _opened(iso.image(variant, SIGNATURE))
    assert reader.rock_ridge == '1.09'
    files = _files(reader, 'rr')
    assert {k: v for k, v in files.items() if k not in OWN} == _expected(
        variant
    )
    assert set(files) >= OWN
    assert files['manifest'] == variant.manifest
    for name, mode in (
        ('prolog.sh', 0o100755),
        ('site/squid.conf', 0o100644),
        ('site', 0o040755),
        ('init.sh', 0o100755),
    ):
        record = reader.get_record(rr_path=f'/{name}')
        assert record.rock_ridge.get_file_mode() == mode


def test_joliet_has_the_same_files_but_for_long_names(top):
    variant = _variant(top)
    files = _files(_opened(iso.image(variant, SIGNATURE)), 'joliet')
    expected = _expected(variant)
    assert len(files) == len(expected) + len(OWN)
    assert {k: v for k, v in expected.items() if len(k) <= 64} == {
        k: v for k, v in files.items() if k in expected
    }


def test_names_of_the_standard_are_unique_and_in_order(top):
    reader = _opened(iso.image(_variant(top), None))
    for _, folders, names in reader.walk(iso_path='/'):
        both = [*folders, *names]
        assert len(set(both)) == len(both)
        for name in both:
            stem, _, rest = name.partition('.')
            assert len(stem) <= 8
            assert len(rest.removesuffix(';1')) <= 3


@pytest.mark.skipif(not shutil.which('isoinfo'), reason='needs genisoimage')
def test_isoinfo_reads_it(top, tmp_path):
    variant = _variant(top)
    path = tmp_path / 'x.iso'
    path.write_bytes(iso.image(variant, SIGNATURE))
    said = subprocess.run(
        ['isoinfo', '-R', '-f', '-i', path],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stderr == ''
    members = archive.unpack(variant.bundle.tar, 1000, '')
    assert set(said.stdout.split()) == {
        f'/{name}' for name in (*OWN, *(m.path for m in members))
    }
    content = subprocess.run(
        ['isoinfo', '-R', '-i', path, '-x', '/a/b/c/d/e/f/deep'],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert content.stdout == b'deep'


def test_it_is_labelled_and_as_large_as_it_says(top):
    image = iso.image(_variant(top), None)
    assert image[32768:32774] == b'\x01CD001'
    assert image[32808:32840] == b'HEPIX_CTX'.ljust(32)
    assert int.from_bytes(image[32848:32852], 'little') * 2048 == len(image)
    assert 'HEPIX_CTX'.encode('utf-16-be') in image[34816:36864]


def test_it_is_known_to_the_byte(tmp_path):
    """Another Python or another machine must make the same."""
    sites.make(tmp_path / 'context')
    image = iso.image(_variant(tmp_path / 'context'), SIGNATURE)
    assert hashlib.sha256(image).hexdigest() == (
        '34bc070ae62555ce65697f4995180095fc42c64a96bf8dd3d73b613a12366c0a'
    )


def test_without_a_signature_there_is_none(top):
    files = _files(_opened(iso.image(_variant(top), None)), 'rr')
    assert 'manifest.sig' not in files
    assert 'manifest' in files


def test_a_site_may_bring_its_own_init(top):
    sites.write(top, 'init.sh', '#!/bin/sh\n')
    files = _files(_opened(iso.image(_variant(top), None)), 'rr')
    assert files['init.sh'] == b'#!/bin/sh\n'


@pytest.mark.parametrize('name', ['manifest', 'manifest.sig'])
def test_a_name_that_is_the_cd_s_own_is_refused(top, name):
    sites.write(top, name, '')
    with pytest.raises(archive.BundleRefused, match='a file of its own'):
        iso.image(_variant(top), SIGNATURE)


def test_directories_nested_too_deep_are_refused(top):
    assert iso.image(_variant(top), None)
    sites.write(top, '/'.join('abcdefg') + '/x', '')
    assert iso.image(_variant(top), None)
    sites.write(top, '/'.join('abcdefgh') + '/x', '')
    with pytest.raises(archive.BundleRefused, match='at most 7 directories'):
        iso.image(_variant(top), None)


def test_an_empty_file_system_is_one():
    reader = _opened(iso9660.image((), 'EMPTY'))
    assert _files(reader, 'rr') == {}


def _run_init(tmp_path, name, *command, **environ):
    return subprocess.run(
        [*command, name],
        cwd=tmp_path,
        env={
            'PATH': '/usr/bin:/bin',
            'CONTEXT_DIR': str(tmp_path / 'private'),
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def disc(top, tmp_path):
    """What a guest sees where the CD is mounted."""
    files = _files(_opened(iso.image(_variant(top), SIGNATURE)), 'rr')
    for path, content in files.items():
        target = tmp_path / 'disc' / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o755)
    return tmp_path / 'disc'


def test_init_runs_both_scripts_in_a_private_copy(disc, tmp_path):
    ran = _run_init(tmp_path, str(disc / 'init.sh'))
    assert (ran.returncode, ran.stderr) == (0, '')
    assert ran.stdout == 'prolog start\nepilog start\n'
    private = tmp_path / 'private'
    assert private.stat().st_mode & 0o777 == 0o700
    assert (private / 'site/squid.conf').is_file()


def test_init_copied_away_runs_what_is_where_it_is_told(disc, tmp_path):
    shutil.copy(disc / 'init.sh', tmp_path / 'init.sh')
    ran = _run_init(tmp_path, './init.sh', '/bin/sh', MOUNT_DIR=str(disc))
    assert ran.stdout == 'prolog start\nepilog start\n'


def test_init_says_when_there_is_nothing_to_run(disc, tmp_path):
    shutil.copy(disc / 'init.sh', tmp_path / 'init.sh')
    ran = _run_init(tmp_path, './init.sh', '/bin/sh')
    assert ran.returncode == 1
    assert 'found none' in ran.stderr
    assert not (tmp_path / 'private').exists()


def test_init_fails_when_a_script_does_but_runs_both(disc, tmp_path):
    (disc / 'prolog.sh').write_text('#!/bin/sh\nexit 3\n')
    ran = _run_init(tmp_path, str(disc / 'init.sh'))
    assert ran.returncode == 1
    assert ran.stdout == 'epilog start\n'


def test_init_that_is_sourced_leaves_the_scripts_to_who_sources(
    disc, tmp_path
):
    (tmp_path / 'agent').write_text(f'. {disc}/init.sh\necho mine\n')
    ran = _run_init(tmp_path, './agent', '/bin/sh')
    assert (ran.returncode, ran.stdout) == (0, 'mine\n')

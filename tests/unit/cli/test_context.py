# SPDX-License-Identifier: Apache-2.0
"""``context``: building, publishing, explaining."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from hepix_vm.context import facts
from hepix_vm.operations import context_facts
from tests.unit.context import sites

KEYS = [
    *('files', 'layers', 'serial', 'tar_bytes', 'tgz_bytes', 'sha256_tar'),
    'written',
]
LAYERS = """\
layers:
  - directory: common
  - directory: atlas
    when: {vo: atlas, host: ["a*"]}
"""


@pytest.fixture
def directory(tmp_path):
    return sites.make(tmp_path / 'context')


@pytest.fixture
def configured(tmp_path, directory, hepix_vm):
    """The command, with a configuration that names the directory."""

    def run(*options, more='', command='build'):
        path = tmp_path / 'context.conf'
        path.write_text(
            f'[context]\ndirectory = {directory}\n'
            f'state_directory = {tmp_path / "state"}\n{more}'
            f'[catalogue]\nconnection = sqlite:///{tmp_path / "none.db"}\n'
        )
        path.chmod(0o600)
        return hepix_vm.bare(
            '--config-file', path, 'context', command, *options
        )

    return run


def test_configured_directory_is_checked_and_described(configured):
    ran = configured('-f', 'json')
    assert ran.status == 0
    assert list(ran.json) == KEYS
    assert 'prolog.sh' in ran.json['files']
    assert ran.json['written'] == ''


def test_output_and_directory_of_the_command_line_count(configured, tmp_path):
    other = sites.make(tmp_path / 'other')
    sites.write(other, 'more.conf', 'more\n')
    target = tmp_path / 'out.tgz'
    ran = configured('--directory', other, '--output', target, '-f', 'json')
    assert 'more.conf' in ran.json['files']
    assert target.exists()


def test_two_builds_of_the_same_directory_are_the_same_bytes(
    configured, tmp_path
):
    digests = set()
    for name in ('one.tgz', 'two.tgz'):
        configured('--output', tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).digest())
    assert len(digests) == 1


def test_directory_that_cannot_be_served_is_one_sentence(
    configured, directory, tmp_path
):
    (directory / 'link').symlink_to('/etc/passwd')
    target = tmp_path / 'out.tgz'
    ran = configured('--output', target)
    assert ran.status == 2
    assert 'link' in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not target.exists()


def test_absent_directory_is_one_sentence(configured, tmp_path):
    ran = configured('--directory', tmp_path / 'absent')
    assert ran.status == 2
    assert 'absent' in ran.err


def test_output_that_cannot_be_written_is_one_sentence(configured, tmp_path):
    ran = configured('--output', tmp_path / 'absent' / 'out.tgz')
    assert ran.status in (1, 2)
    assert len(ran.err.strip().splitlines()) == 1


def test_an_output_that_is_no_file_stays_what_it_is(configured, tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert configured('--output', pipe).status == 0
        assert os.read(reader, 2) == b'\x1f\x8b'
    finally:
        os.close(reader)
    assert pipe.is_fifo()


@pytest.fixture
def layered(directory):
    """The directory with two layers."""
    directory.rename(directory.with_name('common'))
    directory.mkdir()
    directory.with_name('common').rename(directory / 'common')
    sites.write(directory, 'atlas/only.in', '@vo@ @host@ @serial@\n')
    sites.write(directory, 'layers.yaml', LAYERS)
    return directory


def _all(ran):
    assert ran.status == 0, ran.err
    return ran.json


@pytest.mark.parametrize(
    ('form', 'starts'),
    [
        ('tgz', b'\x1f\x8b'),
        ('zip', b'PK\x03\x04'),
        ('b64', b'H4sI'),
        ('tar', b'empty/'),
        ('manifest', b'hepix-context-manifest: 1\n'),
    ],
)
def test_a_variant_is_written_in_each_form(configured, tmp_path, form, starts):
    target = tmp_path / 'out'
    assert configured('--form', form, '--output', target).status == 0
    assert target.read_bytes().startswith(starts)


def test_options_make_up_the_instance(configured, layered):
    plain = _all(configured('-f', 'json'))
    atlas = _all(configured('--vo', 'atlas', '--host', 'a1', '-f', 'json'))
    assert plain['layers'] == ['common']
    assert atlas['layers'] == ['common', 'atlas']
    assert 'only' in atlas['files']
    assert plain['sha256_tar'] != atlas['sha256_tar']


def test_explain_tells_every_layer_and_why(configured, layered):
    rows = _all(
        configured(
            *('--vo', 'atlas', '--host', 'b1', '-f', 'json'),
            command='explain',
        )
    )
    assert [tuple(row.values()) for row in rows] == [
        ('common', True, 'no condition'),
        ('atlas', False, 'host is b1, expected a*'),
    ]


def test_a_server_is_asked_for_with_an_account_only(configured):
    server = '7c3a3a3e-0d1f-4c39-9a0c-3a3e0d1f4c39'
    ran = configured('--server', server, command='explain')
    assert ran.status == 2
    assert '[openstack] option auth_type' in ran.err


def test_it_is_told_when_a_server_gets_nothing_yet(
    configured, layered, monkeypatch
):
    server = '7c3a3a3e-0d1f-4c39-9a0c-3a3e0d1f4c39'
    found = facts.Facts(server, 'p', host=None, awaited=('host',))
    monkeypatch.setattr(context_facts, 'of_server', lambda *_: found)
    arguments = ('--server', server, '--vo', 'atlas', '-f', 'json')
    ran = configured(*arguments, command='explain')
    assert [row['matched'] for row in ran.json] == [True, False]
    assert 'layers of this site look at host' in ran.err
    assert 'until then it gets 503' in ran.err
    ran = configured(*arguments, '--host', 'a1', command='explain')
    assert [row['matched'] for row in ran.json] == [True, True]
    assert ran.err == ''


def test_lint_has_file_and_line_and_the_status_of_an_error(
    configured, directory
):
    assert configured('-f', 'json', command='lint').json == []
    sites.write(directory, 'x.sh', '#!/bin/sh\npassword=hunter22\n')
    ran = configured('-f', 'json', command='lint')
    assert ran.status == 0
    sites.write(directory, 'x.sh', '#!/bin/sh\nyum install x\n')
    ran = configured('-f', 'json', command='lint')
    assert ran.status == 1
    assert [row for row in ran.json if row['rule'] != 'shellcheck'] == [
        {
            'place': 'x.sh:2',
            'level': 'error',
            'rule': 'package',
            'text': 'yum changes the packages of the image',
        }
    ]


def test_a_site_is_published_shown_and_taken_back(configured, directory):
    first = _all(
        configured(
            *('--comment', 'the first', '-f', 'json'),
            more='expire_days = 1\n',
            command='publish',
        )
    )
    assert first['serial'] == 1
    assert first['expires_at'] > first['published_at']
    sites.write(directory, 'more', 'new\n')
    second = _all(
        configured(
            *('--expires', '2090-01-01T00:00:00Z', '-f', 'json'),
            command='publish',
        )
    )
    assert second['expires_at'] == '2090-01-01T00:00:00Z'
    assert second['unchanged_since'] == ''
    back = _all(configured('-f', 'json', command='rollback'))
    assert (back['serial'], back['content_of']) == (3, 1)
    assert back['sha256'] == first['sha256']
    rows = _all(configured('-f', 'json', command='show'))
    assert [(row['serial'], row['state']) for row in rows] == [
        (3, 'current, content of 1'),
        (2, 'kept'),
        (1, 'kept'),
    ]
    assert rows[2]['comment'] == 'the first'
    again = _all(configured('3', '-f', 'json', command='rollback'))
    assert (again['content_of'], again['unchanged_since']) == (1, 3)
    built = _all(configured('--serial', '2', '-f', 'json'))
    assert built['serial'] == 2
    assert 'more' in built['files']


def test_an_error_stops_a_publication_and_all_findings_are_told(
    configured, directory, tmp_path
):
    sites.write(directory, 'x.sh', '#!/bin/sh\nyum install x\ninsmod y\n')
    ran = configured(command='publish')
    assert ran.status == 2
    assert 'x.sh:2: error: yum' in ran.err
    assert 'x.sh:3: error: insmod' in ran.err
    assert 'not published, 2 errors' in ran.err
    assert not (tmp_path / 'state').exists()


def test_a_warning_stops_nothing_and_is_told(configured, directory):
    sites.write(directory, 'x.conf', 'password=hunter22\n')
    made = _all(configured('-f', 'json', command='publish'))
    assert 'x.conf:1: warning: looks like a password' in made['warnings'][0]


def test_what_is_published_is_built_where_that_is_served(
    configured, directory
):
    ran = configured(more='serve = published\n')
    assert ran.status == 2
    assert 'nothing is published' in ran.err
    configured(command='publish')
    sites.write(directory, 'draft', '')
    built = _all(configured('-f', 'json', more='serve = published\n'))
    assert built['serial'] == 1
    assert 'draft' not in built['files']
    drafted = _all(
        configured(
            *('--directory', directory, '-f', 'json'),
            more='serve = published\n',
        )
    )
    assert 'draft' in drafted['files']


def test_diff_is_from_what_is_current_to_the_directory(configured, directory):
    assert (
        'added prolog.sh (file of mode 755)' in configured(command='diff').out
    )
    configured(command='publish')
    assert configured(command='diff').out == ''
    sites.write(directory, 'epilog.sh', sites.EPILOG + '\techo \x1b[31m\n')
    (directory / 'empty').rmdir()
    (directory / 'site/squid.conf').write_bytes(b'\0')
    out = configured(command='diff').out
    assert out == (
        'removed empty (directory)\n'
        'changed epilog.sh\n'
        '--- a/epilog.sh\n+++ b/epilog.sh\n@@ -1,3 +1,4 @@\n'
        ' #!/bin/sh\n echo epilog "$1"\n+\techo \\x1b[31m\n \n'
        'changed site/squid.conf (not text)\n'
    )
    configured(command='publish')
    assert configured('1', '2', command='diff').out == out
    assert configured('1', '1', command='diff').out == ''


def test_a_serial_that_is_none_or_gone_is_one_sentence(configured):
    assert configured('--serial', 'x').status == 2
    for arguments, command in (
        (('--serial', '9'), 'build'),
        (('9',), 'rollback'),
        (('9',), 'diff'),
        ((), 'rollback'),
    ):
        ran = configured(*arguments, command=command)
        assert ran.status == 2
        assert len(ran.err.strip().splitlines()) == 1
        assert 'hepix-vm context show' in ran.err


def test_a_damaged_publication_is_shown_as_such(configured, tmp_path):
    configured(command='publish')
    (tmp_path / 'state/generations/1/generation.json').write_text('{')
    [row] = _all(configured('-f', 'json', command='show'))
    assert row['state'] == 'damaged'
    assert 'damaged' in row['comment']


def test_a_cd_is_written_and_signed_with_the_site_s_key(configured, tmp_path):
    target, key = tmp_path / 'x.iso', tmp_path / 'key.pem'
    made = _all(configured('--output', target, '-f', 'json', command='iso'))
    assert made['signed'] is False
    assert made['bytes'] == target.stat().st_size
    assert target.read_bytes()[32808:32817] == b'HEPIX_CTX'
    with key.open('wb') as stream:
        subprocess.run(
            ['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout'],
            stdout=stream,
            check=True,
            timeout=120,
        )
    more = f'signing_key = {key}\n'
    key.chmod(0o644)
    ran = configured('--output', target, more=more, command='iso')
    assert ran.status == 2
    assert 'chmod o-rw' in ran.err
    key.chmod(0o600)
    made = _all(
        configured('--output', target, '-f', 'json', more=more, command='iso')
    )
    assert made['signed'] is True
    key.unlink()
    ran = configured('--output', target, more=more, command='iso')
    assert 'signing_key' in ran.err

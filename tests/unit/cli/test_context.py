# SPDX-License-Identifier: Apache-2.0
"""``context build``."""

from __future__ import annotations

import hashlib

import pytest

from tests.unit.context import sites

KEYS = ['files', 'tar_bytes', 'tgz_bytes', 'sha256_tar', 'written']


@pytest.fixture
def directory(tmp_path):
    return sites.make(tmp_path / 'context')


@pytest.fixture
def configured(tmp_path, directory, hepix_vm):
    """The command, with a configuration that names the directory."""

    def run(*options, more=''):
        path = tmp_path / 'context.conf'
        path.write_text(f'[context]\ndirectory = {directory}\n{more}')
        path.chmod(0o600)
        return hepix_vm.bare(
            '--config-file', path, 'context', 'build', *options
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

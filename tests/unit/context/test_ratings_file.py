# SPDX-License-Identifier: Apache-2.0
"""The file of the site's table: read when it changes, kept if it is wrong."""

import errno
import logging
import pathlib

import pytest

from hepix_vm.context import documents
from hepix_vm.context import ratings
from hepix_vm.context import ratings_file
from hepix_vm import errors

TABLE = 'wall_limits: [{project: atlas, seconds: %d}]\n'


def _limit(file):
    return file.table().wall_limit('atlas')


@pytest.fixture
def path(tmp_path):
    made = tmp_path / 'ratings.yaml'
    made.write_text(TABLE % 100)
    return made


def test_a_table_that_is_missing_or_too_large_is_refused(tmp_path):
    with pytest.raises(errors.Misconfigured, match='No such file'):
        ratings_file.read(tmp_path / 'none')
    (tmp_path / 'large').write_bytes(b'#' * (documents.LARGEST + 1))
    with pytest.raises(errors.Misconfigured, match='at most'):
        ratings_file.read(tmp_path / 'large')


def test_without_a_file_there_is_nothing_in_it():
    assert ratings_file.RatingsFile(None, ratings.EMPTY).table() == (
        ratings.EMPTY
    )


def test_it_is_read_when_it_has_changed(path, monkeypatch):
    file = ratings_file.RatingsFile(path, ratings.EMPTY)
    assert _limit(file) == 100
    with monkeypatch.context() as patch:
        patch.setattr(ratings_file, 'read', None)
        assert _limit(file) == 100
    path.write_text(TABLE % 20000)
    assert _limit(file) == 20000


def test_a_disk_that_failed_for_a_moment_is_read_again(
    path, monkeypatch, caplog
):
    file = ratings_file.RatingsFile(path, ratings.EMPTY)
    assert _limit(file) == 100
    path.write_text(TABLE % 20000)

    def fail(*arguments):
        raise OSError(errno.EIO, 'Input/output error')

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, 'open', fail)
        assert _limit(file) == 100
        assert _limit(file) == 100
    assert _limit(file) == 20000
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert 'Input/output error' in record.getMessage()
    assert 'stays' in record.getMessage()

# SPDX-License-Identifier: Apache-2.0
"""Files are written whole, secrets are kept, drafts are read exactly."""

from __future__ import annotations

import os

import pytest

from hepix_vm.endorse import files
from hepix_vm import errors
from hepix_vm import imagelist
from tests.unit.endorse import test_draft

a_list = test_draft.a_list


def refused(call, *arguments):
    with pytest.raises(errors.Misconfigured) as caught:
        call(*arguments)
    return str(caught.value)


def test_written_whole_with_its_mode(tmp_path):
    path = tmp_path / 'file'
    files.write(path, b'one')
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o600)
    files.write(path, b'two')
    assert path.read_bytes() == b'two'
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_is_no_file_stays_what_it_is(tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_output(pipe, b'one')
        assert os.read(reader, 9) == b'one'
    finally:
        os.close(reader)
    assert list(tmp_path.iterdir()) == [pipe]
    assert pipe.is_fifo()


def test_an_output_that_is_a_file_is_written_whole(tmp_path):
    path = tmp_path / 'file'
    for content in (b'one', b'two'):
        files.write_output(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_is_a_directory_is_refused(tmp_path):
    assert 'cannot be written' in refused(files.write_output, tmp_path, b'')


def test_a_pipe_among_lists_makes_nobody_wait(tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    files.write(pipe, b'one')
    assert pipe.is_file()
    assert pipe.read_bytes() == b'one'


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / 'file').mkdir()
    assert 'cannot be written' in refused(files.write, tmp_path / 'file', b'')
    assert [p.name for p in tmp_path.iterdir()] == ['file']
    assert 'cannot be written' in refused(files.write, tmp_path / 'a/b', b'')


def test_reading_has_a_limit(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'12345')
    assert 'at most 4' in refused(files.read, path, 4)
    assert 'No such file' in refused(files.read, tmp_path / 'absent')


def test_secret_is_the_first_line_of_a_private_file(tmp_path):
    path = tmp_path / 'secret'
    path.touch(0o600)
    path.write_text('hush hush\r\nnote\n')
    assert files.read_secret(path) == 'hush hush'
    path.chmod(0o644)
    said = refused(files.read_secret, path)
    assert 'chmod o=' in said
    assert 'hush' not in said


@pytest.mark.parametrize('content', [b'', b'\nsecond', b'\xff\n'])
def test_no_secret(tmp_path, content):
    path = tmp_path / 'secret'
    path.touch(0o600)
    path.write_bytes(content)
    assert 'found none' in refused(files.read_secret, path)
    assert 'No such file' in refused(files.read_secret, tmp_path / 'absent')


def test_draft_there_and_back(tmp_path):
    path = tmp_path / 'draft'
    draft = a_list(test_draft.image(), extra={'x:own': [1, {'a': None}]})
    files.write_draft(path, draft)
    assert files.read_draft(path) == draft


@pytest.mark.parametrize(
    ('old', 'new', 'why'),
    [
        ('{', 'MIME-Version: 1.0\n{', 'list new --from'),
        ('"hv:size": 3', '"hv:size": -3', 'hv:size'),
        ('"hv:version": "1"', '"hv:version": 1', 'hv:version'),
    ],
)
def test_draft_that_would_lose_something_is_not_read(tmp_path, old, new, why):
    path = tmp_path / 'draft'
    files.write_draft(path, a_list(test_draft.image()))
    path.write_text(path.read_text().replace(old, new, 1))
    assert why in refused(files.read_draft, path)


def test_draft_that_subscribers_would_refuse_is_not_written(tmp_path):
    path = tmp_path / 'draft'
    wrong = a_list(uri='ftp://example.org/list')
    assert 'hv:uri' in refused(files.write_draft, path, wrong)
    assert not path.exists()
    naive = a_list(created=test_draft.NOW.replace(tzinfo=None))
    assert 'time zone' in refused(files.render, naive)


def test_dialect_stays_with_the_draft(tmp_path):
    path = tmp_path / 'draft'
    appdb = a_list(vo='ops', dialect=imagelist.Dialect.APPDB)
    files.write_draft(path, appdb)
    assert files.read_draft(path) == appdb
    plain = imagelist.parse(files.render(appdb, imagelist.Dialect.HEPIX))
    assert (plain.dialect, plain.vo) == (imagelist.Dialect.HEPIX, None)

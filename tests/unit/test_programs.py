# SPDX-License-Identifier: Apache-2.0
"""Programs of the site: what is executed, with what, and for how long."""

from __future__ import annotations

import json
import os
from pathlib import Path
import time

import pytest

from hepix_vm import errors
from hepix_vm import programs

OPTION = '[group] option'


def program(folder: Path, text: str, mode: int = 0o755) -> Path:
    path = folder / 'program'
    path.write_text(text)
    path.chmod(mode)
    return path


def shell(folder: Path, text: str) -> Path:
    return program(folder, f'#!/bin/sh\n{text}\n')


class Hasty:
    """A clock that hastens once a file is there, 600 s at each look."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ahead = 0

    def monotonic(self) -> float:
        if self._file.exists():
            self._ahead += 600
        return time.monotonic() + self._ahead


def test_program_gets_json_and_no_argument(tmp_path):
    path = shell(tmp_path, 'cat; echo "$#"; pwd')
    hostile = '$(touch x); `id`\n"\'\u202e'
    ended = programs.run(OPTION, path, {'a': hostile}, 60)
    lines = ended.output.decode().splitlines()
    assert json.loads(lines[0]) == {'a': hostile}
    assert lines[1:] == ['0', '/']
    assert (ended.status, ended.how) == (0, 'ended with exit status 0')


def test_program_that_reads_nothing_is_fine_and_so_is_one_that_says_a_lot(
    tmp_path,
):
    path = shell(tmp_path, 'yes | head -c 5000000; echo end; exit 3')
    ended = programs.run(OPTION, path, ['x' * 1_000_000], 120)
    assert ended.status == 3
    assert len(ended.output) == programs.KEPT
    assert ended.output.endswith(b'\nend\n')


def test_program_that_takes_too_long_is_killed_with_its_children(
    tmp_path, monkeypatch
):
    child = tmp_path / 'child'
    path = shell(
        tmp_path,
        f'sleep 6000 & echo on; echo $! > {child}.new; mv {child}.new {child}'
        '\nwait',
    )
    monkeypatch.setattr(programs, 'time', Hasty(child))
    ended = programs.run(OPTION, path, {}, 600)
    assert (ended.status, ended.output) == (None, b'on\n')
    assert ended.how == 'was killed after its time'
    expect_gone(int(child.read_text()))


def test_what_a_program_left_running_ends_with_it(tmp_path):
    path = shell(tmp_path, f'sleep 600 & echo $! > {tmp_path}/child; exit 4')
    # Its child still holds the other end of the pipe.
    ended = programs.run(OPTION, path, {}, 60)
    assert ended.status == 4
    expect_gone(int((tmp_path / 'child').read_text()))


def test_what_it_left_running_may_go_on_where_that_is_said(tmp_path):
    path = shell(tmp_path, f'sleep 600 & echo $! > {tmp_path}/child')
    ended = programs.run(OPTION, path, {}, 60, leave_rest=True)
    assert ended.status == 0
    pid = int((tmp_path / 'child').read_text())
    state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
    assert state.split()[0] != 'Z'
    os.kill(pid, 9)


def expect_gone(pid: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
        except FileNotFoundError:
            return
        # Nobody may collect it where there is no init.
        if state.split()[0] == 'Z':
            return
        time.sleep(0.05)
    pytest.fail(f'process {pid} still runs')


def test_end_by_a_signal_is_told(tmp_path):
    ended = programs.run(OPTION, shell(tmp_path, 'kill -15 $$'), {}, 60)
    assert (ended.status, ended.how) == (-15, 'was ended by signal 15')


@pytest.mark.parametrize(
    ('text', 'mode', 'words'),
    [
        ('#!/bin/sh\n', 0o644, 'may not execute it'),
        ('#!/bin/sh\n', 0o757, 'everybody may write it'),
        ('no first line', 0o755, 'cannot be executed: Exec format error'),
        ('#!/nowhere/sh\n', 0o755, 'cannot be executed: No such file'),
    ],
    ids=['mode', 'writable', 'format', 'interpreter'],
)
def test_what_must_not_be_executed_is_not(tmp_path, text, mode, words):
    path = program(tmp_path, text, mode)
    with pytest.raises(errors.Misconfigured) as caught:
        programs.run(OPTION, path, {}, 60)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f'option {OPTION}: {path}')


def test_relative_path_missing_file_and_folder_are_refused(tmp_path):
    for path, words in (
        (Path('program'), 'expected an absolute path'),
        (tmp_path / 'none', 'expected a program, found: No such file'),
        (tmp_path, 'expected a regular file'),
    ):
        with pytest.raises(errors.Misconfigured, match=words):
            programs.check(OPTION, path)


def test_program_that_everybody_may_exchange_is_refused(tmp_path):
    path = shell(tmp_path, 'exit 0')
    tmp_path.chmod(0o777)
    with pytest.raises(errors.Misconfigured, match='may exchange it'):
        programs.check(OPTION, path)
    tmp_path.chmod(0o1777)
    programs.check(OPTION, path)


@pytest.mark.skipif(os.geteuid() != 0, reason='files of others need root')
def test_program_of_another_account_is_refused(tmp_path):
    path = shell(tmp_path, 'exit 0')
    os.chown(path, 4242, 4242)
    with pytest.raises(errors.Misconfigured, match='of user id 4242'):
        programs.check(OPTION, path)

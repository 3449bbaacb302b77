# SPDX-License-Identifier: Apache-2.0
"""The hook is a real program here, however it behaves."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
import sys

import pytest

from hepix_vm.catalogue import notices
from hepix_vm import errors
from hepix_vm.notify import hook
from hepix_vm import programs
from tests.cloud import waits
from tests.unit import test_programs

SOON = 120
HOSTILE = '"; touch /tmp/x #\n$(reboot)\x1b[31m\u202e'
NOTICE = notices.Notice(
    7,
    1_800_000_000,
    'image.withdrawn',
    'an image',
    {'detail': HOSTILE, 'version': '1'},
)


def run(path, timeout=SOON, notice=NOTICE):
    hook.run(hook.Hook(str(path), timeout), notice)


def test_the_event_is_its_standard_input(program, tmp_path):
    run(program(f'#!/bin/sh\ncat > {tmp_path}/event\n'))
    text = (tmp_path / 'event').read_text()
    assert text.endswith('}\n')
    assert text.count('\n') == 1
    assert json.loads(text) == {
        'format': 1,
        'id': 7,
        'at': '2027-01-15T08:00:00Z',
        'kind': 'image.withdrawn',
        'subject': 'an image',
        'payload': {'detail': HOSTILE, 'version': '1'},
    }


ASK = """#!{python}
import json, os, pathlib, sys
pathlib.Path('{place}').write_text(json.dumps([
    sys.argv[1:], dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid(),
    sorted(int(n) for n in os.listdir('/proc/self/fd')),
]))
"""


def test_nothing_but_standard_input_has_anything_of_the_event(
    program, tmp_path, monkeypatch
):
    monkeypatch.setenv('OS_PASSWORD', 'hush')
    place = tmp_path / 'found'
    run(program(ASK.format(python=sys.executable, place=place)))
    arguments, environment, folder, leads, files = json.loads(
        place.read_text()
    )
    assert arguments == []
    # Python adds a variable of its own where the locale is that of C.
    environment.pop('LC_CTYPE', None)
    assert environment == programs.ENVIRONMENT
    assert folder == '/'
    assert leads, 'no session of its own'
    # The fourth one is that of the directory that it reads.
    assert len(files) == 4
    assert files[:3] == [0, 1, 2]


def test_one_that_reads_nothing_is_told_all_the_same(program):
    notice = notices.Notice(1, 1, 'x', 'y', {'detail': 'z' * 10**6})
    run(program('#!/bin/sh\nexit 0\n'), notice=notice)


@pytest.mark.parametrize(
    ('body', 'said'),
    [
        ('echo no; exit 3', 'exit status 3 for notice 7'),
        ('echo no; exit 3', '(image.withdrawn): no'),
        ('exit 1', 'exit status 1 for notice 7 (image.withdrawn): it said'),
        ('kill -TERM $$', 'signal 15'),
    ],
)  # fmt: skip
def test_another_exit_status_is_a_failure(program, body, said):
    with pytest.raises(errors.TryAgain) as caught:
        run(program(f'#!/bin/sh\n{body}\n'))
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def said(caplog):
    """What is logged of hooks, whatever else goes on in this process."""
    return [one for one in caplog.records if one.name == hook.__name__]


def test_what_it_says_goes_to_the_log(program, caplog):
    with caplog.at_level(logging.INFO):
        run(program('#!/bin/sh\necho well; printf "\\033[31m\\nbad" >&2\n'))
    (record,) = said(caplog)
    assert record.getMessage() == (
        'hook for notice 7 (image.withdrawn): well  [31m bad'
    )


def test_of_much_that_it_says_little_is_kept(program, caplog):
    with caplog.at_level(logging.INFO):
        run(program('#!/bin/sh\nhead -c 30000000 /dev/zero | tr "\\0" x\n'))
    (record,) = said(caplog)
    assert len(record.getMessage()) < 5000


def gone(pid):
    """Whether a process runs no longer; one nobody waits for is a zombie."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().split()[2] == 'Z'
    except FileNotFoundError:
        return True


@pytest.mark.parametrize('closed', ['', 'exec >&- 2>&-'])
def test_one_that_hangs_is_killed_with_its_group(
    program, tmp_path, monkeypatch, closed
):
    place = tmp_path / 'pids'
    monkeypatch.setattr(programs, 'time', test_programs.Hasty(place))
    path = program(
        f'#!/bin/sh\n{closed}\nsleep 6000 &\n'
        f'echo $$ $! > {place}.new; mv {place}.new {place}\nwait\n'
    )
    with pytest.raises(errors.TryAgain, match='longer than 600 s'):
        run(path, timeout=600)
    for pid in place.read_text().split():
        waits.until(f'{pid} to end', lambda p=pid: gone(p), SOON)


def test_what_it_leaves_running_is_not_waited_for(program, tmp_path):
    place = tmp_path / 'pid'
    run(program(f'#!/bin/sh\nsleep 6000 &\necho $! > {place}\n'))
    pid = int(place.read_text())
    assert not gone(pid)
    os.kill(pid, 9)


# What must not or can not be executed


def refused(path, said):
    with pytest.raises(errors.Misconfigured) as caught:
        run(path)
    assert 'option [notify] hook' in str(caught.value)
    assert said in str(caught.value)


def test_a_relative_path(monkeypatch, tmp_path, program):
    program('#!/bin/sh\n')
    monkeypatch.chdir(tmp_path)
    refused('hook', 'an absolute path')
    refused('./hook', 'an absolute path')


def test_one_with_arguments(program):
    refused(f'{program("#!/bin/sh")} now', 'No such file')


def test_one_that_is_not_there(tmp_path):
    refused(tmp_path / 'absent', 'No such file')


def test_a_link_that_leads_to_itself(tmp_path):
    (tmp_path / 'hook').symlink_to('hook')
    refused(tmp_path / 'hook', 'expected a program')


@pytest.mark.parametrize('make', [Path.mkdir, os.mkfifo])
def test_one_that_is_no_file(tmp_path, make):
    make(tmp_path / 'hook')
    refused(tmp_path / 'hook', 'a regular file')


def test_one_that_is_not_executable(program):
    refused(program('#!/bin/sh\n', 0o644), 'chmod +x')


def test_one_that_everybody_may_write(program):
    refused(program('#!/bin/sh\n', 0o757), 'everybody may write it')


def test_one_in_a_directory_that_everybody_may_write(program, tmp_path):
    path = program('#!/bin/sh\n')
    tmp_path.chmod(0o777)
    refused(path, f'everybody may write the directory {tmp_path}')
    tmp_path.chmod(0o1777)
    run(path)


def test_what_a_link_leads_to_counts(program, tmp_path):
    path = program('#!/bin/sh\n', 0o757)
    link = tmp_path / 'link'
    link.symlink_to(path)
    refused(link, 'everybody may write it')
    path.chmod(0o755)
    run(link)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root gives files away')
def test_one_that_belongs_to_somebody_else(program):
    path = program('#!/bin/sh\n')
    os.chown(path, 65534, 65534)
    refused(path, 'found one of user id 65534')


@pytest.mark.parametrize(
    'text', ['no first line', '#!/nonexistent/program\n', '']
)
def test_one_that_the_kernel_does_not_take(program, text):
    refused(program(text), 'cannot be executed')

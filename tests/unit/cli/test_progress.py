# SPDX-License-Identifier: Apache-2.0
"""Progress: a bar on a terminal, plain lines elsewhere; and times."""

from __future__ import annotations

import argparse
import datetime
import io
import threading

import pytest

from hepix_vm.cli import base
from hepix_vm.cli import progress
from hepix_vm.glance import publish

MIB = 2**20


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def last(stream: io.StringIO) -> str:
    """What was drawn or written last."""
    return stream.getvalue().replace('\r\x1b[K', '\n').splitlines()[-1]


def step(done=0, total=100 * MIB, title='Worker', step='download', message=''):
    return publish.Progress(title, step, done, total, message)


def test_terminal_has_one_line_that_is_drawn_again():
    stream, clock = Terminal(), Clock()
    shown = progress.Progress(stream, 10, clock)
    for done in (0, 25 * MIB, 26 * MIB, 50 * MIB, 100 * MIB):
        # Not for each piece.
        clock.now += 0.05 if done == 26 * MIB else 1
        shown(step(done))
    shown.close()
    text = stream.getvalue()
    assert text.count('\n') == 1
    assert text.count('\r') == 4
    assert '26%' not in text
    assert '50% of 100.0 MiB' in text
    assert '[' + '#' * 15 + '.' * 15 + ']' in text
    assert '[' + '#' * 30 + ']' in text


def test_file_has_a_line_for_each_step_and_now_and_then():
    stream = io.StringIO()
    shown = progress.Progress(stream, interval=3600)
    for done in range(10):
        shown(step(done * MIB))
    shown(step(step='import', message='checking'))
    shown.close()
    lines = stream.getvalue().splitlines()
    assert lines == ['Worker: download', 'Worker: import checking']
    assert '\r' not in stream.getvalue()


def test_file_gets_lines_at_the_interval():
    stream = io.StringIO()
    shown = progress.Progress(stream, interval=-1)
    for done in (0, 10 * MIB, 20 * MIB):
        shown(step(done))
    assert len(stream.getvalue().splitlines()) == 3
    assert '20% of' in stream.getvalue()


def test_unknown_total_is_no_division_by_zero():
    stream = Terminal()
    progress.Progress(stream)(step(5, 0))
    assert '%' not in stream.getvalue()


def test_title_from_a_list_does_not_control_the_terminal():
    stream = Terminal()
    progress.Progress(stream)(
        step(title='\x1b]0;owned\x07' + 'x' * 200, message='\x1b[2J' * 50)
    )
    text = stream.getvalue().replace('\r\x1b[K', '')
    assert '\x1b' not in text
    assert '\x07' not in text
    assert len(text) < 300


def test_closing_what_never_began_writes_nothing():
    stream = Terminal()
    progress.Progress(stream).close()
    assert stream.getvalue() == ''


@pytest.mark.parametrize('terminal', [True, False])
def test_rate_and_time_left_are_of_the_last_half_minute(terminal):
    stream = Terminal() if terminal else io.StringIO()
    clock = Clock()
    shown = progress.Progress(stream, 10, clock)
    # Half of it was here already.
    shown(step(50 * MIB))
    for second in range(1, 12):
        clock.now += 1
        shown(step((50 + second) * MIB))
    assert last(stream).endswith(', 1.0 MiB/s, 39 s left')
    for second in range(60):
        clock.now += 10
        shown(step(61 * MIB + second * MIB // 100))
    assert last(stream).endswith(', 0.0 MiB/s, 10 h 40 min left')


def test_hour_and_minutes_are_told_as_such():
    stream, clock = Terminal(), Clock()
    shown = progress.Progress(stream, 10, clock)
    shown(step(1 * MIB, 1001 * MIB))
    clock.now += 1
    shown(step(2 * MIB, 1001 * MIB))
    assert last(stream).endswith(', 1.0 MiB/s, 17 min left')


def test_download_that_begins_again_has_the_rate_of_its_second_try():
    stream, clock = Terminal(), Clock()
    shown = progress.Progress(stream, 10, clock)
    for done in (10, 90, 0, 10, 20):
        clock.now += 1
        shown(step(done * MIB))
    assert '20% of 100.0 MiB, 10.0 MiB/s, 8 s left' in last(stream)


def test_several_downloads_have_one_bar():
    stream, clock = Terminal(), Clock()
    shown = progress.Progress(stream, 10, clock)
    one, done = threading.Event(), threading.Event()

    def download() -> None:
        shown(step(10 * MIB, title='Other'))
        clock.now += 1
        shown(step(20 * MIB, title='Other'))
        one.set()
        # A thread that ends gives its number to another.
        assert done.wait(60)

    thread = threading.Thread(target=download)
    thread.start()
    assert one.wait(60)
    shown(step(30 * MIB))
    clock.now += 1
    shown(step(40 * MIB))
    drawn = last(stream)
    clock.now += 3600
    shown(step(50 * MIB))
    done.set()
    thread.join()
    assert drawn == (
        f'[{"#" * 9}{"." * 21}] 2 images: 30% of 200.0 MiB, 20.0 MiB/s, 7 s '
        'left'
    )
    assert 'Worker: download 50%' in last(stream)


def test_threads_that_show_at_once_have_lines_of_their_own():
    stream = io.StringIO()
    shown = progress.Progress(stream, interval=3600)
    together = threading.Barrier(3)

    def download(number: int) -> None:
        together.wait(60)
        for done in range(100):
            shown(step(done * MIB, title=f'Worker {number}'))
        together.wait(60)

    threads = [
        threading.Thread(target=download, args=[number]) for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stream.getvalue().splitlines()) == [
        f'Worker {number}: download' for number in range(3)
    ]


# Times


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('0', '1970-01-01T00:00:00+00:00'),
        ('1764028800', '2025-11-25T00:00:00+00:00'),
        ('2025-11-25T00:00:00Z', '2025-11-25T00:00:00+00:00'),
        ('2025-11-25T01:30:00+01:30', '2025-11-25T00:00:00+00:00'),
        ('2025-11-25t00:00:00.5z', '2025-11-25T00:00:00.500000+00:00'),
    ],
)
def test_times_are_rfc_3339_or_unix_seconds(text, expected):
    assert base.moment(text) == datetime.datetime.fromisoformat(expected)
    assert base.moment(text).tzinfo is datetime.UTC


@pytest.mark.parametrize(
    'text',
    [
        '',
        'now',
        '2025-11-25',
        '20251125T000000Z',
        '2025-W48-2T00:00:00Z',
        '2025-11-25T00:00Z',
        '0001-01-01T00:00:00+05:00',
        '2025-11-25T00:00:00',
        '2025-13-01T00:00:00Z',
        '1e9',
        '-5',
        '٣',
        '9' * 40,
    ],
)
def test_other_times_are_refused_with_both_forms(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r'RFC 3339.*UNIX'):
        base.moment(text)


def test_shown_times_are_utc_and_never_fail():
    assert base.shown_time(1764028800) == '2025-11-25T00:00:00Z'
    assert base.shown_time(None) == ''
    assert base.shown_time(10**18) == str(10**18)


def test_who_acts_is_the_login_behind_sudo(monkeypatch):
    monkeypatch.setenv('LOGNAME', 'root')
    monkeypatch.setenv('SUDO_USER', 'jane')
    assert base.who() == 'jane as root'
    monkeypatch.delenv('SUDO_USER')
    assert base.who() == 'root'


def test_account_without_a_name_acts_as_its_number(monkeypatch):
    def unknown() -> str:
        raise KeyError('uid not found')

    monkeypatch.delenv('SUDO_USER', raising=False)
    monkeypatch.setattr(base.getpass, 'getuser', unknown)
    assert base.who().isdigit()

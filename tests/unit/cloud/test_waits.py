# SPDX-License-Identifier: Apache-2.0
"""Waits have a limit and say what was waited for."""

import pathlib

import pytest

from tests.cloud import errors
from tests.cloud import waits


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_returns_what_the_probe_found() -> None:
    clock = Clock()
    answers = iter([None, '', 'found'])
    found = waits.until(
        'it', lambda: next(answers), 10, clock=clock, sleep=clock.sleep
    )
    assert found == 'found'
    assert clock.now == pytest.approx(0.4)


def test_ends_at_the_limit_with_the_last_lines_of_the_log(
    tmp_path: pathlib.Path,
) -> None:
    log = tmp_path / 'it.log'
    log.write_text('\n'.join(f'line {n}' for n in range(100)))
    clock = Clock()
    with pytest.raises(errors.NotReady) as caught:
        waits.until(
            'it to come',
            lambda: None,
            10,
            log=log,
            clock=clock,
            sleep=clock.sleep,
        )
    message = str(caught.value)
    assert message.startswith('waited 10 s in vain for it to come; the last')
    assert message.endswith('line 98\nline 99')
    assert 'line 74\n' not in message
    assert 'line 75\n' in message


def test_ends_at_once_when_the_process_has_ended() -> None:
    clock = Clock()
    with pytest.raises(errors.NotReady, match='but its process ended'):
        waits.until(
            'it',
            lambda: None,
            10,
            alive=lambda: False,
            clock=clock,
            sleep=clock.sleep,
        )
    assert clock.now == 0


def test_looks_once_more_after_the_process_has_ended() -> None:
    assert waits.until('it', lambda: 1, 10, alive=lambda: False) == 1


def test_a_missing_and_an_empty_log_are_said(tmp_path: pathlib.Path) -> None:
    assert 'no log' in waits.tail(tmp_path / 'none')
    (tmp_path / 'empty').touch()
    assert waits.tail(tmp_path / 'empty') == '(the log is empty)'


def test_a_long_log_is_read_from_its_end_only(
    tmp_path: pathlib.Path,
) -> None:
    log = tmp_path / 'long'
    log.write_bytes(b'\xff' * 100_000 + b'\nlast')
    assert waits.tail(log, lines=1) == 'last'

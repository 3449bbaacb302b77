# SPDX-License-Identifier: Apache-2.0
"""Coordination by tooz, with its driver for files."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from hepix_vm.daemon import coordination
from hepix_vm import errors

OTHER = """
import sys
from hepix_vm.daemon import coordination
made = coordination.Tooz(sys.argv[1], 'other')
print(made.hold(), flush=True)
sys.stdin.read(1)
made.drop()
print(made.hold(), flush=True)
sys.stdin.read(1)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A directory of locks."""
    return f'file://{tmp_path / "locks"}'


def test_lock_is_held_and_confirmed(url):
    made = coordination.Tooz(url, 'one')
    assert made.hold()
    assert made.hold()
    made.drop()
    assert made.hold()
    made.drop()


def test_one_of_two_processes_holds_it(url):
    mine = coordination.Tooz(url, 'mine')
    with subprocess.Popen(
        [sys.executable, '-c', OTHER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == 'True\n'
        assert not mine.hold()
        # Given back, then asked for again.
        other.stdin.write('x')
        other.stdin.flush()
        assert other.stdout.readline() == 'True\n'
        assert not mine.hold()
        other.kill()
        other.wait()
    assert mine.hold()
    mine.drop()


def test_nothing_is_given_back_twice(url):
    made = coordination.Tooz(url, 'one')
    made.drop()
    made.hold()
    made.drop()
    made.drop()


def test_service_that_is_away_is_tried_again_later(url, tmp_path):
    (tmp_path / 'locks').write_text('a file where its directory should be')
    made = coordination.Tooz(url, 'one')
    with pytest.raises(errors.TryAgain, match='coordination_url'):
        made.hold()
    made.drop()
    (tmp_path / 'locks').unlink()
    assert made.hold()
    made.drop()


@pytest.mark.parametrize(
    'wrong', ['nothing', 'unheard-of://somewhere', '', 'etcd3+http://h:port']
)
def test_url_of_no_driver_is_an_option_to_edit(wrong):
    with pytest.raises(errors.Misconfigured, match='coordination_url'):
        coordination.Tooz(wrong, 'one')


def test_password_in_the_url_is_not_told():
    with pytest.raises(errors.Misconfigured) as caught:
        coordination.Tooz('unheard-of://me:secret@somewhere', 'one')
    assert 'secret' not in str(caught.value)

# SPDX-License-Identifier: Apache-2.0
"""What is run when, and what the site hears."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess

import pytest

from tests.guests import machine
from tests.guests import site

#: busybox runs its own programs whatever PATH has.
PATHS = [shell for shell in machine.SHELLS if shell != 'busybox']


def _program(guest: machine.Machine, name: str, text: str) -> None:
    """A program that is found before the system's."""
    folder = guest.top / 'etc' / 'bin'
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\n{text}\n')
    (folder / name).chmod(0o755)
    guest.path = f'{folder}:{guest.path}'


def _lock(guest: machine.Machine, holder: int) -> Path:
    """As an agent with that process has it."""
    guest.run_directory.mkdir()
    lock = guest.run_directory / 'lock'
    lock.symlink_to(str(holder))
    return lock


def test_stop_runs_both_the_other_way_round(guest, server):
    server.say(site.made().answers())
    guest.run('prolog')
    guest.run('epilog')
    assert guest.run('stop').returncode == 0
    assert guest.calls == [
        *('prolog start', 'epilog start', 'epilog stop', 'prolog stop')
    ]


def test_what_was_not_begun_is_not_stopped(guest):
    assert guest.run('stop').returncode == 0
    guest.cd(site.SCRIPTS)
    guest.run('prolog')
    assert guest.run('stop').returncode == 0
    assert guest.calls == ['prolog start', 'prolog stop']


def test_an_epilog_that_was_not_reached_is_not_stopped(guest):
    """The machine goes down while the agent asks still."""
    guest.cd(site.SCRIPTS)
    guest.run('prolog')
    (guest.run_directory / 'epilog').touch()
    assert guest.run('stop').returncode == 0
    assert guest.calls == ['prolog start', 'prolog stop']


def test_an_earlier_boots_context_is_not_stopped(guest, server):
    server.say(site.made().answers())
    guest.run('epilog')
    guest.boots()
    assert guest.run('stop').returncode == 0
    assert guest.calls == ['prolog start', 'epilog start']


def test_the_epilog_runs_once_in_a_boot(guest, server):
    """Whether the deadline comes before or after the end of start-up."""
    server.say(site.made().answers())
    guest.options['deadline'] = '0'
    assert guest.run('deadline').returncode == 0
    done = guest.run('epilog')
    assert done.returncode == 0
    assert 'in this boot already' in done.stderr
    assert guest.calls == ['prolog start', 'epilog start']
    guest.boots()
    guest.run('epilog')
    assert guest.calls == ['prolog start', 'epilog start'] * 2


def test_a_prolog_after_the_epilog_does_nothing(guest, server):
    server.say(site.made().answers())
    guest.run('epilog')
    guest.cd(site.SCRIPTS)
    assert guest.run('prolog').returncode == 0
    assert guest.calls == ['prolog start', 'epilog start']


def test_a_script_that_fails_is_told(guest, server):
    bundle = site.made(
        {
            'prolog.sh': site.script('prolog', 3),
            'epilog.sh': site.script('epilog'),
        }
    )
    server.say(bundle.answers())
    done = guest.run('epilog')
    assert done.returncode == 1
    assert 'prolog.sh start: failed with status 3' in done.stderr
    assert guest.calls == ['prolog start', 'epilog start']
    assert server.asked[-1] == f'/context/failed/{bundle.sha256}'


def test_a_prolog_that_was_cut_off_has_failed(guest, server):
    """Where it hangs, what started the agent ends both."""
    bundle = site.made(
        {
            'prolog.sh': b'kill -9 "$PPID"\n',
            'epilog.sh': site.script('epilog'),
        }
    )
    server.say(bundle.answers())
    assert guest.run('epilog').returncode == -9
    (guest.run_directory / 'epilog').unlink()
    done = guest.run('epilog')
    assert done.returncode == 1, done.stderr
    assert guest.calls == ['epilog start']
    assert server.asked[-1] == f'/context/failed/{bundle.sha256}'


def test_a_site_that_hears_nothing_changes_nothing(guest, server):
    bundle = site.made()
    answers = bundle.answers()
    del answers[f'/context/ran/{bundle.sha256}']
    server.say(answers)
    done = guest.run('epilog')
    assert done.returncode == 0
    assert 'the site was not told: status 404' in done.stderr


def test_scripts_know_where_they_and_the_features_are(guest, server):
    text = b'{ umask; set; } > "$CONTEXT_DIR/seen"; cat > read\n'
    server.say(site.made({'epilog.sh': text}).answers())
    assert guest.run('epilog').returncode == 0
    context = guest.state / 'context'
    seen = (context / 'seen').read_text()
    assert seen.startswith('0022\n') or seen.startswith('022\n')
    for name in ('machine', 'job'):
        value = f'{guest.top}/etc/{name}features'
        variable = f'{name.upper()}FEATURES='
        assert f'{variable}{value}\n' in seen.replace("'", '')
    # nobody is there who could answer a question
    assert (context / 'read').read_bytes() == b''


def test_a_script_is_run_by_what_its_first_line_names(guest, server):
    """As guests of old do it, which execute it."""
    text = b'#! /bin/sh -e\nfalse\necho > ran\n'
    server.say(site.made({'epilog.sh': text}).answers())
    done = guest.run('epilog')
    assert 'epilog.sh start: failed with status 1' in done.stderr
    assert not (guest.state / 'context/ran').exists()


def test_an_agent_at_work_is_left_alone(guest, server):
    server.say(site.made().answers())
    lock = _lock(guest, os.getpid())
    done = guest.run('epilog')
    assert done.returncode == 0
    assert 'another agent is at work' in done.stderr
    assert guest.calls == []
    assert lock.is_symlink()


def test_an_agent_that_was_cut_off_holds_nothing(guest, server):
    server.say(site.made().answers())
    ended = subprocess.Popen(['true'])
    ended.wait()
    lock = _lock(guest, ended.pid)
    assert guest.run('epilog').returncode == 0
    assert guest.calls == ['prolog start', 'epilog start']
    assert not lock.is_symlink()


def test_what_is_no_lock_holds_nobody_up(guest, server):
    server.say(site.made().answers())
    (guest.run_directory / 'lock').mkdir(parents=True)
    assert guest.run('epilog').returncode == 0
    assert guest.calls == ['prolog start', 'epilog start']


def test_what_a_machine_left_that_went_down_is_cleared_away(guest, server):
    server.say(site.made().answers())
    for name in ('new.1', 'new.23'):
        (guest.state / name / 'half').mkdir(parents=True)
    assert guest.run('epilog').returncode == 0
    assert {path.name for path in guest.state.iterdir()} == {
        *('context', 'installed', 'last', 'manifest')
    }


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no full device')
def test_a_console_that_takes_nothing_ends_nothing(guest, server):
    bundle = site.made({'epilog.sh': b'echo ran > ran\n'})
    server.say(bundle.answers())
    with Path('/dev/full').open('w') as full:
        assert guest.run('epilog', console=full).returncode == 0
    assert (guest.state / 'context/ran').exists()
    assert server.asked[-1] == f'/context/ran/{bundle.sha256}'


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no full device')
def test_a_full_disk_takes_no_serial_away(guest, server):
    server.say(site.made(serial=8).answers())
    assert guest.run('epilog').returncode == 0
    last = guest.state / 'last'
    before = last.read_text()
    (guest.state / 'last.new').symlink_to('/dev/full')
    server.say(site.made(serial=9).answers())
    guest.boots()
    done = guest.run('epilog')
    assert done.returncode == 1, done.stderr
    assert 'nothing of the site was run' in done.stderr
    assert guest.calls == ['prolog start', 'epilog start']
    assert not last.is_symlink()
    assert last.read_text() == before
    # nor is it what an earlier boot had
    assert not (guest.state / 'installed').exists()


def test_nothing_is_left_but_what_is_meant_to(guest, server):
    server.say(site.made().answers())
    guest.run('prolog')
    guest.run('epilog')
    assert {path.name for path in guest.state.iterdir()} == {
        *('context', 'installed', 'last', 'manifest')
    }
    assert {path.name for path in guest.run_directory.iterdir()} == {
        *('epilog', 'installed', 'prolog')
    }


@pytest.mark.parametrize('guest', PATHS, indirect=True)
def test_pauses_grow_up_to_a_limit_and_differ(guest, server):
    server.say({'/context/manifest': site.Answer(503)})
    noted = guest.top / 'pauses'
    _program(guest, 'sleep', f'echo "$1" >> {noted}')
    guest.options |= {'tries': '6', 'pause': '2', 'pause_most': '7'}
    assert guest.run('epilog').returncode == 1
    pauses = [int(line) for line in noted.read_text().split()]
    least = [2, 4, 7, 7, 7]
    assert len(pauses) == len(least)
    for pause, at_least in zip(pauses, least, strict=True):
        assert at_least <= pause <= 2 * at_least


@pytest.mark.parametrize('guest', PATHS, indirect=True)
def test_a_bundle_is_on_the_disk_before_it_is_named(guest, server):
    server.say(site.made().answers())
    _program(guest, 'sync', f'ls {guest.state} > {guest.top}/synced')
    assert guest.run('epilog').returncode == 0
    assert (guest.top / 'synced').read_text().split() == [
        *('context', 'last', 'manifest')
    ]


@pytest.mark.parametrize('guest', PATHS, indirect=True)
def test_a_cd_is_waited_for_where_nobody_tells(guest):
    folder = guest.cd(site.SCRIPTS)
    later = folder.rename(folder.with_name('later'))
    _program(guest, 'sleep', f'[ ! -d {later} ] || mv {later} {folder}')
    guest.options['cd_wait'] = '3'
    assert guest.run('prolog').returncode == 0
    assert guest.calls == ['prolog start']


@pytest.mark.parametrize('guest', PATHS, indirect=True)
def test_a_cd_is_there_once_udev_says_so(guest):
    folder = guest.cd(site.SCRIPTS)
    later = folder.rename(folder.with_name('later'))
    _program(
        guest, 'udevadm', f'echo "$*" > {guest.top}/u; mv {later} {folder}'
    )
    guest.options['cd_wait'] = '3'
    assert guest.run('prolog').returncode == 0
    assert guest.calls == ['prolog start']
    assert (guest.top / 'u').read_text() == 'settle --timeout=3\n'


@pytest.mark.parametrize('guest', PATHS, indirect=True)
def test_a_label_is_found_before_there_is_a_link(guest):
    folder = guest.cd(site.SCRIPTS)
    guest.options['devices'] = '/dev/none'
    _program(guest, 'blkid', f'[ "$*" = "-L HEPIX_CTX" ] && echo {folder}')
    assert guest.run('prolog').returncode == 0
    assert guest.calls == ['prolog start']

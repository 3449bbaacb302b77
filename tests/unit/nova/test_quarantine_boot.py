# SPDX-License-Identifier: Apache-2.0
"""What the site's own boot of an image finds, and what becomes of servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hepix_vm import errors
from hepix_vm.nova import quarantine
from hepix_vm import programs
from tests.unit.nova import computes as c
from tests.unit import test_programs

AWAY = errors.TryAgain('Nova: away')


@pytest.fixture
def nova() -> c.Compute:
    return c.Compute()


@pytest.fixture
def passing() -> c.Time:
    return c.Time()


def boot(nova, passing, **changes):
    return quarantine.boot(
        nova,
        c.IMAGE,
        c.NAME,
        c.settings(**changes),
        lambda message: None,
        passing.clock(),
    )


def test_image_that_says_its_line_passes(nova, passing):
    passing.at[5] = lambda: setattr(nova, 'said', 'boot\n\nhost login: ')
    result = boot(nova, passing)
    assert result == quarantine.Passed(
        "it said a line with 'login:' after 5 s"
    )


def test_line_that_was_said_at_the_very_end_counts(nova, passing):
    passing.at[31] = lambda: setattr(nova, 'said', 'login:')
    assert isinstance(boot(nova, passing), quarantine.Passed)


def test_image_that_says_something_else_fails_with_its_last_words(
    nova, passing
):
    nova.said = 'GRUB\n\nKernel panic \x1b[2J\u202e- not syncing\n'
    assert boot(nova, passing) == quarantine.Failed(
        "it did not say a line with 'login:' in 30 s; its console ends with: "
        'GRUB | Kernel panic \\x1b[2J\\u202e- not syncing'
    )
    assert passing.passed == 31


def test_image_that_says_nothing_fails(nova, passing):
    assert boot(nova, passing) == quarantine.Failed(
        "it did not say a line with 'login:' in 30 s; its console is empty"
    )


@pytest.mark.parametrize('status', ['SHUTOFF', 'ERROR'])
def test_server_that_ends_without_its_line_fails_at_once(
    nova, passing, status
):
    nova.said = 'halted'
    passing.at[3] = lambda: nova.change('server-0', status=status)
    result = boot(nova, passing)
    assert isinstance(result, quarantine.Failed)
    assert result.detail.startswith(f'the server is {status}, and did not')
    assert passing.passed < 10


def test_server_that_ends_after_its_line_passes(nova, passing):
    def end() -> None:
        nova.said = 'login:'
        nova.change('server-0', status='SHUTOFF')

    passing.at[3] = end
    assert isinstance(boot(nova, passing), quarantine.Passed)


@pytest.mark.parametrize(
    'fault',
    [
        'Build of instance x aborted: Image y is unacceptable: Image has no '
        'associated data',
        'Disk format iso is not acceptable',
    ],
    ids=['image', 'format'],
)
def test_image_that_nova_cannot_use_fails(nova, passing, fault):
    nova.made = 'BUILD'
    passing.at[3] = lambda: nova.change(
        'server-0', status='ERROR', fault=fault
    )
    assert boot(nova, passing) == quarantine.Failed(
        f'Nova cannot use it: {fault}'
    )


def test_reason_that_comes_a_moment_after_the_failure_counts(nova, passing):
    nova.made = 'ERROR'
    fault = 'Image y is unacceptable: Image has no associated data'
    passing.at[2] = lambda: nova.change('server-0', fault=fault)
    assert boot(nova, passing) == quarantine.Failed(
        f'Nova cannot use it: {fault}'
    )
    assert passing.passed == 2


def test_cloud_without_room_decides_nothing(nova, passing):
    nova.made = 'ERROR'
    passing.at = {}
    result = boot(nova, passing)
    assert result == quarantine.Undecided('Nova made no server of it: ')
    assert passing.passed == 10
    nova.servers.clear()
    nova.made = 'BUILD'
    fault = 'No valid host was found.\nThere are not enough hosts available.'
    passing.at[passing.passed + 3] = lambda: nova.change(
        'server-0', status='ERROR', fault=fault + 'x' * 5000
    )
    result = boot(nova, passing)
    assert isinstance(result, quarantine.Undecided)
    assert 'No valid host was found. | There are not' in result.detail
    assert len(result.detail) < 600


def test_server_that_does_not_become_active_decides_nothing(nova, passing):
    nova.made = 'BUILD'
    result = boot(nova, passing)
    assert isinstance(result, quarantine.Undecided)
    assert 'the server is BUILD after 60 s, not ACTIVE' in result.detail
    assert passing.passed == 61


@pytest.mark.parametrize('call', ['create', 'server', 'console'])
def test_nova_that_is_away_decides_nothing(nova, passing, call):
    nova.broken[call] = AWAY
    assert boot(nova, passing) == quarantine.Undecided('Nova: away')


@pytest.mark.parametrize('call', ['server', 'console'])
def test_nova_that_comes_back_in_time_was_never_away(nova, passing, call):
    nova.said = 'login:'
    nova.broken[call] = AWAY
    passing.at[20] = nova.broken.clear
    assert isinstance(boot(nova, passing), quarantine.Passed)


def test_account_that_may_not_decides_nothing_and_says_so_at_once(
    nova, passing
):
    nova.broken['console'] = errors.Misconfigured('not allowed')
    assert boot(nova, passing) == quarantine.Undecided('not allowed')
    assert passing.passed == 0


@pytest.mark.parametrize('made', ['BUILD', 'ACTIVE'])
def test_server_that_somebody_deletes_decides_nothing(nova, passing, made):
    nova.made = made
    passing.at[3] = nova.servers.clear
    assert boot(nova, passing) == quarantine.Undecided(
        'somebody deleted the server before it was judged'
    )


# The site's own program


def test_script_is_told_of_the_server_and_nothing_else(
    nova, passing, tmp_path, monkeypatch
):
    monkeypatch.setenv('OS_PASSWORD', 'secret')
    passing.at[1] = lambda: nova.change(
        'server-0',
        status='ACTIVE',
        addresses={'lab': ('192.0.2.7', '2001:db8::7')},
    )
    nova.made = 'BUILD'
    path = c.script(
        tmp_path, f'env > {tmp_path}/env; cat > {tmp_path}/in; echo well'
    )
    result = boot(nova, passing, proof=path)
    assert result == quarantine.Passed(
        'the script ended with exit status 0; it said: well'
    )
    assert json.loads((tmp_path / 'in').read_text()) == {
        'image_id': c.IMAGE,
        'server_id': 'server-0',
        'server_name': c.NAME,
        'addresses': {'lab': ['192.0.2.7', '2001:db8::7']},
        'seconds': 30,
    }
    environment = (tmp_path / 'env').read_text()
    assert 'secret' not in environment
    names = {line.partition('=')[0] for line in environment.splitlines()}
    # The shell itself adds the last two.
    assert names <= {'PATH', 'LANG', 'PWD', '_', 'SHLVL', 'OLDPWD'}


@pytest.mark.parametrize(
    ('text', 'kind', 'words'),
    [
        ('echo no ssh; exit 1', quarantine.Failed, 'status 1; it said: no'),
        ('exit 75', quarantine.Undecided, 'exit status 75'),
        ('kill -9 $$', quarantine.Failed, 'ended by signal 9'),
        ('printf "\\033[2J"; exit 2', quarantine.Failed, 'said: \\x1b[2J'),
    ],
    ids=['bad', 'again', 'killed', 'escapes'],
)
def test_script_decides(nova, passing, tmp_path, text, kind, words):
    result = boot(nova, passing, proof=c.script(tmp_path, text))
    assert isinstance(result, kind)
    assert words in result.detail


def test_script_that_takes_too_long_is_killed_and_the_image_failed(
    nova, passing, tmp_path, monkeypatch
):
    told = tmp_path / 'told'
    monkeypatch.setattr(programs, 'time', test_programs.Hasty(told))
    path = c.script(tmp_path, f'echo waiting; touch {told}; sleep 6000')
    result = boot(nova, passing, proof=path, good_within=600)
    assert result == quarantine.Failed(
        'the script was killed after its time; it said: waiting'
    )


def test_without_its_script_no_server_is_made(nova, passing):
    result = boot(nova, passing, proof=Path('/nowhere/script'))
    assert isinstance(result, quarantine.Undecided)
    assert '[quarantine] script: /nowhere/script: expected' in result.detail
    assert nova.asked == []


# Removing


def remove(nova, passing):
    return quarantine.remove(nova, c.IMAGE, c.NAME, passing.clock())


def test_only_servers_of_the_name_and_the_image_are_removed(nova, passing):
    mine = [nova.put(c.NAME, c.IMAGE), nova.put(c.NAME, c.IMAGE, 'ERROR')]
    others = [
        nova.put(c.NAME, 'another image'),
        nova.put(f'{c.NAME}4', c.IMAGE),
    ]
    assert remove(nova, passing)
    assert nova.asked.count('delete') == len(mine)
    assert list(nova.servers) == others


def test_where_there_is_none_that_is_said(nova, passing):
    assert not remove(nova, passing)
    assert 'delete' not in nova.asked


def test_deletion_is_waited_for(nova, passing):
    nova.put(c.NAME, c.IMAGE)
    nova.stuck = True
    passing.at[20] = nova.servers.clear
    assert remove(nova, passing)
    assert passing.passed == 20
    assert nova.asked.count('delete') == 1


def test_deletion_that_does_not_end_is_an_error_that_names_the_server(
    nova, passing
):
    nova.put(c.NAME, c.IMAGE)
    nova.stuck = True
    with pytest.raises(errors.TryAgain, match='server server-0 of the quar'):
        remove(nova, passing)
    assert passing.passed > quarantine.REMOVAL

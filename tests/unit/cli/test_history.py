# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm history``, and the recipe that verifies its export."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

import pytest

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import history
from hepix_vm.catalogue import kept
from hepix_vm.catalogue import schema
from hepix_vm.cli import base
from tests import endorser

RECIPE = (
    Path(__file__).parents[3]
    / 'doc'
    / 'source'
    / 'admin'
    / 'verify_history.py'
)
BELIEVED = kept.Believed('an-identifier', '1', '[]')


def one_line(ran, said):
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.fixture
def told(site, hepix_vm):
    """A site with two messages and some decisions behind it."""
    with site.database.writing() as transaction:
        kept.keep(transaction, 'main', b'a list', 100, 'ok', '', BELIEVED)
        kept.keep(transaction, 'main', b'another', 200, 'digest', 'why')
        transaction.remember(300, 'jane', 'image-blocked', 'x', 'a hole')
        transaction.remember(400, 'joe', 'image-blocked', 'y', 'évil \x1b[31m')
    return hepix_vm


def change(site, statement):
    with site.database.engine().begin() as connection:
        connection.execute(statement)


def head(site):
    with site.database.reading() as connection:
        return history.head(connection)


# show


def test_history_is_shown_with_the_newest_at_the_end(told):
    ran = told('history', 'show', '-f', 'json')
    assert ran.status == 0
    assert [row['at'] for row in ran.json] == [
        '1970-01-01T00:01:40Z',
        '1970-01-01T00:03:20Z',
        '1970-01-01T00:05:00Z',
        '1970-01-01T00:06:40Z',
    ]
    assert ran.json[2] == {
        'row': 3,
        'at': '1970-01-01T00:05:00Z',
        'who': 'jane',
        'event': 'image-blocked',
        'subject': 'x',
        'detail': 'a hole',
    }


@pytest.mark.parametrize(
    ('arguments', 'rows'),
    [
        (('x',), [3]),
        (('--event', 'image-blocked'), [3, 4]),
        (('y', '--event', 'image-blocked'), [4]),
        (('--since', '200', '--until', '300'), [2, 3]),
        (('--since', '1970-01-01T00:06:40Z'), [4]),
        (('--limit', '1'), [4]),
        (('nobody',), []),
    ],
    ids=lambda given: ' '.join(map(str, given)),
)
def test_history_by_subject_event_and_time(told, arguments, rows):
    ran = told('history', 'show', *arguments, '-f', 'json')
    assert [row['row'] for row in ran.json] == rows


@pytest.mark.parametrize('form', ['table', 'value', 'csv', 'json', 'yaml'])
def test_history_does_not_control_the_terminal(told, form):
    ran = told('history', 'show', '-f', form)
    assert ran.status == 0
    assert '\x1b' not in ran.out


@pytest.mark.parametrize(
    'arguments',
    [
        ('--limit', '0'),
        ('--limit', '10001'),
        ('--limit', '-1'),
        ('--limit', 'many'),
        ('--since', 'yesterday'),
    ],
    ids=' '.join,
)
def test_history_of_nonsense_is_wrong_use(told, arguments):
    ran = told('history', 'show', *arguments)
    assert ran.status == 2
    assert 'expected' in ran.err


# verify


def test_history_that_fits(told, site):
    ran = told('history', 'verify', '-f', 'json')
    assert ran.status == 0
    assert ran.json == {
        'verdict': 'fits',
        'rows': 4,
        'head': head(site).sha256,
        'messages': 2,
        'not_kept': 0,
        'misfits': [],
    }


def test_history_that_was_changed_fails_and_names_the_row(told, site):
    table = schema.history
    change(site, table.update().where(table.c.id == 3).values(who='nobody'))
    ran = told('history', 'verify', '-f', 'json')
    assert ran.status == 1
    assert ran.json['verdict'] == 'does not fit'
    (misfit,) = ran.json['misfits']
    assert misfit.startswith('history row 3: this row was changed')
    assert 'expected digest' in misfit
    assert 'found' in misfit


def test_history_beside_a_noted_head(told, site):
    noted = head(site).sha256
    assert told('history', 'verify', '--head', noted.upper()).status == 0
    ran = told('history', 'verify', '--head', '0' * 63 + '1')
    assert ran.status == 1
    assert 'noted head' in ran.out
    ran = told('history', 'verify', '--head', 'nonsense')
    assert ran.status == 2
    assert 'expected a head, 64 hexadecimal digits' in ran.err


# export


def exported(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_export_holds_every_row_with_its_digest(told, site, tmp_path):
    path = tmp_path / 'history.jsonl'
    ran = told('history', 'export', path)
    assert ran.status == 0
    found = exported(path)
    assert [row['row'] for row in found] == [1, 2, 3, 4]
    assert set(found[0]) == {
        'row',
        'at',
        'who',
        'event',
        'subject',
        'detail',
        'sha256',
    }
    assert found[-1]['sha256'] == head(site).sha256
    assert f'4 rows, 0 messages; head {head(site).sha256}' in ran.err
    assert list(tmp_path.glob('.*')) == []


def test_export_to_standard_output(told):
    ran = told('history', 'export', '-')
    assert ran.status == 0
    assert len([json.loads(line) for line in ran.out.splitlines()]) == 4


def test_export_to_what_is_no_file_leaves_it_one(told):
    ran = told('history', 'export', '/dev/null')
    assert ran.status == 0
    assert Path('/dev/null').is_char_device()


def test_signed_messages_are_files_named_by_their_digest(told, tmp_path):
    folder = tmp_path / 'new' / 'messages'
    for count in (2, 0):
        ran = told('history', 'export', tmp_path / 'h', '--messages', folder)
        assert ran.status == 0
        assert f'4 rows, {count} messages' in ran.err
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    subjects = [
        row['subject']
        for row in exported(tmp_path / 'h')
        if row['event'] == 'list-seen'
    ]
    assert found == dict(zip(subjects, [b'a list', b'another'], strict=True))


def test_message_that_was_changed_is_not_exported(told, site, tmp_path):
    table = schema.list_seen
    change(
        site, table.update().where(table.c.id == 1).values(message=b'forged')
    )
    change(site, table.update().where(table.c.id == 2).values(message=b''))
    folder = tmp_path / 'messages'
    ran = told('history', 'export', tmp_path / 'h', '--messages', folder)
    assert ran.status == 1
    assert 'history row 1: expected a message of SHA-256' in ran.err
    assert list(folder.iterdir()) == []
    assert len(exported(tmp_path / 'h')) == 4


def test_line_that_names_no_message_exports_none(told, site, tmp_path):
    with site.database.writing() as transaction:
        transaction.remember(1, 'me', kept.SEEN, '../../etc/x', 'nonsense')
    folder = tmp_path / 'messages'
    ran = told('history', 'export', tmp_path / 'h', '--messages', folder)
    assert ran.status == 0
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    'arguments',
    [
        ('absent/h',),
        ('h', '--messages', 'file/messages'),
        ('h', '--messages', 'full'),
    ],
    ids=' '.join,
)
def test_export_that_cannot_be_written_is_one_sentence(
    told, tmp_path, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    if 'full' in arguments:
        (tmp_path / 'full').mkdir()
        # A folder that takes no file, for root neither.
        real = Path.replace

        def refused(self, target):
            if 'full' in str(target):
                raise OSError(28, 'No space left on device')
            return real(self, target)

        monkeypatch.setattr(Path, 'replace', refused)
    ran = told('history', 'export', *arguments)
    assert ran.status == 1
    one_line(ran, 'expected to write there, found: ')
    assert not (tmp_path / 'h').exists()
    assert list(tmp_path.rglob('.*')) == []


# The recipe


def recipe(*arguments):
    return subprocess.run(
        [sys.executable, '-I', '-S', str(RECIPE), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def taken(told, tmp_path):
    """An export with its messages."""
    ran = told(
        'history', 'export', tmp_path / 'h', '--messages', tmp_path / 'm'
    )
    assert ran.status == 0
    return tmp_path


def test_recipe_verifies_an_export(taken, site):
    ran = recipe(
        taken / 'h', '--messages', taken / 'm', '--head', head(site).sha256
    )
    assert (ran.returncode, ran.stderr) == (0, '')
    assert ran.stdout == f'4 rows, head {head(site).sha256}\n'
    assert recipe(taken / 'h', '--head', chain.GENESIS).returncode == 0


def test_recipe_notices_a_changed_row(taken):
    lines = (taken / 'h').read_text().splitlines()
    lines[2] = lines[2].replace('jane', 'joan')
    (taken / 'h').write_text('\n'.join(lines) + '\n')
    ran = recipe(taken / 'h')
    assert ran.returncode == 1
    assert 'row 3 does not fit' in ran.stdout
    assert 'row 4' not in ran.stdout


def test_recipe_notices_a_missing_end_by_the_noted_head(taken, site):
    lines = (taken / 'h').read_text().splitlines()
    (taken / 'h').write_text('\n'.join(lines[:-1]) + '\n')
    assert recipe(taken / 'h').returncode == 0
    ran = recipe(taken / 'h', '--head', head(site).sha256)
    assert ran.returncode == 1
    assert 'the noted head' in ran.stdout


def test_recipe_notices_a_changed_message(taken):
    (file, *_) = sorted((taken / 'm').iterdir())
    file.write_bytes(b'forged')
    ran = recipe(taken / 'h', '--messages', taken / 'm')
    assert ran.returncode == 1
    assert f'{file} was changed' in ran.stdout


def test_recipe_opens_no_file_that_a_row_names_otherwise(told, site, tmp_path):
    with site.database.writing() as transaction:
        transaction.remember(1, 'me', kept.SEEN, '../../etc/passwd', '')
    told('history', 'export', tmp_path / 'h')
    ran = recipe(tmp_path / 'h', '--messages', tmp_path)
    assert ran.returncode == 1
    assert 'row 5 names no message' in ran.stdout


# Before there are tables


@pytest.mark.parametrize(
    'command', [('show',), ('verify',), ('export', '-')], ids=' '.join
)
def test_history_without_tables_says_what_to_run(
    hepix_vm, site, tmp_path, command
):
    site.url = f'sqlite:///{tmp_path / "empty.sqlite"}'
    ran = hepix_vm('history', *command)
    assert ran.status == 1
    one_line(ran, 'run "hepix-vm db sync"')


# What the sync keeps


def test_sync_binds_what_it_sees_and_lets_go_of_old_refusals(
    hepix_vm, site, monkeypatch
):
    site.publish('main', '2', endorser.make_image(b'an image'))
    assert hepix_vm('sync').status == 0
    for _ in range(2):
        site.publish('main', '1')
        assert hepix_vm('sync').status == 1
    ran = hepix_vm('history', 'verify', '-f', 'json')
    assert ran.status == 0, ran.out
    assert (ran.json['messages'], ran.json['not_kept']) == (3, 0)
    later = base.now() + 91 * 86400
    monkeypatch.setattr(base, 'now', lambda: later)
    site.silence('main')
    hepix_vm('sync')
    ran = hepix_vm('history', 'verify', '-f', 'json')
    assert ran.status == 0, ran.out
    assert (ran.json['messages'], ran.json['not_kept']) == (1, 2)
    ran = hepix_vm('history', 'show', '--event', 'messages-pruned')
    assert 'are older than 90 days' in ran.out

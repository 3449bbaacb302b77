# SPDX-License-Identifier: Apache-2.0
"""``notify``, and telling at the end of other commands."""

from __future__ import annotations

import json

import pytest

from hepix_vm.catalogue import notices
from hepix_vm.cli import base
from hepix_vm import errors
from hepix_vm.operations import catalogue
from tests import endorser

DATA = b'an image'


@pytest.fixture(autouse=True)
def still(site, monkeypatch):
    """The clock of the commands stands still."""
    monkeypatch.setattr(base, 'now', lambda: site.now)


class Hooked:
    """The command, with a hook that keeps what it is told."""

    def __init__(self, site, hepix_vm):
        self._site = site
        self._hepix_vm = hepix_vm
        self.place = site.folder / 'events'
        self.hook = site.folder / 'hook'
        self.body('')
        hepix_vm('status')
        hepix_vm.file.write_text(
            f'[notify]\nhook = {self.hook}\nhook_timeout = 240\n'
            + hepix_vm.file.read_text()
        )

    def body(self, text):
        """What the hook does after it has read its input."""
        self.hook.write_text(f'#!/bin/sh\ncat >> {self.place}\n{text}\n')
        self.hook.chmod(0o755)

    def __call__(self, *arguments):
        return self._hepix_vm.bare(
            '--config-file', self._hepix_vm.file, *arguments
        )

    def told(self):
        """Events that it was told."""
        if not self.place.exists():
            return []
        return [json.loads(x) for x in self.place.read_text().splitlines()]

    def happens(self, kind='image.released', subject='x'):
        """Something happens."""
        self._site.database.transact(
            lambda made: notices.write(made, self._site.now, kind, subject, {})
        )


@pytest.fixture
def hooked(site, hepix_vm):
    return Hooked(site, hepix_vm)


def test_what_waits_is_told(hooked):
    hooked.happens()
    ran = hooked('notify', '-f', 'json')
    assert ran.status == 0
    assert ran.json == [
        {
            'channel': 'hook',
            'outcome': 'told',
            'told': 1,
            'left': 0,
            'again': '',
            'detail': '',
        }
    ]
    assert [event['kind'] for event in hooked.told()] == ['image.released']


def test_a_channel_that_fails_is_exit_status_1(hooked, site):
    hooked.happens()
    hooked.body('printf "\\033[31mno"; exit 3')
    ran = hooked('notify', '-f', 'json')
    assert ran.status == 1
    (row,) = ran.json
    assert row['outcome'] == 'failed'
    assert row['left'] == 1
    assert row['again'] == base.shown_time(site.now + 60)
    assert 'exit status 3' in row['detail']
    assert '\x1b' not in ran.out + ran.err
    # It does not wait for that time when an operator asks.
    hooked.body('')
    assert hooked('notify').status == 0
    assert len(hooked.told()) == 2


def test_one_event_is_given_up(hooked):
    hooked.happens(subject='first\x1b[31m')
    hooked.happens(subject='second')
    hooked.body('exit 1')
    assert hooked('notify').status == 1
    hooked.body('')
    ran = hooked('notify', '--give-up', 'hook')
    assert ran.status == 0
    assert 'event 1 (image.released of first\\x1b[31m) is given up' in ran.err
    assert [event['subject'] for event in hooked.told()][1:] == ['second']
    ran = hooked('notify', '--give-up', 'hook')
    assert 'nothing waits' in ran.err
    assert hooked('notify', '--give-up', 'x').status == 2


def test_without_channels_there_is_nothing_to_do(hepix_vm):
    ran = hepix_vm('notify', '-f', 'json')
    assert ran.status == 0
    assert ran.json == []


def test_a_sync_tells_what_it_did(hooked, site):
    site.change('main', approval='all')
    hooked._hepix_vm.file.unlink()
    made = Hooked(site, hooked._hepix_vm)
    site.publish('main', '1', endorser.make_image(DATA))
    assert made('sync').status == 0
    image_id = site.record(DATA)
    site.publish('main', '2')
    assert made('sync').status == 0
    (event,) = made.told()
    assert event['kind'] == 'image.withdrawn'
    assert event['subject'] == image_id
    assert event['payload']['subscription'] == 'main'
    assert event['payload']['sha512'] == endorser.make_image(DATA).sha512


def test_a_sync_does_not_fail_because_nobody_listens(hooked, site):
    site.publish('main', '1', endorser.make_image(DATA))
    hooked.happens()
    hooked.hook.unlink()
    ran = hooked('sync')
    assert ran.status == 0
    assert 'channel hook: option [notify] hook' in ran.err
    assert hooked('sync', '--dry-run').status == 0
    assert hooked.told() == []


def test_a_dry_run_tells_nothing_and_notes_no_run(hooked, site):
    site.publish('main', '1', endorser.make_image(DATA))
    hooked.happens()
    assert hooked('sync', '--dry-run').status == 0
    assert hooked.told() == []
    found = hooked('status', '-f', 'json').json
    assert found['runs'] == {}


def test_a_sync_of_one_list_says_nothing_of_the_others(hooked, site):
    site.publish('main', '1', endorser.make_image(DATA))
    assert hooked('sync', 'main').status == 0
    assert set(hooked('status', '-f', 'json').json['runs']) == {'withdraw'}


def test_a_sync_that_breaks_off_is_noted(hooked, monkeypatch):
    def broken(*arguments, **options):
        raise errors.LocalFault('the disk is full')

    monkeypatch.setattr(catalogue, 'synchronise', broken)
    assert hooked('sync').status == 1
    run = hooked('status', '-f', 'json').json['runs']['sync']
    assert run['ok'] is False
    assert run['detail'] == 'the disk is full'

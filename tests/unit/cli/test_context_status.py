# SPDX-License-Identifier: Apache-2.0
"""``context status``: who fetched, who did not, and what of it is old."""

from __future__ import annotations

import dataclasses
import datetime
import re

import pytest

from hepix_vm.catalogue import context_fetches
from hepix_vm.cli import base
from hepix_vm.context import generations
from hepix_vm import errors
from hepix_vm.nova import servers
from hepix_vm.operations import site as site_
from tests.unit.cli import commands

NOW = 1_790_000_000
DAY = 86400
ONE, TWO, THREE = (f'{n:08}-0000-4000-8000-000000000000' for n in (1, 2, 3))
SHA256 = 'a' * 64
NOTE = context_fetches.Note(ONE, 'tgz', SHA256, 1, 'p', NOW - 60, NOW - 50, 2)
PROCESS = context_fetches.Process('host/1/x', NOW - 90, NOW, True, 0)


class Place:
    """A site with servers, and what it published.

    :ivar away: Nova cannot be asked
    """

    def __init__(self, site, hepix_vm, monkeypatch):
        self.site, self.hepix_vm = site, hepix_vm
        self.state = site.folder / 'state'
        self.servers = []
        self.away = None
        self.serve = 'published'
        monkeypatch.setattr(servers.Nova, '__init__', lambda *_: None)
        monkeypatch.setattr(servers.Nova, 'servers', lambda _: self._asked())
        monkeypatch.setattr(site_.Cloud, 'logged_in', lambda _: object())
        monkeypatch.setattr(base, 'now', lambda: NOW)

    def _asked(self):
        if self.away is not None:
            raise self.away
        return iter(self.servers)

    def server(self, instance, age=DAY, **values):
        moment = datetime.datetime.fromtimestamp(NOW - age, datetime.UTC)
        made = servers.Server(
            instance, 'name', 'p', 'host', 'ACTIVE', f'{moment:%FT%TZ}', None
        )
        self.servers.append(dataclasses.replace(made, **values))

    def note(self, **values):
        self.write(PROCESS, dataclasses.replace(NOTE, **values))

    def write(self, process, *notes):
        context_fetches.write(self.site.database, process, notes)

    def publish(self, tar=b'files', expires_at=None):
        order = generations.Order(NOW - DAY, expires_at, 'me', '', 10)
        return generations.publish(self.state, tar, order)

    def run(self, *arguments):
        commands.write_configuration(self.site, self.hepix_vm.file)
        with self.hepix_vm.file.open('a') as file:
            file.write(
                f'[context]\nserve = {self.serve}\n'
                f'state_directory = {self.state}\n'
            )
        return self.hepix_vm.bare(
            '--config-file',
            self.hepix_vm.file,
            'context',
            'status',
            '-f',
            'json',
            *arguments,
        )

    def states(self, *arguments):
        rows = self.run(*arguments).json
        return {row['server']: row['state'] for row in rows}


@pytest.fixture
def place(site, hepix_vm, monkeypatch):
    return Place(site, hepix_vm, monkeypatch)


def test_what_a_server_fetched_is_shown(place):
    place.publish()
    place.server(ONE, name='worker\x1b[2J')
    place.note()
    place.note(what='ran', last_at=NOW - 10)
    ran = place.run()
    assert ran.status == 0
    assert ran.err == ''
    assert ran.json == [
        {
            'server': ONE,
            'name': 'worker\\x1b[2J',
            'project': 'p',
            'host': 'host',
            'state': 'current',
            'form': 'tgz',
            'serial': 1,
            'sha256': SHA256,
            'fetched': base.shown_time(NOW - 50),
            'told': 'ran',
            'told_at': base.shown_time(NOW - 10),
            'detail': '',
        }
    ]


def test_a_damaged_old_publication_hides_no_other(place):
    place.publish(b'old')
    place.publish(b'older')
    place.publish(b'new')
    for instance, serial in ((ONE, 1), (TWO, 2), (THREE, 3)):
        place.server(instance)
        place.note(instance=instance, serial=serial)
    (place.state / 'generations/1/generation.json').write_text('{')
    assert place.states() == {
        ONE: 'superseded',
        TWO: 'superseded',
        THREE: 'current',
    }


def test_a_server_that_never_fetched_is_told_once_it_had_the_time(place):
    place.server(ONE, age=1800)
    place.server(TWO, age=1799)
    place.server(THREE, age=1800, status='SHUTOFF')
    place.server('no time', created='?')
    (row,) = place.run().json
    assert (row['server'], row['state']) == (ONE, 'never')
    assert row['fetched'] == ''
    assert row['serial'] is None
    assert re.match(r'created 20.*no bundle was fetched', row['detail'])
    assert place.states('--older', '0') == {ONE: 'never', TWO: 'never'}
    assert place.states('--older', '31') == {}


def test_a_manifest_and_features_are_no_bundle(place):
    place.server(ONE)
    place.note(what='manifest')
    place.note(what='jobfeatures', sha256='', serial=0)
    assert place.states() == {ONE: 'never'}


def test_what_was_published_since_supersedes(place):
    place.publish()
    place.publish(b'other files')
    place.server(ONE)
    place.server(TWO)
    place.note()
    place.note(instance=TWO, serial=2)
    assert place.states() == {ONE: 'superseded', TWO: 'current'}
    (row,) = place.run('--problems').json
    assert row['detail'] == 'generation 2 is published'


def test_the_same_files_under_another_serial_supersede_nothing(place):
    for tar in (b'files', b'other files', b'files'):
        place.publish(tar)
    place.server(ONE)
    place.note()
    assert place.states() == {ONE: 'current'}


def test_a_generation_that_is_not_kept_any_more_is_superseded(place):
    for number in range(12):
        place.publish(b'files %d' % number)
    place.server(ONE)
    place.note()
    assert place.states() == {ONE: 'superseded'}


def test_a_generation_expires(place):
    place.publish(expires_at=NOW)
    place.server(ONE)
    place.note()
    assert place.states() == {ONE: 'expired'}


def test_a_directory_that_is_served_is_unpublished(place):
    place.serve = 'directory'
    place.server(ONE)
    place.note(serial=0)
    assert place.states() == {ONE: 'unpublished'}
    assert place.states('--problems') == {}


def test_nothing_published_so_far(place):
    place.server(ONE)
    place.note(serial=0)
    assert place.states() == {ONE: 'unpublished'}


def test_the_last_word_on_the_last_bundle_counts(place):
    place.publish()
    for instance in (ONE, TWO, THREE):
        place.server(instance)
        place.note(instance=instance)
    place.note(what='ran', last_at=NOW - 40)
    place.note(what='failed', last_at=NOW - 30)
    place.note(instance=TWO, what='failed', last_at=NOW - 40)
    place.note(instance=TWO, what='ran', last_at=NOW - 30)
    # Of another bundle, before.
    place.note(instance=THREE, what='failed', sha256='b' * 64)
    assert place.states() == {ONE: 'failed', TWO: 'current', THREE: 'current'}
    assert next(iter(place.states())) == ONE


def test_servers_that_are_gone_are_not_listed(place):
    place.publish()
    place.note()
    assert place.run().json == []


def test_nova_that_cannot_be_asked_is_said_and_the_rest_is_shown(place):
    place.publish()
    place.note()
    place.away = errors.TryAgain('Nova: list servers: away')
    ran = place.run()
    assert ran.status == 1
    assert 'servers that never fetched are not known: Nova' in ran.err
    (row,) = ran.json
    assert (row['server'], row['name']) == (ONE, '')
    assert (row['project'], row['state']) == ('p', 'current')


def test_publications_that_cannot_be_read_are_said(place):
    place.publish()
    (place.state / 'generations' / '1' / 'generation.json').write_text('{')
    place.server(ONE)
    place.note()
    ran = place.run()
    assert ran.status == 1
    assert 'damaged' in ran.err
    assert ran.json[0]['state'] == 'unpublished'


def test_what_was_lost_is_said(place):
    place.write(dataclasses.replace(PROCESS, open=False, lost=3))
    place.write(
        dataclasses.replace(
            PROCESS,
            name='host/2/y',
            seen_at=NOW - context_fetches.GONE - 1,
        )
    )
    place.write(dataclasses.replace(PROCESS, name='host/3/z'))
    ran = place.run()
    assert ran.status == 0
    lines = ran.err.splitlines()
    assert len(lines) == 2
    assert 'host/2/y did not end in good order' in ran.err
    assert 'host/1/x dropped 3 notes' in ran.err


def test_all_that_is_noted_of_one_server(place):
    place.note()
    place.note(what='ran', first_at=NOW, last_at=NOW, times=1)
    place.note(instance=TWO)
    assert place.run(ONE).json == [
        {
            'what': 'tgz',
            'serial': 1,
            'sha256': SHA256,
            'first': base.shown_time(NOW - 60),
            'last': base.shown_time(NOW - 50),
            'times': 2,
        },
        {
            'what': 'ran',
            'serial': 1,
            'sha256': SHA256,
            'first': base.shown_time(NOW),
            'last': base.shown_time(NOW),
            'times': 1,
        },
    ]


def test_a_server_of_which_nothing_is_noted(place):
    ran = place.run('x\x1b')
    assert ran.status == 1
    assert r'server x\x1b: nothing is noted' in ran.err


@pytest.mark.parametrize('older', ['-1', 'x', '1' * 9, '1.5'])
def test_minutes_are_a_number(place, older):
    ran = place.run(f'--older={older}')
    assert ran.status == 2
    assert 'expected a number of minutes' in ran.err


def _launched(age):
    """As Nova tells it."""
    moment = datetime.datetime.fromtimestamp(NOW - age, datetime.UTC)
    return f'{moment:%FT%T}.000000'


def test_what_was_fetched_before_a_rebuild_does_not_count(place):
    place.publish()
    place.server(ONE, launched=_launched(3600))
    place.server(TWO, launched=_launched(3600))
    place.server(THREE, launched=_launched(60))
    place.note(last_at=NOW - DAY // 2)
    # A config drive is written before the server is launched.
    place.note(instance=TWO, what='vendordata', last_at=NOW - 3700)
    place.note(instance=THREE, last_at=NOW - DAY // 2)
    found = {row['server']: row for row in place.run().json}
    assert found.keys() == {ONE, TWO}
    assert found[ONE]['state'] == 'never'
    assert 'since its rebuild' in found[ONE]['detail']
    assert found[TWO]['state'] == 'current'

# SPDX-License-Identifier: Apache-2.0
"""``status`` tells what became of images in the clouds, and who was told."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import runs
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import withdrawn_use
from hepix_vm.cli import base
from tests import endorser
from tests.unit.cli import test_status_screen as screen

HOUR = screen.HOUR
HOSTILE = 'a | b\nHEPIX_VM OK'


@pytest.fixture(autouse=True)
def still(site, monkeypatch):
    """The clock of the commands stands still."""
    monkeypatch.setattr(base, 'now', lambda: site.now)


@pytest.fixture
def well(site, hepix_vm):
    """A site where everything is in order."""
    site.publish('main', '1', endorser.make_image(b'an image'))
    assert hepix_vm('sync').status == 0
    return hepix_vm


def write(site, work):
    site.database.transact(work)


def test_a_sync_that_worked(well, site):
    found = screen.fields(well)
    moment = base.shown_time(site.now)
    expected = {'ok': True, 'started': moment, 'ended': moment, 'detail': ''}
    assert found['runs'] == {'sync': expected, 'withdraw': expected}
    assert found['measures']['sync_failed'] == 0
    assert found['measures']['withdraw_failed'] == 0
    assert found['measures']['publish_failed'] is None
    assert found['measures']['last_publish_hours'] is None
    assert f'sync: worked {moment}' in well('status').out


def test_a_sync_that_did_not_work_is_told_and_has_no_limit(well, site):
    site.silence('main')
    assert well('sync').status == 1
    found = screen.fields(well)
    assert found['status'] == 'OK'
    assert found['runs']['sync']['ok'] is False
    assert found['runs']['sync']['detail'] == '1 of 1 lists (main: fetch)'
    assert found['runs']['withdraw']['ok'] is True
    screen.problem(
        well,
        2,
        'the last sync did not end well: 1 of 1 lists',
        arguments=['--critical', 'sync_failed=0'],
    )


def test_withdrawals_that_wait_are_no_success_of_a_sync(well, site):
    screen.change(site, schema.endorsement, held_at=site.now)
    well('sync')
    run = screen.fields(well)['runs']['sync']
    assert run['ok'] is False
    assert run['detail'] == 'withdrawals wait (main)'


def test_a_sync_of_a_broken_catalogue_notes_nothing(well, site, tmp_path):
    site.url = f'sqlite:///{tmp_path / "absent" / "c"}'
    assert well('sync').status == 1


def ended(site, name, ok, detail='', hours=0):
    end = site.now - hours * HOUR
    write(
        site,
        lambda made: runs.remember(
            made, runs.Run(name, end - 60, end, ok, detail)
        ),
    )


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('withdraw', 'the clouds do not follow the last sync: it is away'),
        ('publish', 'the last run of publishing did not end well: it is away'),
    ],
)
def test_a_run_that_failed(well, site, name, said):
    ended(site, name, False, 'it is away')
    screen.problem(well, 1, said)
    assert f'{name}: failed 20' in well('status').out


def test_a_long_cause_is_cut_where_it_is_one_of_many(well, site):
    ended(site, 'publish', False, 'x' * 5000)
    ran = well('status', '--nagios')
    assert len(ran.out.splitlines()[1]) < 400
    run = screen.fields(well)['runs']['publish']
    assert run['detail'] == 'x' * 5000


def test_publishing_that_does_not_run(well, site):
    ended(site, 'publish', True, hours=30)
    assert screen.fields(well)['measures']['last_publish_hours'] == 30
    screen.problem(
        well,
        1,
        'nothing was published or looked through for 30 h',
        arguments=['--warning', 'last_publish_hours=24'],
    )


def unpublished(site, count, detail):
    def work(made):
        for number in range(count):
            made.put(
                schema.publication_problem,
                {
                    'cloud': 'default',
                    'subscription': 'main',
                    'identifier': f'image-{number:02}',
                },
                {'version': '2', 'at': site.now + number, 'detail': detail},
            )

    write(site, work)


def test_images_that_are_not_published_as_they_should_be(well, site):
    unpublished(site, 12, 'the quota is full')
    screen.problem(
        well,
        1,
        '12 images are not published as they should be (image-00 in default: '
        'the quota is full, ',
        ' and 7 more)',
    )
    found = screen.fields(well)['publishing']
    assert found['count'] == 12
    assert len(found['first']) == 10
    assert found['first'][0] == {
        'cloud': 'default',
        'subscription': 'main',
        'identifier': 'image-00',
        'version': '2',
        'since': base.shown_time(site.now),
        'detail': 'the quota is full',
    }
    assert 'and 2 more' in well('status').out


def test_what_a_server_said_cannot_be_taken_for_our_own_line(well, site):
    unpublished(site, 1, HOSTILE)
    ran = well('status', '--nagios')
    assert ran.status == 1
    first, second = ran.out.splitlines()
    assert first.startswith('HEPIX_VM WARNING - 1 images')
    assert first.count('|') == 1
    assert second.endswith('a / b HEPIX_VM OK)')


def quarantined(site, quarantine, state='quarantine', detail=None):
    image_id = str(uuid.uuid4())
    write(
        site,
        lambda made: made.put(
            schema.publication,
            {'image_id': image_id},
            {
                'cloud': 'default',
                'subscription': 'main',
                'identifier': 'i',
                'version': '2',
                'sha512': 'x',
                'state': state,
                'at': site.now,
                'quarantine': quarantine,
                'quarantine_detail': detail,
            },
        ),
    )
    return image_id


def test_images_in_quarantine(well, site):
    waits = quarantined(site, 'waiting')
    # Those that users see, and those that are gone, are not in it.
    quarantined(site, 'passed')
    quarantined(site, 'failed', state='gone')
    found = screen.fields(well)
    assert found['status'] == 'OK'
    assert found['quarantine'] == {
        'waiting': 1,
        'failed': 0,
        'first': [
            {
                'image_id': waits,
                'cloud': 'default',
                'identifier': 'i',
                'version': '2',
                'state': 'waiting',
                'since': base.shown_time(site.now),
                'detail': '',
            }
        ],
    }
    assert f'{waits} in default since 20' in well('status').out
    screen.problem(
        well,
        1,
        f'1 images wait in quarantine ({waits})',
        arguments=['--warning', 'quarantine_waiting=0'],
    )


def test_an_image_that_failed_in_quarantine(well, site):
    quarantined(site, 'waiting')
    failed = quarantined(site, 'failed', detail='no\nlogin prompt')
    screen.problem(well, 1, f'1 images failed in quarantine ({failed})')
    assert 'failed, no login prompt' in well('status').out


def test_what_runs_from_withdrawn_images_as_the_last_sync_saw_it(well, site):
    servers = [
        {
            'server': str(number),
            'project': 'p',
            'project_name': 'grid',
            'host': f'h{number % 11}',
        }
        for number in range(12)
    ]
    withdrawn_use.seen(
        site.database, 'default', {'image': servers}, {}, site.now
    )
    found = screen.fields(well)
    # Asked for by --servers only, and so are its limits.
    assert found['withdrawn_servers'] is None
    assert found['status'] == 'OK'
    assert found['withdrawn_running']['servers'] == 12
    assert found['withdrawn_running']['source'] == 'last sync'
    assert len(found['withdrawn_running']['where']) == 10
    assert found['withdrawn_running']['where'][0] == {
        'image_id': 'image',
        'project': 'p',
        'project_name': 'grid',
        'host': 'h0',
        'servers': 2,
    }
    out = well('status').out
    assert '2 from image in project grid on h0' in out
    assert 'and 1 more places' in out
    assert 'as of the last sync' in out


# Events that are to be told


def event(site, kind='image.released'):
    write(site, lambda made: notices.write(made, site.now, kind, 'x', {}))


def with_hook(well, *arguments):
    return screen.with_options(
        well, '[notify]\nhook = /nonexistent/hook\n', *arguments
    )


def test_channels_that_are_off_are_not_told_of(well, site):
    event(site)
    found = screen.fields(well)
    assert found['notices'] == {}
    assert found['measures']['undelivered'] == 0


def test_events_that_cannot_be_told(well, site):
    event(site)
    event(site)
    found = with_hook(well, 'status', '-f', 'json').json
    assert found['status'] == 'OK'
    assert found['notices']['hook']['left'] == 2
    assert with_hook(well, 'notify').status == 1
    ran = with_hook(well, 'status', '--nagios')
    assert ran.status == 1
    assert (
        '2 events cannot be told (hook: option [notify] hook: '
        '/nonexistent/hook: expected a program'
    ) in ran.out
    found = with_hook(well, 'status', '-f', 'json').json
    hook = found['notices']['hook']
    assert hook['failures'] == 1
    assert hook['told'] is None
    assert hook['next_attempt'] == base.shown_time(site.now + 60)
    assert found['measures']['undelivered'] == 2
    out = with_hook(well, 'status').out
    assert 'hook: 2 to tell, told last never, failed 1 times in a row' in out


def test_events_that_were_given_up(well, site):
    write(
        site,
        lambda made: channels.gave_up(
            made, site.now, channels.Channel.HOOK, 3
        ),
    )
    ran = with_hook(well, 'status', '--nagios')
    assert ran.status == 1
    assert '3 events were never told and are given up' in ran.out
    assert ', 3 given up' in with_hook(well, 'status').out
    site.now += channels.GIVEN_UP_SHOWN
    found = with_hook(well, 'status', '-f', 'json').json
    assert found['measures']['events_given_up'] == 0


# Context


def noted(site, what='tgz', serial=2, at=0, **process):
    at += site.now
    context_fetches.write(
        site.database,
        context_fetches.Process(
            **{
                'name': 'host/1/x',
                'since': site.now,
                'seen_at': site.now,
                'open': True,
                'lost': 0,
                **process,
            }
        ),
        [
            context_fetches.Note(
                f'instance {serial}', what, 'a' * 64, serial, 'p', at, at
            )
        ],
    )


def test_who_fetched_context(well, site):
    assert '0 servers fetched it' in well('status').out
    noted(site, serial=1)
    noted(site)
    noted(site, 'failed', at=1)
    found = screen.fields(well)
    assert found['status'] == 'OK'
    assert found['context'] == {
        'instances': 2,
        'superseded': 1,
        'failed': 1,
        'lost': 0,
        'crashed': 0,
    }
    assert (
        '2 servers fetched it, 1 of them another one than the newest, 1 say '
        'that it did not run'
    ) in ' '.join(well('status').out.replace('|', ' ').split())
    screen.problem(
        well,
        1,
        '1 servers say that their context did not run',
        arguments=['--warning', 'context_failed=0'],
    )
    screen.problem(
        well,
        1,
        '1 servers run a context that is superseded',
        arguments=['--warning', 'context_superseded=0'],
    )


def test_notes_that_were_lost_are_told_for_a_week(well, site):
    noted(site, open=False, lost=3)
    noted(site, name='host/2/y', seen_at=site.now - context_fetches.GONE - 1)
    screen.problem(well, 1, '4 notes or more on who fetched context are lost')
    assert 'lost: 3 notes, and those of 1 processes' in well('status').out
    site.now += context_fetches.SHOWN
    found = screen.fields(well, '--warning', 'context_lost=0')
    assert found['measures']['context_lost'] == 0


def test_nothing_is_changed_by_looking(well, site):
    event(site)
    with site.database.reading() as connection:
        before = connection.execute(sa.select(schema.notice)).all()
    with_hook(well, 'status')
    with site.database.reading() as connection:
        assert connection.execute(sa.select(schema.notice)).all() == before

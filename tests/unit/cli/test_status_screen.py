# SPDX-License-Identifier: Apache-2.0
"""``status``: one screen, exit statuses and a line for monitoring."""

from __future__ import annotations

import datetime
import hashlib
import re

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import lease
from hepix_vm.catalogue import measures
from hepix_vm.catalogue import schema
from hepix_vm.cli import base
from hepix_vm import errors
from hepix_vm.nova import descent
from hepix_vm.nova import servers as servers_
from hepix_vm.operations import withdrawing
from tests import endorser
from tests.unit.catalogue import following

DATA = b'an image'
HOUR = 3600


@pytest.fixture(autouse=True)
def still(site, monkeypatch):
    """The clock of the commands stands still."""
    monkeypatch.setattr(base, 'now', lambda: site.now)


@pytest.fixture
def well(site, hepix_vm):
    """A site where everything is in order."""
    site.publish('main', '1', endorser.make_image(DATA))
    assert hepix_vm('sync').status == 0
    return hepix_vm


def change(site, table, **values):
    with site.database.writing() as transaction:
        transaction.execute(sa.update(table).values(**values))


def fields(hepix_vm, *arguments):
    return hepix_vm('status', '-f', 'json', *arguments).json


def test_all_is_well(well, site):
    ran = well('status')
    assert ran.status == 0
    for said in ('OK', '1 fresh', '1 ok', 'none leads', '1 endorsed'):
        assert said in ran.out
    assert ran.err == ''


def test_programs_read_stable_names(well, site):
    found = fields(well)
    state = site.state()
    assert list(found) == [
        'status',
        'problems',
        'subscriptions',
        'next_expiry',
        'last_sync',
        'next_attempt',
        'failing',
        'daemon',
        'images',
        'waiting',
        'run_anyway',
        'crls',
        'withdrawn_servers',
        'withdrawn_running',
        'publishing',
        'quarantine',
        'runs',
        'notices',
        'context',
        'history',
        'revision',
        'measures',
    ]
    assert found['status'] == 'OK'
    assert found['problems'] == []
    assert found['subscriptions'] == {
        'fresh': 1,
        'stale': 0,
        'revoked': 0,
        'distrusted': 0,
        'unsubscribed': 0,
        'misconfigured': 0,
        'never_synced': 0,
    }
    assert found['next_expiry']['subscription'] == 'main'
    assert found['last_sync']['codes'] == {'ok': 1}
    assert found['images'] == {'endorsed': 1, 'approved': 0}
    assert found['history']['length'] > 0
    assert re.fullmatch('[0-9a-f]{64}', found['history']['head'])
    assert found['withdrawn_servers'] is None
    assert found['daemon'] is None
    assert found['failing'] == {'count': 0, 'worst': []}
    assert found['run_anyway'] == {'count': 0, 'first': []}
    assert found['measures']['fresh'] == 1
    assert state.expires is not None


def test_nothing_is_changed(well, site):
    before = fields(well)['revision']
    assert fields(well)['revision'] == before


NAGIOS = re.compile(r'HEPIX_VM (OK|WARNING|CRITICAL) - [^|]+ \| (.*)')
PERFORMANCE = re.compile(r'[a-z_]+=-?\d+(\.\d+)?;(-?[\d.]+:?)?;(-?[\d.]+:?)?')


def test_the_first_line_is_that_of_a_plug_in(well):
    ran = well('status', '--nagios')
    assert ran.status == 0
    (line,) = ran.out.splitlines()
    assert line.startswith(
        'HEPIX_VM OK - 1 subscriptions fresh, 0 images approved | '
    )
    matched = NAGIOS.fullmatch(line)
    assert matched
    data = matched[2].split(' ')
    assert all(PERFORMANCE.fullmatch(item) for item in data), data
    named = {item.partition('=')[0] for item in data}
    assert {'subscriptions', 'fresh', 'stale', 'images'} <= named
    assert {'next_expiry_hours', 'last_sync_hours', 'crl_hours'} <= named


def problem(hepix_vm, status, *said, arguments=()):
    """One problem, told in each form with its exit status."""
    grade = measures.Grade(status).name
    ran = hepix_vm('status', '-f', 'json', *arguments)
    assert ran.status == status, ran.out
    assert ran.json['status'] == grade
    (found,) = ran.json['problems']
    assert found['grade'] == grade
    for part in said:
        assert part in found['detail']
    ran = hepix_vm('status', *arguments)
    assert ran.status == status
    ran = hepix_vm('status', '--nagios', *arguments)
    assert ran.status == status
    first, second = ran.out.splitlines()
    assert NAGIOS.fullmatch(first)
    assert first.startswith(f'HEPIX_VM {grade} - {found["detail"]} | ')
    assert second == f'{grade}: {found["detail"]}'


def test_no_subscription_is_a_warning(site, hepix_vm):
    site.configured.clear()
    problem(hepix_vm, 1, '0 subscriptions in the configuration')


def test_a_subscription_that_was_never_synced(site, hepix_vm):
    problem(hepix_vm, 1, '1 never synced (main)')


def test_a_stale_list(well, site):
    change(site, schema.subscription, verified_at=1)
    problem(well, 1, '1 stale (main)')


def test_a_revoked_endorser_is_critical(well, site):
    change(site, schema.subscription, standing='revoked')
    problem(well, 2, '1 revoked (main)')


def test_a_distrusted_list(well, site):
    change(site, schema.subscription, standing='distrusted')
    problem(well, 1, '1 distrusted (main)')


def test_a_broken_group(well, site):
    site.change('main', list_identifier='no-uuid')
    problem(well, 1, '1 misconfigured (main)')


def test_a_group_that_is_gone_is_no_problem(well, site):
    site.follow('other')
    site.publish('other', '1')
    well('sync')
    del site.configured['main']
    found = fields(well)
    assert found['status'] == 'OK'
    assert found['subscriptions']['unsubscribed'] == 1
    assert found['measures']['subscriptions'] == 1


def test_a_subscription_that_fails_again_and_again(well, site):
    change(
        site,
        schema.subscription,
        failures=4,
        last_code='fetch',
        next_attempt=site.now + HOUR,
    )
    problem(well, 1, '1 failed 3 times in a row or more (main)')
    (worst,) = fields(well)['failing']['worst']
    assert worst['failures'] == 4
    assert 'main: 4 times in a row, fetch, again 20' in well('status').out


@pytest.mark.parametrize(('hours', 'status'), [(7, 1), (25, 2)])
def test_a_sync_that_does_not_run(well, site, hours, status):
    ago = site.now - hours * HOUR
    change(site, schema.subscription, last_attempt=ago)
    problem(well, status, f'nothing was fetched or tried for {hours} h')


def test_a_list_that_expires_soon(well, site):
    soon = site.now + 48 * HOUR
    change(site, schema.subscription, expires=soon)
    problem(well, 1, 'the list of main expires in 48 h')


@pytest.mark.parametrize(
    ('hours', 'said'), [(10, 'runs out in 10 h'), (-10, 'ran out 10 h ago')]
)
def test_a_crl_that_runs_out(site, hepix_vm, tmp_path, hours, said):
    own = endorser.Endorser.create(name='Late', now=endorser.utc(site.now))
    site.follow('main', by=own, approval='listed')
    site.publish('main', '1')
    assert hepix_vm('sync').status == 0
    for path in site.anchors.iterdir():
        path.unlink()
    if hours < 0:
        own.now -= datetime.timedelta(days=2)
    lifetime = datetime.timedelta(hours=hours if hours > 0 else 48 + hours)
    own.write_trust_anchors(site.anchors, crl_lifetime=lifetime)
    problem(hepix_vm, 1, 'CN=Late CA', said, 'run fetch-crl')
    (crl,) = fields(hepix_vm)['crls']
    assert crl['state'] == ('ending' if hours > 0 else 'expired')
    assert 'CN=Late CA' in hepix_vm('status').out


def test_anchors_that_cannot_be_read(well, site):
    site.change('main', trust_anchors='/nonexistent')
    problem(well, 1, 'trust anchors in /nonexistent cannot be read')


def test_withdrawals_that_wait(well, site):
    now = site.now
    change(site, schema.endorsement, held_at=now)
    problem(well, 1, '1 images wait to be withdrawn (main)', 'confirm')
    (waiting,) = fields(well)['waiting']
    assert (waiting['subscription'], waiting['images']) == ('main', 1)
    assert 'main: 1 images since 20' in well('status').out


def anyway(site, count, seconds):
    with site.database.writing() as transaction:
        for number in range(count):
            transaction.put(
                schema.run_anyway,
                {'sha512': hashlib.sha512(b'%d' % number).hexdigest()},
                {
                    'until': site.now + seconds,
                    'at': 1,
                    'who': 'me',
                    'reason': 'a | b\nc',
                },
            )


def test_an_image_that_runs_anyway_is_about_to_end(well, site):
    anyway(site, 1, 20 * HOUR)
    problem(well, 1, 'may run for 20 h more')
    ran = well('status')
    assert ': a / b c' in ran.out


def test_of_many_things_some_are_shown_and_all_are_counted(well, site):
    anyway(site, 12, 90 * HOUR)
    found = fields(well)
    assert found['status'] == 'OK'
    assert found['run_anyway']['count'] == 12
    assert len(found['run_anyway']['first']) == 10
    assert 'and 2 more' in well('status').out


def test_names_are_cut_after_a_few(site, hepix_vm):
    for number in range(7):
        site.follow(
            f'list{number}', by=following.endorser_named('Endorser of main')
        )
    ran = hepix_vm('status', '--nagios')
    assert '8 never synced (list0, list1, list2, list3, list4 and 3 more)' in (
        ran.out
    )


def test_the_daemon_that_leads(well, site):
    lease.take(site.database, 'host-1 | x', None, 1_800_000_000)
    found = fields(well)['daemon']
    assert found['holder'] == 'host-1 | x'
    assert found['since'] == '2027-01-15T08:00:00Z'
    assert 'host-1 / x leads since 2027-01-15' in well('status').out


# Limits


def test_the_command_line_goes_before_the_configuration(well, site):
    change(site, schema.subscription, verified_at=1)
    text = '[status]\nwarning = stale:off\n'
    assert with_options(well, text, 'status').status == 0
    ran = with_options(well, text, 'status', '--critical', 'stale=0')
    assert ran.status == 2
    ran = with_options(
        well, '[status]\ncritical = stale:0\n', 'status', '--critical',
        'stale=1', '--warning', 'stale=off',
    )  # fmt: skip
    assert ran.status == 0


def test_the_limit_of_crls_is_that_of_their_warning(well, site):
    text = '[trust]\ncrl_warning_hours = 1000\n'
    ran = with_options(well, text, 'status', '--nagios')
    assert ran.status == 1
    assert 'the CRL of' in ran.out
    assert 'crl_hours=7' in ran.out
    text += '[status]\nwarning = crl_hours:10\n'
    assert with_options(well, text, 'status').status == 0


def with_options(hepix_vm, text, *arguments):
    hepix_vm('status')
    hepix_vm.file.write_text(text + hepix_vm.file.read_text())
    return hepix_vm.bare('--config-file', hepix_vm.file, *arguments)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--warning', 'stael=5'], "found 'stael'"),
        (['--critical', 'stale=many'], "found 'many'"),
        (['--warning', 'stale='], 'a number or "off" for stale'),
    ],
)
def test_a_limit_that_is_none_is_unknown(well, arguments, said):
    ran = well('status', *arguments)
    assert ran.status == 3
    assert said in ran.err
    ran = well('status', '--nagios', *arguments)
    assert ran.status == 3
    assert ran.out.startswith('HEPIX_VM UNKNOWN - --')


def test_a_limit_without_a_value_is_wrong_use(well):
    ran = well('status', '--warning', 'stale')
    assert ran.status == 2
    assert 'expected MEASURE=LIMIT' in ran.err


def test_a_wrong_limit_of_the_configuration_is_unknown(well):
    ran = with_options(well, '[status]\nwarning = x:1\n', 'status')
    assert ran.status == 3
    assert 'group [status] option warning' in ran.err


# Unknown


@pytest.mark.parametrize('url', ['sqlite:////nonexistent/c', 'nonsense'])
def test_a_catalogue_that_is_away_is_unknown(hepix_vm, site, url):
    site.url = url
    ran = hepix_vm('status')
    assert ran.status == 3
    assert '[catalogue] connection' in ran.err
    ran = hepix_vm('status', '--nagios')
    assert ran.status == 3
    (line,) = ran.out.splitlines()
    assert line.startswith('HEPIX_VM UNKNOWN - ')
    assert '|' not in line
    assert ran.err == ''


def test_a_configuration_that_is_not_there_is_unknown(hepix_vm, tmp_path):
    ran = hepix_vm.bare('--config-file', tmp_path / 'absent', 'status')
    assert ran.status == 3
    assert 'expected a readable file' in ran.err


# Servers


def servers(monkeypatch, answer):
    def asked(site):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(withdrawing, 'running', asked)


def runs_on(*places):
    """Servers on a withdrawn image, each of a project and on a host."""
    return tuple(
        descent.Running(
            servers_.Server(
                f's{number}', 'a | b', project, host, 'ACTIVE', '', 'image'
            ),
            descent.Link('image', 'expired'),
            descent.Relation.IMAGE,
        )
        for number, (project, host) in enumerate(places)
    )


def test_no_cloud_is_asked_unless_told(well, monkeypatch):
    servers(monkeypatch, AssertionError('asked'))
    assert well('status').status == 0


def test_servers_on_withdrawn_images_are_critical(well, monkeypatch):
    servers(monkeypatch, runs_on(('p', 'h1'), ('q', None), ('p', 'h1')))
    problem(
        well,
        2,
        '3 servers run from withdrawn images (2 of project p on host h1, 1 of '
        'project q on no host (shelved))',
        arguments=['--servers'],
    )
    found = fields(well, '--servers')
    assert found['withdrawn_servers'] == 3
    assert found['withdrawn_running'] == {
        'servers': 3,
        'source': 'nova',
        'where': [
            {
                'image_id': 'image',
                'project': project,
                'project_name': '',
                'host': host,
                'servers': count,
            }
            for project, host, count in (('p', 'h1', 2), ('q', '', 1))
        ],
    }
    assert '2 from image in project p on h1' in well('status', '--servers').out


def test_without_such_servers_it_is_well(well):
    ran = well('status', '--servers', '--nagios')
    assert ran.status == 0
    assert 'withdrawn_servers=0;;0' in ran.out


def test_a_cloud_that_does_not_answer_is_a_warning(well, monkeypatch):
    servers(monkeypatch, errors.TryAgain('it is away'))
    problem(
        well, 1, 'Nova could not be asked: it is away', arguments=['--servers']
    )


def test_without_an_account_nova_cannot_be_asked(well, site):
    site.record(DATA)
    change(site, schema.glance_record, state='withdrawn')
    problem(
        well, 1, 'group [openstack] option auth_type', arguments=['--servers']
    )


def test_the_worst_problem_comes_first_and_decides(well, site):
    change(site, schema.subscription, standing='revoked', failures=9)
    ran = well('status', '--nagios')
    assert ran.status == 2
    first, *others = ran.out.splitlines()
    assert first.startswith('HEPIX_VM CRITICAL - 1 revoked (main) | ')
    assert [line.partition(':')[0] for line in others] == [
        'CRITICAL',
        'WARNING',
    ]

# SPDX-License-Identifier: Apache-2.0
"""Commands over the site's catalogue, from the first to the last."""

from __future__ import annotations

import json
import uuid

import pytest
import yaml

from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from hepix_vm import imagelist
from tests import endorser
from tests.unit.catalogue import following

DATA, OTHER = b'an image', b'another image'


@pytest.fixture
def image():
    return endorser.make_image(DATA, title='Worker node')


@pytest.fixture
def synced(site, hepix_vm, image):
    """The list has been accepted; nothing is approved yet."""
    site.publish('main', '1', image, endorser.make_image(OTHER))
    assert hepix_vm('sync').status == 0
    return hepix_vm


def one_line(ran, said):
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.out == ''


# Without configuration or rights


COMMANDS = [
    ('subscription', 'list'),
    ('subscription', 'show', 'main'),
    ('sync',),
    ('image', 'list'),
    ('image', 'show', 'x'),
    ('image', 'approve', 'x'),
    ('image', 'block', 'x'),
    ('image', 'unblock', 'x'),
    ('image', 'explain', 'x'),
    ('image', 'report', 'x', '--reason', 'y'),
    ('history', 'show'),
    ('history', 'verify'),
    ('history', 'export', '-'),
    ('image', 'run-anyway', 'x', '--end'),
    ('subscription', 'confirm', 'main', '--reason', 'x'),
    ('list', 'show', '--subscription', 'main'),
    ('publish',),
    ('server', 'list', '--not-approved'),
    ('context', 'build'),
    ('db', 'sync'),
]
EACH = pytest.mark.parametrize('command', COMMANDS, ids=' '.join)


@EACH
def test_without_configuration_each_command_says_one_sentence(
    hepix_vm, tmp_path, command
):
    ran = hepix_vm.bare('--config-file', tmp_path / 'absent', *command)
    assert ran.status == 2
    one_line(ran, 'expected a readable file')


@EACH
def test_configuration_that_everybody_may_write_is_refused(
    hepix_vm, tmp_path, command
):
    path = tmp_path / 'open.conf'
    path.touch()
    path.chmod(0o666)
    ran = hepix_vm.bare('--config-file', path, *command)
    assert ran.status == 2
    one_line(ran, 'everybody may write it')


@pytest.mark.parametrize(
    'command',
    [
        c
        for c in COMMANDS
        if c[0] not in ('context', 'db', 'publish') and c[0] != 'server'
    ],
    ids=' '.join,
)
def test_database_without_tables_says_what_to_run(
    hepix_vm, site, tmp_path, command
):
    site.url = f'sqlite:///{tmp_path / "empty.sqlite"}'
    ran = hepix_vm(*command)
    assert ran.status == 1
    one_line(ran, 'run "hepix-vm db sync"')


@pytest.mark.parametrize('url', ['sqlite:////nonexistent/c', 'nonsense'])
def test_database_that_is_away_is_one_sentence(hepix_vm, site, url):
    site.url = url
    ran = hepix_vm('image', 'list')
    assert ran.status == (2 if url == 'nonsense' else 1)
    one_line(ran, '[catalogue] connection')


def test_without_account_there_is_no_publishing(synced):
    for command in (('publish',), ('server', 'list', '--not-approved')):
        ran = synced(*command)
        assert ran.status == 2
        one_line(ran, 'group [openstack] option auth_type')


def test_without_a_command_the_commands_are_shown(hepix_vm):
    ran = hepix_vm.bare()
    assert ran.status == 2
    assert 'image approve' in ran.out
    assert 'message verify' in ran.out


def test_help_and_version_end_well(hepix_vm):
    assert hepix_vm.bare('--version').status == 0
    ran = hepix_vm.bare('--help')
    assert ran.status == 0
    assert 'image approve' in ran.out
    assert hepix_vm.bare('help', 'sync').status == 0


def test_unknown_command_is_wrong_use(hepix_vm):
    assert hepix_vm.bare('image', 'destroy').status == 2


def test_option_that_takes_no_such_value_is_one_sentence(hepix_vm, tmp_path):
    path = tmp_path / 'wrong.conf'
    path.write_text('[fetch]\nparallel = many\n')
    path.chmod(0o600)
    ran = hepix_vm.bare('--config-file', path, 'image', 'list')
    assert ran.status == 2
    one_line(ran, 'parallel')


# The database


def test_tables_are_made_and_made_again(hepix_vm, site, tmp_path):
    site.url = f'sqlite:///{tmp_path / "new.sqlite"}'
    for _ in range(2):
        ran = hepix_vm('db', 'sync')
        assert (ran.status, ran.out) == (
            0,
            f'catalogue schema {migrations.head()}\n',
        )
    assert hepix_vm('image', 'list').status == 0


# Syncing


def test_sync_tells_each_subscription(hepix_vm, site, image):
    site.publish('main', '1', image)
    ran = hepix_vm('sync', '-f', 'json')
    assert ran.status == 0
    assert ran.json == [
        {
            'subscription': 'main',
            'outcome': 'accepted',
            'code': 'ok',
            'standing': 'trusted',
            'version': '1',
            'added': 1,
            'withdrawn': 0,
            'detail': '',
        }
    ]


def test_sync_of_a_refused_list_fails_and_says_why(synced, site):
    site.publish('main', '0')
    ran = synced('sync', '-f', 'json')
    assert ran.status == 1
    assert ran.json[0]['outcome'] == 'refused'
    assert ran.json[0]['code'] == 'rollback'
    assert ran.json[0]['standing'] == 'trusted'


def test_sync_of_a_name_that_is_not_configured_is_wrong_use(synced):
    ran = synced('sync', 'typo')
    assert ran.status == 2
    one_line(ran, 'subscription typo: expected one of main')


def test_sync_of_one_name(synced, site):
    site.follow('second')
    ran = synced('sync', 'main', '-f', 'json')
    assert [row['subscription'] for row in ran.json] == ['main']


def test_broken_group_fails_the_sync_and_not_the_others(synced, site):
    site.follow('second', list_identifier='no-uuid')
    ran = synced('sync', '-f', 'json')
    assert ran.status == 1
    outcomes = {row['subscription']: row['outcome'] for row in ran.json}
    assert outcomes == {'main': 'unchanged', 'second': 'misconfigured'}


def test_cloud_that_is_away_does_not_stop_a_withdrawal(synced, site, image):
    record = site.record(OTHER)
    site.publish('main', '2', image)
    synced('sync')
    account = (
        '[openstack]\nauth_type = password\n'
        'auth_url = http://127.0.0.1:1/v3\nusername = u\npassword = p\n'
        'project_name = p\nuser_domain_id = default\n'
        'project_domain_id = default\n'
    )
    path = site.folder / 'cloud.conf'
    path.write_text(synced.file.read_text() + account)
    path.chmod(0o600)
    ran = synced.bare('--config-file', path, 'sync', '-f', 'json')
    assert ran.status == 1
    assert 'Glance' in ran.err
    assert ran.json[0]['outcome'] == 'unchanged'
    assert site.image_state(record).startswith('withdrawn')


# Subscriptions


def test_subscriptions_are_listed_with_how_they_fare(synced, site):
    site.follow('second')
    site.follow('broken', list_identifier='no-uuid')
    ran = synced('subscription', 'list', '-f', 'json')
    assert ran.status == 0
    rows = {row['name']: row for row in ran.json}
    assert rows['main']['state'] == 'fresh'
    assert rows['main']['version'] == '1'
    assert rows['main']['images'] == 2
    assert rows['main']['approved'] == 0
    assert rows['main']['last_code'] == 'ok'
    assert rows['main']['verified_at'].endswith('Z')
    assert rows['second']['state'] == 'never synced'
    assert rows['broken']['state'] == 'misconfigured'


def test_subscription_that_left_is_still_shown(synced, site):
    site.configured.pop('main')
    synced('sync')
    (row,) = synced('subscription', 'list', '-f', 'json').json
    assert (row['name'], row['state']) == ('main', 'unsubscribed')


def test_one_subscription_with_whom_it_trusts(synced, site):
    found = synced('subscription', 'show', 'main', '-f', 'json').json
    by = site.endorsers['main']
    assert found['endorser_subject'] == by.subject
    assert found['endorser_issuer'] == by.issuer
    assert found['list_identifier'] == following.identifier_of('main')
    assert found['approval'] == 'listed'
    assert found['projects'] == 'all'
    assert found['version'] == '1'
    assert found['last_code'] == 'ok'
    assert len(found['payload_sha256']) == 64


def test_broken_subscription_shows_its_problem(hepix_vm, site):
    site.follow('broken', list_identifier='no-uuid')
    found = hepix_vm('subscription', 'show', 'broken', '-f', 'json').json
    assert 'expected a UUID' in found['problem']
    assert found['state'] == 'misconfigured'


def test_unknown_subscription_is_wrong_use(synced):
    for command in (
        ('subscription', 'show', 'typo'),
        ('list', 'show', '--subscription', 'typo'),
    ):
        ran = synced(*command)
        assert ran.status == 2
        one_line(ran, 'subscription typo: expected one of main')


def test_lists_of_a_subscription_accepted_and_refused(synced, site):
    site.publish('main', '0')
    synced('sync')
    rows = synced('list', 'show', '--subscription', 'main', '-f', 'json').json
    assert [(row['verdict'], row['code']) for row in rows] == [
        ('refused', 'rollback'),
        ('accepted', 'ok'),
    ]


# Images


def listed(hepix_vm, *options):
    rows = hepix_vm('image', 'list', *options, '-f', 'json').json
    return {row['identifier']: (row['verdict'], row['code']) for row in rows}


def test_images_and_what_is_decided_of_them(synced, image):
    rows = synced('image', 'list', '-f', 'json').json
    (row,) = [row for row in rows if row['identifier'] == image.identifier]
    assert row == {
        'subscription': 'main',
        'identifier': image.identifier,
        'version': '1.0',
        'title': 'Worker node',
        'size': len(DATA),
        'verdict': 'refused',
        'code': 'not-approved',
        'state': 'fresh',
    }


def test_approved_by_name(synced, image):
    ran = synced(
        'image',
        'approve',
        image.identifier.upper(),
        '--reason',
        'tested',
        '-f',
        'json',
    )
    assert ran.status == 0
    assert ran.json == {
        'approved': image.identifier,
        'version': '1.0',
        'title': 'Worker node',
        'subscription': 'main',
    }
    assert listed(synced)[image.identifier] == ('approved', 'approved')
    assert sum(v == 'approved' for v, _ in listed(synced).values()) == 1


def test_approving_survives_the_next_sync(synced, image):
    synced('image', 'approve', image.identifier)
    synced('sync')
    assert listed(synced)[image.identifier] == ('approved', 'approved')


def test_unknown_image_is_wrong_use(synced):
    for action in ('show', 'approve', 'block', 'unblock', 'explain'):
        ran = synced('image', action, str(uuid.uuid4()))
        assert ran.status == 2
        one_line(ran, 'image ')
    ran = synced('image', 'show', '../../etc/passwd' * 20)
    assert ran.status == 2
    one_line(ran, 'expected an image identifier')


def test_approving_is_for_subscriptions_that_approve_by_name(site, synced):
    site.change('main', approval='all')
    identifier = next(iter(listed(synced)))
    ran = synced('image', 'approve', identifier)
    assert ran.status == 2
    one_line(ran, 'approves "all"')


def test_approving_an_image_of_a_subscription_that_left(site, synced):
    identifier = next(iter(listed(synced)))
    site.configured.pop('main')
    ran = synced('image', 'approve', identifier)
    assert ran.status == 2
    one_line(ran, 'not configured any more')


def test_same_bytes_in_two_lists_are_approved_for_one_of_them(
    site, synced, image
):
    site.follow('second', approval='listed')
    site.publish('second', '1', endorser.make_image(DATA))
    synced('sync')
    ran = synced('image', 'approve', image.sha512)
    assert ran.status == 2
    one_line(ran, 'listed by main, second; say which with --subscription')
    ran = synced('image', 'approve', image.sha512, '--subscription', 'second')
    assert ran.status == 0
    assert site.decide(DATA) == 'approved'


def test_withdrawn_image_cannot_be_approved(site, synced, image):
    site.publish('main', '2')
    synced('sync')
    ran = synced('image', 'approve', image.identifier)
    assert ran.status == 2
    assert listed(synced) == {}
    shown = listed(synced, '--all')
    assert shown[image.identifier] == ('refused', 'withdrawn')


def test_list_of_one_subscription(synced):
    assert listed(synced, '--subscription', 'main')
    assert listed(synced, '--subscription', 'other') == {}


def test_image_show_by_identifier_and_by_content(synced, image):
    for name in (image.identifier, image.sha512, image.sha512.upper()):
        (row,) = synced('image', 'show', name, '-f', 'json').json
        assert row['identifier'] == image.identifier
        assert row['sha512'] == image.sha512
        assert row['uri'] == image.uri
        assert row['first_seen'].endswith('Z')


def test_block_and_unblock(site, synced, image):
    synced('image', 'approve', image.identifier)
    record = site.record(DATA)
    ran = synced(
        'image', 'block', image.identifier, '--reason', 'CVE', '-f', 'json'
    )
    assert ran.status == 0
    (row,) = ran.json
    assert (row['image_id'], row['code']) == (record, 'blocked')
    assert listed(synced)[image.identifier] == ('refused', 'blocked')
    assert site.image_state(record) == 'withdrawn blocked'
    ran = synced('image', 'unblock', image.identifier, '-f', 'json')
    assert (ran.status, ran.json) == (0, {'unblocked': image.identifier})
    assert listed(synced)[image.identifier] == ('approved', 'approved')
    assert site.image_state(record) == 'withdrawn blocked'
    assert synced('image', 'unblock', image.identifier).status == 2


def test_block_by_the_glance_image_holds_on_to_its_bytes(site, synced, image):
    synced('image', 'approve', image.identifier)
    record = site.record(DATA)
    assert synced('image', 'block', record).status == 0
    assert site.decide(DATA) == 'blocked'
    assert synced('image', 'unblock', record).status == 0
    assert site.decide(DATA) == 'approved'


def test_bytes_that_nobody_lists_yet_can_be_blocked(site, synced):
    content = endorser.make_image(b'known to be bad').sha512
    assert synced('image', 'block', content).status == 0
    assert site.decide(b'known to be bad') == 'blocked'


def test_block_by_content_covers_every_list(site, synced, image):
    site.follow('second', approval='all')
    site.publish('second', '1', endorser.make_image(DATA))
    synced('sync')
    synced('image', 'block', image.sha512)
    verdicts = {
        row['code']
        for row in synced('image', 'show', image.sha512, '-f', 'json').json
    }
    assert verdicts == {'blocked'}


# Explaining


KEYS = [
    'verdict',
    'code',
    'detail',
    'endorsements',
    'lists',
    'glance',
    'blocks',
    'history',
    'signers',
    'rules',
    'files',
    'records',
    'publications',
    'servers',
    'servers_unknown',
    'changes',
    'cached',
]


def test_explanation_of_an_image_has_all_that_led_there(
    site, synced, image, monkeypatch
):
    monkeypatch.setenv('SUDO_USER', 'jane')
    synced('image', 'approve', image.identifier, '--reason', 'tested')
    record = site.record(DATA)
    synced('image', 'block', image.sha512, '--reason', 'a security hole')
    for name in (image.identifier, image.sha512, record):
        ran = synced('image', 'explain', name, '-f', 'json')
        assert ran.status == 0
        found = ran.json
        assert list(found) == KEYS
        assert (found['verdict'], found['code']) == ('refused', 'blocked')
        (endorsement,) = found['endorsements']
        assert image.identifier in endorsement
        assert image.sha512 in endorsement
        assert 'main: list' in found['lists'][0]
        assert f'{record}: withdrawn blocked' in found['glance']
        assert 'a security hole' in found['blocks'][0]
        assert 'jane as' in found['blocks'][0]
        assert any('import-recorded' in line for line in found['history'])


def test_explanation_for_a_project(site, synced, image):
    site.change('main', approval='all', projects=frozenset({'mine'}))
    synced('sync')

    def code(*options):
        ran = synced(
            'image', 'explain', image.identifier, *options, '-f', 'json'
        )
        return ran.json['code']

    assert code() == 'approved'
    assert code('--project', 'mine') == 'approved'
    assert code('--project', 'theirs') == 'wrong-project'


def test_explanation_of_a_newer_version_is_about_the_newest(site, synced):
    identifier = next(iter(listed(synced)))
    site.change('main', approval='all')
    site.publish(
        'main',
        '2',
        endorser.make_image(b'newest', identifier=identifier, version='2'),
    )
    synced('sync')
    found = synced('image', 'explain', identifier, '-f', 'json').json
    assert found['code'] == 'approved'
    assert len(found['endorsements']) == 2


def test_text_of_a_list_does_not_control_the_terminal(site, synced):
    # The reader of lists refuses such titles; the entry is dropped.
    by = site.endorsers['main']
    document = by.make_list(
        following.identifier_of('main'), '2', [endorser.make_image(OTHER)]
    )
    payload = imagelist.render(document).replace(
        b'a test image', b'\\u001b[31mred'
    )
    site.serve('main', by.sign(payload))
    ran = synced('sync', '-f', 'json')
    assert ran.status == 1
    assert '\x1b' not in ran.out + ran.err
    assert 'dc:title' in ran.json[0]['detail']


# Forms of output


@pytest.mark.parametrize('form', ['table', 'value', 'yaml', 'json'])
@pytest.mark.parametrize(
    'command',
    [
        ('subscription', 'list'),
        ('subscription', 'show', 'main'),
        ('sync',),
        ('image', 'list'),
        ('image', 'show', 'IMAGE'),
        ('image', 'explain', 'IMAGE'),
        ('image', 'approve', 'IMAGE'),
        ('image', 'block', 'IMAGE'),
        ('list', 'show', '--subscription', 'main'),
    ],
    ids=' '.join,
)
def test_every_command_in_every_form(synced, image, command, form):
    named = [image.identifier if c == 'IMAGE' else c for c in command]
    ran = synced(*named, '-f', form)
    assert ran.status == 0, ran.err
    if form == 'json':
        json.loads(ran.out)
    elif form == 'yaml':
        assert yaml.safe_load(ran.out) is not None
    elif command[:2] != ('image', 'block'):
        assert ran.out.strip()


def test_catalogue_that_fails_on_the_way_is_one_sentence(synced, monkeypatch):
    def broken(self, *arguments):
        raise OSError('the disk is gone')

    monkeypatch.setattr(database.Transaction, 'remember', broken)
    identifier = next(iter(listed(synced)))
    ran = synced('image', 'block', identifier)
    assert ran.status == 1
    one_line(ran, 'the catalogue failed: the disk is gone')

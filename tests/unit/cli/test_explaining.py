# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm image explain``: the way from a list to the servers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import types
import urllib.parse
import uuid

import pytest

from hepix_vm.catalogue import kept
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.operations import cached
from hepix_vm.operations import explaining
from tests import catalogue_rows
from tests.unit.catalogue import following
from tests.unit.catalogue import servers
from tests.unit.cli import commands

DATA, OLDER = b'an image', b'an older one'
CONTENT = catalogue_rows.sha512(DATA)
IDENTIFIER = '1c9b6ee5-0c9f-4f3a-8a39-1ad2d30b7a11'
SIGNER = {'subject': 'CN=Jane', 'issuer': 'CN=A CA', 'sha256': 'c' * 64}


class Explaining:
    """A site with a catalogue, and an account at a Nova where told."""

    def __init__(self, site, capsys) -> None:
        self.site = site
        self.cloud = ''
        self.messages: dict[str, str] = {}
        self._commands = commands.Commands(site, capsys)

    def __call__(self, *arguments: object) -> commands.Ran:
        path = self.site.folder / 'explain.conf'
        commands.write_configuration(self.site, path)
        with path.open('a') as file:
            file.write(self.cloud)
        return self._commands.bare(
            '--config-file', path, 'image', 'explain', *arguments
        )

    def json(self, *arguments: object) -> dict[str, list[str]]:
        """The explanation for programs."""
        ran = self(*arguments, '-f', 'json')
        assert ran.status == 0, ran.err
        return json.loads(ran.out)

    def see(self, version: str, at: int) -> int:
        """An accepted list; returns its row."""
        with self.site.database.writing() as transaction:
            return kept.keep(
                transaction,
                'main',
                f'list {version}'.encode(),
                at,
                'ok',
                '',
                kept.Believed(
                    following.identifier_of('main'),
                    version,
                    json.dumps([SIGNER]),
                ),
            )


@pytest.fixture
def rows(site):
    with contextlib.closing(catalogue_rows.Rows(site.url)) as made:
        yield made


@pytest.fixture
def explain(site, rows, capsys):
    """Two versions of an image, that came with two lists."""
    made = Explaining(site, capsys)
    made.see('1', 100)
    newest = made.see('2', 200)
    made.see('3', 300)
    rows.subscription('main', list_id=newest, list_version='2')
    for data, version, seen, withdrawn in (
        (OLDER, '1.0', 100, True),
        (DATA, '2.0', 200, False),
    ):
        rows.endorse(
            data,
            'main',
            identifier=IDENTIFIER,
            version=version,
            first_seen=seen,
            withdrawn=withdrawn,
            title='Worker node',
        )
    with site.database.writing() as transaction:
        transaction.put(
            schema.approval,
            {'subscription': 'main', 'identifier': IDENTIFIER},
            {'sha512': CONTENT, 'at': 150, 'who': 'jane', 'reason': 'tested'},
        )
    return made


def test_way_from_the_list_to_glance(explain, site):
    record = site.record(DATA)
    with site.database.writing() as transaction:
        transaction.put(
            schema.publication,
            {'image_id': record},
            {
                'subscription': 'main',
                'identifier': IDENTIFIER,
                'version': '2.0',
                'sha512': CONTENT,
                'state': 'active',
                'at': 400,
            },
        )
    found = explain.json(IDENTIFIER)
    assert (found['verdict'], found['code']) == ('approved', 'approved')
    (followed,) = found['lists']
    digest = hashlib.sha256(b'list 2').hexdigest()
    assert 'version 2, trusted' in followed
    assert f'seen 1970-01-01T00:03:20Z, message sha256 {digest}' in followed
    assert found['signers'] == [
        f'main version {version}: CN=Jane, issued by CN=A CA, certificate '
        f'sha256 {"c" * 64}'
        for version in ('2', '1')
    ]
    older, newest = found['endorsements']
    assert 'no longer listed' in older
    assert 'came with list version 1 (message sha256 ' in older
    assert 'today: withdrawn' in older
    assert 'came with list version 2' in newest
    assert 'today: approved' in newest
    assert any(
        'main version 2.0: approval = listed: approved by jane' in line
        for line in found['rules']
    )
    assert (
        f'http://localhost/image: {len(DATA)} bytes, sha512 {CONTENT}, no '
        'signature of its own is demanded' in found['files']
    )
    assert found['glance'] == [f'{record}: positive']
    assert found['records'][0].startswith(f'{record}: positive, recorded 2')
    assert found['publications'] == [
        f'{record}: active, version 2.0 of main, 1970-01-01T00:06:40Z'
    ]
    assert found['servers'] == []
    assert 'auth_type' in found['servers_unknown']
    assert 'image block' in found['changes'][0]


def test_snapshots_of_servers_and_hosts_that_have_it_cached(
    explain, rows, site
):
    record, child = site.record(DATA), str(uuid.uuid4())
    rows.record(child, DATA, parent=record, step='snapshot')
    with site.database.writing() as transaction:
        transaction.put(
            schema.precached,
            {'cloud': 'default', 'aggregate': 'fast', 'image_id': record},
            {'at': 500},
        )
    found = explain.json(record)
    (of_child,) = (line for line in found['records'] if child in line)
    assert of_child.endswith(f', snapshot of a server of {record}')
    assert found['cached'] == [
        f'hosts of aggregate fast: image {record}, asked to fetch it '
        '1970-01-01T00:08:20Z'
    ]
    assert found['glance'] == [f'{record}: positive', f'{child}: positive']
    rows.withdraw(DATA)
    assert f'a snapshot of a server of image {record}' in explain(child).out


def test_hosts_have_the_base_of_each_server_that_they_run():
    servers_of = [
        ('image', 'one'),
        ('image', 'one'),
        ('other', 'one'),
        ('image', None),
        (None, 'two'),
    ]
    found = cached.by_servers(
        types.SimpleNamespace(image_id=image, host=host)
        for image, host in servers_of
    )
    assert list(found) == [
        cached.Cached('image', 'one', 2),
        cached.Cached('other', 'one', 1),
    ]


def test_text_for_a_person_has_all_of_it_in_its_order(explain, site):
    record = site.record(DATA)
    ran = explain(record)
    assert ran.status == 0
    assert ran.out.startswith(f'image {record} is approved (approved): ')
    titles = [
        line
        for line in ran.out.splitlines()[1:]
        if line and not line.startswith(' ')
    ]
    assert titles == [
        'Lists',
        'Signed by',
        'Endorsements',
        "This site's rules",
        'Files',
        'Glance images and their records',
        'Servers that run from it',
        'History',
        'What would change the decision',
    ]
    assert '  not known: no account to ask Nova with' in ran.out


def test_text_of_chosen_things(explain):
    ran = explain(IDENTIFIER, '-c', 'lists', '-c', 'verdict')
    assert ran.status == 0
    assert ran.out.startswith('\nLists\n  main: list ')
    assert 'Files' not in ran.out


@pytest.mark.parametrize('form', ['text', 'table', 'value', 'yaml', 'json'])
def test_explanation_does_not_control_the_terminal(explain, rows, form):
    rows.change(
        schema.endorsement,
        schema.endorsement.c.withdrawn.is_(False),
        title='\x1b[31mred',
    )
    ran = explain(IDENTIFIER, '-f', form)
    assert ran.status == 0
    assert '\x1b' not in ran.out


def test_block_of_the_site_and_how_to_lift_it(explain, rows):
    rows.block(CONTENT)
    found = explain.json(IDENTIFIER)
    assert found['code'] == 'blocked'
    assert found['blocks'][0].startswith(f'{CONTENT} by test at ')
    assert found['changes'] == [
        f'"hepix-vm image unblock {CONTENT} --reason TEXT"'
    ]


def test_image_that_runs_anyway(explain, rows, site):
    rows.withdraw(DATA)
    with site.database.writing() as transaction:
        transaction.put(
            schema.run_anyway,
            {'sha512': CONTENT},
            {'until': 2**33, 'at': 1, 'who': 'joe', 'reason': 'needed'},
        )
    found = explain.json(CONTENT)
    assert found['code'] == 'run-anyway'
    assert any('by joe at' in line for line in found['rules'])
    assert '--end' in found['changes'][0]


def test_file_whose_signature_was_checked(explain, rows):
    rows.change(schema.endorsement, schema.endorsement.c.id > 0, proven=True)
    found = explain.json(CONTENT)
    assert found['files'][0].endswith('its signature was checked')


def test_file_whose_signature_is_demanded_and_was_not_checked(explain, site):
    # Behind the last group, which is the subscription's.
    explain.cloud = (
        'image_signature_suffix = .sig\n'
        f'image_signature_certificate = {site.anchors / "x.pem"}\n'
    )
    found = explain.json(CONTENT)
    assert found['files'][0].endswith('its signature has not been checked')
    assert any('has not been checked' in line for line in found['rules'])


def test_other_names_of_the_same_bytes_are_shown(explain, rows):
    rows.subscription('second')
    other = rows.endorse(DATA, 'second', approved=False)
    assert any(
        line.startswith(f'second: {other}')
        for line in explain.json(IDENTIFIER)['endorsements']
    )
    # The older bytes are no answer to what the image is today.
    rows.endorse(OLDER, 'second')
    found = explain.json(IDENTIFIER)
    assert f'image data sha512:{CONTENT[:16]}' in found['detail']


def test_endorsement_of_a_subscription_that_was_never_synced(explain, rows):
    rows.endorse(b'of nobody', 'unheard-of', title='odd')
    found = explain.json(catalogue_rows.sha512(b'of nobody'))
    assert found['code'] == 'unsubscribed'
    assert found['lists'] == []
    assert found['changes'] == [
        'a group [subscription:unheard-of] in the configuration, then '
        '"hepix-vm sync"'
    ]


def test_glance_image_without_an_endorsement(explain, site):
    record = site.record(b'bytes of nobody')
    found = explain.json(record)
    assert found['code'] == 'not-endorsed'
    assert found['endorsements'] == found['lists'] == found['signers'] == []
    assert 'the endorser of the image' in found['changes'][0]


def test_withdrawn_record_of_approved_bytes(explain, rows):
    record = str(uuid.uuid4())
    rows.record(
        record, DATA, state=model.RecordState.WITHDRAWN.value, reason='blocked'
    )
    found = explain.json(record)
    assert found['code'] == 'record-withdrawn'
    assert 'new import' in found['changes'][0]


def test_list_of_which_no_message_is_known(explain, rows, site):
    with site.database.writing() as transaction:
        transaction.execute(schema.list_seen.delete())
    found = explain.json(CONTENT)
    assert 'message' not in found['lists'][0]
    assert 'came with' not in found['endorsements'][0]
    assert found['signers'] == []


# Servers


def account(url):
    return f'[openstack]\nauth_type = none\nendpoint = {url}\n'


def told(*given):
    """A Nova with these servers, which are (name, image id) each."""

    def behave(handler):
        asked = urllib.parse.parse_qs(handler.path.partition('?')[2])
        handler.server.asked.append((asked, {}))
        found = [
            {
                'id': f'id-of-{name}',
                'name': name,
                'tenant_id': 'theirs',
                'OS-EXT-SRV-ATTR:host': 'node1',
                'status': 'ACTIVE',
                'created': '2026-01-01T00:00:00Z',
                'image': {'id': image},
            }
            for name, image in given
            if [image] == asked.get('image') and 'marker' not in asked
        ]
        body = json.dumps({'servers': found}).encode()
        servers.answer(body, **{'Content-Type': 'application/json'})(handler)

    return behave


@pytest.fixture
def nova(monkeypatch):
    with servers.running() as server:
        yield server


def answer_all(server, behaviour):
    server.behaviour = lambda path: behaviour


def test_servers_that_run_from_it_are_asked_of_nova(explain, site, nova):
    record, other = site.record(DATA), site.record(b'bytes of nobody')
    answer_all(nova, told(('one', record), ('two', other)))
    explain.cloud = account(nova.url(''))
    found = explain.json(IDENTIFIER)
    assert found['servers'] == [
        f'id-of-one "one": ACTIVE, project theirs, host node1, created '
        f'2026-01-01T00:00:00Z, image {record}'
    ]
    assert found['servers_unknown'] == ''
    asked = [path for path, _ in nova.asked if isinstance(path, dict)]
    assert asked
    assert all(each['all_tenants'] == ['True'] for each in asked)
    assert '  id-of-one "one": ACTIVE' in explain(record).out


def test_nova_is_not_asked_about_what_is_not_in_glance(explain, nova):
    explain.cloud = account(nova.url(''))
    found = explain.json(IDENTIFIER)
    assert found['servers_unknown'] == ''
    assert nova.asked == []


@pytest.mark.parametrize(
    ('behaviour', 'said'),
    [
        (servers.status(503), 'Nova: list servers'),
        (servers.status(403), 'has to see the servers of all projects'),
        (servers.hung_up, 'Nova: list servers'),
    ],
    ids=['503', '403', 'hung up'],
)
def test_nova_that_is_away_is_said_and_the_rest_is_shown(
    explain, site, nova, behaviour, said
):
    record = site.record(DATA)
    answer_all(nova, behaviour)
    explain.cloud = account(nova.url(''))
    found = explain.json(IDENTIFIER)
    assert said in found['servers_unknown']
    assert found['glance'] == [f'{record}: positive']
    assert f'  not known: {found["servers_unknown"]}' in explain(record).out


def test_nova_that_hangs_is_waited_for_a_while_only(
    explain, site, nova, monkeypatch
):
    site.record(DATA)
    answer_all(nova, servers.hanging)
    explain.cloud = account(nova.url(''))
    whole = explaining.explain

    def hurried(*arguments, **options):
        return whole(*arguments, nova_wait=1.0, **options)

    monkeypatch.setattr(explaining, 'explain', hurried)
    found = explain.json(IDENTIFIER)
    assert 'Nova: list servers' in found['servers_unknown']
    assert found['verdict'] == 'approved'


def test_account_that_cannot_be_used_is_said_and_the_rest_is_shown(
    explain, site
):
    site.record(DATA)
    explain.cloud = '[openstack]\nauth_type = nothing-known\n'
    found = explain.json(IDENTIFIER)
    assert 'group [openstack]' in found['servers_unknown']
    assert found['verdict'] == 'approved'

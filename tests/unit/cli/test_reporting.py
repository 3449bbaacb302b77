# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm image report``: what an endorser is told."""

from __future__ import annotations

import dataclasses
from email import parser
from email import policy
import uuid

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import kept
from hepix_vm.catalogue import schema
from hepix_vm import imagelist
from tests import catalogue_rows
from tests import endorser
from tests import mail_servers
from tests.unit.catalogue import following
from tests.unit.cli import commands

DATA = b'an image'
CONTENT = catalogue_rows.sha512(DATA)
IDENTIFIER = '1c9b6ee5-0c9f-4f3a-8a39-1ad2d30b7a11'


class Reporting:
    """A site whose catalogue has lists, and its command."""

    def __init__(self, site, capsys) -> None:
        self.site = site
        self.mail = ''
        self._commands = commands.Commands(site, capsys)

    def __call__(self, *arguments: object) -> commands.Ran:
        path = self.site.folder / 'mail.conf'
        commands.write_configuration(self.site, path)
        with path.open('a') as file:
            file.write(f'[mail]\n{self.mail}')
        return self._commands.bare('--config-file', path, *arguments)

    def endorse(self, name='main', emails=('endorser@example.org',), **values):
        """Put an accepted list and its entry into the catalogue."""
        by = self.site.endorsers.get(name) or following.endorser_named(
            f'Endorser of {name}'
        )
        made = by.make_list(
            following.identifier_of(name),
            '7',
            [endorser.make_image(DATA, identifier=IDENTIFIER)],
        )
        (first,) = made.endorsers
        made = dataclasses.replace(
            made,
            endorsers=tuple(
                dataclasses.replace(first, email=email) for email in emails
            ),
        )
        message = by.sign(imagelist.render(made))
        with self.site.database.writing() as transaction:
            row = kept.keep(
                transaction,
                name,
                message,
                100,
                'ok',
                '',
                kept.Believed(made.identifier, '7', '[]'),
            )
        rows = catalogue_rows.Rows(self.site.url)
        try:
            rows.subscription(name, list_id=row, list_version='7')
            rows.endorse_digest(
                values.pop('sha512', CONTENT),
                name,
                **(
                    {
                        'identifier': IDENTIFIER,
                        'size': len(DATA),
                        'title': 'Worker node',
                        'version': '1.0',
                        'first_seen': 100,
                    }
                    | values
                ),
            )
        finally:
            rows.close()

    def events(self) -> list[tuple[str, str, str]]:
        """What the history says of the image."""
        return [
            (row.event, row.who, row.detail)
            for row in self.site.rows(
                sa.select(schema.history).where(
                    schema.history.c.subject == IDENTIFIER
                )
            )
        ]


@pytest.fixture
def report(site, capsys, monkeypatch):
    monkeypatch.setenv('SUDO_USER', 'jane')
    made = Reporting(site, capsys)
    made.endorse()
    return made


def read(text):
    found = parser.Parser(policy=policy.SMTP).parsestr(text)
    assert found.defects == []
    return found


REASON = ('--reason', 'Root has no password.\nSee CVE-2026-1.')


def test_message_tells_what_and_why(report):
    ran = report('image', 'report', IDENTIFIER, *REASON)
    assert ran.status == 0
    found = read(ran.out)
    assert str(found['to']) == 'endorser@example.org'
    assert found['from'] is None
    assert IDENTIFIER in found['subject']
    assert 'Worker node' in found['subject']
    text = found.get_content()
    for said in (
        IDENTIFIER,
        following.identifier_of('main'),
        'version 7',
        'Version     1.0',
        'http://localhost/image',
        f'{len(DATA)} bytes',
        CONTENT[:64],
        CONTENT[64:],
        '  Root has no password.',
        '  See CVE-2026-1.',
        'nothing yet',
        'a cloud site',
    ):
        assert said in text
    ((event, who, detail),) = report.events()
    assert event == 'report-prepared'
    assert who.startswith('jane as')
    assert 'Root has no password' in detail
    assert 'endorser@example.org' in detail
    assert found['message-id'] in detail


@pytest.mark.parametrize('named', [IDENTIFIER.upper(), CONTENT, 'record'])
def test_image_by_each_of_its_names(report, site, named):
    if named == 'record':
        named = site.record(DATA)
    ran = report('image', 'report', named, *REASON)
    assert ran.status == 0
    assert IDENTIFIER in ran.out


def test_message_says_what_the_site_did(report, site):
    site.record(DATA)
    report('image', 'block', IDENTIFIER, '--reason', 'CVE')
    text = read(report('image', 'report', IDENTIFIER, *REASON).out)
    assert f'blocked {IDENTIFIER} on 20' in text.get_content()
    assert 'withdrew 1 imported copies' in text.get_content()


def test_message_says_that_the_site_runs_it_all_the_same(report, site):
    with site.database.writing() as transaction:
        transaction.put(
            schema.run_anyway,
            {'sha512': CONTENT},
            {'until': 2**33, 'at': 1, 'who': 'me', 'reason': 'needed'},
        )
    text = read(report('image', 'report', IDENTIFIER, *REASON).out)
    assert 'runs it until 2242' in text.get_content()


def test_block_of_the_content_is_told_in_short(report):
    report('image', 'block', CONTENT, '--reason', 'CVE')
    text = read(report('image', 'report', IDENTIFIER, *REASON).out)
    assert 'blocked sha512:' in text.get_content()


# To whom


def to(ran):
    return [each.addr_spec for each in read(ran.out)['to'].addresses]


def test_all_endorsers_of_all_lists_are_told(report):
    report.endorse(
        'second',
        ['joe@example.com', 'Ann <ann@example.com>', 'joe@example.com'],
    )
    ran = report('image', 'report', CONTENT, *REASON)
    assert to(ran) == [
        'endorser@example.org',
        'joe@example.com',
        'ann@example.com',
    ]
    assert following.identifier_of('second') in ran.out
    assert len(report.events()) == 1


def test_lists_that_withdrew_it_are_not_told_while_another_has_it(report):
    report.endorse('second', ['joe@example.com'], withdrawn=True)
    assert to(report('image', 'report', CONTENT, *REASON)) == [
        'endorser@example.org'
    ]


def test_image_that_no_list_has_any_more(site, capsys):
    report = Reporting(site, capsys)
    report.endorse(withdrawn=True)
    ran = report('image', 'report', IDENTIFIER, *REASON)
    assert to(ran) == ['endorser@example.org']
    assert 'the newest list no longer has the image' in ran.out


def test_address_of_the_operator_takes_the_place_of_the_lists(report):
    ran = report(
        'image',
        'report',
        IDENTIFIER,
        *REASON,
        '--to',
        'Ann <ann@example.com>',
        '--to',
        'joe@example.com',
        '--to',
        'ann@example.com',
    )
    assert to(ran) == ['ann@example.com', 'joe@example.com']


def test_address_that_is_none_is_passed_over_with_a_word(report):
    report.endorse('second', ['nobody', 'joe@example.com, ann@example.com'])
    ran = report('image', 'report', CONTENT, *REASON)
    assert ran.status == 0
    assert to(ran) == ['endorser@example.org']
    assert 'hv:email of the list of second: expected' in ran.err
    assert "found 'nobody'" in ran.err


def one_line(ran, said):
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.out == ''


def test_list_without_an_address_needs_one(site, capsys):
    report = Reporting(site, capsys)
    report.endorse(
        emails=['x\\\r\nBcc: evil@example.org'.replace('\r\n', ' ')]
    )
    ran = report('image', 'report', IDENTIFIER, *REASON)
    assert ran.status == 2
    one_line(ran, 'name an address with --to')
    assert (
        report('image', 'report', IDENTIFIER, *REASON, '--to', 'a@b').status
        == 0
    )


@pytest.mark.parametrize('content', [b'forged', b''])
def test_list_that_was_changed_in_the_catalogue_is_not_asked(
    report, site, content
):
    with site.database.writing() as transaction:
        transaction.execute(schema.list_seen.update().values(message=content))
    ran = report('image', 'report', IDENTIFIER, *REASON)
    assert ran.status == 2
    one_line(ran, 'the list of main cannot be read: expected a message')


def test_image_of_a_list_that_is_not_kept(report, site):
    with site.database.writing() as transaction:
        transaction.put(
            schema.subscription, {'name': 'main'}, {'list_id': None}
        )
    ran = report('image', 'report', IDENTIFIER, *REASON)
    assert ran.status == 2
    one_line(ran, 'its signed message is not kept')
    ran = report('image', 'report', IDENTIFIER, *REASON, '--to', 'a@b')
    assert ran.status == 0
    assert 'main version 1.0' in report.events()[0][2]


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ((str(uuid.UUID(int=1)), *REASON), 'expected an image identifier'),
        ((IDENTIFIER, '--reason', ' '), 'option --reason'),
        ((IDENTIFIER, *REASON, '--to', 'a@b, c@d'), 'expected one address'),
        ((IDENTIFIER, *REASON, '--send'), 'options smtp_host and sender'),
        ((IDENTIFIER,), '--reason'),
    ],
    ids=['unknown', 'empty reason', 'two addresses', 'no server', 'no reason'],
)
def test_wrong_use_sends_and_keeps_nothing(report, arguments, said):
    ran = report('image', 'report', *arguments)
    assert ran.status == 2
    assert said in ran.err
    assert ran.out == ''
    assert report.events() == []


def test_glance_image_that_nobody_ever_endorsed_has_nobody_to_tell(
    report, site
):
    record = site.record(b'other bytes')
    ran = report('image', 'report', record, *REASON)
    assert ran.status == 2
    one_line(ran, 'there is nobody to tell')


@pytest.mark.parametrize('option', ['sender', 'contact', 'cc'])
def test_option_that_is_no_address_is_one_sentence(report, option):
    report.mail = f'{option} = nobody at all\n'
    ran = report('image', 'report', IDENTIFIER, *REASON)
    assert ran.status == 2
    one_line(ran, f'group [mail] option {option}: expected')


# Sending


MAIL = (
    'smtp_host = 127.0.0.1\nsmtp_port = {port}\nencryption = none\n'
    'sender = cloud@site.example.org\ncontact = people@site.example.org\n'
    'site_name = The Site\ncc = security@site.example.org\ntimeout = 120\n'
)


def test_message_is_sent_and_kept_in_the_history(report):
    with mail_servers.running() as server:
        report.mail = MAIL.format(port=server.port)
        ran = report('image', 'report', IDENTIFIER, *REASON, '--send')
    assert ran.status == 0, ran.err
    (taken,) = server.taken
    assert str(taken['from']) == 'The Site <cloud@site.example.org>'
    assert str(taken['reply-to']) == 'people@site.example.org'
    assert 'The Site reports' in taken.get_content()
    assert 'Contact: people@site.example.org' in taken.get_content()
    assert server.recipients == [
        ['endorser@example.org', 'security@site.example.org']
    ]
    assert read(ran.out)['message-id'] == taken['message-id']
    ((event, _, detail),) = report.events()
    assert event == 'report-sent'
    assert taken['message-id'] in detail


def test_recipient_that_is_refused_is_told_and_kept(report):
    with mail_servers.running() as server:
        server.refusing['endorser@example.org'] = '550 unknown'
        report.mail = MAIL.format(port=server.port)
        ran = report('image', 'report', IDENTIFIER, *REASON, '--send')
    assert ran.status == 1
    assert 'not sent to endorser@example.org: 550 unknown' in ran.err
    assert 'refused: endorser@example.org: 550' in report.events()[0][2]


def test_message_that_is_refused_is_not_kept_as_sent(report):
    with mail_servers.running() as server:
        server.answer = '554 no'
        report.mail = MAIL.format(port=server.port)
        ran = report('image', 'report', IDENTIFIER, *REASON, '--send')
    assert ran.status == 1
    assert '554 no' in ran.err
    assert report.events() == []


def test_message_that_was_sent_while_the_catalogue_fails_says_so(
    report, monkeypatch
):
    def broken(self, *arguments):
        raise OSError('the disk is gone')

    with mail_servers.running() as server:
        report.mail = MAIL.format(port=server.port)
        monkeypatch.setattr(database.Transaction, 'remember', broken)
        ran = report('image', 'report', IDENTIFIER, *REASON, '--send')
    assert ran.status == 1
    assert 'the message was sent, but the history lacks it' in ran.err
    assert len(server.taken) == 1


def test_what_a_list_says_is_no_header(site, capsys):
    report = Reporting(site, capsys)
    title = 'x\r\nBcc: evil@example.org\r\n\r\n.\r\nMAIL FROM:<x>'
    report.endorse(title=title, uri='http://x/\r\nBcc: evil@example.org')
    with mail_servers.running() as server:
        report.mail = MAIL.format(port=server.port)
        ran = report('image', 'report', IDENTIFIER, *REASON, '--send')
    assert ran.status == 0, ran.err
    (taken,) = server.taken
    assert taken['bcc'] is None
    assert server.recipients == [
        ['endorser@example.org', 'security@site.example.org']
    ]
    assert '\r' not in str(taken['subject'])

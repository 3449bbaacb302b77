# SPDX-License-Identifier: Apache-2.0
"""One mail about several events, whatever their texts try."""

from __future__ import annotations

from email import parser
from email import policy

import pytest

from hepix_vm.catalogue import notices
from hepix_vm import errors
from hepix_vm.mail import letter
from hepix_vm.mail import sending
from hepix_vm.notify import digest
from tests import mail_servers

NOW = 1_800_000_000
AUTHOR = letter.Author('cloud@site.example.org', 'Site X', cc=('x@y.org',))
SERVER = sending.Server('127.0.0.1', 1, sending.Encryption.NONE, timeout=120)
TO = ('admin@site.example.org', 'team@site.example.org')


def made(server=SERVER, author=AUTHOR):
    return digest.Digest(TO, author, server)


def notice(number, kind='image.released', subject='an-id', **payload):
    return notices.Notice(number, NOW + number, kind, subject, payload)


def text(*told, author=AUTHOR):
    """The mail as who gets it reads it."""
    written = digest.write(made(author=author), told, NOW + 60).as_bytes()
    return parser.BytesParser(policy=policy.SMTP).parsebytes(written)


def test_events_are_grouped_by_kind():
    mail = text(
        notice(1, version='1', subscription='main', cloud='default'),
        notice(2, 'image.withdrawn', code='expired', detail='the list'),
        notice(3, version='2', subscription='main'),
    )
    assert mail['subject'] == 'Site X: 2 image.released, 1 image.withdrawn'
    assert mail['to'] == ', '.join(TO)
    assert mail['cc'] is None
    assert mail.get_content().splitlines() == [
        'Site X: 3 events from 2027-01-15 08:00:01 UTC to '
        '2027-01-15 08:00:03 UTC',
        '',
        'image.released (2)',
        '',
        '  2027-01-15 08:00:01 UTC  an-id',
        '    cloud         default',
        '    subscription  main',
        '    version       1',
        '',
        '  2027-01-15 08:00:03 UTC  an-id',
        '    subscription  main',
        '    version       2',
        '',
        'image.withdrawn (1)',
        '',
        '  2027-01-15 08:00:02 UTC  an-id',
        '    code          expired',
        '    detail        the list',
        '',
        '"hepix-vm status" shows how the site fares now.',
    ]


HOSTILE = (
    'x\r\nBcc: victim@example.org\r\n\r\n.\r\nimage.released (999)\x1b[2J'
    '\u202egpj\u2028\x00\x85'
)


def test_what_others_wrote_makes_no_line_and_no_header():
    event = {
        'title': HOSTILE,
        'version': HOSTILE,
        'detail': [HOSTILE],
        'servers': [{'name': HOSTILE, 'host': 'h'}, HOSTILE],
    }
    mail = text(
        notice(1, HOSTILE, HOSTILE, **event),
        author=letter.Author('cloud@site.example.org', HOSTILE),
    )
    assert sorted(mail.keys()) == sorted(
        text(notice(1, title='x')).keys()
        # Not all of it is ASCII, and what that needs is all that differs.
    )
    assert mail['bcc'] is None
    assert mail['to'] == ', '.join(TO)
    lines = mail.get_content().splitlines()
    # The title and the version are the subject again.
    assert len(lines) == 11
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith(('Bcc', '.', 'image.')) for line in lines)
    assert mail['subject'].isprintable()


def test_a_long_value_is_cut():
    mail = text(notice(1, detail='x' * 10_000))
    (line,) = [x for x in mail.get_content().splitlines() if 'detail' in x]
    assert line.endswith('xxx...')
    assert len(line) < 300


def test_servers_are_counted_and_some_are_shown():
    servers = [
        {'server': str(n), 'project': 'p', 'host': f'h{n}', 'status': ''}
        for n in range(12)
    ]
    lines = text(notice(1, servers=servers)).get_content().splitlines()
    assert '    servers       12' in lines
    assert '      server 0, project p, host h0' in lines
    assert '      server 9, project p, host h9' in lines
    assert '      and 2 more' in lines
    assert not any('h10' in line for line in lines)


def test_of_many_events_the_first_are_shown_and_all_are_counted():
    told = [notice(n, version=str(n)) for n in range(digest.SHOWN + 5)]
    mail = text(*told)
    lines = mail.get_content().splitlines()
    assert mail['subject'] == f'Site X: {digest.SHOWN + 5} image.released'
    assert f'    version       {digest.SHOWN - 1}' in lines
    assert f'    version       {digest.SHOWN}' not in lines
    assert '  and 5 more' in lines


def test_it_goes_to_all_in_one_mail(caplog):
    with mail_servers.running() as server:
        server.refusing[TO[1]] = '550 nobody of that name'
        at = sending.Server(
            '127.0.0.1', server.port, sending.Encryption.NONE, timeout=120
        )
        with made(at).opened() as telling:
            telling.tell((notice(1), notice(2)), NOW)
    (taken,) = server.taken
    assert '2 image.released' in taken['subject']
    assert server.recipients == [[TO[0]]]
    assert f'not taken for {TO[1]}: 550' in caplog.text


def test_a_server_that_refuses_everybody_fails_the_channel():
    with mail_servers.running() as server:
        server.refusing = dict.fromkeys(TO, '550 nobody')
        at = sending.Server(
            '127.0.0.1', server.port, sending.Encryption.NONE, timeout=120
        )
        with (
            made(at).opened() as telling,
            pytest.raises(errors.NotBelieved, match='every recipient'),
        ):
            telling.tell((notice(1),), NOW)
    assert server.taken == []

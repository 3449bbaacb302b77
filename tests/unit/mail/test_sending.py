# SPDX-License-Identifier: Apache-2.0
"""Sending to real mail servers, those that refuse and hang too."""

from __future__ import annotations

import dataclasses
import datetime
import socket
import ssl

import pytest

from hepix_vm import errors
from hepix_vm.mail import letter
from hepix_vm.mail import sending
from tests import mail_servers
from tests import registries

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
SITE = letter.Author('cloud@site.example.org', cc=('copy@example.org',))
TO = ('endorser@example.org', 'other@example.com')
PLAIN = sending.Server('127.0.0.1', 1, sending.Encryption.NONE, timeout=120)


def made():
    return letter.write(SITE, TO, 'An image', 'It has a hole.\n', NOW)


def at(server, **changes):
    return dataclasses.replace(
        PLAIN, port=getattr(server, 'port', server), **changes
    )


@pytest.fixture
def key(tmp_path):
    return registries.Key(tmp_path, 'loopback')


@pytest.fixture
def tls(key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key.both)
    return context


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / 'password'
    path.write_text('my secret\n')
    return str(path)


def test_message_goes_to_all_recipients():
    with mail_servers.running() as server:
        assert sending.send(at(server), made()) == ()
    (taken,) = server.taken
    assert taken['subject'] == 'An image'
    assert taken.get_content().strip() == 'It has a hole.'
    assert server.recipients == [[*TO, 'copy@example.org']]


def test_recipient_that_is_refused_is_told_and_the_others_get_it():
    with mail_servers.running() as server:
        server.refusing[TO[0]] = '550 no such person'
        (refused,) = sending.send(at(server), made())
    assert refused == f'{TO[0]}: 550 no such person'
    assert server.recipients == [[TO[1], 'copy@example.org']]


@pytest.mark.parametrize(
    ('answer', 'kind'),
    [('550 no', errors.NotBelieved), ('451 later', errors.TryAgain)],
)
def test_server_that_refuses_every_recipient(answer, kind):
    with mail_servers.running() as server:
        for name in (*TO, 'copy@example.org'):
            server.refusing[name] = answer
        with pytest.raises(kind, match=f'every recipient: .*{answer}'):
            sending.send(at(server), made())
    assert server.taken == []


@pytest.mark.parametrize(
    ('answer', 'kind'),
    [
        ('554 it looks like spam', errors.NotBelieved),
        ('452 the disk is full', errors.TryAgain),
    ],
)
def test_server_that_refuses_the_message(answer, kind):
    with mail_servers.running() as server:
        server.answer = answer
        with pytest.raises(kind, match=answer):
            sending.send(at(server), made())


# Encryption


def test_starttls_begins_before_anything_is_said(key, tls):
    with mail_servers.running(tls, require_starttls=True) as server:
        sending.send(
            at(
                server,
                encryption=sending.Encryption.STARTTLS,
                ca_file=str(key.pem),
            ),
            made(),
        )
        assert len(server.taken) == 1


def test_server_that_demands_starttls_refuses_what_is_in_the_clear(tls):
    with mail_servers.running(tls, require_starttls=True) as server:
        with pytest.raises(errors.NotBelieved, match='530'):
            sending.send(at(server), made())
        assert server.taken == []


def test_server_without_starttls_gets_nothing():
    with mail_servers.running() as server:
        with pytest.raises(errors.NotBelieved, match='STARTTLS') as caught:
            sending.send(
                at(server, encryption=sending.Encryption.STARTTLS), made()
            )
        assert 'Nothing was sent' in str(caught.value)
        assert server.taken == []


def test_tls_from_the_first_byte(key, tls):
    with mail_servers.running(tls, at_once=True) as server:
        sending.send(
            at(
                server,
                encryption=sending.Encryption.TLS,
                ca_file=str(key.pem),
            ),
            made(),
        )
        assert len(server.taken) == 1


@pytest.mark.parametrize('at_once', [True, False])
def test_certificate_of_an_unknown_ca_is_not_believed(tls, at_once):
    kind = sending.Encryption.TLS if at_once else sending.Encryption.STARTTLS
    with mail_servers.running(tls, at_once=at_once) as server:
        with pytest.raises(errors.NotBelieved, match='ca_file'):
            sending.send(at(server, encryption=kind), made())
        assert server.taken == []


def test_certificate_for_another_name_is_not_believed(tmp_path):
    other = registries.Key(tmp_path, 'other', host='127.0.0.2')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.both)
    with mail_servers.running(context) as server:
        with pytest.raises(errors.NotBelieved, match='not valid for'):
            sending.send(
                at(
                    server,
                    encryption=sending.Encryption.STARTTLS,
                    ca_file=str(other.pem),
                ),
                made(),
            )
        assert server.taken == []


# Accounts


def test_account_with_its_password(key, tls, secret):
    with mail_servers.running(
        tls, require_starttls=True, auth_required=True
    ) as server:
        sending.send(
            at(
                server,
                encryption=sending.Encryption.STARTTLS,
                ca_file=str(key.pem),
                user='me',
                password_file=secret,
            ),
            made(),
        )
        assert len(server.taken) == 1


def test_account_that_is_refused(key, tls, secret):
    with mail_servers.running(
        tls, require_starttls=True, auth_required=True
    ) as server:
        with pytest.raises(errors.NotBelieved, match='535') as caught:
            sending.send(
                at(
                    server,
                    encryption=sending.Encryption.STARTTLS,
                    ca_file=str(key.pem),
                    user='somebody',
                    password_file=secret,
                ),
                made(),
            )
        assert 'my secret' not in str(caught.value)


def test_password_is_never_sent_in_the_clear(secret):
    with (
        mail_servers.talking(mail_servers.silent) as port,
        pytest.raises(errors.Misconfigured, match='in the clear'),
    ):
        sending.send(at(port, user='me', password_file=secret), made())


@pytest.mark.parametrize(
    'content', [None, '', '\n', 'x' * 4097, b'\xff\xfe'], ids=repr
)
def test_password_file_that_cannot_be_used(tmp_path, content):
    path = tmp_path / 'password'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(errors.Misconfigured, match='option password_file'):
        sending.send(
            at(
                1,
                encryption=sending.Encryption.TLS,
                user='me',
                password_file=str(path),
            ),
            made(),
        )


def test_account_without_a_password_file():
    with pytest.raises(errors.Misconfigured, match='option password_file'):
        sending.send(
            at(1, encryption=sending.Encryption.TLS, user='me'), made()
        )


@pytest.mark.parametrize('content', [None, 'no certificate'])
def test_ca_file_that_cannot_be_used(tmp_path, content):
    path = tmp_path / 'ca.pem'
    if content is not None:
        path.write_text(content)
    with pytest.raises(errors.Misconfigured, match='option ca_file'):
        sending.send(
            at(1, encryption=sending.Encryption.TLS, ca_file=str(path)),
            made(),
        )


# Servers that are away, busy or slow


def test_server_that_is_away_is_one_sentence():
    # Taken, so that nobody else listens there meanwhile.
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        port = taken.getsockname()[1]
        with pytest.raises(errors.TryAgain, match=f'mail server .*:{port}'):
            sending.send(at(port), made())


@pytest.mark.parametrize(
    ('behaviour', 'said'),
    [
        (mail_servers.busy, '421 too  \\[31m busy'),
        (mail_servers.nonsense, 'mail server'),
        (mail_servers.hung_up, 'mail server'),
    ],
)
def test_server_that_does_not_speak_smtp_is_one_sentence(behaviour, said):
    with (
        mail_servers.talking(behaviour) as port,
        pytest.raises(errors.HepixError, match=said) as caught,
    ):
        sending.send(at(port), made())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    'behaviour', [mail_servers.silent, mail_servers.dripping]
)
@pytest.mark.parametrize('kind', list(sending.Encryption), ids=str)
def test_server_that_hangs_or_drips_is_given_up(behaviour, kind):
    with (
        mail_servers.talking(behaviour) as port,
        pytest.raises(errors.TryAgain, match='mail server'),
    ):
        sending.send(at(port, encryption=kind, timeout=1.0), made())


@pytest.mark.parametrize(
    ('kind', 'port'),
    [
        (sending.Encryption.STARTTLS, 587),
        (sending.Encryption.TLS, 465),
        (sending.Encryption.NONE, 25),
    ],
    ids=str,
)
def test_usual_port_of_each_encryption(kind, port):
    assert sending.Server('h', encryption=kind).port_used == port
    assert sending.Server('h', 2525, kind).port_used == 2525

# SPDX-License-Identifier: Apache-2.0
"""Messages made of what others wrote: values, and nothing but values."""

from __future__ import annotations

import datetime
from email import parser
from email import policy

import hypothesis
from hypothesis import strategies as st
import pytest

from hepix_vm.mail import letter

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
SITE = letter.Author(
    sender='cloud@site.example.org',
    name='The Site',
    contact='people@site.example.org',
    cc=('security@site.example.org',),
)
TO = ('endorser@example.org', 'other@example.com')


def read(made):
    """As whoever gets it sees it."""
    return parser.BytesParser(policy=policy.SMTP).parsebytes(bytes(made))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('jane@example.org', 'jane@example.org'),
        ('  jane@example.org ', 'jane@example.org'),
        ('Jane Doe <jane@example.org>', 'jane@example.org'),
        ('"Doe, Jane" <jane@example.org>', 'jane@example.org'),
        ('jane+images@sub.example.org', 'jane+images@sub.example.org'),
        ('a' * 64 + '@' + 'b' * 189, 'a' * 64 + '@' + 'b' * 189),
    ],
)
def test_one_address_is_found(text, expected):
    assert letter.address(text) == expected


@pytest.mark.parametrize(
    'text',
    [
        '',
        ' ',
        'jane',
        'jane@',
        '@example.org',
        'jane@example.org, joe@example.org',
        'jane@example.org joe@example.org',
        'jane@example.org;joe@example.org',
        'people: jane@example.org;',
        'undisclosed-recipients:;',
        'jane@example.org\r\nBcc: joe@example.org',
        'jane@example.org\nBcc: joe@example.org',
        'jane@example.org\x00',
        'jane@example.org\u2028Bcc: joe@example.org',
        'jane@evil.example@example.org',
        '<jane@example.org',
        'jane@exa mple.org',
        'jäne@example.org',
        'jane@exämple.org',
        'a' * 65 + '@' + 'b' * 189,
        '"' * 500,
        '(' * 900,
        '<' * 900,
        'mailto:jane@example.org?bcc=joe@example.org',
        'x' * 2000,
    ],
    ids=lambda text: repr(text)[:60],
)
def test_anything_else_is_refused_with_a_reason(text):
    with pytest.raises(letter.NotAnAddress, match='expected'):
        letter.address(text)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.text(alphabet=st.characters(), max_size=60))
@hypothesis.example('=?utf-8?q?a=0d=0aBcc:_x?= <jane@example.org>')
@hypothesis.example('"a\\\r\n b"@example.org')
@hypothesis.example('a@[127.0.0.1]')
def test_address_is_refused_or_harmless(text):
    try:
        found = letter.address(text)
    except letter.NotAnAddress:
        return
    assert found.isascii()
    assert found.isprintable()
    assert len(found) <= letter.LONGEST
    made = letter.write(SITE, (found,), 'subject', 'text', NOW)
    assert set(read(made).keys()) == set(made.keys())
    assert len(read(made)['to'].addresses) == 1


def test_message_has_what_rfc_5322_wants():
    made = read(letter.write(SITE, TO, 'An image', 'A line.\n', NOW))
    assert str(made['from']) == 'The Site <cloud@site.example.org>'
    assert str(made['to']) == ', '.join(TO)
    assert str(made['cc']) == 'security@site.example.org'
    assert str(made['reply-to']) == 'people@site.example.org'
    assert made['subject'] == 'An image'
    assert made['date'].datetime == NOW
    assert made['message-id'].endswith('@site.example.org>')
    assert made.get_content() == 'A line.\r\n'
    assert made.defects == []


def test_message_of_nobody_has_no_from_line():
    made = read(letter.write(letter.Author(), TO, 's', 't', NOW))
    assert made['from'] is None
    assert made['cc'] is None
    assert made['reply-to'] is None
    assert made['message-id'].endswith('@hepix-vm.invalid>')


@hypothesis.settings(deadline=None)
@hypothesis.given(subject=st.text(), text=st.text(), name=st.text(max_size=99))
@hypothesis.example(
    subject='x\r\nBcc: evil@example.org',
    text='.\r\nMAIL FROM:<x>',
    name='y\r\nBcc: evil@example.org',
)
@hypothesis.example(subject='é' * 300, text='é' * 2000, name='"<é>, x')
def test_no_text_makes_a_header_or_a_recipient(subject, text, name):
    author = letter.Author('cloud@site.example.org', name)
    made = letter.write(author, TO, subject, text, NOW)
    wire = bytes(made)
    assert wire.isascii()
    assert all(len(line) <= 998 for line in wire.split(b'\r\n'))
    assert b'\n' not in wire.replace(b'\r\n', b'')
    found = read(made)
    assert set(found.keys()) == {
        'From',
        'To',
        'Subject',
        'Date',
        'Message-ID',
        'Content-Type',
        'Content-Transfer-Encoding',
        'MIME-Version',
    }
    assert [each.addr_spec for each in found['to'].addresses] == list(TO)
    (sender,) = found['from'].addresses
    assert sender.addr_spec == 'cloud@site.example.org'


def test_long_digests_stay_in_one_piece():
    text = 'SHA-512 ' + 'a' * 128
    assert text in letter.shown(letter.write(SITE, TO, 's', text, NOW))


def test_what_is_shown_has_the_line_ends_of_this_machine():
    shown = letter.shown(letter.write(SITE, TO, 's', 'one\ntwo\n', NOW))
    assert '\r' not in shown
    assert shown.endswith('\n\none\ntwo\n')

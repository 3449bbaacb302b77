# SPDX-License-Identifier: Apache-2.0
"""Options of telling others, as the values that the channels take."""

from __future__ import annotations

import socket

import pytest

from hepix_vm.catalogue import channels
from hepix_vm import conf as conf_
from hepix_vm.conf import notify
from hepix_vm import errors
from hepix_vm.notify import digest
from hepix_vm.notify import hook
from hepix_vm.notify import messaging

HOOK, MESSAGE, MAIL = channels.Channel
MAILED = '[mail]\nsmtp_host = h\nsender = Site <site@example.org>\n'


@pytest.fixture
def read(tmp_path):
    """Reads a file with some text in group ``[notify]``."""

    def settings(text, before=''):
        path = tmp_path / 'hepix_vm.conf'
        path.write_text(f'{before}[notify]\n{text}\n')
        path.chmod(0o640)
        return notify.settings(conf_.load([str(path)]))

    return settings


def test_nothing_is_told_unless_the_site_says_so(read):
    found = read('')
    assert found.ways == {}
    assert found.wanted == {}
    assert found.kept_days == 30


def test_all_channels(read):
    found = read(
        'hook = /usr/bin/true\nhook_timeout = 5\n'
        'hook_events = image.withdrawn, servers.on-withdrawn\n'
        'transport_url = rabbit://me:hush@h:1/v\nmessage_timeout = 7\n'
        'mail_to = Admin <a@example.org>,b@example.org\n'
        'mail_interval = 3600\nkept_days = 3\n',
        MAILED,
    )
    assert found.ways[HOOK] == hook.Hook('/usr/bin/true', 5)
    bus, mail = found.ways[MESSAGE], found.ways[MAIL]
    assert isinstance(bus, messaging.Bus)
    assert bus.url == 'rabbit://me:hush@h:1/v'
    assert bus.topic == 'hepix_vm'
    assert bus.publisher == f'hepix_vm.{socket.gethostname()}'
    assert bus.timeout == 7
    assert isinstance(mail, digest.Digest)
    assert mail.to == ('a@example.org', 'b@example.org')
    assert mail.server.host == 'h'
    assert mail.author.sender == 'site@example.org'
    assert found.intervals == {MAIL: 3600}
    assert found.kept_days == 3
    assert found.wanted == {
        HOOK: frozenset(['image.withdrawn', 'servers.on-withdrawn']),
        MESSAGE: None,
        MAIL: None,
    }


@pytest.mark.parametrize(
    ('text', 'before', 'said'),
    [
        ('mail_to = a@example.org', '', 'with smtp_host and sender'),
        (
            'mail_to = a@example.org',
            '[mail]\nsmtp_host = h\n',
            'with smtp_host and sender',
        ),
        ('mail_to = no address', MAILED, 'option mail_to'),
        ('hook_events = image.sold', '', "found 'image.sold'"),
        ('mail_events = x', '', 'option mail_events'),
        ('message_events = x', '', 'option message_events'),
        ('transport_url = kafka://h/', '', 'confirms what it takes'),
        ('transport_url = h', '', 'a URL of oslo.messaging'),
        ('message_topic = a b', '', 'message_topic'),
        ('hook_timeout = 0', '', 'hook_timeout'),
        ('kept_days = 1', '', 'expected mail_interval below kept_days'),
    ],
)
def test_what_cannot_be_used_is_said(read, text, before, said):
    with pytest.raises(errors.Misconfigured, match=said.replace('.', '[.]')):
        read(text, before)


def test_a_password_is_no_part_of_what_is_said(read):
    with pytest.raises(errors.Misconfigured) as caught:
        read('transport_url = kafka://me:hush@h:1/')
    assert 'hush' not in str(caught.value)

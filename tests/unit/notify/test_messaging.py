# SPDX-License-Identifier: Apache-2.0
"""Notifications; what a real broker does with them is tested elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
import subprocess
import sys
import threading

from oslo_config import cfg
import pytest

from hepix_vm.catalogue import notices
from hepix_vm import errors
from hepix_vm.notify import messaging
from tests.functional import places
from tests import mail_servers

NOW = 1_800_000_000
SOON = 120
SECRET = 'hush'
NOTICE = notices.Notice(7, NOW - 60, 'image.retired', 'x', {'version': '1'})


@pytest.fixture(autouse=True)
def no_attempt_left() -> Iterator[None]:
    """What one that was given up logs on its way is not of the next test."""
    yield
    for thread in threading.enumerate():
        if thread.name == 'notification':
            thread.join(SOON)
            assert not thread.is_alive()


def bus(url, timeout=120.0):
    options = cfg.ConfigOpts()
    options([], default_config_files=[], default_config_dirs=[])
    return messaging.Bus(
        url, 'hepix_vm', 'hepix_vm.h', lambda: options, timeout
    )


def tell(url, timeout=120.0):
    with bus(url, timeout).opened() as telling:
        telling.tell((NOTICE,), NOW)


def test_a_notification_is_what_those_of_other_services_are():
    found = messaging.notification(bus('rabbit://'), NOTICE, NOW)
    assert found == {
        'message_id': found['message_id'],
        'publisher_id': 'hepix_vm.h',
        'event_type': 'hepix_vm.image.retired',
        'priority': 'INFO',
        'payload': NOTICE.document(),
        'timestamp': '2027-01-15 08:00:00.000000',
    }
    again = messaging.notification(bus('rabbit://'), NOTICE, NOW + 99)
    assert again['message_id'] == found['message_id']


def test_a_bus_that_is_away_is_told_without_its_password():
    with (
        places.unanswered() as port,
        pytest.raises(errors.TryAgain) as caught,
    ):
        tell(f'rabbit://me:{SECRET}@127.0.0.1:{port}/')
    said = str(caught.value)
    assert 'message bus rabbit://127.0.0.1:' in said
    assert 'notice 7 (image.retired)' in said
    assert SECRET not in said
    assert said.isprintable()


def test_a_bus_that_says_nothing_is_not_waited_for():
    with mail_servers.talking(mail_servers.silent) as port:
        url = f'rabbit://me:{SECRET}@127.0.0.1:{port}/'
        with pytest.raises(errors.TryAgain, match='within 2 s') as caught:
            tell(url, 2)
    assert SECRET not in str(caught.value)


def test_a_server_that_is_no_bus_fails_the_channel():
    with (
        mail_servers.talking(mail_servers.nonsense) as port,
        pytest.raises(errors.TryAgain, match='message bus'),
    ):
        tell(f'rabbit://me:{SECRET}@127.0.0.1:{port}/', 5)


@pytest.mark.parametrize('url', ['nosuch://h/', 'rabbit://[', '', 'x'])
def test_a_url_of_no_driver_is_the_operators(url):
    with pytest.raises(errors.Misconfigured, match='expected a URL of oslo'):
        tell(url)


@pytest.mark.parametrize('url', ['kafka://h:9092/', 'kafka+x://h/'])
def test_a_driver_that_does_not_wait_for_the_broker_is_refused(url):
    with pytest.raises(errors.Misconfigured, match='confirms what it takes'):
        tell(url)


def test_a_cause_is_told_without_any_password():
    url = 'rabbit://a:p%40ss@h1:1,b:other@h2:2/v'
    said = messaging._cause(bus(url), OSError(f'{url} p@ss \x1b[31m'))
    for secret in ('p%40ss', 'p@ss', 'other', '\x1b'):
        assert secret not in said
    assert messaging._place(bus(url)) == 'message bus rabbit://h1:1,h2:2'


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'oslo_messaging', None)
    with pytest.raises(errors.Misconfigured, match='the extra "messaging"'):
        tell('rabbit://h/')


def test_nothing_of_it_is_imported_before_it_is_used():
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            'import sys\n'
            'from hepix_vm.notify import messaging\n'
            'from hepix_vm.conf import notify\n'
            'from hepix_vm.operations import noticing\n'
            'sys.exit("oslo_messaging" in sys.modules)',
        ],
        timeout=300,
        check=False,
    )
    assert done.returncode == 0

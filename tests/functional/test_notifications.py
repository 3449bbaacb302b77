# SPDX-License-Identifier: Apache-2.0
"""Events on a real RabbitMQ: taken, kept while it is away, and not doubted."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import signal
import subprocess
import sys

from oslo_config import cfg
import pytest

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import notices
from hepix_vm.notify import messaging
from hepix_vm.notify import settings
from hepix_vm.operations import noticing
from hepix_vm.operations import site as site_
from tests import catalogue_rows
from tests.functional import brokers

NOW = 1_800_000_000
MESSAGE = channels.Channel.MESSAGE
HOSTILE = '"\x1b[31m\u202e\U0001f600'


@pytest.fixture(scope='module')
def broker(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[brokers.Broker]:
    """RabbitMQ for the tests of this file."""
    with brokers.rabbitmq(tmp_path_factory.mktemp('rabbitmq')) as made:
        yield made


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[catalogue_rows.Rows]:
    """An empty catalogue."""
    made = catalogue_rows.Rows(f'sqlite:///{tmp_path / "catalogue.sqlite"}')
    yield made
    made.close()


def site(
    rows: catalogue_rows.Rows, url: str, topic: str, timeout: float = 120
) -> site_.Site:
    """A site whose events go to a topic."""
    options = cfg.ConfigOpts()
    options([], default_config_files=[], default_config_dirs=[])
    bus = messaging.Bus(url, topic, 'hepix_vm.h', lambda: options, timeout)
    return site_.Site(
        catalogue=rows.store,
        subscriptions={},
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=lambda: None),
        notices=settings.Settings(ways={MESSAGE: bus}),
    )


def write(rows: catalogue_rows.Rows, *subjects: str) -> None:
    """Have something happen."""
    for subject in subjects:
        rows.store.transact(
            lambda made, s=subject: notices.write(
                made, NOW, 'image.released', s, {'detail': HOSTILE}
            )
        )


def test_listeners_of_oslo_messaging_take_events(
    broker: brokers.Broker, rows: catalogue_rows.Rows
) -> None:
    write(rows, 'first', 'second')
    (told,) = noticing.deliver(site(rows, broker.url, 'taken'), NOW)
    assert (told.outcome, told.told) == (noticing.Outcome.TOLD, 2)
    # Nobody listened then: the queue kept them.
    found = broker.taken(2, 'taken')
    assert [payload['subject'] for _, _, payload, _ in found] == [
        'first',
        'second',
    ]
    publisher, kind, payload, metadata = found[0]
    assert (publisher, kind) == ('hepix_vm.h', 'hepix_vm.image.released')
    assert payload['payload'] == {'detail': HOSTILE}
    assert payload['id'] == 1
    assert metadata['message_id']


def test_wrong_password_is_told_without_it(
    broker: brokers.Broker, rows: catalogue_rows.Rows
) -> None:
    write(rows, 'x')
    url = broker.url.replace(brokers.SECRET, 'guess-it')
    (told,) = noticing.deliver(site(rows, url, 'wrong'), NOW)
    assert told.outcome is noticing.Outcome.FAILED
    assert told.left == 1
    assert 'guess-it' not in told.detail


def test_a_broker_that_hangs_and_one_that_is_away_lose_nothing(
    broker: brokers.Broker, rows: catalogue_rows.Rows
) -> None:
    made = site(rows, broker.url, 'kept', timeout=5)
    write(rows, 'first')
    broker.send(signal.SIGSTOP)
    try:
        (told,) = noticing.deliver(made, NOW)
    finally:
        broker.send(signal.SIGCONT)
    assert told.outcome is noticing.Outcome.FAILED
    assert 'within 5 s' in told.detail
    broker.stop()
    write(rows, 'second')
    (told,) = noticing.deliver(made, NOW, at_once=True)
    assert told.outcome is noticing.Outcome.FAILED
    assert told.left == 2
    broker.start()
    (told,) = noticing.deliver(
        site(rows, broker.url, 'kept'), NOW, at_once=True
    )
    assert told.told == 2
    found = broker.taken(2, 'kept')
    # What was sent while it hung may have come through all the same, and the
    # third may be here already.
    subjects = [payload['subject'] for _, _, payload, _ in found[:2]]
    assert subjects in (['first', 'second'], ['first', 'first'])


def test_the_command_ends_although_the_bus_hangs(
    broker: brokers.Broker, rows: catalogue_rows.Rows, tmp_path: Path
) -> None:
    write(rows, 'x')
    file = tmp_path / 'hepix_vm.conf'
    file.write_text(
        f'[catalogue]\nconnection = {rows.connection}\n[notify]\n'
        f'transport_url = {broker.url}\nmessage_timeout = 3\n'
    )
    file.chmod(0o640)

    def notify() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                Path(sys.executable).with_name('hepix-vm'),
                '--config-file',
                file,
                'notify',
                '-f',
                'json',
            ],
            capture_output=True,
            text=True,
            timeout=brokers.LIMIT,
            check=False,
        )

    broker.send(signal.SIGSTOP)
    try:
        done = notify()
    finally:
        broker.send(signal.SIGCONT)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)[0]['outcome'] == 'failed'
    assert brokers.SECRET not in done.stdout + done.stderr
    assert 'Traceback' not in done.stderr
    file.write_text(
        file.read_text().replace('message_timeout = 3', 'message_timeout = 99')
    )
    done = notify()
    assert done.returncode == 0, done.stderr
    assert broker.taken(1)[0][2]['subject'] == 'x'

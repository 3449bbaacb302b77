# SPDX-License-Identifier: Apache-2.0
"""Events reach every channel, whatever the others and the process do."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

from hepix_vm.catalogue import channels
from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import notices
from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm.mail import letter
from hepix_vm.mail import sending
from hepix_vm.notify import digest
from hepix_vm.notify import hook
from hepix_vm.notify import settings as settings_
from hepix_vm.operations import noticing
from hepix_vm.operations import site as site_
from tests import catalogue_rows
from tests.cloud import waits
from tests import mail_servers

NOW = 1_800_000_000
DAY = 86400
SOON = 240
HOOK, MESSAGE, MAIL = channels.Channel
Outcome = noticing.Outcome


class Way:
    """A channel that a test looks into.

    :ivar told: ids of notices in the order in which they were told
    :ivar failing: the event from which on it fails
    """

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self.patience = 5.0
        self.told: list[int] = []
        self.failing: int | None = None
        self.unusable = False
        self.opened_times = 0

    @contextlib.contextmanager
    def opened(self):
        """Counted."""
        self.opened_times += 1
        if self.unusable:
            raise errors.Misconfigured('it is not there')
        yield self

    def tell(self, told, now):
        """Keep them, or fail."""
        if self.failing is not None and told[-1].id >= self.failing:
            raise errors.TryAgain('it is away')
        self.told += [notice.id for notice in told]


@pytest.fixture
def rows(tmp_path):
    made = catalogue_rows.Rows(f'sqlite:///{tmp_path / "catalogue.sqlite"}')
    yield made
    made.close()


@pytest.fixture
def site(rows):
    return site_.Site(
        catalogue=rows.store,
        subscriptions={},
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=lambda: None),
    )


def on(site, ways, **changes):
    return dataclasses.replace(
        site, notices=settings_.Settings(ways=ways, **changes)
    )


def write(site, count=1, kind='image.released', at=NOW):
    def work(made):
        for number in range(count):
            notices.write(made, at, kind, f'image {number}', {'n': number})

    site.catalogue.transact(work)


def deliver(site, now=NOW, **options):
    """What each channel did, by its name."""
    return {
        told.channel: told for told in noticing.deliver(site, now, **options)
    }


def state(site, channel=HOOK):
    with site.catalogue.reading() as connection:
        return channels.states(connection)[channel]


def revision(site):
    with site.catalogue.writing() as transaction:
        return transaction.revision


def test_all_channels_tell_all_in_order(site):
    ways = {HOOK: Way(), MESSAGE: Way(), MAIL: Way(at_once=100)}
    site = on(site, ways)
    write(site, 3)
    found = deliver(site)
    for channel, way in ways.items():
        assert way.told == [1, 2, 3]
        assert found[channel] == noticing.Told(channel, Outcome.TOLD, told=3)
    assert ways[HOOK].opened_times == 1
    deliver(site)
    assert ways[HOOK].told == [1, 2, 3]


def test_with_nothing_to_tell_nothing_is_written(site):
    site = on(site, {HOOK: Way()})
    write(site)
    deliver(site)
    before = revision(site)
    assert deliver(site)[HOOK].told == 0
    assert revision(site) == before + 1


def test_a_channel_that_fails_loses_nothing_and_holds_up_no_other(site):
    bad, good = Way(), Way()
    bad.failing = 2
    site = on(site, {HOOK: bad, MESSAGE: good})
    write(site, 3)
    found = deliver(site)
    assert found[HOOK] == noticing.Told(
        HOOK, Outcome.FAILED, 1, 2, NOW + 60, 'it is away'
    )
    assert good.told == [1, 2, 3]
    # It rests, and nothing overtakes what it is at.
    bad.failing = None
    write(site)
    assert deliver(site, NOW + 59)[HOOK] == noticing.Told(
        HOOK, Outcome.RESTING, 0, 3, NOW + 60, 'it is away'
    )
    assert deliver(site, NOW + 60)[HOOK].told == 3
    assert bad.told == [1, 2, 3, 4]
    assert state(site).failures == 0


def test_a_channel_that_cannot_be_opened_fails(site):
    way = Way()
    way.unusable = True
    site = on(site, {HOOK: way})
    write(site)
    assert deliver(site)[HOOK].detail == 'it is not there'
    assert state(site).failures == 1
    # Asked for, it is tried before its time.
    way.unusable = False
    assert deliver(site, at_once=True)[HOOK].outcome is Outcome.TOLD


def test_a_run_is_bounded_in_number(site):
    way = Way()
    site = on(site, {HOOK: way}, most=2)
    write(site, 5)
    assert deliver(site)[HOOK] == noticing.Told(HOOK, Outcome.MORE, 2, 3)
    assert deliver(site)[HOOK] == noticing.Told(HOOK, Outcome.MORE, 2, 1)
    assert deliver(site)[HOOK] == noticing.Told(HOOK, Outcome.TOLD, 1, 0)
    assert way.told == [1, 2, 3, 4, 5]


def test_a_run_is_bounded_in_time(site):
    way = Way()
    site = on(site, {HOOK: way}, longest=10)
    write(site, 5)
    moments = iter([0.0, 1.0, 9.0, 10.0])
    found = deliver(site, clock=lambda: next(moments))
    assert found[HOOK] == noticing.Told(HOOK, Outcome.MORE, 2, 3)


def test_it_ends_when_it_is_told_to(site):
    way = Way()
    site = on(site, {HOOK: way})
    write(site, 5)
    found = deliver(site, stop=lambda: len(way.told) == 2)
    assert found[HOOK] == noticing.Told(HOOK, Outcome.MORE, 2, 3)
    assert state(site).claimed_until is None


def test_a_channel_tells_the_kinds_that_it_is_to_tell(site):
    some, all_ = Way(), Way()
    site = on(
        site,
        {HOOK: some, MESSAGE: all_},
        kinds={HOOK: frozenset(['image.withdrawn'])},
    )
    write(site)
    write(site, kind='image.withdrawn')
    deliver(site)
    assert some.told == [2]
    assert all_.told == [1, 2]


def test_a_channel_that_is_switched_on_begins_with_what_comes_then(site):
    write(site, 2)
    deliver(site)
    way = Way()
    write(site)
    site = on(site, {HOOK: way})
    deliver(site)
    assert way.told == [3]


def test_one_mail_at_most_in_its_time(site):
    way = Way(at_once=100)
    site = on(site, {MAIL: way}, intervals={MAIL: DAY})
    write(site, 2)
    assert deliver(site)[MAIL].told == 2
    write(site, 1)
    assert deliver(site, NOW + DAY - 1)[MAIL] == noticing.Told(
        MAIL, Outcome.LATER, 0, 1, NOW + DAY
    )
    write(site, 1)
    assert deliver(site, NOW + DAY)[MAIL].told == 2
    assert way.opened_times == 2
    assert deliver(site, NOW + 3 * DAY)[MAIL].told == 0
    assert way.opened_times == 2


def test_what_could_not_be_told_for_long_is_given_up_and_kept_in_history(
    site, caplog
):
    way = Way()
    way.failing = 1
    site = on(site, {HOOK: way}, kept_days=30)
    write(site, 2)
    deliver(site)
    write(site, at=NOW + 30 * DAY)
    way.failing = None
    assert deliver(site, NOW + 30 * DAY + 1)[HOOK].told == 1
    assert way.told == [3]
    assert state(site).given_up == 2
    assert 'hook: 2 notices were never told' in caplog.text
    assert history(site, 'notices-given-up') == [
        ('hook', '2 notices that could not be told for 30 days')
    ]


def history(site, event):
    with site.catalogue.reading() as connection:
        rows = connection.execute(schema.history.select())
        return [(r.subject, r.detail) for r in rows if r.event == event]


def test_one_event_can_be_given_up_by_hand(site):
    way = Way()
    way.failing = 1
    site = on(site, {HOOK: way, MESSAGE: Way()})
    write(site, 2)
    deliver(site)
    given_up = noticing.give_up(site, NOW, 'me', HOOK)
    assert given_up is not None
    assert given_up.id == 1
    way.failing = None
    deliver(site, at_once=True)
    assert way.told == [2]
    assert noticing.give_up(site, NOW, 'me', HOOK) is None
    assert history(site, 'notice-given-up') == [
        ('hook', 'notice 1, image.released of image 0')
    ]


def test_another_process_is_left_alone(site):
    way = Way()
    site = on(site, {HOOK: way})
    write(site)
    site.catalogue.transact(
        lambda made: channels.claim(made, NOW, HOOK, NOW + 100)
    )
    assert deliver(site, NOW + 99, at_once=True)[HOOK] == noticing.Told(
        HOOK, Outcome.BUSY, 0, 1, NOW + 100
    )
    assert deliver(site, NOW + 100)[HOOK].told == 1


# Of several daemons one leads, and it alone tells


def fenced(site, number):
    return dataclasses.replace(
        site, catalogue=site.catalogue.fenced(lease.SYNC, number)
    )


def test_one_that_no_longer_leads_tells_nothing(site):
    way = Way()
    site = on(site, {HOOK: way})
    first = lease.take(site.catalogue, 'one', None, NOW)
    with site.catalogue.reading() as connection:
        seen = lease.look(connection)
    second = lease.take(site.catalogue, 'two', seen, NOW)
    write(site)
    with pytest.raises(errors.LeaseLost):
        noticing.deliver(fenced(site, first), NOW)
    assert way.told == []
    assert state(site).failures == 0
    assert noticing.deliver(fenced(site, second), NOW)[0].told == 1


def test_one_that_loses_the_lease_ends_after_the_event_that_it_is_at(site):
    site = on(site, {HOOK: (way := Way())})
    number = lease.take(site.catalogue, 'one', None, NOW)
    write(site, 3)
    tell = way.tell

    def lost(told, now):
        tell(told, now)
        with site.catalogue.reading() as connection:
            seen = lease.look(connection)
        lease.take(site.catalogue, 'two', seen, NOW)

    way.tell = lost
    with pytest.raises(errors.LeaseLost):
        noticing.deliver(fenced(site, number), NOW)
    assert way.told == [1]
    assert state(site).failures == 0


def test_a_catalogue_that_is_away_is_said(site, tmp_path):
    away = database.Database(f'sqlite:///{tmp_path / "absent" / "c"}')
    with pytest.raises(errors.HepixError):
        noticing.deliver(dataclasses.replace(site, catalogue=away), NOW)


# Real programs and servers


def test_a_hook_that_fails_is_told_again(site, tmp_path):
    place = tmp_path / 'events'
    path = tmp_path / 'hook'
    path.write_text(
        f'#!/bin/sh\ncat >> {place}\ntest "$(wc -l < {place})" -gt 1\n'
    )
    path.chmod(0o755)
    site = on(site, {HOOK: hook.Hook(str(path), SOON)})
    write(site, 2)
    assert deliver(site)[HOOK].outcome is Outcome.FAILED
    assert deliver(site, NOW + 60)[HOOK].told == 2
    lines = map(json.loads, place.read_text().splitlines())
    assert [line['id'] for line in lines] == [1, 1, 2]


def test_a_mail_server_that_is_away_keeps_the_events(site):
    with mail_servers.running() as server:
        way = digest.Digest(
            ('a@example.org',),
            letter.Author('b@example.org'),
            sending.Server(
                '127.0.0.1', server.port, sending.Encryption.NONE, timeout=120
            ),
        )
        site = on(site, {MAIL: way})
        write(site, 2)
        server.answer = '451 not now'
        assert deliver(site)[MAIL].outcome is Outcome.FAILED
        server.answer = '250 taken'
        write(site)
        assert deliver(site, NOW + 60)[MAIL].told == 3
    (taken,) = server.taken
    assert '3 image.released' in taken['subject']


CHILD = """
import sys
from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import channels
from hepix_vm.notify import hook
from hepix_vm.notify import settings
from hepix_vm.operations import noticing
from hepix_vm.operations import site
url, path, now = sys.argv[1:]
made = site.Site(
    catalogue=database.Database(url, 60),
    subscriptions={},
    fetch=fetch.FetchSettings(),
    cloud=site.Cloud(session=lambda: None),
    notices=settings.Settings(
        ways={channels.Channel.HOOK: hook.Hook(path, 240)}
    ),
)
noticing.deliver(made, int(now))
"""


def test_killed_between_telling_and_noting_it_tells_again(
    site, rows, tmp_path
):
    place = tmp_path / 'events'
    path = tmp_path / 'hook'
    # The hook has told; before it ends, what has started it dies.
    path.write_text(
        '#!/bin/sh\n'
        f'cat >> {place}\n'
        f'test -e {tmp_path}/again || kill -9 $PPID\n'
    )
    path.chmod(0o755)
    write(site, 2)
    child = subprocess.run(
        [sys.executable, '-c', CHILD, rows.connection, path, str(NOW)],
        timeout=SOON,
        check=False,
        env=os.environ | {'PYTHONPATH': str(Path(__file__).parents[3])},
    )
    assert child.returncode == -signal.SIGKILL
    waits.until('the hook to end', lambda: place.exists(), SOON)
    (tmp_path / 'again').touch()
    site = on(site, {HOOK: hook.Hook(str(path), SOON)})
    # Its claim is still there, and runs out.
    busy = deliver(site, NOW)[HOOK]
    assert busy.outcome is Outcome.BUSY
    assert busy.again is not None
    assert deliver(site, busy.again)[HOOK].told == 2
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    assert [line['id'] for line in lines] == [1, 1, 2]
    assert lines[0] == lines[1]

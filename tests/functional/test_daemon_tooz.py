# SPDX-License-Identifier: Apache-2.0
"""Daemons whose leader a real etcd decides, or tooz' locks in files."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import random
import signal
import subprocess

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm.daemon import coordination
from hepix_vm import errors
from tests.cloud import cache
from tests.cloud import ports
from tests.cloud import waits
from tests import databases
from tests.functional import daemons
from tests.unit.catalogue import following

SOON = daemons.SOON
HOST = ports.ADDRESS
#: Seconds of a lock that nobody waits for.
LONG = 300


class Etcd:
    """One server on loopback."""

    def __init__(self, folder: Path, client: int, peer: int) -> None:
        self._folder = folder
        self._peer = peer
        self.port = client
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As tooz takes it; locks last 5 s without a sign of life."""
        return self.with_locks_of(5)

    def with_locks_of(self, seconds: int) -> str:
        """The same with locks that last for another time."""
        return f'etcd3+http://{HOST}:{self.port}?timeout={seconds}'

    def start(self) -> None:
        """Start it and wait until it answers."""
        here = f'http://{HOST}:{self.port}'
        peers = f'http://{HOST}:{self._peer}'
        with (self._folder / 'log').open('ab') as log:
            self.process = subprocess.Popen(
                [
                    databases.program('etcd'),
                    f'--data-dir={self._folder / "data"}',
                    f'--listen-client-urls={here}',
                    f'--advertise-client-urls={here}',
                    f'--listen-peer-urls={peers}',
                    f'--initial-advertise-peer-urls={peers}',
                    f'--initial-cluster=default={peers}',
                    '--unsafe-no-fsync',
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = self.process
        answer = ports.HttpAnswer
        made = [answer(self.port)]

        def answers() -> bool:
            if made[0]():
                return True
            made[0] = answer(self.port)
            return ports.answers(self.port) and made[0]()

        waits.until(
            'etcd to answer',
            answers,
            SOON,
            log=self._folder / 'log',
            alive=lambda: process.poll() is None,
        )

    def end(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(SOON)
            self.process = None


@pytest.fixture(scope='module')
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """A server for the tests of this file."""
    block = ports.reserve(
        ['client', 'peer'],
        cache.root() / 'ports',
        random.Random(),
    )
    made = Etcd(
        tmp_path_factory.mktemp('etcd'),
        block.ports['client'],
        block.ports['peer'],
    )
    made.start()
    yield made
    made.end()
    block.release()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[following.Site]:
    """A site without subscriptions."""
    made = following.Site(tmp_path)
    yield made
    made.close()


def hold(one: coordination.Tooz) -> bool:
    """Whether it has the lock, where its service can be asked."""
    try:
        return one.hold()
    except errors.TryAgain:
        return False


def test_lock_in_etcd_is_held_by_one_and_given_back(etcd: Etcd) -> None:
    # One that stops for a moment does not lose it.
    url = etcd.with_locks_of(LONG)
    one = coordination.Tooz(url, 'one')
    two = coordination.Tooz(url, 'two')
    assert one.hold()
    assert not two.hold()
    assert one.hold()
    one.drop()
    assert two.hold()
    assert not one.hold()
    two.drop()
    one.drop()


def test_lock_is_given_up_and_had_again_when_etcd_was_away(
    etcd: Etcd,
) -> None:
    one = coordination.Tooz(etcd.url, 'one')
    assert one.hold()
    etcd.end()
    try:
        with pytest.raises(errors.TryAgain, match='cannot be asked'):
            one.hold()
        one.drop()
        with pytest.raises(errors.TryAgain, match='cannot be asked'):
            one.hold()
    finally:
        etcd.start()
    # Its key lives until nobody has refreshed it for a while.
    waits.until('the lock', lambda: hold(one), SOON)
    one.drop()


def test_killed_and_paused_ones_are_followed(
    etcd: Etcd, site: following.Site
) -> None:
    with daemons.crew(
        site, 'one two three', lease_time=30, coordination_url=etcd.url
    ) as (one, two, three):
        one.start()
        one.comes_to_lead()
        two.start()
        two.is_ready()
        first = daemons.leader(site, [one, two])
        fence = daemons.fence(site)
        first.send(signal.SIGKILL)
        first.ended()
        second = two if first is one else one
        second.comes_to_lead()
        assert daemons.fence(site) > fence
        daemons.paused(site, second)
        three.start()
        three.comes_to_lead()
        fence = daemons.fence(site)
        second.send(signal.SIGCONT)
        second.says('no longer leading')
        three.send(signal.SIGTERM)
        assert three.ended() == 0
        second.comes_to_lead()
        assert daemons.fence(site) > fence


def test_without_etcd_nobody_leads(etcd: Etcd, site: following.Site) -> None:
    with daemons.crew(
        site, 'one', lease_time=6, coordination_url=etcd.url
    ) as (one,):
        one.start()
        one.comes_to_lead()
        fence = daemons.fence(site)
        etcd.end()
        try:
            one.says('no longer leading')
            assert one.alive()
        finally:
            etcd.start()
        one.until('a new term', lambda: daemons.fence(site) > fence)
        one.send(signal.SIGTERM)
        assert one.ended() == 0
        assert 'Traceback' not in one.said()


def test_lock_that_etcd_gave_to_another_does_not_protect_a_write(
    etcd: Etcd, site: following.Site
) -> None:
    # What tooz does not see, the number in the database does.
    url = etcd.with_locks_of(LONG)
    one = coordination.Tooz(url, 'one')
    assert one.hold()
    with contextlib.closing(database.Database(site.url, 60)) as store:
        fence = lease.take(store, 'one', None, 1)
        assert fence == 1
        one._lock._lease.revoke()
        two = coordination.Tooz(url, 'two')
        assert two.hold()
        assert one.hold(), 'tooz sees it by now: say so in coordination.py'
        with store.reading() as connection:
            seen = lease.look(connection)
        assert lease.take(store, 'two', seen, 1) == 2
        assert not lease.beat(store, 1)
        with (
            pytest.raises(errors.LeaseLost),
            store.fenced(lease.SYNC, 1).writing(),
        ):
            pass
    one.drop()
    assert two.hold()
    two.drop()


def test_files_decide_on_one_machine(
    site: following.Site, tmp_path: Path
) -> None:
    with daemons.crew(
        site,
        'one two',
        lease_time=30,
        coordination_url=f'file://{tmp_path / "locks"}',
    ) as (one, two):
        one.start()
        one.comes_to_lead()
        two.start()
        two.is_ready()
        one.send(signal.SIGKILL)
        one.ended()
        two.comes_to_lead()
        two.send(signal.SIGTERM)
        assert two.ended() == 0

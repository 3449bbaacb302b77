# SPDX-License-Identifier: Apache-2.0
"""One holder at a time, whatever the database: fences only grow, each is
given once, and nobody writes after somebody with a higher one.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import random
import signal
import threading
import time

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm import errors
from tests import databases
from tests import endorser
from tests.functional import daemons
from tests import side_by_side
from tests.unit.catalogue import following

SOON = daemons.SOON
DATA = b'an image'


@pytest.fixture(scope='module')
def postgresql() -> Iterator[databases.PostgreSql]:
    """A server for the tests of this file."""
    with databases.postgresql() as server:
        yield server


@pytest.fixture(scope='module')
def galera() -> Iterator[databases.Galera]:
    """A cluster of two for the tests of this file."""
    with databases.galera() as cluster:
        yield cluster


class Contender:
    """Takes the lease from whoever has it, and writes while it can.

    :ivar taken: the fence numbers that it got, and the catalogue's revision
        that it then saw
    """

    def __init__(self, name: str, url: str, rounds: int) -> None:
        self.name = name
        self.taken: dict[int, int] = {}
        self.lost = 0
        self._url = url
        self._rounds = rounds

    def contend(self) -> None:
        """Take it and write, some times over."""
        chance = random.Random(self.name)
        with contextlib.closing(database.Database(self._url, 60)) as store:
            while len(self.taken) < self._rounds:
                with store.reading() as connection:
                    seen = lease.look(connection)
                # No patience with the other one: the number alone protects.
                fence = lease.take(store, self.name, seen, 1)
                if fence is None:
                    continue
                self.taken[fence] = revision(store)
                mine = store.fenced(lease.SYNC, fence)
                try:
                    for _ in range(chance.randrange(6)):
                        mine.transact(lambda t, f=fence: wrote(t, f))
                        lease.beat(store, fence)
                except errors.LeaseLost:
                    self.lost += 1


def revision(store: database.Database) -> int:
    with store.reading() as connection:
        return int(
            connection.execute(
                sa.select(schema.catalogue.c.number)
            ).scalar_one()
        )


def wrote(transaction: database.Transaction, fence: int) -> None:
    transaction.remember(
        1, 'test', 'wrote', 'lease', f'{transaction.revision} {fence}'
    )
    # Somebody may take over in the middle of it.
    time.sleep(0.005)


def contended(urls: list[str], rounds: int) -> None:
    with contextlib.closing(database.Database(urls[0], 60)) as store:
        migrations.upgrade(store)
    made = [
        Contender(f'contender {number}', url, rounds)
        for number, url in enumerate(urls)
    ]
    side_by_side.run(SOON, *(one.contend for one in made))
    taken = [fence for one in made for fence in one.taken]
    assert len(set(taken)) == len(taken), 'a number was given twice'
    assert all([*one.taken] == sorted(one.taken) for one in made)
    # They did meet.
    assert any(one.lost for one in made)
    with contextlib.closing(database.Database(urls[0], 60)) as store:
        writes = written(store)
    fences = [fence for _, fence in writes]
    assert fences == sorted(fences), 'one wrote after its successor'
    assert set(fences) <= set(taken)
    assert len(set(fences)) > 1
    # What a new holder saw when it began is not changed by those before it.
    for one in made:
        for fence, began in one.taken.items():
            late = [w for w in writes if w[0] > began and w[1] < fence]
            assert not late, f'{late} after {fence} had begun at {began}'


def written(store: database.Database) -> list[tuple[int, ...]]:
    """Revision and fence of each write, in the order of their commits."""
    with store.reading() as connection:
        lines = connection.execute(
            sa.select(schema.history.c.detail).where(
                schema.history.c.event == 'wrote'
            )
        ).scalars()
        return sorted(tuple(int(x) for x in line.split()) for line in lines)


def test_two_nodes_of_galera_have_one_holder(
    galera: databases.Galera,
) -> None:
    contended(galera.urls(), 25)


def test_postgresql_has_one_holder(postgresql: databases.PostgreSql) -> None:
    url = postgresql.url()
    contended([url, url, url], 25)


def test_first_row_is_made_by_one(
    galera: databases.Galera, postgresql: databases.PostgreSql
) -> None:
    for urls in (galera.urls(), [postgresql.url()] * 2):
        made_by_one(urls)


def made_by_one(urls: list[str]) -> None:
    with contextlib.closing(database.Database(urls[0], 60)) as store:
        migrations.upgrade(store)
    got: list[int | None] = []
    start = threading.Barrier(len(urls))

    def take(url: str) -> None:
        with contextlib.closing(database.Database(url, 60)) as store:
            store.engine().connect().close()
            start.wait(SOON)
            try:
                got.append(lease.take(store, 'one', None, 1))
            except database.FAILURES:
                got.append(None)

    threads = [threading.Thread(target=take, args=[url]) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert sorted(got, key=str) == [1, *[None] * (len(urls) - 1)]


def test_daemon_at_a_node_that_dies_is_followed_at_the_other(
    galera: databases.Galera, tmp_path: Path
) -> None:
    first, second = galera.urls()
    site = following.Site(tmp_path, first)
    site.follow()
    site.publish('main', '1', endorser.make_image(DATA))
    with contextlib.ExitStack() as stack:
        stack.callback(site.close)
        (one,) = stack.enter_context(
            daemons.crew(site, 'one', lease_time=6, url=second)
        )
        (two,) = stack.enter_context(daemons.crew(site, 'two', lease_time=6))
        one.start()
        one.comes_to_lead()
        one.until(
            'the list',
            lambda: site.decide(DATA) is model.Reason.APPROVED,
        )
        two.start()
        two.is_ready()
        leads = daemons.leader(site, [one, two])
        before = daemons.fence(site)
        galera.nodes[1].kill()
        try:
            two.comes_to_lead()
            if leads is one:
                one.says('no longer leading')
                assert daemons.fence(site) > before
        finally:
            galera.nodes[1].start()
        one.says('standing by')
        for daemon in (one, two):
            daemon.send(signal.SIGTERM)
            assert daemon.ended() == 0


def test_silent_writer_keeps_nobody_out_of_postgresql(
    postgresql: databases.PostgreSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.url()
    with (
        contextlib.closing(database.Database(url, 5)) as silent,
        contextlib.closing(database.Database(url, 60)) as store,
    ):
        migrations.upgrade(store)
        assert lease.take(store, 'one', None, 1) == 1
        monkeypatch.setattr(database, 'SILENCE', 3)
        with (
            pytest.raises((errors.HepixError, *database.FAILURES)),
            silent.fenced(lease.SYNC, 1).writing() as transaction,
        ):
            wrote(transaction, 1)
            # Waits for the row until the server has ended the other one.
            with store.reading() as connection:
                seen = lease.look(connection)
            assert lease.take(store, 'two', seen, 1) == 2
            transaction.remember(1, 'test', 'wrote', 'lease', 'late')

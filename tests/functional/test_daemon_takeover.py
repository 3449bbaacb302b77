# SPDX-License-Identifier: Apache-2.0
"""Several daemons and one MariaDB: one leads, and another one follows when
it is killed, paused or cut off.

Which of them leads is asked of the database, and a machine that is busy may
have the lease change hands once more: what counts is who may write.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import signal
import socket
import threading

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import model
from hepix_vm import errors
from tests import databases
from tests import endorser
from tests.functional import daemons
from tests.unit.catalogue import following
from tests.unit.catalogue import servers

SOON = daemons.SOON
DATA, OTHER, THIRD = b'an image', b'another image', b'a third image'
image = endorser.make_image

#: Patient with lists, quick with the rest.
PATIENT = '[fetch]\ntimeout = 3000\nlist_deadline = 3000'


@pytest.fixture(scope='module')
def mariadb() -> Iterator[databases.MariaDb]:
    """A server for the tests of this file."""
    with databases.mariadb() as server:
        yield server


@pytest.fixture
def site(
    tmp_path: Path, mariadb: databases.MariaDb
) -> Iterator[following.Site]:
    """A site that follows one list."""
    made = following.Site(tmp_path, mariadb.url())
    made.follow()
    made.publish('main', '1', image(DATA))
    yield made
    made.close()


@pytest.fixture
def through(
    site: following.Site, mariadb: databases.MariaDb
) -> Iterator[tuple[daemons.Proxy, str]]:
    """Another way to the site's database, which can be cut."""
    name = site.url.partition('@localhost/')[2].partition('?')[0]
    with daemons.proxy(mariadb.socket) as proxy:
        yield proxy, f'mysql+pymysql://root@127.0.0.1:{proxy.port}/{name}'


def approved(site: following.Site, data: bytes) -> bool:
    return site.decide(data) is model.Reason.APPROVED


def test_killed_one_is_followed(site: following.Site) -> None:
    with daemons.crew(site, 'one two', lease_time=6) as (one, two):
        one.start()
        one.comes_to_lead()
        one.until('the list', lambda: approved(site, DATA))
        two.start()
        two.says('standing by')
        fence = daemons.fence(site)
        first = daemons.leader(site, [one, two])
        first.send(signal.SIGKILL)
        first.ended()
        other = two if first is one else one
        other.comes_to_lead()
        assert daemons.fence(site) > fence


def test_paused_one_is_followed_and_its_late_write_refused(
    site: following.Site,
) -> None:
    old = site.publish('main', '1', image(DATA))
    new = site.publish('main', '2', image(OTHER))
    go_on = threading.Event()

    def first_one_waits(handler: servers.Handler) -> None:
        if len(handler.server.asked) == 1:
            go_on.wait(SOON)
            servers.answer(old)(handler)
        else:
            servers.answer(new)(handler)

    with (
        servers.running() as server,
        daemons.crew(site, 'one two', lease_time=10, more=PATIENT) as (
            one,
            two,
        ),
    ):
        site.change('main', url=server.tell('/list', first_one_waits))
        one.start()
        one.until('it to ask', lambda: server.asked)
        fence = daemons.fence(site)
        one.send(signal.SIGSTOP)
        two.start()
        two.comes_to_lead()
        two.until('the list', lambda: approved(site, OTHER))
        assert daemons.fence(site) > fence
        # The first one has slept through all of it; now it has an answer
        # and believes in its lease.
        go_on.set()
        one.send(signal.SIGCONT)
        one.says('nothing was written')
        one.says('no longer leading')
        one.says('standing by')
        assert site.lists_seen() == ['ok']
        assert not approved(site, DATA)
        assert two.alive()


def test_cut_off_one_is_followed(
    site: following.Site, through: tuple[daemons.Proxy, str]
) -> None:
    proxy, url = through
    with contextlib.ExitStack() as stack:
        (one,) = stack.enter_context(
            daemons.crew(site, 'one', url=url, lease_time=6)
        )
        (two,) = stack.enter_context(daemons.crew(site, 'two', lease_time=6))
        one.start()
        one.comes_to_lead()
        proxy.cut()
        two.start()
        two.comes_to_lead()
        one.says('no longer leading')
        fence = daemons.fence(site)
        proxy.mend()
        one.says('standing by')
        # The way back, with the network silent instead of broken.
        two.send(signal.SIGTERM)
        assert two.ended() == 0
        one.comes_to_lead()
        assert daemons.fence(site) > fence
        proxy.hold()
        two.start()
        two.comes_to_lead()
        one.says('no longer leading', times=2)
        proxy.mend()
        one.says('standing by', times=2)


def test_no_connection_outlives_a_cut(tmp_path: Path) -> None:
    path = tmp_path / 'socket'
    with (
        socket.socket(socket.AF_UNIX) as server,
        daemons.proxy(path) as proxy,
    ):
        server.bind(str(path))
        server.listen()

        class Cutting:
            """A name that is cut off as it is read: in the midst of it."""

            def __str__(self) -> str:
                proxy.cut()
                return str(path)

        proxy._path = Cutting()  # type: ignore[assignment]
        with socket.create_connection(('127.0.0.1', proxy.port), SOON) as one:
            assert one.recv(1) == b''


def test_database_that_is_away_ends_no_daemon(
    site: following.Site, mariadb: databases.MariaDb
) -> None:
    mariadb.end()
    try:
        with daemons.crew(site, 'one', lease_time=6) as (one,):
            one.start()
            one.says('cannot be opened')
            one.systemd.wait('EXTEND_TIMEOUT_USEC', SOON, one.log)
            assert 'READY=1' not in one.systemd.heard
            site.close()
            mariadb.start()
            one.is_ready()
            one.until('the list', lambda: approved(site, DATA))
            site.close()
            mariadb.end()
            one.says('no longer leading')
            mariadb.start()
            one.comes_to_lead()
            one.send(signal.SIGTERM)
            assert one.ended() == 0
            assert 'Traceback' not in one.said()
    finally:
        if not mariadb_runs(mariadb):
            mariadb.start()


def mariadb_runs(server: databases.MariaDb) -> bool:
    return server._process is not None


def test_writer_that_falls_silent_within_a_transaction_keeps_nobody_out(
    site: following.Site,
    through: tuple[daemons.Proxy, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, 'SILENCE', 10)
    # Its row locks stay until the server gives up the connection: no packet
    # will ever tell that there is nobody at its other end.
    proxy, url = through
    with (
        contextlib.closing(database.Database(url, 60)) as cut_off,
        contextlib.closing(database.Database(site.url, 60)) as store,
    ):
        assert lease.take(site.database, 'one', None, 1) == 1
        mine = cut_off.fenced(lease.SYNC, 1)
        with (
            pytest.raises((errors.HepixError, *database.FAILURES)),
            mine.writing() as transaction,
        ):
            transaction.remember(1, 'one', 'event', 'subject', 'detail')
            proxy.hold()
            taken: list[int | None] = []

            def take() -> bool:
                with contextlib.suppress(*database.FAILURES):
                    with store.reading() as connection:
                        seen = lease.look(connection)
                    taken.append(lease.take(store, 'two', seen, 2))
                return bool(taken)

            daemons.waits.until('the lease', take, SOON)
            proxy.mend()
        assert taken == [2]
        assert site.events('subject') == []

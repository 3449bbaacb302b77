# SPDX-License-Identifier: Apache-2.0
"""Who fetched which context, written by several processes at once into the
databases that a site with several of them has; processes are killed, and the
database goes away meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any
import uuid

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import database
from hepix_vm.catalogue import drains
from hepix_vm.catalogue import hosts
from hepix_vm.catalogue import migrations
from hepix_vm.context import audit
from hepix_vm.context import noted
from tests.cloud import waits
from tests import databases
from tests.unit.context import auditing

SOON = databases.SOON
ROOT = Path(__file__).parents[2]
WRITERS = 3
FETCH = auditing.FETCH


@pytest.fixture(scope='module', params=['mariadb', 'postgresql'])
def server(request: pytest.FixtureRequest) -> Iterator[databases.Server]:
    """Each kind of server in turn, as a site may have set it."""
    start = {
        'mariadb': databases.mariadb,
        'postgresql': lambda: databases.postgresql(
            'default_transaction_isolation=serializable'
        ),
    }[request.param]
    with start() as made:
        yield made


@pytest.fixture(scope='module')
def url(server: databases.Server) -> str:
    """A catalogue; each test has servers of its own in it."""
    made = server.url()
    with contextlib.closing(database.Database(made)) as store:
        migrations.upgrade(store)
    return made


@pytest.fixture
def store(url: str) -> Iterator[database.Database]:
    with contextlib.closing(database.Database(url)) as made:
        yield made
        # The next test counts from nothing.
        context_fetches.forget(made, instances(made), 2**40)


def notes(store: database.Database) -> list[context_fetches.Note]:
    with store.reading() as connection:
        return list(context_fetches.notes(connection))


def processes(
    store: database.Database,
) -> tuple[context_fetches.Process, ...]:
    with store.reading() as connection:
        return context_fetches.processes(connection)


def instances(store: database.Database) -> set[str]:
    return {note.instance for note in notes(store)}


def until(what: str, so: Callable[[], Any], **values: Any) -> None:
    waits.until(what, so, SOON, interval=0.05, **values)


class Writer:
    """A process that notes the same fetches as every other one."""

    def __init__(self, url: str, interval: str = '0.05') -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                '-W',
                'ignore',
                '-m',
                'tests.unit.context.auditing',
                url,
                interval,
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def noted(self) -> None:
        """Wait until its notes are in its memory."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == 'noted\n'

    def end(self) -> None:
        """Have it end in good order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(SOON) == 0

    def kill(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(SOON)


@contextlib.contextmanager
def writers(url: str, *intervals: str) -> Iterator[list[Writer]]:
    made: list[Writer] = []
    try:
        made.extend(Writer(url, interval) for interval in intervals)
        yield made
    finally:
        for one in made:
            one.kill()
            for pipe in (one.process.stdin, one.process.stdout):
                assert pipe is not None
                pipe.close()


def test_processes_that_write_the_same_rows_lose_none(
    url: str, store: database.Database
) -> None:
    """And with nothing to write none of them has a row of its own."""
    with writers(url, *['0.05'] * WRITERS) as made:
        for one in made:
            one.noted()
        until(
            'all notes to be written',
            lambda: (
                sum(note.times for note in notes(store))
                == WRITERS * auditing.MANY
            ),
        )
        assert {note.times for note in notes(store)} == {WRITERS}
        until('all rows to be closed', lambda: not processes(store))
        for one in made:
            one.end()
    assert processes(store) == ()


def test_a_process_that_is_killed_while_it_writes_is_told(
    url: str, store: database.Database
) -> None:
    with writers(url, '3600') as (victim,):
        victim.noted()
        until('it to be seen', lambda: processes(store))
        victim.kill()
        (left,) = processes(store)
        assert f'/{victim.process.pid}/' in left.name
        assert left.open
        assert not left.crashed(left.seen_at + context_fetches.GONE)
        assert left.crashed(left.seen_at + context_fetches.GONE + 1)


def test_a_database_that_was_killed_and_came_back_lacks_nothing(
    server: databases.Server, url: str, store: database.Database
) -> None:
    one = audit.Audit(audit.Settings(url, interval=0.05, store_timeout=SOON))
    with contextlib.closing(one):
        one.note(FETCH)
        until('the first to be written', lambda: instances(store))
        server.kill()
        try:
            # Each of these returns at once; nothing is there to wait for.
            for number in range(200):
                instance = f'{number:08}-0000-4000-b000-{"0" * 12}'
                one.note(noted.Fetch(instance, 'p', 'tgz', 'a' * 64, 3))
            one.note(FETCH)
            store.close()
            writing: Any = one._writing
            until('it to fail', lambda: not writing._well)
        finally:
            server.start()
        until('all to be written', lambda: len(notes(store)) == 201)
    (first,) = (n for n in notes(store) if n.instance == auditing.ONE)
    # A write whose answer was lost may have been done again.
    assert first.times >= 2
    until('its end to be written', lambda: not processes(store))


def test_a_database_that_says_nothing_holds_up_nobody(
    server: databases.Server, url: str, store: database.Database
) -> None:
    one = audit.Audit(
        audit.Settings(url, kept=2, interval=0.05, store_timeout=SOON)
    )
    with contextlib.closing(one):
        one.note(FETCH)
        until('the first to be written', lambda: instances(store))
        with server.frozen():
            for _ in range(3):
                one.note(
                    noted.Fetch(str(uuid.uuid4()), 'p', 'tgz', 'a' * 64, 3)
                )
            one.note(FETCH)
        until(
            'what was lost to be noted',
            lambda: sum(p.lost for p in processes(store)),
        )
    until('its end to be written', lambda: not processes(store)[0].open)
    (left,) = processes(store)
    assert left.lost >= 1
    assert len(notes(store)) + left.lost >= 4


def test_orders_to_end_are_kept_as_they_were_given(
    store: database.Database,
) -> None:
    """Names differ by case, and who ordered may have any name."""
    given = [
        drains.Drain(drains.Kind.HOST, 'wn1', 2**33, 7, 'Zo\u00eb \U0001f9ca'),
        drains.Drain(drains.Kind.HOST, 'WN1', 5000, 7, 'x' * 255, True),
        drains.Drain(drains.Kind.SERVER, auditing.ONE, 6000, 7, 'me'),
        drains.Drain(drains.Kind.HOST, auditing.ONE, 6000, 7, 'me'),
    ]
    for one in (*given, given[0]):
        store.transact(lambda made, one=one: drains.put(made, one))
    with store.reading() as connection:
        # The next one first, and those of hosts before those of servers.
        assert drains.drains(connection) == (
            *(given[1], given[3], given[2], given[0]),
        )

    def clear(made: database.Transaction) -> list[bool]:
        return [
            drains.clear(made, one.kind, one.name)
            for one in (*given, given[0])
        ]

    assert store.transact(clear) == [True, True, True, True, False]


def test_what_hosts_have_is_kept_as_it_was_told(
    store: database.Database,
) -> None:
    told = (
        hosts.Host('WN1', None, None, (), None, 7),
        hosts.Host(
            *('wn1', 2**31 - 1, 'EPYC\u2122 \U0001f9ca'),
            *(('a, "b"', '\u00e9\U0001f9ca'), 'QEMU', 2**33),
        ),
    )
    for _ in range(2):
        store.transact(lambda made: hosts.put(made, told))
        with store.reading() as connection:
            assert hosts.hosts(connection) == told
    store.transact(lambda made: hosts.forget(made, ['wn1', 'wn2']))
    with store.reading() as connection:
        assert hosts.hosts(connection) == told[:1]
    store.transact(lambda made: hosts.forget(made, ['WN1']))


def test_an_account_that_may_write_these_tables_alone_is_enough(
    server: databases.Server, url: str, store: database.Database
) -> None:
    name = sa.make_url(url).database
    tables = ['context_fetches', 'context_lost']
    with store.engine().begin() as connection:
        if isinstance(server, databases.MariaDb):
            account = "'audit'@'localhost'"
            connection.exec_driver_sql(f'CREATE USER {account}')
            tables = [f'{name}.{table}' for table in tables]
        else:
            account = 'audit'
            connection.exec_driver_sql(f'CREATE ROLE {account} LOGIN')
        for table in tables:
            connection.exec_driver_sql(
                f'GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {account}'
            )
    limited = sa.make_url(url).set(username='audit')
    one = audit.Audit(
        audit.Settings(
            limited.render_as_string(hide_password=False), store_timeout=SOON
        )
    )
    one.note(FETCH)
    one.close()
    until('it to be written', lambda: instances(store) == {auditing.ONE})
    until('its end to be written', lambda: not processes(store))

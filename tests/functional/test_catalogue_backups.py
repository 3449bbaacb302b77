# SPDX-License-Identifier: Apache-2.0
"""Back-ups of a catalogue in use, and what follows when one is put back."""

from __future__ import annotations

import abc
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import itertools
from pathlib import Path
import sqlite3
import subprocess
import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import history
from hepix_vm.catalogue import lease
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store as store_
from hepix_vm import errors
from tests.cloud import waits
from tests import databases
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.cli import commands

KEPT, GONE, NEW, BLOCKED = b'kept', b'gone', b'new', b'blocked'
image = endorser.make_image
Reason = model.Reason


class Kind(abc.ABC):
    """How a kind of database is backed up, as the documentation says."""

    @abc.abstractmethod
    def url(self) -> str:
        """An empty database."""

    @abc.abstractmethod
    def back_up(self, url: str, file: Path) -> None:
        """While others read and write."""

    @abc.abstractmethod
    def restore(self, url: str, file: Path) -> None:
        """Put it in the place of what is there."""


def run(*words: object, **options: Any) -> None:
    """Run a program of a database."""
    first, *others = map(str, words)
    subprocess.run(
        [databases.program(first), *others],
        check=True,
        timeout=databases.SOON,
        **options,
    )


class SQLite(Kind):
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = itertools.count()

    @staticmethod
    def _path(url: str) -> Path:
        return Path(sa.make_url(url).database or '')

    def url(self) -> str:
        return f'sqlite:///{self._folder / str(next(self._names))}'

    def back_up(self, url: str, file: Path) -> None:
        with contextlib.closing(sqlite3.connect(self._path(url), 60)) as db:
            db.execute('VACUUM INTO ?', (str(file),))

    def restore(self, url: str, file: Path) -> None:
        path = self._path(url)
        other = path.with_suffix('.restored')
        other.write_bytes(file.read_bytes())
        path.with_name(f'{path.name}-journal').unlink(missing_ok=True)
        other.replace(path)


class MariaDb(Kind):
    """mariadb-dump."""

    def __init__(self, server: databases.MariaDb) -> None:
        self._server = server

    def url(self) -> str:
        return self._server.url()

    def _words(self) -> list[object]:
        return [
            '--no-defaults',
            '--user=root',
            f'--socket={self._server.socket}',
        ]

    def back_up(self, url: str, file: Path) -> None:
        with file.open('wb') as out:
            run(
                'mariadb-dump',
                *self._words(),
                '--single-transaction',
                '--hex-blob',
                '--default-character-set=utf8mb4',
                sa.make_url(url).database,
                stdout=out,
            )

    def restore(self, url: str, file: Path) -> None:
        name = sa.make_url(url).database
        with contextlib.closing(self._server.connect()) as connection:
            connection.cursor().execute(f'DROP DATABASE {name}')
            connection.cursor().execute(f'CREATE DATABASE {name}')
        with file.open('rb') as dump:
            run(
                'mariadb',
                *self._words(),
                '--default-character-set=utf8mb4',
                name,
                stdin=dump,
            )


class PostgreSql(Kind):
    """pg_dump."""

    def __init__(self, server: databases.PostgreSql) -> None:
        self._server = server

    def url(self) -> str:
        return self._server.url()

    @staticmethod
    def _words(url: str) -> list[object]:
        parts = sa.make_url(url)
        return [
            f'--host={parts.query["host"]}',
            f'--username={parts.username}',
        ]

    def back_up(self, url: str, file: Path) -> None:
        run(
            'pg_dump',
            *self._words(url),
            '--format=custom',
            f'--file={file}',
            sa.make_url(url).database,
        )

    def restore(self, url: str, file: Path) -> None:
        run(
            'pg_restore',
            *self._words(url),
            '--clean',
            '--if-exists',
            '--single-transaction',
            f'--dbname={sa.make_url(url).database}',
            file,
        )


@pytest.fixture(scope='module', params=['mariadb', 'postgresql', 'sqlite'])
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kind]:
    """Each kind of database in turn."""
    if request.param == 'sqlite':
        yield SQLite(tmp_path_factory.mktemp('sqlite'))
    elif request.param == 'mariadb':
        with databases.mariadb() as mariadb:
            yield MariaDb(mariadb)
    else:
        with databases.postgresql() as postgresql:
            yield PostgreSql(postgresql)


@pytest.fixture
def site(tmp_path: Path, kind: Kind) -> Iterator[following.Site]:
    """A site with a list and a back-up's worth of decisions."""
    made = following.Site(tmp_path, kind.url())
    made.follow()
    yield made
    made.close()


@contextlib.contextmanager
def busy(url: str) -> Iterator[None]:
    """Somebody writes all the time."""
    done = threading.Event()
    written: list[int] = []

    def write() -> None:
        with contextlib.closing(database.Database(url, 60)) as mine:
            while not done.is_set():
                number = len(written)
                written.append(
                    mine.transact(
                        lambda t: (
                            t.remember(1, 'me', 'an event', 'a subject', ''),  # type: ignore[func-returns-value]
                            t.put(
                                schema.block,
                                {'target': f'{number}'},  # noqa: B023
                                {
                                    'active': False,
                                    'at': 1,
                                    'who': 'me',
                                    'reason': '',
                                },
                            ),
                            t.revision,
                        )[-1]
                    )
                )
                time.sleep(0.01)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        waits.until('something to be written', lambda: written, 120)
        yield
        before = len(written)
        waits.until('more to be written', lambda: written[before:], 120)
    finally:
        done.set()
        thread.join()


def test_backup_of_a_catalogue_in_use_is_whole(
    site: following.Site, kind: Kind, tmp_path: Path
) -> None:
    site.publish('main', '1', image(KEPT, title='Wörker ☃ 😀'))
    assert site.sync()['main'].well
    with busy(site.url):
        kind.back_up(site.url, tmp_path / 'backup')
    site.close()
    kind.restore(site.url, tmp_path / 'backup')
    verified = history.verify(site.database)
    assert not verified.misfits
    assert verified.messages == 1
    with site.database.reading() as connection:
        number = connection.execute(
            sa.select(schema.catalogue.c.number)
        ).scalar_one()
        marks = connection.execute(sa.select(schema.mark.c.number)).scalars()
        assert max(marks) == number
    assert {found.title for found in site.images()} == {'Wörker ☃ 😀'}
    assert site.sync()['main'].well
    # Numbers go on where they were.
    assert not history.verify(site.database).misfits


@pytest.fixture
def asked(
    site: following.Site,
) -> Iterator[Callable[[bytes], Reason]]:
    """Asks a process that lives on while the back-up is put back."""
    made = reader.Reader(
        reader.ReaderSettings(
            site.url, refresh_interval=0.1, store_timeout=60, negative_ttl=0
        )
    )
    yield (
        lambda data: (
            made.decide_bytes(image(data).sha512, len(data), None).code
        )
    )
    made.close()


def test_old_backup_that_is_put_back(
    site: following.Site,
    kind: Kind,
    tmp_path: Path,
    asked: Callable[[bytes], Reason],
    capsys: pytest.CaptureFixture[str],
) -> None:
    hepix_vm = commands.Commands(site, capsys)
    kept, gone, blocked = image(KEPT), image(GONE), image(BLOCKED)
    first = site.publish('main', '1', kept, gone, blocked)
    site.sync()
    record = site.record(GONE)
    kind.back_up(site.url, tmp_path / 'backup')
    # Since then an endorser withdrew, and the operator blocked.
    second = site.publish('main', '2', kept, blocked, image(NEW))
    site.sync(after=10)
    hepix_vm('image', 'block', blocked.identifier, '--reason', 'a test')
    old = lease.take(site.database, 'a daemon', None, site.now)
    assert old == 1
    former = site.database.fenced(lease.SYNC, old)
    assert asked(NEW) is Reason.APPROVED
    assert asked(GONE) is Reason.WITHDRAWN
    assert asked(BLOCKED) is Reason.BLOCKED
    site.close()
    kind.restore(site.url, tmp_path / 'backup')
    ran = hepix_vm('db', 'restored', '--reason', 'disk was lost')
    assert ran.status == 0, ran.err
    # Readers see the store as it is, as soon as it is there.
    waits.until(
        'the reader to see it', lambda: asked(NEW) is Reason.NOT_ENDORSED, 120
    )
    assert asked(BLOCKED) is Reason.APPROVED
    # An older list than that of the back-up is refused as ever; the newest
    # goes in, and withdraws again what it had withdrawn before.
    site.serve('main', second)
    assert site.sync('main', after=10)['main'].well
    assert site.decide(GONE) is Reason.WITHDRAWN
    assert site.image_state(record) == 'withdrawn withdrawn'
    site.serve('main', first)
    assert site.sync(after=10)['main'].code == 'rollback'
    waits.until(
        'the reader to see it', lambda: asked(NEW) is Reason.APPROVED, 120
    )
    # What people decided is theirs to repeat.
    assert site.decide(BLOCKED) is Reason.APPROVED
    with site.database.reading() as connection:
        assert not store_.blocks(connection)
        event = history.newest(connection, None, 'store-restored')[0]
    assert 'disk was lost' in event.detail
    # Nor can a daemon of before write, whatever number the next one gets.
    found = site.database
    with found.reading() as connection:
        seen = lease.look(connection)
    number = lease.take(found, 'another daemon', seen, site.now)
    assert number is not None
    assert number > old
    with pytest.raises(errors.LeaseLost):
        former.transact(lambda transaction: None)
    former.close()
    assert not history.verify(site.database).misfits

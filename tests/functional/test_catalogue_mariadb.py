# SPDX-License-Identifier: Apache-2.0
"""The catalogue in a real MariaDB: writers, readers, and a server that
stops answering. The server is our own, with its own defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import itertools
from pathlib import Path
import shutil
import signal
import subprocess
import threading
import time
from typing import Any
import uuid

from alembic import autogenerate
from alembic.runtime import migration
import pymysql
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import catalogue_rows
from tests.cloud import services
from tests.cloud import supervisor
from tests.cloud import waits
from tests import endorser
from tests.unit.catalogue import following

SOON = 120
DATA, OTHER = b'an image', b'another image'
CONTENT = catalogue_rows.sha512(DATA)
Reason = model.Reason
image = endorser.make_image


class MariaDb:
    """One server on a socket, which can be stopped and frozen."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / 'data'
        self._socket = folder / 'socket'
        self._log = folder / 'log'
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()
        subprocess.run(
            [
                self._program('mariadb-install-db'),
                '--no-defaults',
                services.MARIADB_USER,
                f'--datadir={self._data}',
                '--rpm',
                '--auth-root-authentication-method=normal',
                '--skip-test-db',
            ],
            check=True,
            timeout=SOON,
            capture_output=True,
        )

    @staticmethod
    def _program(name: str) -> str:
        found = shutil.which(name, path=supervisor.PATH)
        assert found, f'{name}: run tools/install-system-packages'
        return found

    def start(self) -> None:
        """Start it and wait until it accepts."""
        with self._log.open('ab') as log:
            self._process = subprocess.Popen(
                [
                    self._program('mariadbd'),
                    '--no-defaults',
                    services.MARIADB_USER,
                    f'--datadir={self._data}',
                    f'--socket={self._socket}',
                    f'--pid-file={self._socket.with_suffix(".pid")}',
                    '--skip-networking',
                    '--innodb-flush-method=nosync',
                    # As a site may have set it; looks are consistent anyway.
                    '--transaction-isolation=READ-COMMITTED',
                    '--max-allowed-packet=1M',
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = self._process
        waits.until(
            'MariaDB to accept',
            self._accepts,
            SOON,
            log=self._log,
            alive=lambda: process.poll() is None,
        )

    def _accepts(self) -> bool:
        try:
            self._connect().close()
        except pymysql.err.OperationalError:
            return False
        return True

    def _connect(self) -> Any:
        return pymysql.connect(
            unix_socket=str(self._socket), user='root', connect_timeout=30
        )

    def stop(self) -> None:
        """End it, as a failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(SOON)
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It accepts connections and says nothing, like a hanging host."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def url(self) -> str:
        """The URL of a new, empty database."""
        name = f'catalogue{next(self._names)}'
        with contextlib.closing(self._connect()) as connection:
            connection.cursor().execute(f'CREATE DATABASE {name}')
        return (
            f'mysql+pymysql://root@localhost/{name}?unix_socket={self._socket}'
        )


@pytest.fixture(scope='module')
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """A server for the tests of this file."""
    server = MariaDb(tmp_path_factory.mktemp('mariadb'))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def url(mariadb: MariaDb) -> str:
    """An empty database."""
    return mariadb.url()


@pytest.fixture
def site(tmp_path: Path, url: str) -> Iterator[following.Site]:
    """A site that follows one list."""
    made = following.Site(tmp_path, url)
    made.follow()
    yield made
    made.close()


@pytest.fixture
def rows(url: str) -> Iterator[catalogue_rows.Rows]:
    """A catalogue with one trusted list."""
    made = catalogue_rows.Rows(url)
    made.subscription('trusted')
    yield made
    made.close()


# Migrations


def test_migrations_make_the_schema_and_can_be_run_again(url: str) -> None:
    with contextlib.closing(database.Database(url)) as made:
        with pytest.raises(errors.LocalFault, match='schema none'):
            migrations.check(made)
        for _ in range(2):
            assert migrations.upgrade(made) == migrations.head()
        migrations.check(made)
        with made.reading() as connection:
            context = migration.MigrationContext.configure(
                connection, opts={'compare_type': True}
            )
            assert (
                autogenerate.compare_metadata(context, schema.metadata) == []
            )
            kinds = connection.execute(
                sa.text(
                    'SELECT DISTINCT engine, table_collation FROM '
                    'information_schema.tables WHERE '
                    'table_schema = DATABASE() AND '
                    "table_name != 'alembic_version'"
                )
            ).all()
    assert [tuple(kind) for kind in kinds] == [('InnoDB', 'utf8mb4_bin')]


def test_url_may_name_mariadb(url: str) -> None:
    named = url.replace('mysql+', 'mariadb+')
    with contextlib.closing(database.Database(named)) as made:
        migrations.upgrade(made)
        migrations.check(made)


def test_account_without_rights_is_one_sentence(url: str) -> None:
    wrong = url.replace('root@', 'nobody:secret@')
    with (
        contextlib.closing(database.Database(wrong)) as made,
        pytest.raises(errors.LocalFault) as caught,
    ):
        migrations.check(made)
    assert 'Access denied' in str(caught.value)
    assert '\n' not in str(caught.value)
    assert 'secret' not in str(caught.value)


# Syncing


def test_lists_come_in_change_and_are_withdrawn(site: following.Site) -> None:
    kept = image(
        DATA,
        title='Worker ☃ 😀',
        expires=endorser.utc(site.now + 1000),
        size=len(DATA),
    )
    site.publish('main', '1', kept, image(OTHER), vo='example.vo')
    report = site.sync()['main']
    assert report.well
    assert report.added == 2
    record = site.record(OTHER)
    assert site.decide(DATA) is Reason.APPROVED
    assert {found.title for found in site.images()} == {
        'Worker ☃ 😀',
        'a test image',
    }
    assert site.sync()['main'].outcome is sync.Outcome.UNCHANGED
    site.publish('main', '2', kept, vo='example.vo')
    assert site.sync()['main'].withdrawn == 1
    assert site.image_state(record) == 'withdrawn withdrawn'
    site.publish('main', '1', kept)
    assert site.sync()['main'].code == 'rollback'
    assert site.lists_seen() == ['rollback', 'ok', 'ok']


def test_largest_sizes_and_times_fit(site: following.Site) -> None:
    far = endorser.utc(253402300799)
    site.publish(
        'main',
        '9' * 255,
        image(DATA, size=2**63 - 1, version='1' * 255, expires=far),
        expires=far,
        vo='v' * 255,
    )
    assert site.sync()['main'].well
    (found,) = site.images()
    assert found.size == 2**63 - 1
    assert found.expires == 253402300799


def test_signed_message_is_kept_whole(site: following.Site) -> None:
    entries = [
        image(str(n).encode(), description='x' * 1000) for n in range(200)
    ]
    message = site.publish('main', '1', *entries)
    assert len(message) > 2**16
    assert site.sync()['main'].added == 200
    with site.database.reading() as connection:
        list_id = site.state().list_id
        assert list_id is not None
        assert store.message(connection, list_id) == message


def test_list_that_the_server_does_not_take_ends_no_other(
    site: following.Site,
) -> None:
    site.follow('second')
    entries = [
        image(str(n).encode(), description='x' * 16000) for n in range(100)
    ]
    assert len(site.publish('main', '1', *entries)) > 2**20
    site.publish('second', '1', image(DATA))
    reports = site.sync()
    assert reports['main'].outcome is sync.Outcome.FAILED
    assert reports['main'].code == 'store'
    assert reports['second'].outcome is sync.Outcome.ACCEPTED
    assert site.decide(DATA) is Reason.APPROVED


def test_names_are_told_apart_by_case(rows: catalogue_rows.Rows) -> None:
    rows.subscription('Trusted', standing=model.Standing.REVOKED.value)
    with rows.store.reading() as connection:
        states = store.subscription_states(connection)
    assert states['trusted'].standing is model.Standing.TRUSTED
    assert states['Trusted'].standing is model.Standing.REVOKED


# Several at once


def together(*works: Callable[[], None]) -> None:
    """Run at the same time; what one raises is raised here."""
    problems: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - raised below
            problems.append(exc)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in threads), 'it hangs'
    if problems:
        raise problems[0]


def test_writers_get_revisions_in_the_order_of_their_commits(
    rows: catalogue_rows.Rows,
) -> None:
    seen: list[int] = []

    def write() -> None:
        with contextlib.closing(database.Database(rows.connection)) as mine:
            for number in range(20):
                with mine.writing() as transaction:
                    transaction.put(
                        schema.block,
                        {'target': f'image {number}'},
                        {
                            'active': True,
                            'at': 1,
                            'who': 'me',
                            'reason': '',
                        },
                    )
                    seen.append(transaction.revision)

    together(write, write, write)
    assert len(set(seen)) == 60
    with rows.store.reading() as connection:
        assert len(store.blocks(connection)) == 20


def test_reader_misses_nothing_while_two_write(
    rows: catalogue_rows.Rows,
) -> None:
    done = threading.Event()

    def write(prefix: str) -> None:
        with contextlib.closing(database.Database(rows.connection)) as mine:
            for number in range(40):
                with mine.writing() as transaction:
                    transaction.put(
                        schema.block,
                        {'target': f'{prefix}{number}'},
                        {
                            'active': True,
                            'at': 1,
                            'who': 'me',
                            'reason': '',
                        },
                    )

    def read() -> None:
        loaded: loading.Loaded | None = None
        with contextlib.closing(database.Database(rows.connection)) as mine:
            while True:
                last = done.is_set()
                with mine.reading() as connection:
                    loaded = loading.load(connection, loaded, 1)
                    whole = loading.load(connection, None, 1)
                assert loaded.snapshot == whole.snapshot
                if last:
                    break
        assert loaded is not None
        assert len(loaded.snapshot.blocked) == 80

    def write_both() -> None:
        try:
            together(lambda: write('a'), lambda: write('b'))
        finally:
            done.set()

    together(write_both, read)


def test_a_look_is_consistent_whatever_the_server_defaults_to(
    rows: catalogue_rows.Rows,
) -> None:
    with rows.store.reading() as connection:
        first = loading.load(connection, None, 1)
        with contextlib.closing(catalogue_rows.Rows(rows.connection)) as other:
            other.block('something')
        assert loading.load(connection, None, 1) == first
    with rows.store.reading() as connection:
        assert loading.load(connection, None, 1) != first


def test_syncs_at_once_end_well(site: following.Site) -> None:
    site.publish('main', '1', image(DATA), image(OTHER))
    outcomes: list[str] = []

    def run() -> None:
        with contextlib.closing(database.Database(site.url)) as mine:
            reports, _ = sync.run(
                mine, site.configured, following.SETTINGS, site.now
            )
            outcomes.extend(report.outcome for report in reports)

    together(run, run, run)
    assert sorted(outcomes) == ['accepted', 'unchanged', 'unchanged']
    assert len(site.images()) == 2
    assert site.lists_seen() == ['ok']


def test_imports_of_one_image_at_once_leave_one_record(
    rows: catalogue_rows.Rows,
) -> None:
    image_id = str(uuid.uuid4())
    won: list[str] = []

    def run() -> None:
        task = str(uuid.uuid4())
        with contextlib.closing(database.Database(rows.connection)) as mine:
            writer = records.Records(mine)
            writer.verified(image_id, task, '', CONTENT, len(DATA), 1, 1)
            time.sleep(0.2)
            with contextlib.suppress(errors.NotBelieved):
                writer.positive(image_id, task, CONTENT, len(DATA), 2)
                won.append(task)

    together(run, run, run)
    assert len(won) == 1
    row = rows.recorded(image_id)
    assert row is not None
    assert (row.state, row.task_id) == ('positive', won[0])


# The reader, and a server that does not answer


@dataclasses.dataclass
class Clock:
    """A clock that a test puts forward."""

    ahead: float = 0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked(
    rows: catalogue_rows.Rows, clock: Clock
) -> Iterator[Callable[[], Reason]]:
    """Asks a reader of the store about the bytes."""
    made = reader.Reader(
        reader.ReaderSettings(
            rows.connection,
            refresh_interval=0.1,
            store_timeout=2,
            negative_ttl=0,
        ),
        clock,
    )
    yield lambda: made.decide_bytes(CONTENT, len(DATA), None).code
    made.close()


def until(asked: Callable[[], Reason], reason: Reason) -> None:
    waits.until(f'the decision {reason}', lambda: asked() is reason, SOON)


def test_reader_sees_what_changes(
    rows: catalogue_rows.Rows, asked: Callable[[], Reason]
) -> None:
    until(asked, Reason.NOT_ENDORSED)
    rows.endorse(DATA)
    until(asked, Reason.APPROVED)
    rows.withdraw(DATA)
    until(asked, Reason.WITHDRAWN)


def test_hanging_server_is_survived_until_the_maximum_age(
    mariadb: MariaDb,
    rows: catalogue_rows.Rows,
    asked: Callable[[], Reason],
    clock: Clock,
) -> None:
    rows.endorse(DATA)
    until(asked, Reason.APPROVED)
    with mariadb.frozen():
        assert asked() is Reason.APPROVED
        clock.ahead = 1000
        assert asked() is Reason.STORE_UNAVAILABLE
    until(asked, Reason.APPROVED)


def test_reader_that_starts_while_the_server_hangs_refuses_then_recovers(
    mariadb: MariaDb,
    rows: catalogue_rows.Rows,
    asked: Callable[[], Reason],
) -> None:
    rows.endorse(DATA)
    with mariadb.frozen():
        assert asked() is Reason.STORE_UNAVAILABLE
    until(asked, Reason.APPROVED)


def test_record_is_not_written_while_the_server_hangs(
    mariadb: MariaDb, rows: catalogue_rows.Rows
) -> None:
    with contextlib.closing(database.Database(rows.connection, 2)) as mine:
        writer = records.Records(mine)
        writer.verified('image', 'task', '', CONTENT, len(DATA), 1, 1)
        with mariadb.frozen(), pytest.raises(errors.TryAgain):
            writer.positive('image', 'task', CONTENT, len(DATA), 2)
        writer.positive('image', 'task', CONTENT, len(DATA), 2)
    row = rows.recorded('image')
    assert row is not None
    assert row.state == 'positive'


def test_server_that_was_killed_and_came_back(
    mariadb: MariaDb,
    rows: catalogue_rows.Rows,
    asked: Callable[[], Reason],
    clock: Clock,
) -> None:
    rows.endorse(DATA)
    until(asked, Reason.APPROVED)
    mariadb.stop()
    try:
        assert asked() is Reason.APPROVED
        clock.ahead = 1000
        assert asked() is Reason.STORE_UNAVAILABLE
        with pytest.raises(errors.LocalFault, match='cannot be opened'):
            migrations.check(database.Database(rows.connection, 2))
    finally:
        mariadb.start()
    clock.ahead = 0
    until(asked, Reason.APPROVED)
    rows.close()
    rows.withdraw(DATA)
    until(asked, Reason.WITHDRAWN)

# SPDX-License-Identifier: Apache-2.0
"""The catalogue in every kind of database that a site may choose: SQLite,
MariaDB, PostgreSQL, and a Galera cluster that is written to at two nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path
import threading
import time
from typing import Any
import uuid

from alembic import autogenerate
from alembic.runtime import migration
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import database
from hepix_vm.catalogue import expression
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm.operations import anyway
from hepix_vm.operations import site as site_
from hepix_vm.operations import waiting
from tests import catalogue_rows
from tests.cloud import waits
from tests import databases
from tests import endorser
from tests import side_by_side
from tests.unit.catalogue import following

SOON = databases.SOON
DATA, OTHER = b'an image', b'another image'
CONTENT = catalogue_rows.sha512(DATA)
Reason = model.Reason
image = endorser.make_image


@dataclasses.dataclass(frozen=True)
class Place:
    """A kind of database.

    :ivar make: a new, empty database: two URLs of it, which lead to two
        nodes of a cluster, and else are the same
    :ivar server: what the second of them leads to; None for SQLite
    """

    make: Callable[[], tuple[str, str]]
    server: databases.Server | None


KINDS = ['galera', 'mariadb', 'postgresql', 'sqlite']


@pytest.fixture(scope='module', params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Each kind of database in turn."""
    server: databases.Server
    if request.param == 'sqlite':

        def file() -> tuple[str, str]:
            folder = tmp_path_factory.mktemp('sqlite')
            url = f'sqlite:///{folder / "catalogue.sqlite"}'
            return url, url

        yield Place(file, None)
    elif request.param == 'galera':
        with databases.galera() as cluster:

            def both() -> tuple[str, str]:
                first, second = cluster.urls()
                return first, second

            yield Place(both, cluster.nodes[1])
    else:
        start = {
            # As a site may have set them.
            'mariadb': lambda: databases.mariadb(
                '--transaction-isolation=READ-COMMITTED'
            ),
            'postgresql': lambda: databases.postgresql(
                'default_transaction_isolation=serializable'
            ),
        }[request.param]
        with start() as server:

            def same() -> tuple[str, str]:
                url = server.url()
                return url, url

            yield Place(same, server)


@pytest.fixture
def urls(place: Place) -> tuple[str, str]:
    """An empty database."""
    return place.make()


@pytest.fixture
def server(place: Place) -> databases.Server:
    """A server that a test disturbs."""
    if place.server is None:
        pytest.skip('SQLite is no server')
    return place.server


@pytest.fixture
def site(tmp_path: Path, urls: tuple[str, str]) -> Iterator[following.Site]:
    """A site that follows one list."""
    made = following.Site(tmp_path, urls[0])
    made.follow()
    yield made
    made.close()


@pytest.fixture
def rows(urls: tuple[str, str]) -> Iterator[catalogue_rows.Rows]:
    """A catalogue with one trusted list."""
    made = catalogue_rows.Rows(urls[0])
    made.subscription('trusted')
    yield made
    made.close()


@contextlib.contextmanager
def opened(url: str, timeout: float = 60) -> Iterator[database.Database]:
    """A connection of one's own."""
    made = database.Database(url, timeout)
    try:
        yield made
    finally:
        made.close()


def verify_chain(url: str) -> int:
    """See that the history is one unbroken chain; returns its length."""
    with opened(url) as mine, mine.reading() as connection:
        head = chain.GENESIS
        found = connection.execute(
            sa.select(schema.history).order_by(schema.history.c.id)
        ).all()
        for row in found:
            head = chain.digest(
                head, row.at, row.who, row.event, row.subject, row.detail
            )
            assert row.sha256 == head
        state = connection.execute(sa.select(schema.catalogue)).one()
    assert state.history_sha256 == head
    assert state.history_length == len(found)
    return len(found)


# Schema


def test_migrations_make_the_schema_and_can_be_run_again(
    urls: tuple[str, str],
) -> None:
    with opened(urls[1]) as made:
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
    assert verify_chain(site.url) > 3


def test_what_a_site_decides_holds(site: following.Site) -> None:
    made = site_.Site(
        catalogue=site.database,
        subscriptions=site.configured,
        fetch=following.SETTINGS,
        cloud=site_.Cloud(session=lambda: None),
    )
    site.change(
        'main',
        approval=subscription.Approval.MATCHING,
        approve_if=(expression.parse('title = "worker *" vo = example.vo'),),
        brake=subscription.Brake(images=0),
    )
    entry = image(DATA, title='Worker ☃ 😀')
    site.publish('main', '1', entry, image(OTHER), vo='example.vo')
    assert site.sync()['main'].well
    assert site.decide(DATA) is Reason.APPROVED
    assert site.decide(OTHER) is Reason.NOT_APPROVED
    record = site.record(DATA)
    site.publish('main', '2', vo='example.vo')
    assert not site.sync()['main'].well
    assert site.decide(DATA) is Reason.SUSPENDED
    with site.database.reading() as connection:
        assert store.waiting(connection) == {'main': 2}
    waiting.confirm(made, site.now, 'main', 'me', 'asked the endorser')
    assert site.image_state(record) == 'withdrawn withdrawn'
    allowed = anyway.allow(made, site.now, record, site.now + 60, 'me', 'x')
    assert allowed.restored == (record,)
    assert site.decide(DATA) is Reason.RUN_ANYWAY
    anyway.end(made, site.now, entry.identifier, 'me', '')
    assert site.image_state(record) == 'withdrawn withdrawn'
    assert verify_chain(site.url) > 8


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


def test_names_are_told_apart_by_case(rows: catalogue_rows.Rows) -> None:
    rows.subscription('Trusted', standing=model.Standing.REVOKED.value)
    with rows.store.reading() as connection:
        states = store.subscription_states(connection)
    assert states['trusted'].standing is model.Standing.TRUSTED
    assert states['Trusted'].standing is model.Standing.REVOKED


# Several at once


def blocking(target: str) -> Callable[[database.Transaction], int]:
    """Work that blocks something; it returns its revision."""

    def work(transaction: database.Transaction) -> int:
        transaction.put(
            schema.block,
            {'target': target},
            {'active': True, 'at': 1, 'who': 'me', 'reason': ''},
        )
        transaction.remember(1, 'me', 'image-blocked', target, '')
        return transaction.revision

    return work


def test_writers_get_revisions_in_the_order_of_their_commits(
    rows: catalogue_rows.Rows, urls: tuple[str, str]
) -> None:
    seen: list[int] = []

    def write(name: str, url: str) -> None:
        last = 0
        with opened(url) as mine:
            for number in range(20):
                revision = mine.transact(blocking(f'{name}{number}'))
                assert revision > last
                last = revision
                seen.append(revision)

    before = verify_chain(urls[0])
    side_by_side.run(
        SOON,
        lambda: write('a', urls[0]),
        lambda: write('b', urls[1]),
        lambda: write('c', urls[0]),
        lambda: write('d', urls[1]),
    )
    assert len(set(seen)) == 80
    for url in urls:
        with opened(url) as mine, mine.reading() as connection:
            assert len(store.blocks(connection)) == 80
            (number,) = connection.execute(
                sa.select(schema.catalogue.c.number)
            ).scalars()
        # Who was refused left no gap either: nothing of it was stored.
        assert number == max(seen)
        assert verify_chain(url) == before + 80


def test_reader_misses_nothing_while_two_write(
    rows: catalogue_rows.Rows, urls: tuple[str, str]
) -> None:
    done = threading.Event()

    def write(prefix: str, url: str) -> None:
        with opened(url) as mine:
            for number in range(30):
                mine.transact(blocking(f'{prefix}{number}'))

    def read(url: str) -> None:
        loaded: loading.Loaded | None = None
        last = -1
        with opened(url) as mine:
            while True:
                ending = done.is_set()
                with mine.reading() as connection:
                    loaded = loading.load(connection, loaded, 1)
                    whole = loading.load(connection, None, 1)
                assert loaded.snapshot == whole.snapshot
                assert loaded.snapshot.revision >= last
                last = loaded.snapshot.revision
                if ending:
                    break
        assert len(loaded.snapshot.blocked) == 60

    def write_both() -> None:
        try:
            side_by_side.run(
                SOON, lambda: write('a', urls[0]), lambda: write('b', urls[1])
            )
        finally:
            done.set()

    side_by_side.run(
        SOON, write_both, lambda: read(urls[0]), lambda: read(urls[1])
    )


def test_reader_led_to_another_node_sees_what_was_written_before(
    rows: catalogue_rows.Rows, urls: tuple[str, str]
) -> None:
    loaded: loading.Loaded | None = None
    with opened(urls[0]) as one, opened(urls[1]) as two:
        for number in range(40):
            writer, other = (one, two) if number % 2 else (two, one)
            revision = writer.transact(blocking(f'image {number}'))
            with other.reading() as connection:
                loaded = loading.load(connection, loaded, 1)
            assert loaded.snapshot.revision == revision
            assert len(loaded.snapshot.blocked) == number + 1


def test_a_look_is_consistent_whatever_the_server_defaults_to(
    rows: catalogue_rows.Rows, place: Place
) -> None:
    if place.server is None:
        pytest.skip('nobody writes to SQLite during a look')
    with rows.store.reading() as connection:
        first = loading.load(connection, None, 1)
        with contextlib.closing(catalogue_rows.Rows(rows.connection)) as other:
            other.block('something')
        assert loading.load(connection, None, 1) == first
    with rows.store.reading() as connection:
        assert loading.load(connection, None, 1) != first


def test_syncs_at_once_end_well(
    site: following.Site, urls: tuple[str, str]
) -> None:
    site.publish('main', '1', image(DATA), image(OTHER))
    outcomes: list[str] = []

    def run(url: str) -> None:
        with opened(url) as mine:
            reports, _ = sync.run(
                mine, site.configured, following.SETTINGS, site.now
            )
            outcomes.extend(report.outcome for report in reports)

    side_by_side.run(
        SOON, lambda: run(urls[0]), lambda: run(urls[1]), lambda: run(urls[0])
    )
    assert sorted(outcomes) == ['accepted', 'unchanged', 'unchanged']
    assert len(site.images()) == 2
    assert site.lists_seen() == ['ok']
    verify_chain(urls[1])


def test_imports_of_one_image_at_once_leave_one_record(
    rows: catalogue_rows.Rows, urls: tuple[str, str]
) -> None:
    image_id = str(uuid.uuid4())
    won: list[str] = []
    # One that is done before another begins is not at once with it.
    begun = threading.Barrier(3, timeout=SOON)

    def run(url: str) -> None:
        task = str(uuid.uuid4())
        with opened(url) as mine:
            writer = records.Records(mine)
            writer.verified(image_id, task, '', CONTENT, len(DATA), 1, 1)
            begun.wait()
            with contextlib.suppress(errors.NotBelieved):
                writer.positive(image_id, task, CONTENT, len(DATA), 2)
                won.append(task)

    side_by_side.run(
        SOON, lambda: run(urls[0]), lambda: run(urls[1]), lambda: run(urls[0])
    )
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


Asked = Callable[[], Reason]


@pytest.fixture
def asked(
    rows: catalogue_rows.Rows, urls: tuple[str, str], clock: Clock
) -> Iterator[Asked]:
    """Asks a reader of the store about the bytes."""
    made = reader.Reader(
        reader.ReaderSettings(
            urls[1], refresh_interval=0.1, store_timeout=2, negative_ttl=0
        ),
        clock,
    )
    yield lambda: made.decide_bytes(CONTENT, len(DATA), None).code
    made.close()


def until(asked: Asked, reason: Reason) -> None:
    waits.until(f'the decision {reason}', lambda: asked() is reason, SOON)


def test_reader_sees_what_changes(
    rows: catalogue_rows.Rows, asked: Asked
) -> None:
    until(asked, Reason.NOT_ENDORSED)
    rows.endorse(DATA)
    until(asked, Reason.APPROVED)
    rows.withdraw(DATA)
    until(asked, Reason.WITHDRAWN)


def test_reader_notices_a_store_that_was_put_back(
    rows: catalogue_rows.Rows, asked: Asked
) -> None:
    rows.endorse(DATA)
    until(asked, Reason.APPROVED)
    with rows.store.engine().begin() as connection:
        # As of a moment before: no row is newer than what the reader has.
        connection.execute(schema.endorsement.delete())
        connection.execute(schema.mark.delete())
        connection.execute(schema.catalogue.update().values(number=1))
    until(asked, Reason.NOT_ENDORSED)
    rows.endorse(DATA)
    until(asked, Reason.APPROVED)
    with rows.store.engine().begin() as connection:
        # Another store, which happens to have the same number.
        connection.execute(schema.endorsement.delete())
        connection.execute(
            schema.catalogue.update().values(store=str(uuid.uuid4()))
        )
    until(asked, Reason.NOT_ENDORSED)


def test_hanging_server_is_survived_until_the_maximum_age(
    server: databases.Server,
    rows: catalogue_rows.Rows,
    asked: Asked,
    clock: Clock,
) -> None:
    rows.endorse(DATA)
    until(asked, Reason.APPROVED)
    with server.frozen():
        assert asked() is Reason.APPROVED
        clock.ahead = 1000
        assert asked() is Reason.STORE_UNAVAILABLE
    until(asked, Reason.APPROVED)


def test_reader_that_starts_while_the_server_hangs_refuses_then_recovers(
    server: databases.Server, rows: catalogue_rows.Rows, asked: Asked
) -> None:
    rows.endorse(DATA)
    with server.frozen():
        assert asked() is Reason.STORE_UNAVAILABLE
    until(asked, Reason.APPROVED)


def test_record_is_not_written_while_the_server_hangs(
    server: databases.Server,
    rows: catalogue_rows.Rows,
    urls: tuple[str, str],
) -> None:
    with opened(urls[1]) as patient:
        records.Records(patient).verified(
            'image', 'task', '', CONTENT, len(DATA), 1, 1
        )
    with opened(urls[1], 2) as mine:
        writer = records.Records(mine)
        with server.frozen(), pytest.raises(errors.TryAgain):
            writer.positive('image', 'task', CONTENT, len(DATA), 2)

        def written() -> bool:
            try:
                writer.positive('image', 'task', CONTENT, len(DATA), 2)
            except errors.TryAgain:
                # A node comes back into its cluster first.
                return False
            return True

        waits.until('the server to take it', written, SOON)
    row = rows.recorded('image')
    assert row is not None
    assert row.state == 'positive'


def test_server_that_hangs_in_the_middle_of_a_transaction(
    server: databases.Server,
    rows: catalogue_rows.Rows,
    urls: tuple[str, str],
) -> None:
    with (
        opened(urls[1], 1) as mine,
        contextlib.ExitStack() as stack,
        pytest.raises(database.FAILURES),
        mine.writing() as transaction,
    ):
        transaction.put(
            schema.block,
            {'target': 'an image'},
            {'active': True, 'at': 1, 'who': 'me', 'reason': ''},
        )
        # Its end is all that is left to ask for.
        stack.enter_context(server.frozen())
    with opened(urls[0]) as mine, mine.reading() as connection:
        assert len(store.blocks(connection)) in {0, 1}
    verify_chain(urls[0])


def test_server_that_was_killed_and_came_back(
    server: databases.Server,
    rows: catalogue_rows.Rows,
    urls: tuple[str, str],
    asked: Asked,
    clock: Clock,
) -> None:
    rows.endorse(DATA)
    until(asked, Reason.APPROVED)
    server.kill()
    try:
        assert asked() is Reason.APPROVED
        clock.ahead = 1000
        assert asked() is Reason.STORE_UNAVAILABLE
        with pytest.raises(errors.LocalFault, match='cannot be opened'):
            migrations.check(database.Database(urls[1], 2))
        if urls[0] != urls[1]:
            # The cluster goes on without it.
            with opened(urls[0]) as mine:
                mine.transact(blocking('meanwhile'))
    finally:
        server.start()
    clock.ahead = 0
    until(asked, Reason.APPROVED)
    rows.close()
    rows.withdraw(DATA)
    until(asked, Reason.WITHDRAWN)
    verify_chain(urls[1])


@pytest.mark.parametrize('writing', [False, True])
def test_server_that_is_killed_as_a_connection_is_given_back(
    server: databases.Server,
    rows: catalogue_rows.Rows,
    urls: tuple[str, str],
    writing: bool,
) -> None:
    with opened(urls[1]) as mine, contextlib.ExitStack() as stack:
        mine.transact(blocking('before'))
        sa.event.listen(
            mine.engine(), 'reset', lambda *_: server.kill(), once=True
        )
        stack.callback(server.start)
        # Not every driver asks the server for anything more.
        with contextlib.suppress(*database.FAILURES):
            if writing:
                mine.transact(blocking('image'))
            else:
                with mine.reading() as connection:
                    assert len(store.blocks(connection)) == 1
    with opened(urls[0]) as mine, mine.reading() as connection:
        assert len(store.blocks(connection)) == 1 + writing
    verify_chain(urls[0])


def test_server_that_is_killed_at_each_step_of_a_transaction(
    server: databases.Server,
    rows: catalogue_rows.Rows,
    urls: tuple[str, str],
) -> None:
    if urls[0] != urls[1]:
        pytest.skip('as a single MariaDB')
    before = verify_chain(urls[0])
    for step in range(1, 7):
        with opened(urls[1], 30) as mine:
            kill_at(mine.engine(), step, server.kill)
            with pytest.raises(database.FAILURES):
                mine.transact(blocking(f'image {step}'))
        server.start()
        assert verify_chain(urls[0]) == before
    with opened(urls[1]) as mine:
        mine.transact(blocking('image'))
    assert verify_chain(urls[0]) == before + 1


def kill_at(engine: sa.Engine, step: int, kill: Callable[[], None]) -> None:
    """End the server before the n-th statement of this engine."""
    left = step

    def count(*args: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            kill()

    sa.event.listen(engine, 'before_cursor_execute', count)

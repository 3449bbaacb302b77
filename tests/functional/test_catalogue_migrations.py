# SPDX-License-Identifier: Apache-2.0
"""Catalogues of earlier versions, with rows in every table, are brought up
to date in each kind of database; also when that is interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import hashlib
from pathlib import Path
from typing import Any

from alembic import autogenerate
from alembic import command
from alembic.runtime import migration
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import database
from hepix_vm.catalogue import history
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import schema
from hepix_vm import errors
from tests import databases

#: Revisions with which a release went out.
EARLIER = ['0001']
MANY = 40

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope='module', params=['mariadb', 'postgresql', 'sqlite'])
def fresh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    """Gives URLs of empty databases."""
    if request.param == 'sqlite':
        yield (
            lambda: (
                f'sqlite:///{tmp_path_factory.mktemp("sqlite") / "catalogue"}'
            )
        )
        return
    start: Any = getattr(databases, request.param)
    with start() as server:
        yield server.url


@pytest.fixture
def store(fresh: Callable[[], str]) -> Iterator[database.Database]:
    """An empty database."""
    with contextlib.closing(database.Database(fresh(), 60)) as made:
        yield made


def upgrade_to(store: database.Database, revision: str) -> None:
    """Make the tables as an earlier version did."""
    settings = migrations._config()
    with store.engine().begin() as connection:
        settings.attributes['connection'] = connection
        command.upgrade(settings, revision)


def value(column: sa.Column[Any], number: int) -> Any:
    """Something that a column may hold, different in each row."""
    kind = column.type
    if isinstance(kind, sa.Boolean) or str(kind).startswith('TINYINT'):
        return bool(number % 2)
    if isinstance(kind, sa.Integer):
        return 1_700_000_000 + number
    if isinstance(kind, sa.LargeBinary | mysql.LONGBLOB):
        return bytes([number % 7]) * (number % 3 * 1000)
    length = getattr(kind, 'length', None) or 200
    if column.name in {'detail', 'reason', 'title', 'who'}:
        return f'Wörker ☃ 😀 "{number}" \\ %s \n'[:length]
    if column.name == 'verdict':
        return ('accepted', 'refused')[number % 2]
    if column.name == 'code':
        return ('ok', 'rollback')[number % 2]
    return f'{column.name} {number}'[:length]


def fill(store: database.Database) -> Rows:
    """Put rows into every table; returns all that is in them."""
    metadata = sa.MetaData()
    with store.engine().begin() as connection:
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if table.name in {'alembic_version', 'catalogue'}:
                continue
            rows = [
                {
                    column.name: value(column, number)
                    for column in table.columns
                    if column.name != 'id'
                }
                for number in range(MANY)
            ]
            if table.name == 'list_seen':
                for row in rows:
                    row['message_sha256'] = hashlib.sha256(
                        row['message']
                    ).hexdigest()
            connection.execute(table.insert(), rows)
        connection.execute(
            sa.text('UPDATE catalogue SET number = 12345 WHERE id = 1')
        )
    return content(store)


def content(store: database.Database) -> Rows:
    """All rows of all tables."""
    metadata = sa.MetaData()
    found: Rows = {}
    with store.reading() as connection:
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if table.name == 'alembic_version':
                continue
            rows = connection.execute(
                sa.select(table).order_by(*table.primary_key.columns)
            )
            found[table.name] = [dict(row._mapping) for row in rows]
    return found


def plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: bytes(v) if isinstance(v, memoryview | bytearray) else v
        for name, v in values.items()
    }


def verify(store: database.Database, before: Rows) -> None:
    """All that was there is there, and the schema is that of the models."""
    verify_history(store, verify_rows(store, before))


def verify_rows(store: database.Database, before: Rows) -> Rows:
    """The same without the history's chain; returns all rows of now."""
    migrations.check(store)
    after = content(store)
    for name, rows in before.items():
        kept = after[name][: len(rows)]
        assert [
            {key: row[key] for key in old}
            for row, old in zip(map(plain, kept), rows, strict=True)
        ] == list(map(plain, rows)), name
        if name != 'history':
            assert len(after[name]) == len(rows)
    with store.reading() as connection:
        context = migration.MigrationContext.configure(
            connection, opts={'compare_type': True}
        )
        assert autogenerate.compare_metadata(context, schema.metadata) == []
    return after


def verify_history(store: database.Database, after: Rows) -> None:
    """The chain covers the old lines and each message seen, once."""
    head = chain.GENESIS
    for row in after['history']:
        head = chain.digest(
            head,
            row['at'],
            row['who'],
            row['event'],
            row['subject'],
            row['detail'],
        )
        assert row['sha256'] == head
    (state,) = after['catalogue']
    assert state['history_sha256'] == head
    assert state['history_length'] == len(after['history'])
    bound = [r for r in after['history'] if r['event'] == 'list-seen']
    assert len(bound) == len(after['list_seen'])
    assert len(after['history']) == MANY + len(bound)
    verified = history.verify(store)
    assert not verified.misfits
    assert verified.messages == 26


@pytest.mark.parametrize('revision', EARLIER)
def test_all_rows_of_an_earlier_version_are_there_afterwards(
    store: database.Database, revision: str
) -> None:
    upgrade_to(store, revision)
    before = fill(store)
    assert set(before) >= {'history', 'list_seen', 'endorsement', 'block'}
    assert all(len(rows) in {1, MANY} for rows in before.values())
    with pytest.raises(
        errors.LocalFault, match=f'has schema {revision}, .*db sync'
    ):
        migrations.check(store)
    migrations.upgrade(store)
    verify(store, before)
    migrations.upgrade(store)
    verify(store, before)
    with store.writing() as transaction:
        transaction.remember(1, 'me', 'event', 'subject', 'detail')
        assert transaction.revision == 12346


def test_tables_of_context_are_added_beside_rows_of_the_step_before(
    store: database.Database,
) -> None:
    upgrade_to(store, '0004')
    before = fill(store)
    assert 'lineage' in before
    steps = (1, 4, 400) if undoes(store) else range(1, 400)
    for step in steps:
        try:
            with interrupted(step):
                migrations.upgrade(store)
        except errors.LocalFault as exc:
            assert 'the server is gone' in str(exc)
        else:
            break
    assert step > 3
    after = verify_rows(store, before)
    assert {name for name in after if name not in before} == {
        'context_fetches',
        'context_lost',
        'context_drains',
        'context_hosts',
    }


CHANGES = ('CREATE', 'ALTER', 'DROP', 'INSERT', 'UPDATE', 'DELETE')


@contextlib.contextmanager
def interrupted(at: int) -> Iterator[None]:
    """The server goes away before the n-th change from now."""
    left = at

    def count(conn: Any, cursor: Any, statement: str, *others: Any) -> None:
        nonlocal left
        if statement.split()[0].upper() in CHANGES:
            left -= 1
            if left == 0:
                raise OSError('the server is gone')

    sa.event.listen(sa.Engine, 'before_cursor_execute', count)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, 'before_cursor_execute', count)


def test_new_catalogue_that_was_interrupted_at_every_step_gets_whole(
    store: database.Database,
) -> None:
    """Where nothing is undone, each attempt goes on from the last one."""
    steps = (1, 8, 20, 35, 45, 400) if undoes(store) else range(2, 100)
    for step in steps:
        try:
            with interrupted(step):
                migrations.upgrade(store)
        except errors.LocalFault as exc:
            assert 'the server is gone' in str(exc)
            assert 'run "hepix-vm db sync" again' in str(exc)
            assert '\n' not in str(exc)
            with pytest.raises(errors.LocalFault, match='run "hepix-vm db'):
                migrations.check(store)
        else:
            break
    assert step > 8
    migrations.check(store)
    with store.reading() as connection:
        context = migration.MigrationContext.configure(
            connection, opts={'compare_type': True}
        )
        assert autogenerate.compare_metadata(context, schema.metadata) == []
        assert len(connection.execute(sa.select(schema.catalogue)).all()) == 1


def test_upgrade_that_was_interrupted_at_every_step_gets_whole(
    store: database.Database,
) -> None:
    upgrade_to(store, '0001')
    before = fill(store)
    steps = (1, 9, 18, 50, 85, 400) if undoes(store) else range(2, 400, 4)
    for step in steps:
        try:
            with interrupted(step):
                migrations.upgrade(store)
        except errors.LocalFault as exc:
            assert 'the server is gone' in str(exc)
        else:
            break
        if undoes(store):
            assert content(store) == before
    assert step > 10
    verify(store, before)


def undoes(store: database.Database) -> bool:
    """Whether changes of tables are undone with their transaction."""
    return store.engine().dialect.name != 'mysql'


def test_disk_that_is_full_is_said_and_the_next_run_heals(
    tmp_path: Path,
) -> None:
    with contextlib.closing(
        database.Database(f'sqlite:///{tmp_path / "catalogue"}')
    ) as store:
        upgrade_to(store, '0001')
        before = fill(store)

        def limit(connection: Any, record: Any) -> None:
            (pages,) = connection.execute('PRAGMA page_count').fetchone()
            connection.execute(f'PRAGMA max_page_count = {pages + 2}')

        sa.event.listen(sa.pool.Pool, 'connect', limit)
        try:
            with pytest.raises(
                errors.LocalFault, match=r'is full.*space on its disk'
            ):
                migrations.upgrade(store)
        finally:
            sa.event.remove(sa.pool.Pool, 'connect', limit)
        assert content(store) == before
        migrations.upgrade(store)
        verify(store, before)

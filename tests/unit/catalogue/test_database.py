# SPDX-License-Identifier: Apache-2.0
"""Connections to the catalogue, and its schema versions."""

from __future__ import annotations

import contextlib
from pathlib import Path
import sqlite3
import threading
import time

from alembic import autogenerate
from alembic.runtime import migration
from oslo_db import exception as db_exc
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import schema
from hepix_vm import errors


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'catalogue.sqlite'


@pytest.fixture
def store(path):
    with contextlib.closing(database.Database(f'sqlite:///{path}', 60)) as db:
        yield db


def query(connection: str, timeout: float = 2.0) -> dict[str, str]:
    url = sa.make_url(database.bounded_url(connection, timeout))
    return {name: str(value) for name, value in url.query.items()}


# Bounded waits


@pytest.mark.parametrize(
    'url',
    [
        'mysql+pymysql://u:p@h/d',
        'mariadb+pymysql://u:p@h/d',
        'mysql+mysqldb://u:p@h/d',
    ],
)
def test_every_wait_for_mariadb_is_bounded(url):
    assert query(url) == {
        'connect_timeout': '2',
        'read_timeout': '2',
        'write_timeout': '2',
        'charset': 'utf8mb4',
    }


def test_mariadb_and_mysql_are_one_dialect():
    url = database.bounded_url('mariadb+pymysql://u:p@h/d', 2)
    assert url.startswith('mysql+pymysql://u:p@h/d?')


def test_postgresql_without_a_driver_means_the_one_that_we_install():
    url = database.bounded_url('postgresql://u:p@h/d', 2)
    assert url.startswith('postgresql+psycopg2://u:p@h/d?')


def test_every_wait_for_postgresql_is_bounded():
    assert query('postgresql+psycopg2://u@h/d', 2.4) == {
        'connect_timeout': '2',
        'options': '-c statement_timeout=2s',
    }


def test_wait_for_a_locked_sqlite_is_bounded(path):
    assert query(f'sqlite:///{path}') == {'timeout': '2'}


def test_shortest_wait_is_a_second():
    assert query('mysql+pymysql://h/d', 0.1)['read_timeout'] == '1'


def test_what_the_operator_wrote_stays():
    found = query('mysql+pymysql://h/d?connect_timeout=9&charset=utf8mb3')
    assert found['connect_timeout'] == '9'
    assert found['charset'] == 'utf8mb3'
    assert found['read_timeout'] == '2'


def test_password_survives():
    url = database.bounded_url('mysql+pymysql://u:s%40cret@h/d', 2)
    assert sa.make_url(url).password == 's@cret'


@pytest.mark.parametrize(
    'connection', ['', 'catalogue.sqlite', 'mysql+pymysql://u:secret@h:port/d']
)
def test_what_is_no_url_is_refused_without_quoting_it(connection):
    with pytest.raises(
        errors.Misconfigured, match='expected a database URL'
    ) as caught:
        database.bounded_url(connection, 2)
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize(
    'connection', ['nothing+nothing://h/d', 'mysql+nothing://h/d']
)
def test_driver_that_is_not_installed_is_named(connection):
    with pytest.raises(errors.Misconfigured, match='driver cannot be used'):
        database.Database(connection).engine()


# Transactions


def test_transaction_that_fails_leaves_nothing(store):
    migrations.upgrade(store)
    with pytest.raises(RuntimeError), store.writing() as transaction:
        transaction.remember(1, 'me', 'event', 'subject', 'detail')
        raise RuntimeError('stop')
    with store.reading() as connection:
        assert not connection.execute(sa.select(schema.history)).all()
        number = connection.execute(
            sa.select(schema.catalogue.c.number)
        ).scalar_one()
    assert number == 0


def test_work_is_done_again_when_the_server_gave_it_up(store):
    migrations.upgrade(store)
    tries = []

    def work(transaction: database.Transaction) -> int:
        transaction.remember(1, 'me', 'event', 'subject', 'detail')
        tries.append(transaction.revision)
        if len(tries) < 3:
            raise db_exc.DBDeadlock()
        return transaction.revision

    assert store.transact(work) == 1
    assert tries == [1, 1, 1]
    with store.reading() as connection:
        assert len(connection.execute(sa.select(schema.history)).all()) == 1


def test_work_is_done_again_until_the_time_out(store, monkeypatch):
    """While others write at another node all the time, most tries fail."""
    migrations.upgrade(store)
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)
    tries = []

    def work(transaction: database.Transaction) -> int:
        tries.append(transaction.revision)
        if len(tries) < 100:
            raise db_exc.DBDeadlock()
        return transaction.revision

    assert store.transact(work) == 1


def test_work_is_not_begun_again_after_the_time_out(path):
    with contextlib.closing(
        database.Database(f'sqlite:///{path}', 0)
    ) as store:
        migrations.upgrade(store)
        tries = []

        def work(transaction: database.Transaction) -> None:
            tries.append(transaction.revision)
            raise db_exc.DBDeadlock()

        with pytest.raises(database.FAILURES):
            store.transact(work)
    assert tries == [1]


def test_each_transaction_has_a_revision_of_its_own(store):
    migrations.upgrade(store)
    seen = []
    for _ in range(3):
        with store.writing() as transaction:
            seen.append(transaction.revision)
    assert seen == [1, 2, 3]


def test_writers_wait_for_each_other(path):
    stores = [database.Database(f'sqlite:///{path}', 60) for _ in range(4)]
    migrations.upgrade(stores[0])
    seen: list[int] = []

    def write(store: database.Database) -> None:
        for _ in range(10):
            with store.writing() as transaction:
                seen.append(transaction.revision)

    threads = [threading.Thread(target=write, args=[s]) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert sorted(seen) == list(range(1, 41))


def test_a_look_is_consistent_while_another_process_writes(store, path):
    migrations.upgrade(store)
    with store.reading() as connection:
        first = connection.execute(
            sa.select(schema.catalogue.c.number)
        ).scalar_one()
        other = sqlite3.connect(path, timeout=0.1)
        with contextlib.suppress(sqlite3.OperationalError), other:
            other.execute('UPDATE catalogue SET number = 99')
        other.close()
        assert (
            first
            == connection.execute(
                sa.select(schema.catalogue.c.number)
            ).scalar_one()
        )


def test_put_inserts_then_updates_the_row_of_that_key(store):
    migrations.upgrade(store)
    for active in (True, False):
        with store.writing() as transaction:
            transaction.put(
                schema.block,
                {'target': 'an image'},
                {'active': active, 'at': 1, 'who': 'me', 'reason': ''},
            )
    with store.reading() as connection:
        rows = connection.execute(sa.select(schema.block)).all()
    assert [(row.target, row.active, row.revision) for row in rows] == [
        ('an image', False, 2)
    ]


def test_history_shortens_what_does_not_fit(store):
    migrations.upgrade(store)
    with store.writing() as transaction:
        transaction.remember(1, 'w' * 300, 'event', 's' * 300, 'd' * 3000)
    with store.reading() as connection:
        row = connection.execute(sa.select(schema.history)).one()
    assert (len(row.who), len(row.subject), len(row.detail)) == (
        255,
        255,
        3000,
    )


def test_cause_is_one_line_without_statement_and_link(store):
    with pytest.raises(database.FAILURES) as caught, store.reading() as conn:
        conn.execute(sa.text('SELECT secret FROM nowhere'))
    cause = database.cause(caught.value)
    assert 'no such table: nowhere' in cause
    assert '\n' not in cause
    assert 'SELECT' not in cause
    assert 'http' not in cause


def test_cause_without_words_is_the_kind_of_error():
    assert database.cause(TimeoutError()) == 'TimeoutError'


# Migrations


def test_upgrade_makes_exactly_the_tables_of_the_schema(store):
    assert migrations.upgrade(store) == migrations.head()
    with store.reading() as connection:
        context = migration.MigrationContext.configure(
            connection, opts={'compare_type': True}
        )
        assert autogenerate.compare_metadata(context, schema.metadata) == []


def test_table_options_of_migrations_and_schema_agree():
    kinds = {
        tuple(sorted(table.kwargs.items()))
        for table in schema.metadata.tables.values()
    }
    assert kinds == {
        (
            ('mysql_charset', 'utf8mb4'),
            ('mysql_collate', 'utf8mb4_bin'),
            ('mysql_engine', 'InnoDB'),
        )
    }
    folder = Path(migrations.__file__).parent / 'versions'
    made = sum(
        p.read_text().count('again.create_table(') for p in folder.glob('*.py')
    )
    alike = sum(p.read_text().count('**_KIND') for p in folder.glob('*.py'))
    assert made == alike == len(schema.metadata.tables)


def test_upgrading_twice_changes_nothing(store):
    migrations.upgrade(store)
    with store.writing() as transaction:
        transaction.remember(1, 'me', 'event', 'subject', 'detail')
    migrations.upgrade(store)
    with store.reading() as connection:
        assert connection.execute(sa.select(schema.history)).one()
        assert connection.execute(sa.select(schema.catalogue)).one().number


def test_each_store_has_an_identity_of_its_own(tmp_path):
    identities = set()
    for name in ('one', 'two'):
        store = database.Database(f'sqlite:///{tmp_path / name}')
        migrations.upgrade(store)
        with store.reading() as connection:
            identities.add(
                connection.execute(
                    sa.select(schema.catalogue.c.store)
                ).scalar_one()
            )
        store.close()
    assert len(identities) == 2


def test_check_passes_after_the_upgrade(store):
    migrations.upgrade(store)
    migrations.check(store)
    assert migrations.current(store) == migrations.head()


def test_check_of_an_empty_database_says_what_to_run(store):
    assert migrations.current(store) is None
    with pytest.raises(
        errors.LocalFault, match=r'has schema none.*run "hepix-vm db sync"'
    ):
        migrations.check(store)


def test_check_of_another_version_says_both(store):
    migrations.upgrade(store)
    with store.engine().begin() as connection:
        connection.execute(
            sa.text("UPDATE alembic_version SET version_num = '9999'")
        )
    for action in (migrations.check, migrations.upgrade):
        with pytest.raises(
            errors.LocalFault, match=r'schema 9999, .* a newer version'
        ) as caught:
            action(store)
        assert 'db sync' not in str(caught.value)
    with store.engine().begin() as connection:
        connection.execute(
            sa.text("UPDATE alembic_version SET version_num = '0001'")
        )
    with pytest.raises(
        errors.LocalFault, match=r'has schema 0001, .*run "hepix-vm db sync"'
    ):
        migrations.check(store)


def test_check_of_a_database_that_is_away_is_one_sentence():
    away = database.Database('sqlite:////nonexistent/folder/catalogue')
    for action in (migrations.check, migrations.upgrade):
        with pytest.raises(
            errors.LocalFault, match='unable to open database file'
        ) as caught:
            action(away)
        assert '\n' not in str(caught.value)
        assert 'option [catalogue] connection' in str(caught.value)


def test_file_that_is_no_database_is_one_sentence(path, store):
    path.write_bytes(b'this is not a database' * 100)
    with pytest.raises(errors.LocalFault, match='not a database'):
        migrations.check(store)

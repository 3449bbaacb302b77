# SPDX-License-Identifier: Apache-2.0
"""What is MariaDB's own: its tables, its names, and what it does not take."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import model
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import databases
from tests import endorser
from tests.unit.catalogue import following

image = endorser.make_image
DATA = b'an image'


@pytest.fixture(scope='module')
def mariadb() -> Iterator[databases.MariaDb]:
    """A server that takes no large packets."""
    with databases.mariadb('--max-allowed-packet=1M') as server:
        yield server


@pytest.fixture
def url(mariadb: databases.MariaDb) -> str:
    """An empty database."""
    return mariadb.url()


def test_tables_are_transactional_and_tell_names_apart(url: str) -> None:
    with contextlib.closing(database.Database(url)) as made:
        migrations.upgrade(made)
        with made.reading() as connection:
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


def test_list_that_the_server_does_not_take_ends_no_other(
    tmp_path: Path, url: str
) -> None:
    site = following.Site(tmp_path, url)
    site.follow()
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
    assert site.decide(DATA) is model.Reason.APPROVED
    site.close()

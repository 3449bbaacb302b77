# SPDX-License-Identifier: Apache-2.0
"""The history and the messages bound into it, on each kind of server."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
import threading

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import history
from hepix_vm.catalogue import kept
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import schema
from tests import databases

DAY = 86400

Nodes = tuple[database.Database, database.Database]


@pytest.fixture(scope='module', params=['galera', 'mariadb', 'postgresql'])
def place(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[], tuple[str, str]]]:
    """Makes databases, and two ways to each: two nodes where there are."""
    if request.param == 'galera':
        with databases.galera() as cluster:

            def both() -> tuple[str, str]:
                first, second = cluster.urls()
                return first, second

            yield both
        return
    with getattr(databases, request.param)() as server:

        def same() -> tuple[str, str]:
            url = server.url()
            return url, url

        yield same


@pytest.fixture
def nodes(place: Callable[[], tuple[str, str]]) -> Iterator[Nodes]:
    """Both ways to a new catalogue."""
    first, second = (database.Database(url, 60) for url in place())
    with contextlib.closing(first), contextlib.closing(second):
        migrations.upgrade(first)
        yield first, second


@pytest.fixture
def filled(nodes: Nodes) -> Nodes:
    """Five refused messages of each of two subscriptions."""
    for number in range(5):
        for node, name in zip(nodes, 'ab', strict=True):
            node.transact(_refusal(name, number))
    return nodes


def _refusal(name: str, number: int) -> Callable[..., int]:
    return functools.partial(
        kept.keep,
        subscription=name,
        message=f'{name} {number}'.encode(),
        now=number,
        code='digest',
        detail='why \0',
    )


def test_messages_of_two_writers_at_once_are_bound_in_their_order(
    nodes: Nodes,
) -> None:
    problems: list[BaseException] = []

    def write(node: database.Database, name: str) -> None:
        try:
            for number in range(15):
                node.transact(_refusal(name, number))
        except BaseException as exc:  # noqa: BLE001 - raised below
            problems.append(exc)

    threads = [
        threading.Thread(target=write, args=[node, name])
        for node, name in zip(nodes, 'ab', strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(databases.SOON)
    assert not any(thread.is_alive() for thread in threads), 'it hangs'
    if problems:
        raise problems[0]
    for node in nodes:
        found = history.verify(node)
        assert found.misfits == ()
        assert (found.head.length, found.messages) == (30, 30)


def test_old_messages_are_let_go_and_the_history_fits(
    filled: Nodes,
) -> None:
    first, second = filled
    assert kept.prune(first, 91 * DAY, 90) == 10
    for node in filled:
        found = history.verify(node)
        assert found.misfits == ()
        assert (found.messages, found.not_kept) == (0, 10)
    with second.reading() as connection:
        lines = history.newest(connection, 'a', kept.PRUNED)
    assert sum(len(kept.pruned(line.detail)) for line in lines) == 5


def test_looks_by_subject_event_and_time(
    filled: Nodes,
) -> None:
    with filled[1].reading() as connection:
        found = history.newest(connection, event=kept.SEEN, until=3, limit=5)
        assert [line.at for line in found] == [1, 2, 2, 3, 3]
        digest = found[-1].subject
        (one,) = history.newest(connection, digest, kept.SEEN, 3, 3)
    assert one.subject == digest


def test_what_was_changed_past_the_history_shows(
    filled: Nodes,
) -> None:
    first, second = filled
    with first.engine().begin() as connection:
        row = connection.execute(
            sa.select(schema.list_seen.c.id).limit(1)
        ).scalar_one()
        connection.execute(
            schema.list_seen.update()
            .where(schema.list_seen.c.id == row)
            .values(code='ok')
        )
    (found,) = history.verify(second).misfits
    assert f'what is stored about message {row} was changed' in str(found)

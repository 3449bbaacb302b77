# SPDX-License-Identifier: Apache-2.0
"""The history: its pages, its chain, and the messages bound into it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from pathlib import Path

from alembic import command
from alembic import config
import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import chain
from hepix_vm.catalogue import database
from hepix_vm.catalogue import history
from hepix_vm.catalogue import kept
from hepix_vm.catalogue import lines
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import schema
from tests import catalogue_rows

HISTORY, SEEN = schema.history, schema.list_seen
BELIEVED = kept.Believed('an-identifier', '1', '[]')
DAY = 86400


@pytest.fixture
def store(tmp_path):
    catalogue_rows.new_file(tmp_path / 'catalogue.sqlite')
    url = f'sqlite:///{tmp_path / "catalogue.sqlite"}'
    with contextlib.closing(database.Database(url, 60)) as made:
        yield made


def remember(store, *lines):
    with store.writing() as transaction:
        for line in lines:
            transaction.remember(*line)


def keep(store, message, code='ok', believed=BELIEVED, at=100, name='main'):
    with store.writing() as transaction:
        return kept.keep(transaction, name, message, at, code, 'why', believed)


def refuse(store, message, code='rollback', at=100, name='main'):
    return keep(store, message, code, None, at, name)


def change(store, statement):
    """As somebody with the database's password would."""
    with store.engine().begin() as connection:
        connection.execute(statement)


def verify(store, noted=None, most=20):
    return history.verify(store, noted, most)


def fits(store, noted=None):
    found = verify(store, noted)
    assert [str(misfit) for misfit in found.misfits] == []
    return found


def misfit(store, noted=None):
    found = verify(store, noted).misfits
    assert len(found) == 1, [str(each) for each in found]
    return found[0]


def filled(store, count=5):
    remember(
        store,
        *((n, 'me', 'event', f'subject {n}', 'why') for n in range(count)),
    )


# Pages


def subjects(store, **filters):
    with store.reading() as connection:
        return [line.subject for line in history.newest(connection, **filters)]


@pytest.fixture
def mixed(store):
    remember(
        store,
        (10, 'me', 'blocked', 'a', ''),
        (20, 'me', 'approved', 'b', ''),
        (30, 'me', 'blocked', 'b', ''),
        (40, 'me', 'approved', 'a', ''),
    )
    return store


def test_newest_lines_with_the_oldest_of_them_first(mixed):
    assert subjects(mixed) == ['a', 'b', 'b', 'a']
    assert subjects(mixed, limit=2) == ['b', 'a']


@pytest.mark.parametrize(
    ('filters', 'expected'),
    [
        ({'subject': 'b'}, [20, 30]),
        ({'event': 'blocked'}, [10, 30]),
        ({'subject': 'b', 'event': 'blocked'}, [30]),
        ({'since': 20}, [20, 30, 40]),
        ({'until': 20}, [10, 20]),
        ({'since': 20, 'until': 30}, [20, 30]),
        ({'subject': 'a', 'since': 11}, [40]),
        ({'subject': 'nobody'}, []),
        ({'subject': 'b', 'limit': 1}, [30]),
    ],
    ids=str,
)
def test_lines_by_subject_event_and_time(mixed, filters, expected):
    with mixed.reading() as connection:
        found = history.newest(connection, **filters)
    assert [line.at for line in found] == expected


def test_lines_of_a_clock_that_went_back_keep_their_order_in_all(store):
    remember(store, (50, 'me', 'e', 'first', ''), (10, 'me', 'e', 'then', ''))
    assert subjects(store) == ['first', 'then']
    assert subjects(store, event='e') == ['then', 'first']


def test_all_lines_are_read_a_page_at_a_time(store, monkeypatch):
    monkeypatch.setattr(lines, 'PAGE', 3)
    filled(store, 7)
    statements = []
    sa.event.listen(
        store.engine(),
        'before_cursor_execute',
        lambda *given: statements.append(given[2]),
    )
    found = [line.subject for line in history.lines(store)]
    assert found == [f'subject {n}' for n in range(7)]
    assert sum('FROM history' in each for each in statements) == 4
    later = [line.at for line in history.lines(store, after=5)]
    assert later == [5, 6]


@pytest.mark.parametrize(
    ('filters', 'index'),
    [
        ({}, 'SCAN history'),
        ({'subject': 's'}, 'ix_history_subject_at'),
        ({'subject': 's', 'since': 1}, 'ix_history_subject_at'),
        ({'event': 'e', 'until': 1}, 'ix_history_event_at'),
        ({'subject': 's', 'event': 'e'}, 'ix_history_subject_event_at'),
        ({'since': 1}, 'ix_history_at'),
    ],
    ids=str,
)
def test_each_look_walks_along_an_index_and_sorts_nothing(
    store, filters, index
):
    seen = []
    sa.event.listen(
        store.engine(),
        'before_cursor_execute',
        lambda *given: seen.append(given[2:4]),
    )
    subjects(store, **filters)
    statement, parameters = seen[-1]
    with store.reading() as connection:
        plan = [
            row[3]
            for row in connection.exec_driver_sql(
                f'EXPLAIN QUERY PLAN {statement}', parameters
            )
        ]
    assert len(plan) == 1, plan
    assert index in plan[0]


# The chain


def test_empty_history_fits(store):
    found = fits(store, chain.GENESIS)
    assert found.head == history.Head(chain.GENESIS, 0)


def test_untouched_history_fits_and_tells_its_head(store, monkeypatch):
    monkeypatch.setattr(lines, 'PAGE', 2)
    filled(store)
    keep(store, b'a list')
    found = fits(store)
    with store.reading() as connection:
        assert found.head == history.head(connection)
    assert (found.head.length, found.messages) == (6, 1)


@pytest.mark.parametrize(
    ('column', 'value'),
    [
        ('at', 99),
        ('who', 'somebody'),
        ('event', 'other'),
        ('subject', 'other'),
        ('detail', 'other'),
    ],
)
def test_changed_row_is_named(store, column, value):
    filled(store)
    change(
        store,
        HISTORY.update().where(HISTORY.c.id == 3).values({column: value}),
    )
    found = misfit(store)
    assert found.row == 3
    assert 'was changed' in found.what
    assert found.expected.startswith('digest ')
    assert len(found.found) == 64


def test_row_that_was_changed_with_its_digest_shows_at_the_next(store):
    filled(store)
    before = list(history.lines(store))
    forged = chain.digest(before[1].sha256, 2, 'me', 'event', 'forged', 'why')
    change(
        store,
        HISTORY.update()
        .where(HISTORY.c.id == 3)
        .values(subject='forged', sha256=forged),
    )
    assert misfit(store).row == 4


@pytest.mark.parametrize('row', [1, 3])
def test_removed_row_shows_at_the_next_and_in_the_length(store, row):
    filled(store)
    change(store, HISTORY.delete().where(HISTORY.c.id == row))
    first, second = verify(store).misfits
    assert first.row == row + 1
    assert (second.expected, second.found) == ('5 rows', '4')


def test_rows_that_are_missing_at_the_end_show_by_length_and_head(store):
    filled(store)
    change(store, HISTORY.delete().where(HISTORY.c.id > 3))
    first, second = verify(store).misfits
    assert first.row is None
    assert (first.expected, first.found) == ('5 rows', '3')
    assert 'last row' in second.what


def test_row_that_was_put_at_the_end_shows(store):
    filled(store)
    with store.reading() as connection:
        head = history.head(connection)
    change(
        store,
        HISTORY.insert().values(
            at=9,
            who='me',
            event='e',
            subject='s',
            detail='d',
            sha256=chain.digest(head.sha256, 9, 'me', 'e', 's', 'd'),
        ),
    )
    found = verify(store).misfits
    assert (found[0].expected, found[0].found) == ('5 rows', '6')


def test_length_that_was_changed_alone_shows(store):
    filled(store)
    change(store, schema.catalogue.update().values(history_length=6))
    found = misfit(store)
    assert (found.expected, found.found) == ('6 rows', '5')


def test_head_that_was_noted_is_found_again(store):
    filled(store)
    with store.reading() as connection:
        noted = history.head(connection).sha256
    filled(store)
    fits(store, noted)


def test_history_that_was_written_anew_shows_by_the_noted_head(store):
    filled(store)
    with store.reading() as connection:
        noted = history.head(connection).sha256
    change(store, HISTORY.delete())
    change(
        store,
        schema.catalogue.update().values(
            history_sha256=chain.GENESIS, history_length=0
        ),
    )
    filled(store, 4)
    fits(store)
    found = misfit(store, noted)
    assert 'noted head' in found.what
    assert noted in found.expected


def test_look_ends_after_many_misfits(store):
    filled(store, 30)
    change(store, HISTORY.update().values(who='somebody'))
    assert len(verify(store).misfits) == 20
    assert len(verify(store, most=3).misfits) == 3


def test_history_that_grows_meanwhile_fits(store, monkeypatch):
    monkeypatch.setattr(lines, 'PAGE', 2)
    filled(store)
    # Five rows are four looks; then the messages, then the head.
    after = {4: b'a list', 5: b'another'}
    looks = itertools.count(1)
    real = store.reading

    @contextlib.contextmanager
    def reading():
        with real() as connection:
            yield connection
        message = after.pop(next(looks), None)
        if message is not None:
            keep(store, message)

    monkeypatch.setattr(store, 'reading', reading)
    found = fits(store)
    assert (found.head.length, found.messages) == (7, 2)
    assert not after


def test_texts_that_a_database_would_not_keep_are_kept_as_escapes(store):
    odd = 'a\0b\udc80c'
    remember(store, (1, odd, 'event', odd, odd))
    refuse(store, b'x')
    with store.writing() as transaction:
        kept.keep(transaction, 'main', b'y', 1, 'digest', odd)
    fits(store)
    with store.reading() as connection:
        line = history.newest(connection, event='event')[0]
    assert line.who == line.subject == line.detail == 'a\\x00b\\udc80c'
    assert rows(store)[-1].detail == 'a\\x00b\\udc80c'


# Messages


def test_message_that_was_changed_is_named(store):
    keep(store, b'one list')
    row = keep(store, b'another')
    change(
        store, SEEN.update().where(SEEN.c.id == row).values(message=b'forged')
    )
    found = misfit(store)
    assert found.what == f'message {row} was changed'
    assert found.expected.endswith(hashlib.sha256(b'another').hexdigest())
    assert found.found == hashlib.sha256(b'forged').hexdigest()


@pytest.mark.parametrize(
    'values',
    [
        {'verdict': 'accepted'},
        {'code': 'ok'},
        {'detail': ''},
        {'seen_at': 5},
        {'subscription': 'other'},
        {'signers': '[{}]'},
        {'list_version': '9'},
        {'list_identifier': 'x'},
        {'size': 1},
        {'message_sha256': '0' * 64},
    ],
    ids=str,
)
def test_changed_verdict_about_a_message_is_named(store, values):
    row = refuse(store, b'a list')
    change(store, SEEN.update().where(SEEN.c.id == row).values(**values))
    assert 'what is stored about message' in misfit(store).what


def test_message_that_was_removed_with_its_row_is_named(store):
    row = keep(store, b'a list')
    keep(store, b'a later one')
    change(store, SEEN.delete().where(SEEN.c.id == row))
    found = misfit(store)
    assert found.what == f'message {row} is missing'


@pytest.mark.parametrize('after', [True, False])
def test_message_that_was_put_there_past_the_history_is_named(store, after):
    first = keep(store, b'a list')
    if not after:
        keep(store, b'a later one')
        change(store, SEEN.update().where(SEEN.c.id == 2).values(id=3))
        change(store, SEEN.delete().where(SEEN.c.id == 3))
    change(
        store,
        SEEN.insert().values(
            id=first + 1,
            subscription='main',
            seen_at=1,
            verdict='accepted',
            code='ok',
            message_sha256='0' * 64,
            message=b'x',
        ),
    )
    found = verify(store).misfits
    if after:
        assert f'message {first + 1} of list_seen' in found[0].what
    else:
        assert 'what is stored about' in found[0].what


def test_message_between_two_others_past_the_history_is_named(store):
    first = keep(store, b'a list')
    with store.writing() as transaction:
        # The counter goes on, as after a transaction that was given up.
        transaction.execute(
            SEEN.insert().values(
                subscription='main',
                seen_at=1,
                verdict='accepted',
                code='ok',
                message_sha256='0' * 64,
                message=b'x',
            )
        )
    keep(store, b'a later one')
    found = misfit(store)
    assert f'message {first + 1} of list_seen was put there' in found.what


def test_message_of_an_accepted_list_is_never_let_go(store):
    row = keep(store, b'a list')
    change(store, SEEN.update().where(SEEN.c.id == row).values(message=b''))
    with store.writing() as transaction:
        transaction.remember(
            1,
            'sync',
            kept.PRUNED,
            'main',
            f'refused messages {row} are older than 90 days; so it goes',
        )
    found = misfit(store)
    assert found.what == f'message {row} is gone'
    assert 'accepted' in found.expected


def test_refused_message_that_is_gone_without_a_word_is_named(store):
    row = refuse(store, b'a list')
    change(store, SEEN.update().where(SEEN.c.id == row).values(message=b''))
    found = misfit(store)
    assert found.what == f'message {row} is gone'
    assert found.row == 1


def test_line_about_a_message_that_cannot_be_read_is_named(store):
    remember(store, (1, 'me', kept.SEEN, 'x', 'nonsense'))
    found = misfit(store)
    assert 'cannot be read' in found.what
    assert found.found == 'nonsense'


# What is kept of refused messages


def rows(store):
    with store.reading() as connection:
        return list(connection.execute(sa.select(SEEN).order_by(SEEN.c.id)))


def test_the_same_refusal_is_kept_once(store):
    assert refuse(store, b'x') == refuse(store, b'x', at=200)
    assert refuse(store, b'x', code='digest') != refuse(store, b'x')
    assert refuse(store, b'x', name='other') != refuse(store, b'x')
    assert len(rows(store)) == 3
    assert fits(store).head.length == 3


def test_large_refused_message_is_kept_as_its_digest(store, monkeypatch):
    monkeypatch.setattr(kept, 'LARGEST', 10)
    refuse(store, b'x' * 10)
    refuse(store, b'x' * 11)
    keep(store, b'y' * 11)
    assert [(row.kept, len(row.message)) for row in rows(store)] == [
        (True, 10),
        (False, 0),
        (True, 11),
    ]
    found = fits(store)
    assert (found.messages, found.not_kept) == (2, 1)


def test_server_that_sends_another_thing_each_time_fills_nothing(
    store, monkeypatch
):
    monkeypatch.setattr(kept, 'MOST', 3)
    for number in range(5):
        refuse(store, b'%d' % number)
    refuse(store, b'0', name='other')
    keep(store, b'a list')
    assert [row.kept for row in rows(store)] == [True] * 3 + [False] * 2 + [
        True,
        True,
    ]
    assert fits(store).not_kept == 2


def test_old_refused_messages_are_let_go_and_their_rows_stay(store):
    old = refuse(store, b'old', at=0)
    older = refuse(store, b'of another', at=0, name='other')
    accepted = keep(store, b'accepted', at=0)
    young = refuse(store, b'young', at=10 * DAY)
    assert kept.prune(store, 90 * DAY, 90) == 0
    assert kept.prune(store, 90 * DAY + 1, 90) == 2
    assert kept.prune(store, 90 * DAY + 1, 90) == 0
    assert {row.id: (row.kept, row.message) for row in rows(store)} == {
        old: (False, b''),
        older: (False, b''),
        accepted: (True, b'accepted'),
        young: (True, b'young'),
    }
    found = fits(store)
    assert (found.messages, found.not_kept) == (2, 2)
    with store.reading() as connection:
        (line,) = history.newest(connection, 'main', kept.PRUNED)
    assert kept.pruned(line.detail) == (old,)
    # The refusal is known for ever.
    assert refuse(store, b'old') == old


def test_many_old_messages_are_let_go_some_at_a_time(store, monkeypatch):
    monkeypatch.setattr(kept, '_AT_ONCE', 2)
    for number in range(5):
        refuse(store, b'%d' % number, at=0)
    assert kept.prune(store, 91 * DAY, 90) == 5
    with store.reading() as connection:
        lines = history.newest(connection, event=kept.PRUNED)
    assert [len(kept.pruned(line.detail)) for line in lines] == [2, 2, 1]
    fits(store)


def test_empty_message_is_no_missing_one(store):
    refuse(store, b'')
    assert fits(store).not_kept == 0


def test_what_another_event_says_is_no_word_about_messages():
    assert kept.bound('list 5: accepted') is None
    assert kept.pruned('messages 5') == ()


# From the schema before


@pytest.fixture
def before(tmp_path):
    """A catalogue of the first schema with lines and messages."""
    url = f'sqlite:///{tmp_path / "before.sqlite"}'
    with contextlib.closing(database.Database(url, 60)) as made:
        settings = config.Config()
        settings.set_main_option(
            'script_location', str(Path(migrations.__file__).parent)
        )
        with made.engine().begin() as connection:
            settings.attributes['connection'] = connection
            command.upgrade(settings, '0001')
            for number in range(3):
                connection.execute(
                    sa.text(
                        'INSERT INTO history (at, who, event, subject, detail)'
                        " VALUES (:n, 'é', 'event', 'subject', 'why')"
                    ),
                    {'n': number},
                )
            for content in (b'kept', b''):
                connection.execute(
                    sa.text(
                        'INSERT INTO list_seen (subscription, seen_at, '
                        'verdict, code, message_sha256, message) VALUES '
                        "('main', 1, 'refused', 'digest', :digest, :content)"
                    ),
                    {
                        'digest': hashlib.sha256(
                            content or b'a large one'
                        ).hexdigest(),
                        'content': content,
                    },
                )
        yield made


def test_history_of_the_schema_before_is_chained_and_binds_messages(before):
    migrations.upgrade(before)
    found = fits(before)
    assert (found.head.length, found.messages) == (5, 1)
    remember(before, (9, 'me', 'event', 'subject', 'why'))
    assert fits(before).head.length == 6
    change(before, SEEN.update().where(SEEN.c.id == 2).values(code='other'))
    assert 'what is stored about message 2' in misfit(before).what
    assert kept.prune(before, 91 * DAY, 90) == 1

# SPDX-License-Identifier: Apache-2.0
"""What vmcatcher keeps, and what a hostile database can do."""

from __future__ import annotations

import datetime
import sqlite3

import pytest

from hepix_vm import errors
from hepix_vm.operations import importing
from hepix_vm.operations.predecessors import database
from hepix_vm.operations.predecessors import values
from tests.unit.operations import old_tools

IMAGE, OTHER = (f'858a817e-0ca2-473f-89d3-d5bdfc5196{n}' for n in ('01', '02'))


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'vmcatcher.db'


def read(path):
    return importing.read('vmcatcher', path)


def only(path):
    (found,) = read(path).followed
    return found


def refused(path, *said):
    with pytest.raises(errors.Misconfigured) as caught:
        read(path)
    for part in (str(path), *said):
        assert part in str(caught.value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_subscription_with_its_endorser_and_images(path):
    made = old_tools.VmCatcher.usual(path)
    made.image(1, IMAGE, 1)
    made.image(1, OTHER, 0)
    assert only(path) == values.Followed(
        label='images for a test',
        url=old_tools.URL,
        list_identifier=old_tools.IDENTIFIER,
        endorsers=(values.Endorser(old_tools.SUBJECT, old_tools.ISSUER),),
        images=(IMAGE,),
        seen=values.Seen(
            '5', datetime.datetime(2015, 6, 18, 21, 14, tzinfo=datetime.UTC)
        ),
    )


def test_the_database_is_not_changed(path):
    old_tools.VmCatcher.usual(path)
    before = path.read_bytes()
    read(path)
    assert path.read_bytes() == before


def test_a_database_of_an_early_release_lacks_columns(path):
    made = old_tools.VmCatcher(path, early=True)
    made.authorise(made.subscription(), made.endorser())
    found = only(path)
    assert found.secret is None
    assert found.seen is None
    assert not found.takes_all


@pytest.mark.parametrize(('mode', 'all_'), [(0, False), (1, False), (3, True)])
def test_the_mode_of_updates_says_whether_all_images_are_taken(
    path, mode, all_
):
    old_tools.VmCatcher.usual(path, updateMode=mode)
    assert only(path).takes_all is all_


@pytest.mark.parametrize(
    'columns',
    [
        {'userName': 'me', 'password': 'hush-hush'},
        {'password': 'hush-hush'},
        {'uri': 'https://me:hush-hush@lists.example.org/grid'},
        {'uri': 'https://me@lists.example.org/grid'},
    ],
    ids=['both', 'password', 'url', 'user in the url'],
)
def test_passwords_stay_where_they_are(path, columns):
    old_tools.VmCatcher.usual(path, **columns)
    found = read(path)
    assert found.followed[0].secret is not None
    assert 'hush' not in repr(found)
    assert '@' not in found.followed[0].url


def test_the_highest_version_counts_not_the_latest_row(path):
    made = old_tools.VmCatcher(path)
    authorisation = made.authorise(made.subscription(), made.endorser())
    for version in ('9', '10', '2'):
        made.accepted(authorisation, version)
    assert only(path).seen.version == '10'


def test_of_one_version_the_later_date_counts(path):
    made = old_tools.VmCatcher(path)
    authorisation = made.authorise(made.subscription(), made.endorser())
    made.accepted(authorisation, '1', '2016-01-02 00:00:00.000000')
    made.accepted(authorisation, '1', '2016-01-01 00:00:00')
    assert only(path).seen.created.day == 2


def test_a_version_that_has_no_order_is_passed_over(path):
    made = old_tools.VmCatcher(path)
    authorisation = made.authorise(made.subscription(), made.endorser())
    made.accepted(authorisation, 'none')
    made.accepted(authorisation, '3')
    found = only(path)
    assert found.seen.version == '3'
    assert "'none'" in found.notes[0]


def test_the_latest_signer_comes_first(path):
    made = old_tools.VmCatcher(path)
    row = made.subscription()
    made.authorise(row, made.endorser())
    late = made.endorser('/C=CH/O=Example/CN=John Roe')
    made.accepted(made.authorise(row, late), '2')
    assert [e.subject for e in only(path).endorsers] == [
        '/C=CH/O=Example/CN=John Roe',
        old_tools.SUBJECT,
    ]


def test_an_endorser_without_authorisation_is_left_out(path):
    made = old_tools.VmCatcher(path)
    made.authorise(made.subscription(), made.endorser(), authorised=0)
    found = only(path)
    assert found.endorsers == ()
    assert old_tools.SUBJECT in found.notes[0]


def test_an_endorser_whose_name_reads_in_two_ways_is_left_out(path):
    made = old_tools.VmCatcher(path)
    endorser = made.endorser('/CN=a/b=c')
    made.authorise(made.subscription(), endorser)
    found = only(path)
    assert found.endorsers == ()
    assert 'the subject of its endorser' in found.notes[0]


def test_endorsers_are_found_by_their_own_rows(path):
    made = old_tools.VmCatcher(path)
    first = made.endorser()
    made.run('DELETE FROM endorserPrincible')
    made.run('INSERT INTO endorserPrincible VALUES (7, ?, ?, ?)', 'x', 'y', 0)
    made.run(
        'INSERT INTO endorserPrincible VALUES (8, ?, ?, ?)',
        old_tools.SUBJECT,
        old_tools.ISSUER,
        first,
    )
    made.authorise(made.subscription(), first)
    assert only(path).endorsers[0].subject == old_tools.SUBJECT


@pytest.mark.parametrize(
    ('columns', 'reason'),
    [
        ({'identifier': '../../etc/cron.d/x'}, 'is no UUID'),
        ({'uri': 'ftp://lists.example.org/'}, 'its URL is none of'),
        ({'uri': 'https://'}, 'its URL is none of'),
        ({'uri': 'https://[::1/'}, 'its URL is none of'),
        ({'uri': 'https://lists.example.org/a b'}, 'printable ASCII'),
        ({'uri': 'https://lists.example.org/\n[x]'}, 'printable ASCII'),
        ({'uri': ''}, 'it has no URL'),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:40],
)
def test_what_cannot_be_followed_is_left_out_with_its_reason(
    path, columns, reason
):
    made = old_tools.VmCatcher.usual(path, **columns)
    made.subscription('https://example.org/good', identifier=IMAGE)
    found = read(path)
    assert [item.url for item in found.followed] == [
        'https://example.org/good'
    ]
    (left_out,) = found.left_out
    assert reason in left_out.reason


def test_a_description_is_one_line_or_the_number_of_its_row(path):
    made = old_tools.VmCatcher.usual(path, description='a\n[subscription:x]')
    made.subscription(
        'https://example.org/2', identifier=IMAGE, description=None
    )
    assert [item.label for item in read(path).followed] == [
        'a?[subscription:x]',
        'subscription 2',
    ]


# Hostile and broken files


def test_no_file(path):
    refused(path, 'expected a readable file')


def test_another_file(path):
    path.write_text('this is no database')
    refused(path, 'expected an SQLite database')


def test_another_schema(path):
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE subscription (id INTEGER)')
    refused(path, 'table subscription with column identifier, description')


def test_a_view_in_place_of_a_table(path):
    made = old_tools.VmCatcher.usual(path)
    made.run('ALTER TABLE endorser RENAME TO real')
    made.run('CREATE VIEW endorser AS SELECT * FROM real')
    refused(path, 'table endorser with column id, identifier')


def test_a_virtual_table(path):
    made = old_tools.VmCatcher.usual(path)
    made.run('DROP TABLE endorser')
    made.run('CREATE VIRTUAL TABLE endorser USING fts5(id, identifier)')
    refused(path, 'table endorser with column id, identifier')


def test_a_generated_column(path):
    made = old_tools.VmCatcher.usual(path)
    made.run('DROP TABLE endorser')
    made.run(
        'CREATE TABLE endorser (id INTEGER, identifier TEXT AS (hex(id)))'
    )
    refused(path, 'table endorser with column identifier')


def test_no_subscriptions(path):
    old_tools.VmCatcher(path)
    refused(path, 'expected subscriptions, found none')


@pytest.mark.parametrize(
    ('table', 'column', 'value'),
    [
        ('subscription', 'uri', b'\x00\x01'),
        ('subscription', 'identifier', 7.5),
        ('endorserPrincible', 'hv_dn', b'/CN=x'),
        ('imageListInstance', 'created', 'yesterday'),
        ('imageListInstance', 'version', b'5'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_a_value_of_another_kind(path, table, column, value):
    made = old_tools.VmCatcher.usual(path)
    made.run(f'UPDATE {table} SET {column} = ?', value)  # noqa: S608
    if isinstance(value, float):
        # The column's type makes text of it.
        assert 'is no UUID' in read(path).left_out[0].reason
        return
    refused(path, f'table {table}, row 1, column {column}: expected')


def test_bytes_that_are_no_text(path):
    made = old_tools.VmCatcher.usual(path)
    made.run("UPDATE subscription SET uri = CAST(x'ff68' AS TEXT)")
    refused(path, 'the database cannot be read')


def test_a_value_that_is_too_long(path):
    made = old_tools.VmCatcher.usual(path)
    made.run('UPDATE subscription SET description = ?', 'x' * 100_000)
    refused(path, 'the database cannot be read')


def test_a_damaged_database(path):
    old_tools.VmCatcher.usual(path)
    content = bytearray(path.read_bytes())
    content[100:4096] = b'\xff' * 3996
    path.write_bytes(content)
    refused(path, 'the database cannot be read')


def test_a_database_that_ends_early(path):
    old_tools.VmCatcher.usual(path)
    path.write_bytes(path.read_bytes()[:2000])
    refused(path, 'the database cannot be read')


def test_a_query_without_end_is_ended(path, monkeypatch):
    made = old_tools.VmCatcher.usual(path)
    made.run(
        'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n '
        'WHERE i < 400) INSERT INTO endorser (identifier) SELECT i FROM n'
    )
    monkeypatch.setattr(database, '_STEP', 10)
    monkeypatch.setattr(database, '_STEPS', 5)
    refused(path, 'interrupted')


def test_too_many_rows(path, monkeypatch):
    made = old_tools.VmCatcher.usual(path)
    made.subscription('https://example.org/2', identifier=IMAGE)
    monkeypatch.setattr(database, '_ROWS', 1)
    refused(path, 'at most 1 rows of a kind')

# SPDX-License-Identifier: Apache-2.0
"""``drain``, ``drain list``, ``drain clear`` and ``context hosts``."""

from __future__ import annotations

import datetime
import time

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import hosts
from hepix_vm.cli import hosts as cli_hosts
from hepix_vm.nova import capacity
from hepix_vm.operations import hosts as hosts_
from tests.unit.cli import commands

UUID = '7c3a3a3e-0d1f-4c39-9a0c-3a3e0d1f4c39'
HOST = hosts.Host('wn1', 128, 'EPYC', ('batch', 'new'), 'QEMU', 1800000000)
BARE = hosts.Host('old7', None, None, (), None, 1800000000)


@pytest.fixture
def known(site):
    site.database.transact(lambda made: hosts.put(made, (HOST, BARE)))


def at(row: dict[str, str]) -> float:
    return datetime.datetime.fromisoformat(row['at']).timestamp()


def test_an_order_is_given_shown_and_taken_back(hepix_vm, known):
    before = time.time()
    ran = hepix_vm('drain', 'wn1', '--at', '+2d', '-f', 'json')
    assert ran.status == 0
    given = ran.json
    assert (given['kind'], given['name']) == ('host', 'wn1')
    assert (given['over'], given['forced']) == (False, False)
    assert before - 1 <= at(given) - 2 * 86400 <= time.time()
    assert hepix_vm('drain', UUID, '--at', '2090-01-02T03:04:05+01:00').status
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=99)
    later = f'{moment:%FT%TZ}'
    assert hepix_vm('drain', UUID, '--at', later).status == 0
    listed = hepix_vm('drain', 'list', '-f', 'json').json
    assert [(one['name'], one['at']) for one in listed] == [
        ('wn1', given['at']),
        (UUID, later),
    ]
    ran = hepix_vm('drain', 'clear', 'wn1', UUID, '-f', 'json')
    assert [one['name'] for one in ran.json] == ['wn1', UUID]
    assert hepix_vm('drain', 'list', '-f', 'json').json == []


@pytest.mark.parametrize(
    ('text', 'seconds'),
    [('+200000s', 200000), ('+3000m', 180000), ('+48h', 172800)],
)
def test_times_from_now(hepix_vm, known, text, seconds):
    before = time.time()
    given = hepix_vm('drain', 'wn1', '--at', text, '-f', 'json').json
    assert before - 1 <= at(given) - seconds <= time.time()


def test_exactly_the_grace_is_enough(hepix_vm, known):
    assert hepix_vm('drain', 'wn1', '--at', '+43200s').status == 0


def test_less_than_the_grace_is_refused_unless_forced(hepix_vm, known):
    ran = hepix_vm('drain', 'wn1', '--at', '+2h')
    assert ran.status == 2
    assert 'at least 43200 seconds ahead' in ran.err
    ran = hepix_vm('drain', 'wn1', '--at', '+2h', '--force', '-f', 'json')
    assert (ran.status, ran.json['forced']) == (0, True)


@pytest.mark.parametrize(
    'text', ['2h', '+2', '+-2h', '+2 h', '+2w', 'noon', '2027-01-02', '']
)
def test_another_time_is_wrong_use(hepix_vm, known, text):
    ran = hepix_vm('drain', 'wn1', '--at', text)
    assert ran.status == 2
    assert 'or from now, such as +2h' in ran.err


def test_a_time_is_needed(hepix_vm, known):
    assert hepix_vm('drain', 'wn1').status == 2


def test_an_order_that_is_given_anew_meanwhile_is_not_over(
    hepix_vm, known, site, monkeypatch
):
    assert hepix_vm('drain', 'wn1', '--at', '+0s', '--force').status == 0
    really = database.Database.transact

    def transact(store, work):
        """Somebody else is first."""
        monkeypatch.setattr(database.Database, 'transact', really)
        assert hepix_vm('drain', 'wn1', '--at', '+9d').status == 0
        return really(store, work)

    monkeypatch.setattr(database.Database, 'transact', transact)
    ran = hepix_vm('drain', 'clear', '--over', '-f', 'json')
    assert (ran.status, ran.json) == (0, [])
    [left] = hepix_vm('drain', 'list', '-f', 'json').json
    assert (left['name'], left['over']) == ('wn1', False)


def test_orders_whose_time_has_come_are_taken_back(hepix_vm, known, site):
    assert hepix_vm('drain', 'wn1', '--at', '+0s', '--force').status == 0
    assert hepix_vm('drain', UUID, '--at', '+9d').status == 0
    listed = hepix_vm('drain', 'list', '-f', 'json').json
    assert [one['over'] for one in listed] == [True, False]
    ran = hepix_vm('drain', 'clear', '--over', '-f', 'json')
    assert [one['name'] for one in ran.json] == ['wn1']
    assert hepix_vm('drain', 'clear', '--over', '-f', 'json').json == []


@pytest.mark.parametrize('arguments', [(), ('wn1', '--over')])
def test_what_is_taken_back_has_to_be_said(hepix_vm, known, arguments):
    assert hepix_vm('drain', 'clear', *arguments).status == 2


def test_an_order_that_is_not_there_cannot_be_taken_back(hepix_vm, known):
    ran = hepix_vm('drain', 'clear', 'wn1')
    assert ran.status == 2
    assert 'see "hepix-vm drain list"' in ran.err


def test_a_host_that_is_not_known_is_refused(hepix_vm, known):
    ran = hepix_vm('drain', 'wn2', '--at', '+9d')
    assert ran.status == 2
    assert 'hepix-vm context hosts --refresh' in ran.err


# context hosts


@pytest.fixture
def rated(hepix_vm, site, tmp_path, monkeypatch):
    """The command, with a table of the site."""
    table = tmp_path / 'ratings.yaml'
    table.write_text('ratings: [{aggregate: new, hs23: 1850.5}]\n')
    write = commands.write_configuration

    def written(made, path):
        write(made, path)
        with path.open('a') as file:
            file.write(f'[context]\nratings_file = {table}\n')

    monkeypatch.setattr(commands, 'write_configuration', written)
    return table


def test_hosts_with_their_ratings(hepix_vm, known, rated):
    ran = hepix_vm('context', 'hosts', '-f', 'json')
    assert ran.status == 0
    assert ran.json == [
        {
            'host': 'old7',
            'total_cpu': None,
            'hs06': None,
            'hs23': None,
            'cpu_model': None,
            'aggregates': [],
            'hypervisor_type': None,
            'seen_at': '2027-01-15T08:00:00Z',
        },
        {
            'host': 'wn1',
            'total_cpu': 128,
            'hs06': '1850.5',
            'hs23': '1850.5',
            'cpu_model': 'EPYC',
            'aggregates': ['batch', 'new'],
            'hypervisor_type': 'QEMU',
            'seen_at': '2027-01-15T08:00:00Z',
        },
    ]


def test_a_table_that_is_wrong_is_said(hepix_vm, known, rated):
    rated.write_text('ratings: no\n')
    ran = hepix_vm('context', 'hosts')
    assert ran.status == 2
    assert f'[context] ratings_file {rated}: expected a list' in ran.err


def test_hosts_are_listed_without_a_table(hepix_vm, known):
    ran = hepix_vm('context', 'hosts', '-f', 'json')
    assert [one['hs06'] for one in ran.json] == [None, None]


def test_a_refresh_that_fails_is_said(hepix_vm, known, monkeypatch):
    def failing(site, now):
        assert site.hosts == capacity.Settings(interval=3600)
        return hosts_.Refreshed(0, 2, ('Nova is away',))

    monkeypatch.setattr(cli_hosts.hosts, 'refresh', failing)
    ran = hepix_vm('context', 'hosts', '--refresh', '-f', 'json')
    assert ran.status == 1
    assert 'Nova is away' in ran.err
    assert len(ran.json) == 2


def test_without_an_account_there_is_no_refresh(hepix_vm, known):
    ran = hepix_vm('context', 'hosts', '--refresh', '-f', 'json')
    assert (ran.status, len(ran.json)) == (1, 2)
    assert 'group [openstack] option auth_type' in ran.err

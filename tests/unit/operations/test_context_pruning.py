# SPDX-License-Identifier: Apache-2.0
"""Notes of servers that are gone end with a sync some day."""

from __future__ import annotations

import dataclasses

import pytest

from hepix_vm.catalogue import context_fetches
from hepix_vm.catalogue import runs
from hepix_vm import errors
from hepix_vm.operations import catalogue
from hepix_vm.operations import context_pruning
from hepix_vm.operations import site as site_
from tests.unit.operations import one_cloud as clouds

ONE, TWO, THREE = (f'{n:08}-0000-4000-8000-000000000000' for n in (1, 2, 3))
DAY = 86400
AGE = 30 * DAY


@pytest.fixture
def cloud(one_cloud):
    """Two servers fetched long ago, of which one is left, and one lately."""
    made = one_cloud.made
    made.now += AGE + 1
    then = made.now - AGE - 1
    note(made, TWO, then)
    note(made, ONE, then)
    note(made, THREE, made.now)
    one_cloud.servers = (clouds.server(ONE, None),)
    one_cloud.asked.clear()
    return one_cloud


def note(made, instance, at):
    context_fetches.write(
        made.database,
        context_fetches.Process(f'host/{instance}', at, at, True, 0),
        [context_fetches.Note(instance, 'tgz', 'a' * 64, 1, 'p', at - 60, at)],
    )


def follow(one, after=0, **changes):
    one.made.now += after
    site = dataclasses.replace(one.site, **changes)
    context_pruning.follow(site, one.made.database, one.made.now)
    return left(one)


def left(cloud):
    with cloud.made.database.reading() as connection:
        return {one.instance for one in context_fetches.notes(connection)}


def processes(cloud):
    with cloud.made.database.reading() as connection:
        return [one.name for one in context_fetches.processes(connection)]


def run(cloud):
    with cloud.made.database.reading() as connection:
        return runs.last(connection).get(context_pruning.RUN)


def test_what_is_gone_and_old_is_forgotten(cloud):
    assert follow(cloud) == {ONE, THREE}
    assert processes(cloud) == [f'host/{THREE}']
    assert run(cloud).ok


def test_every_sync_does_so(cloud):
    cloud.made.publish('main', '2')
    cloud.made.sync()
    catalogue.synchronise(cloud.site, cloud.made.now)
    assert left(cloud) == {ONE, THREE}


def test_it_is_kept_as_long_as_the_site_says(cloud):
    assert follow(cloud, audit_kept_days=31) == {ONE, TWO, THREE}
    assert len(processes(cloud)) == 3
    assert cloud.asked == []
    assert run(cloud) is None


def test_nova_is_asked_once_a_day(cloud):
    follow(cloud)
    follow(cloud, DAY - 1)
    assert cloud.asked.count('servers') == 1
    follow(cloud, 1)
    assert cloud.asked.count('servers') == 2
    # A clock that was ahead does not keep it from being asked.
    follow(cloud, -7 * DAY, audit_kept_days=1)
    assert cloud.asked.count('servers') == 3


def test_nothing_is_forgotten_while_nova_cannot_be_asked(cloud, caplog):
    cloud.away['servers'] = errors.TryAgain('Nova: list servers: away')
    assert follow(cloud) == {ONE, TWO, THREE}
    assert 'verdict=context-kept Nova: list servers: away' in caplog.text
    assert not run(cloud).ok
    follow(cloud, 899)
    assert cloud.asked == ['servers']
    follow(cloud, 1)
    assert cloud.asked == ['servers'] * 2
    # The same is said once.
    assert caplog.text.count('context-kept') == 1
    del cloud.away['servers']
    assert follow(cloud, 900) == {ONE, THREE}


def test_a_server_whose_cell_is_down_is_not_forgotten(cloud):
    """Nova leaves it out of its list; asked for it, it is there or fails."""
    cloud.hidden = {TWO}
    assert follow(cloud) == {ONE, TWO, THREE}
    assert run(cloud).ok
    cloud.hidden = set()
    cloud.away['server'] = errors.TryAgain('Nova: server: InternalServerError')
    assert follow(cloud, DAY) == {ONE, TWO, THREE}
    assert not run(cloud).ok
    del cloud.away['server']
    assert follow(cloud, DAY) == {ONE, THREE}


def test_no_sync_asks_for_more_servers_than_it_has_time_for(
    cloud, monkeypatch
):
    monkeypatch.setattr(context_pruning, '_MOST', 1)
    old = [f'{n:08}-0000-4000-9000-000000000000' for n in range(3)]
    for instance in old:
        note(cloud.made, instance, cloud.made.now - AGE - 1)
    assert follow(cloud) == {ONE, TWO, THREE, *old[1:]}
    assert cloud.asked.count('server') == 1


def test_age_alone_decides_where_no_account_is_configured(cloud):
    found = follow(cloud, cloud=site_.Cloud(session=lambda: None))
    assert found == {THREE}
    assert cloud.asked == []


def test_a_cloud_without_an_account_beside_one_with_is_a_problem(cloud):
    cloud.further = {'other': site_.Cloud(session=lambda: None)}
    assert follow(cloud) == {ONE, TWO, THREE}
    assert 'expected the account' in run(cloud).detail

# SPDX-License-Identifier: Apache-2.0
"""What the daemon logs: news once, and what it does."""

from __future__ import annotations

import dataclasses

import pytest

from hepix_vm.catalogue import lease
from hepix_vm.catalogue import model
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import sync
from hepix_vm.daemon import election
from hepix_vm.daemon import telling
from hepix_vm.daemon import work
from hepix_vm.glance import removing
from hepix_vm.glance import withdraw
from hepix_vm.nova import descent
from hepix_vm.nova import servers
from hepix_vm.operations import catalogue
from hepix_vm.operations import following
from hepix_vm.operations import withdrawing

NOTHING = catalogue.Synced((), ())
SERVER = descent.Running(
    servers.Server(
        'a-server', 'web', 'a-project', 'a-host', 'ACTIVE', '', 'an-image'
    ),
    descent.Link('an-image', 'withdrawn'),
    descent.Relation.IMAGE,
)


@pytest.fixture
def told(caplog):
    """Logs a sync; gives the lines."""
    caplog.set_level('INFO')
    made = telling.Telling()

    def tell(done: work.Done) -> list[str]:
        caplog.clear()
        made.of(done)
        return [record.getMessage() for record in caplog.records]

    return tell


def synced(**changes: object) -> work.Done:
    return work.Done(dataclasses.replace(NOTHING, **changes))


def cloud(**changes: object) -> work.Done:
    """A sync of which one cloud did something."""
    return synced(clouds={'default': following.Followed(**changes)})


def running(*servers: descent.Running) -> work.Done:
    """A sync that found these."""
    affected = descent.Affected(servers=servers)
    return cloud(looked=withdrawing.Looked(affected))


def report(outcome: sync.Outcome) -> sync.Report:
    return sync.Report('main', outcome, 'ok', '', next(iter(model.Standing)))


@pytest.mark.parametrize(
    'done',
    [
        pytest.param(synced(), id='nothing'),
        pytest.param(
            synced(reports=(report(sync.Outcome.UNCHANGED),)), id='unchanged'
        ),
        pytest.param(
            synced(reports=(report(sync.Outcome.MISCONFIGURED),)), id='broken'
        ),
    ],
)
def test_a_sync_that_did_nothing_says_nothing(told, done):
    assert told(done) == []


def test_a_sync_that_did_something_is_one_line(told):
    done = synced(
        reports=(
            report(sync.Outcome.ACCEPTED),
            report(sync.Outcome.UNCHANGED),
        ),
        withdrawals=(settle.Withdrawal('an-image', 'withdrawn', ''),),
        clouds={
            'default': following.Followed(
                deactivated=(
                    withdraw.Deactivated('an-image', 'web', 'x', ''),
                ),
                reactivated=(withdraw.Reactivated('other-image', 'db', ''),),
                removed=(
                    removing.Removed(
                        'an-image', 'web', removing.Fate.HIDDEN, ''
                    ),
                ),
            )
        },
    )
    assert told(done) == [
        'synced subscriptions=2 accepted=1 withdrawn=1 deactivated=1 '
        'reactivated=1 removed=1'
    ]


def test_failed_attempt_is_a_line(told):
    done = synced(reports=(report(sync.Outcome.UNREACHABLE),))
    assert len(told(done)) == 1


def test_server_on_a_withdrawn_image_is_told_once(told):
    (line,) = told(running(SERVER))
    assert line == (
        'server a-server (web) of project a-project on host a-host still '
        'runs withdrawn image an-image (withdrawn)'
    )
    assert told(running(SERVER)) == []


def test_server_that_no_host_took_is_not_told(told):
    refused = dataclasses.replace(SERVER.server, host=None, status='BUILD')
    assert told(running(dataclasses.replace(SERVER, server=refused))) == []


def test_what_is_well_again_is_told_and_later_news_too(told):
    assert told(cloud(problems=('Glance is away',))) == ['Glance is away']
    (line,) = told(synced())
    assert 'well again' in line
    assert told(synced()) == []
    assert told(cloud(problems=('Glance is away',))) == ['Glance is away']


def test_image_that_glance_keeps_active_is_told(told):
    done = cloud(
        deactivated=(withdraw.Deactivated('an-image', 'web', 'x', 'in use'),)
    )
    assert 'image an-image could not be deactivated: in use' in told(done)


def test_image_that_glance_keeps_deactivated_is_told(told):
    done = cloud(
        reactivated=(withdraw.Reactivated('an-image', 'web', 'away'),)
    )
    assert 'image an-image could not be reactivated: away' in told(done)


def test_image_that_glance_keeps_in_sight_is_told(told):
    hidden = removing.Removed('an-image', 'x', removing.Fate.HIDDEN, 'away')
    done = cloud(removed=(hidden,))
    assert 'image an-image could not be hidden: away' in told(done)


def test_crl_that_runs_out_is_told_once(told):
    assert told(synced(warnings=('CRL x ends',))) == ['CRL x ends']
    assert told(synced(warnings=('CRL x ends',))) == []


def test_sync_that_failed_is_told_once(told):
    assert told(work.Done(None, 'the disk is full')) == ['the disk is full']
    assert told(work.Done(None, 'the disk is full')) == []


OTHER = lease.Holder('other', 7, 1, 1)


@pytest.mark.parametrize(
    ('standing', 'syncing', 'text'),
    [
        pytest.param(
            election.Standing(), False, 'waiting for the catalogue', id='new'
        ),
        pytest.param(
            election.Standing(problem='away'),
            False,
            'waiting for the catalogue: away',
            id='away',
        ),
        pytest.param(
            election.Standing(seen=True), False, 'standing by', id='nobody'
        ),
        pytest.param(
            election.Standing(seen=True, other=OTHER),
            False,
            'standing by, other leads (number 7)',
            id='other',
        ),
        pytest.param(
            election.Standing(seen=True, term=election.Term(3, 1)),
            True,
            'leading (number 3), syncing',
            id='syncing',
        ),
        pytest.param(
            election.Standing(seen=True, term=election.Term(3, 1)),
            False,
            'leading (number 3), waiting for what is due next',
            id='waiting',
        ),
    ],
)
def test_status_is_one_line(standing, syncing, text):
    assert telling.status(standing, standing.term, syncing) == text

# SPDX-License-Identifier: Apache-2.0
"""``hepix-vm adopt`` without a cloud, and with one that does not answer."""

from __future__ import annotations

import pytest

from hepix_vm import errors
from hepix_vm.glance import adopt
from hepix_vm.operations import adopting


def test_without_an_account_nothing_can_be_adopted(hepix_vm):
    assert hepix_vm('db', 'sync').status == 0
    ran = hepix_vm('adopt')
    assert ran.status == 2
    assert 'auth_type' in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_a_cloud_that_is_not_configured_is_told(hepix_vm):
    ran = hepix_vm('adopt', '--cloud', 'west')
    assert ran.status == 2
    assert 'cloud west: expected one of default' in ran.err


def results(*outcomes):
    return [
        adopt.Result(
            'default', f'image{n}', 'a\x1b[2Jname', outcome, detail='why'
        )
        for n, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ('outcomes', 'named', 'status'),
    [
        ((), (), 0),
        (('adopted', 'ours', 'left'), (), 0),
        (('adopted', 'failed'), (), 1),
        (('adopted', 'ours'), ('image0',), 0),
        (('left',), ('image0',), 1),
        (('would-adopt',), ('--dry-run',), 0),
    ],
)
def test_the_exit_status_says_whether_all_is_well(
    hepix_vm, monkeypatch, outcomes, named, status
):
    asked = []

    def answer(site, now, wish, who, told):
        asked.append(wish)
        return iter(results(*map(adopt.Outcome, outcomes)))

    monkeypatch.setattr(adopting, 'adopt', answer)
    ran = hepix_vm('adopt', *named, '--project', 'p1', '-f', 'json')
    assert ran.status == status
    assert [row['outcome'] for row in ran.json] == list(outcomes)
    assert all(row['name'] == 'a\\x1b[2Jname' for row in ran.json)
    (wish,) = asked
    assert wish.projects == {'p1'}
    assert wish.dry_run is ('--dry-run' in named)
    assert wish.only == (frozenset({'image0'}) if 'image0' in named else None)


def test_a_glance_that_does_not_answer_is_one_line(hepix_vm, monkeypatch):
    def away(*args):
        raise errors.TryAgain('Glance: list images: away')

    monkeypatch.setattr(adopting, 'adopt', away)
    ran = hepix_vm('adopt')
    assert ran.status == 1
    assert ran.err.strip().endswith('Glance: list images: away')

# SPDX-License-Identifier: Apache-2.0
"""With whose account images are tried out, and what is left is looked for."""

from __future__ import annotations

from typing import Any

from keystoneauth1 import exceptions as ks_exc
import pytest

from hepix_vm.catalogue import quarantine as rows_
from hepix_vm import errors
from hepix_vm.nova import quarantine
from hepix_vm.operations import quarantining
from hepix_vm.operations import site as site_
from tests import catalogue_rows
from tests.unit.nova import computes as c

NOW = 1_800_000_000


class Session:
    """An account, which nobody asks for more than its project."""

    def __init__(self, project: str | None) -> None:
        self._project = project
        self.asked = 0

    def get_project_id(self) -> str | None:
        self.asked += 1
        if self._project == 'refused':
            raise ks_exc.Unauthorized
        return self._project


class Glance:
    """The account that publishes."""

    def project(self) -> str:
        return 'publisher'


def cloud(own: Session | None, **changes: Any) -> site_.Cloud:
    place = quarantine.Place(lambda: own, c.settings(), 'quarantine:north')
    return site_.Cloud(
        **(
            {
                'session': lambda: Session('publisher'),
                'quarantine': lambda: place,
            }
            | changes
        )
    )


def made(own: Session | None) -> quarantining.Quarantine:
    return quarantining.of_cloud(
        None, 'north', cloud(own), Session('publisher'), Glance(), NOW
    )


def test_account_of_the_quarantine_decides_the_project():
    found = made(Session('trial'))
    assert (found.project, found.cloud) == ('trial', 'north')
    assert found.settings == c.settings()


def test_without_one_it_is_the_publishing_account():
    assert made(None).project == 'publisher'


@pytest.mark.parametrize(
    ('project', 'words'),
    [(None, 'expected an account with a project'), ('refused', 'log in')],
    ids=['none', 'refused'],
)
def test_account_that_cannot_be_used_is_said_with_its_group(project, words):
    with pytest.raises(errors.Misconfigured, match=words) as caught:
        made(Session(project))
    assert '[quarantine:north]' in str(caught.value)


@pytest.fixture
def store(tmp_path):
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield made.store
    made.close()


def site(*names: str, **changes: Any) -> Any:
    """A site with these clouds; no more of it is looked at."""

    class Site:
        clouds = {name: cloud(None, **changes) for name in names}

    return Site()


def test_nobody_logs_in_where_nothing_was_left(store):
    def never() -> Any:
        raise AssertionError('logged in')

    quarantining.clean(site('north', session=never), store, NOW)


def test_cloud_that_cannot_be_asked_ends_nothing(store, caplog):
    image_id = '0f0e0d0c-0000-4000-8000-000000000001'
    store.transact(lambda t: rows_.begin(t, NOW, 'north', image_id, 'x'))
    asked = []

    def away() -> Any:
        asked.append(1)
        raise errors.TryAgain('Keystone: away')

    quarantining.clean(site('north', session=away), store, NOW)
    assert asked == [1]
    assert 'verdict=quarantine-left cloud=north Keystone: away' in caplog.text


def test_each_cloud_is_cleaned_where_something_was_left(store, monkeypatch):
    image_id = '0f0e0d0c-0000-4000-8000-000000000001'
    store.transact(lambda t: rows_.begin(t, NOW, 'south', image_id, 'x'))
    cleaned = []
    monkeypatch.setattr(
        quarantining.Quarantine, 'clean', lambda one: cleaned.append(one.cloud)
    )
    quarantining.clean(site('north', 'south'), store, NOW)
    assert cleaned == ['south']

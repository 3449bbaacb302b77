# SPDX-License-Identifier: Apache-2.0
"""Trying images out, with what is remembered of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import quarantine as rows_
from hepix_vm import errors
from hepix_vm.glance import picture
from hepix_vm.nova import quarantine
from hepix_vm.operations import quarantining
from tests import catalogue_rows
from tests.unit.nova import computes as c

NOW = 1_800_000_000
AWAY = errors.TryAgain('Nova: away')


class Glance:
    """An image of the project that publishes.

    :ivar shared: with which projects
    """

    def __init__(self) -> None:
        self.visibility = 'private'
        self.shared: list[str] = []
        self.there = True

    def project(self) -> str:
        return 'publisher'

    def image(self, image_id: str) -> picture.GlanceImage | None:
        if not self.there:
            return None
        return picture.image(
            {
                'id': image_id,
                'status': 'active',
                'visibility': self.visibility,
            }
        )

    def change(
        self, image: picture.GlanceImage, values: Mapping[str, Any]
    ) -> None:
        assert image.image_id == c.IMAGE
        assert set(values) == {'visibility'}
        self.visibility = values['visibility']

    def share(self, image_id: str, project: str) -> None:
        assert self.visibility == 'shared'
        self.shared.append(project)


@pytest.fixture
def store(tmp_path):
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield made.store
    made.close()


@pytest.fixture
def nova() -> c.Compute:
    found = c.Compute()
    found.said = 'login:'
    return found


@pytest.fixture
def glance() -> Glance:
    return Glance()


@pytest.fixture
def trying(store, nova, glance):
    """Makes what tries out, with these changes."""

    def make(**changes: Any) -> quarantining.Quarantine:
        values: dict[str, Any] = {
            'catalogue': store,
            'cloud': 'default',
            'glance': glance,
            'compute': nova,
            'project': 'publisher',
            'settings': c.settings(),
            'now': NOW,
            'clock': c.Time().clock(),
        }
        return quarantining.Quarantine(**(values | changes))

    return make


def left(store):
    with store.reading() as connection:
        return rows_.left(connection, 'default')


def held(store):
    with store.reading() as connection:
        snapshot = loading.load(connection, None, NOW).snapshot
    return dict(snapshot.quarantined)


def boot(trying):
    return trying.boot(c.IMAGE, lambda message: None)


@pytest.mark.parametrize(
    ('said', 'kind'),
    [('login:', quarantine.Passed), ('panic', quarantine.Failed)],
    ids=['well', 'badly'],
)
def test_server_is_gone_after_the_boot_however_it_ended(
    trying, store, nova, said, kind
):
    nova.said = said
    assert isinstance(boot(trying()), kind)
    assert nova.servers == {}
    assert left(store) == ()
    # Until it is released.
    assert held(store) == {c.IMAGE: 'publisher'}


def test_image_is_held_and_its_server_known_before_nova_is_asked(
    trying, store, nova
):
    seen = []
    original = nova.create

    def create(name: str, image_id: str, settings: Any) -> str:
        seen.append((name, [one.name for one in left(store)], held(store)))
        return original(name, image_id, settings)

    nova.create = create
    boot(trying())
    ((name, known, holding),) = seen
    assert known == [name]
    assert name.startswith(rows_.PREFIX)
    assert holding == {c.IMAGE: 'publisher'}


def test_image_of_the_own_project_is_shared_with_nobody(trying, glance):
    boot(trying())
    assert (glance.visibility, glance.shared) == ('private', [])


@pytest.mark.parametrize('visibility', ['private', 'shared', 'public'])
def test_image_of_another_project_is_made_visible_to_that_of_the_quarantine(
    trying, glance, visibility
):
    glance.visibility = visibility
    result = boot(trying(project='trial'))
    assert isinstance(result, quarantine.Passed)
    public = visibility == 'public'
    assert glance.shared == ([] if public else ['trial'])


def test_image_that_is_gone_is_not_booted(trying, nova, glance):
    glance.there = False
    result = boot(trying(project='trial'))
    assert isinstance(result, quarantine.Undecided)
    assert 'gone from Glance' in result.detail
    assert 'create' not in nova.asked


def test_settings_that_are_wrong_decide_nothing(trying, nova):
    wrong = errors.Misconfigured('option flavor is missing')
    result = boot(trying(settings=wrong))
    assert result == quarantine.Undecided('option flavor is missing')
    assert nova.asked == []


def test_server_that_cannot_be_removed_is_removed_by_the_next_run(
    trying, store, nova
):
    nova.broken['delete'] = AWAY
    assert isinstance(boot(trying()), quarantine.Passed)
    ((name, _),) = nova.servers.values()
    assert [one.name for one in left(store)] == [name]
    nova.broken.clear()
    trying().clean()
    assert nova.servers == {}
    assert left(store) == ()


def test_answer_that_got_lost_may_have_made_a_server_for_an_hour(
    trying, store, nova
):
    nova.broken['create'] = AWAY
    assert boot(trying()) == quarantine.Undecided('Nova: away')
    nova.broken.clear()
    trying(now=NOW + 3600).clean()
    ((one),) = left(store)
    # It turns up after all.
    nova.put(one.name, c.IMAGE)
    trying(now=NOW + 3600).clean()
    assert nova.servers == {}
    assert left(store) == ()


def test_server_that_never_turned_up_is_forgotten(trying, store, nova):
    nova.broken['create'] = AWAY
    boot(trying())
    trying(now=NOW + 3601).clean()
    assert left(store) == ()


def test_server_of_a_run_that_died_is_removed_before_the_image_is_tried_again(
    trying, store, nova
):
    name = store.transact(
        lambda t: rows_.begin(t, NOW, 'default', c.IMAGE, 'publisher')
    )
    old = nova.put(name, c.IMAGE)
    nova.said = 'panic'
    assert isinstance(boot(trying()), quarantine.Failed)
    assert nova.asked.index('delete') < nova.asked.index('create')
    assert old not in nova.servers
    assert nova.servers == {}


def test_while_the_old_server_cannot_be_removed_there_is_no_new_one(
    trying, store, nova
):
    name = store.transact(
        lambda t: rows_.begin(t, NOW, 'default', c.IMAGE, 'publisher')
    )
    nova.put(name, c.IMAGE)
    nova.broken['delete'] = AWAY
    assert boot(trying()) == quarantine.Undecided('Nova: away')
    assert 'create' not in nova.asked


def test_only_what_was_left_in_this_cloud_and_project_is_looked_for(
    trying, store, nova, caplog
):
    begin = rows_.begin
    store.transact(lambda t: begin(t, NOW, 'north', c.IMAGE, 'publisher'))
    trying().clean()
    assert nova.asked == []
    other = '0f0e0d0c-0000-4000-8000-000000000002'
    name = store.transact(lambda t: begin(t, NOW, 'default', other, 'before'))
    trying().clean()
    assert nova.asked == []
    assert f'server {name} in project before' in caplog.text
    assert left(store) == ()


def test_trouble_while_cleaning_ends_nothing_else(trying, store, nova, caplog):
    images = [f'0f0e0d0c-0000-4000-8000-00000000001{i}' for i in range(2)]
    for image_id in images:
        name = store.transact(
            lambda t, i=image_id: rows_.begin(
                t, NOW, 'default', i, 'publisher'
            )
        )
        nova.put(name, image_id)
    original = nova.named

    def named(name: str) -> Any:
        nova.named = original
        raise AWAY

    nova.named = named
    trying().clean()
    assert len(nova.servers) == 1
    assert len(left(store)) == 1
    assert 'the next run removes it' in caplog.text

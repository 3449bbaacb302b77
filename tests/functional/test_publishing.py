# SPDX-License-Identifier: Apache-2.0
"""Images come into a real Glance, are replaced there without a gap, and go.

The site has a Glance of its own in the session's cloud; what it does is done
by its commands.
"""

from __future__ import annotations

from collections.abc import Iterator
import concurrent.futures
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import schema
from tests.cloud import cloud as clouds
from tests.cloud import waits
from tests.functional import publishing
from tests import misbehaving

pytestmark = pytest.mark.timeout(1800)

LIMIT = 300.0
ROOT = pathlib.Path(__file__).parents[2]
RUN = 'import sys; from hepix_vm.cli import main; sys.exit(main.main())'


@pytest.fixture(scope='module')
def place(
    cloud: clouds.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[publishing.Place]:
    """A site that takes whatever its endorser endorses."""
    folder = tmp_path_factory.mktemp('publishing')
    with publishing.place(cloud, 'publishing', folder) as made:
        yield made


def published(
    place: publishing.Place, *words: object
) -> dict[str, dict[str, Any]]:
    """Publish well; results by outcome and title, each once."""
    found = {}
    for result in place.well('publish', *words):
        name = f'{result["outcome"]} {result["title"]}'
        assert name not in found, (name, found)
        found[name] = result
    return found


def brought(place: publishing.Place, title: str, version: str) -> str:
    """Endorse one image and have it published; its id in Glance."""
    place.endorse(title, version)
    place.follow()
    return str(published(place)[f'published {title}']['image_id'])


def shown(place: publishing.Place, image_id: str) -> dict[str, Any]:
    """An image as Glance shows it."""
    return publishing.without_lock(place.client.images.get(image_id))


def named(place: publishing.Place, title: str) -> dict[str, Any]:
    """The images that users of a name find, by id."""
    return {
        image['id']: image
        for image in place.client.images.list(filters={'name': title})
        if image['status'] == 'active'
    }


def problems(place: publishing.Place) -> dict[str, str]:
    """What the catalogue says is not where it should be, by identifier."""
    table = schema.publication_problem
    with place.database.reading() as connection:
        return {
            row.identifier: row.detail
            for row in connection.execute(sa.select(table))
        }


def requests(place: publishing.Place, *methods: str) -> list[str]:
    """What was asked of Glance by these methods since it was forgotten."""
    return [
        call.shape
        for call in place.proxy.calls
        if call.service == 'glance' and call.method in methods
    ]


@contextlib.contextmanager
def watched(place: publishing.Place, title: str) -> Iterator[list[int]]:
    """How many images of a name users find, asked again and again."""
    counts: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            counts.append(len(named(place, title)))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield counts
        finally:
            ended.set()
            watching.result(LIMIT)


def test_new_version_takes_the_place_of_the_old_one_without_a_gap(
    place: publishing.Place,
) -> None:
    old = brought(place, 'seamless', '1')
    first = shown(place, old)
    assert (first['visibility'], first['os_hidden']) == ('public', False)
    tags = first['tags']
    assert tags == [place.listed['seamless'].entry.identifier]
    place.endorse('seamless', '2')
    place.follow()
    with watched(place, 'seamless') as counts:
        waits.until('users to look', lambda: len(counts) > 2, LIMIT)
        done = published(place)
        seen = len(counts)
        waits.until('users to look again', lambda: counts[seen + 2 :], LIMIT)
    assert min(counts) >= 1, counts
    new = done['published seamless']['image_id']
    assert done['retired seamless']['image_id'] == old
    assert set(named(place, 'seamless')) == {new}
    second = shown(place, new)
    assert second['tags'] == tags
    assert second['hepix_image_version'] == '2'
    left = shown(place, old)
    assert (left['status'], left['visibility']) == ('deactivated', 'private')
    assert (left['os_hidden'], left['tags']) == (True, [])
    # The one before counts no longer, now that the new one is there.
    with place.database.reading() as connection:
        table = schema.endorsement
        rows = connection.execute(
            sa.select(table.c.version, table.c.replaced_until).where(
                table.c.title == 'seamless'
            )
        ).all()
    until = {row.version: row.replaced_until for row in rows}
    assert until['2'] is None
    assert until['1'] <= time.time()


#: What Glance does at the end of an import takes two seconds each: it saves
#: the active image once more, and takes its lock away.
LINGERING = {
    'saved': (
        'BEFORE UPDATE ON images FOR EACH ROW SET @slept = IF(OLD.status = '
        "'active' AND NEW.status = 'active', SLEEP(2), 0)"
    ),
    'unlocked': (
        'BEFORE DELETE ON image_properties FOR EACH ROW SET @slept = '
        "IF(OLD.name = 'os_glance_import_task', SLEEP(2), 0)"
    ),
}


@pytest.fixture
def lingering(place: publishing.Place) -> Iterator[None]:
    """Glance takes its time for the end of an import."""
    engine = sa.create_engine(place.glance.database)
    try:
        with engine.begin() as connection:
            for name, does in LINGERING.items():
                connection.execute(sa.text(f'CREATE TRIGGER {name} {does}'))
        yield
        with engine.begin() as connection:
            for name in LINGERING:
                connection.execute(sa.text(f'DROP TRIGGER {name}'))
    finally:
        engine.dispose()


def test_image_is_changed_only_when_its_import_is_over(
    place: publishing.Place, lingering: None
) -> None:
    # Glance saves an active image once more as it was, and would undo that.
    states: list[tuple[str, int]] = []
    engine = sa.create_engine(place.glance.database)

    def note(call: misbehaving.Call) -> None:
        question = sa.text(
            'SELECT status, (SELECT COUNT(*) FROM image_properties WHERE '
            "image_id = :image AND name = 'os_glance_import_task' AND NOT "
            'deleted) FROM tasks WHERE image_id = :image'
        )
        with engine.begin() as connection:
            found = connection.execute(question, {'image': call.subject})
            states.extend((str(row[0]), int(row[1])) for row in found)

    place.proxy.rules.append(
        misbehaving.Rule(misbehaving.Do(note), method='PATCH', nth=0)
    )
    image_id = brought(place, 'at its end', '1')
    place.proxy.forget()
    engine.dispose()
    assert shown(place, image_id)['visibility'] == 'public'
    assert states
    assert set(states) == {('success', 0)}


def test_older_versions_are_kept_as_many_as_the_site_wants(
    place: publishing.Place,
) -> None:
    ids = [brought(place, 'kept', version) for version in ('1', '2')]
    place.endorse('kept', '3')
    place.follow()
    done = published(place)
    assert done['retired kept']['image_id'] == ids[1]
    assert done['deleted kept']['image_id'] == ids[0]
    assert ids[0] not in place.images()
    assert ids[1] in place.images()
    place.configure({'publish': {'keep': 0}})
    try:
        done = published(place)
        assert done['deleted kept']['image_id'] == ids[1]
    finally:
        place.configure({'publish': {'keep': 1}})
    assert set(named(place, 'kept')) <= set(place.images()) - set(ids)


def test_nothing_to_do_changes_nothing_and_asks_for_one_listing(
    place: publishing.Place,
) -> None:
    published(place)
    before = place.images()
    place.proxy.forget()
    done = published(place)
    assert {name.split()[0] for name in done} == {'present'}
    assert place.images() == before
    # Visible and hidden images are two listings of one page each.
    assert requests(place, 'GET') == ['glance GET /v2/images'] * 2
    assert requests(place, 'POST', 'PATCH', 'PUT', 'DELETE') == []
    assert place.hepix('publish', '--dry-run').out == ''


def test_members_are_those_who_may_use_an_image(
    place: publishing.Place, cloud: clouds.Cloud
) -> None:
    ours = {name: cloud.add_project(name) for name in ('ours', 'theirs')}
    section = f'subscription:{publishing.NAME}'
    publisher = cloud.session().get_project_id()
    place.configure(
        {
            section: {'projects': ','.join(ours.values())},
            'glance_import': {'publishing_projects': publisher},
        }
    )
    try:
        image_id = brought(place, 'shared', '1')
        assert shown(place, image_id)['visibility'] == 'shared'
        members = place.client.image_members
        found = {m['member_id']: m['status'] for m in members.list(image_id)}
        assert found == dict.fromkeys(ours.values(), 'accepted')
        # One is no longer meant, and somebody else made one of a stranger.
        stranger = cloud.add_project('stranger')
        members.create(image_id, stranger)
        members.delete(image_id, ours['ours'])
        place.configure(
            {
                section: {'projects': ours['ours']},
                'publish': {'members_interval': 0},
            }
        )
        place.well('sync')
        published(place)
        found = {m['member_id']: m['status'] for m in members.list(image_id)}
        assert found == {ours['ours']: 'accepted'}
    finally:
        del place.sections[section]['projects']
        place.configure({'publish': {'members_interval': 86400}})
        place.well('sync')
    # Everybody may use it again: nobody is a member.
    published(place)
    assert shown(place, image_id)['visibility'] == 'public'
    place.client.images.update(image_id, visibility='shared')
    assert list(members.list(image_id)) == []
    assert 'changed shared' in published(place)


def test_images_of_others_are_never_touched(place: publishing.Place) -> None:
    listed = place.endorse('foreign', '1')
    strangers = {
        place.foreign(
            'foreign',
            visibility='public',
            tags=[listed.entry.identifier],
            hepix_image_identifier=listed.entry.identifier,
            hepix_image_version='0',
        ),
        place.foreign('foreign', visibility='community', protected=True),
        place.foreign('foreign', os_hidden=True),
    }
    before = {image_id: shown(place, image_id) for image_id in strangers}
    place.proxy.forget()
    for version in ('1', '2'):
        mine = brought(place, 'foreign', version)
        assert mine not in strangers
    del place.listed['foreign']
    place.follow()
    published(place)
    assert {i: shown(place, i) for i in strangers} == before
    asked = {
        call.subject
        for call in place.proxy.calls
        if call.service == 'glance' and call.method != 'GET'
    }
    assert not asked & strangers


def test_image_that_somebody_deleted_comes_back_with_another_id(
    place: publishing.Place,
) -> None:
    old = brought(place, 'deleted', '1')
    place.client.images.delete(old)
    new = published(place)['published deleted']['image_id']
    assert new != old
    assert set(named(place, 'deleted')) == {new}


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('name', 'mine'),
        ('visibility', 'private'),
        ('os_hidden', True),
        ('tags', ['mine']),
        ('min_ram', 64),
        ('protected', True),
        ('hepix_image_version', '7'),
        ('kernel_id', 'something else boots'),
    ],
)
def test_image_that_somebody_changed_is_brought_back(
    place: publishing.Place, name: str, value: object
) -> None:
    if 'changed' not in place.listed:
        brought(place, 'changed', '1')
    (image_id,) = named(place, 'changed')
    before = shown(place, image_id)
    place.client.images.update(image_id, **{name: value})
    diff = place.hepix('publish', '--dry-run').out
    assert f'-    {name}: ' in diff
    done = published(place)['changed changed']
    assert done['image_id'] == image_id
    assert name in done['detail']
    after = shown(place, image_id)
    assert after.pop('updated_at') and before.pop('updated_at')
    assert after == before


def test_image_that_somebody_deactivated_stays_so_and_is_told(
    place: publishing.Place,
) -> None:
    image_id = brought(place, 'deactivated', '1')
    place.client.images.deactivate(image_id)
    done = published(place)['present deactivated']
    assert 'somebody deactivated it' in done['detail']
    assert shown(place, image_id)['status'] == 'deactivated'
    identifier = place.listed['deactivated'].entry.identifier
    assert 'somebody deactivated it' in problems(place)[identifier]
    place.client.images.reactivate(image_id)
    assert published(place)['present deactivated']['detail'] == 'already there'
    assert identifier not in problems(place)


def test_dry_run_tells_what_would_change_and_changes_nothing(
    place: publishing.Place,
) -> None:
    old = brought(place, 'rehearsed', '1')
    place.endorse('rehearsed', '2')
    place.follow()
    before = place.images()
    ran = place.hepix('publish', '--dry-run')
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[:2] == [
        '--- cloud/default now',
        '+++ cloud/default after publishing',
    ]
    identifier = place.listed['rehearsed'].entry.identifier
    (added,) = [line for line in lines if line.startswith('+image')]
    assert f'{identifier} version 2' in added
    assert 'as "rehearsed", public' in added
    (removed,) = [line for line in lines if line.startswith('-image')]
    assert old in removed
    assert 'retire' in removed
    assert place.images() == before
    done = published(place)
    assert done['retired rehearsed']['image_id'] == old
    assert place.hepix('publish', '--dry-run').out == ''


def test_impatient_user_gets_a_new_version_at_once(
    place: publishing.Place,
) -> None:
    brought(place, 'urgent', '1')
    place.endorse('urgent', '2')
    place.sign()
    identifier = place.listed['urgent'].entry.identifier
    done = published(place, '--now', identifier)
    assert done['published urgent']['version'] == '2'
    ran = place.hepix('publish', '--now', place.list_id)
    assert ran.status == 2
    assert 'expected the identifier of an image' in ran.err


def test_image_of_another_hypervisor_is_told_and_stays_out(
    place: publishing.Place,
) -> None:
    listed = place.endorse('elsewhere', '1', hypervisors=('xen',))
    place.follow()
    done = published(place)['skipped elsewhere']
    assert 'xen' in done['detail']
    assert named(place, 'elsewhere') == {}
    assert 'xen' in problems(place)[listed.entry.identifier]
    # The site gets such hosts.
    place.configure({'publish': {'hypervisors': 'kvm,xen'}})
    try:
        image_id = published(place)['published elsewhere']['image_id']
        assert listed.entry.identifier not in problems(place)
    finally:
        place.configure({'publish': {'hypervisors': 'kvm'}})
    # And loses them; the image waits for their return.
    assert published(place)['retired elsewhere']['image_id'] == image_id
    place.configure({'publish': {'hypervisors': 'kvm,xen'}})
    try:
        done = published(place)['published elsewhere']
        assert done['image_id'] == image_id
        assert set(named(place, 'elsewhere')) == {image_id}
    finally:
        place.configure({'publish': {'hypervisors': 'kvm'}})
        published(place)


def test_two_at_once_make_one_copy(place: publishing.Place) -> None:
    # On a busy machine the first one takes its time.
    place.configure({'publish': {'wait': int(LIMIT)}})
    listed = [place.endorse(f'both {n}', '1') for n in range(3)]
    place.follow()
    command = [
        *(sys.executable, '-c', RUN),
        *('--config-file', str(place.glance.config_file)),
        *('publish', '-f', 'json'),
    ]
    running = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {'PYTHONPATH': str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = []
    for process in running:
        out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
        told.append({r['title']: r['outcome'] for r in json.loads(out)})
    for one in listed:
        assert len(named(place, one.title)) == 1
        assert sorted(t[one.title] for t in told) == ['present', 'published']
    contents = publishing.contents(place.images().values())
    assert all(contents[publishing.sha512_of(one)] == 1 for one in listed)

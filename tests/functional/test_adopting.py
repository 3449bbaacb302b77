# SPDX-License-Identifier: Apache-2.0
"""Images that older tools left in a real Glance become ours by their bytes."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import io
import json
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import schema
from hepix_vm.cli import main
from hepix_vm import imagelist
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.functional import images as acts
from tests.functional import importing
from tests.functional import publishing
from tests import misbehaving

pytestmark = pytest.mark.timeout(1800)

MPURI = 'https://db.example.org/store/vm/image/1:2/'
PUSHED_MPURI = 'https://db.example.org/store/vm/image/3:4/'


@pytest.fixture(scope='module', autouse=True)
def readable(cloud: clouds.Cloud) -> Iterator[None]:
    """The account may read what nobody has approved yet, as is told."""
    before = cloud.site
    exempt = {'hepix_exempt': f'user_id:{cloud.session().get_user_id()}'}
    options = dataclasses.replace(
        before.options,
        glance_policy={**before.options.glance_policy, **exempt},
    )
    with importing.ruled(cloud, **exempt):
        # The further Glance of these tests is made after this one.
        cloud.site = dataclasses.replace(before, options=options)
        yield
        cloud.site = before


@pytest.fixture(scope='module')
def place(
    cloud: clouds.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[publishing.Place]:
    """A site that used other tools before."""
    folder = tmp_path_factory.mktemp('adopting')
    with publishing.place(cloud, 'adopting', folder) as made:
        yield made


def left_behind(
    place: publishing.Place, data: bytes, name: str, **properties: Any
) -> str:
    """An image as older tools made it: uploaded past the import."""
    client = place.client
    made = client.images.create(
        name=name,
        disk_format='raw',
        container_format='bare',
        **properties,
    )
    client.images.upload(made['id'], io.BytesIO(data))
    return str(made['id'])


def endorsed(
    place: publishing.Place, title: str, version: str = '1', **changes: Any
) -> tuple[bytes, str]:
    """The bytes and the identifier of an image in the list to come."""
    listed = place.endorse(title, version, **changes)
    return place.file(listed).read_bytes(), listed.entry.identifier


def adopted(place: publishing.Place, *words: object) -> dict[str, Any]:
    """Adopt well; results by image id."""
    return {
        result['image_id']: result for result in place.well('adopt', *words)
    }


def ours(place: publishing.Place) -> dict[str, str]:
    """States of what is ours, by image id."""
    return {row.image_id: row.state for row in place.publications()}


def notices(place: publishing.Place, image_id: str) -> list[str]:
    """Kinds of notices about an image, in order."""
    table = schema.notice
    with place.database.reading() as connection:
        return list(
            connection.execute(
                sa.select(table.c.kind)
                .where(table.c.subject == image_id)
                .order_by(table.c.id)
            ).scalars()
        )


def test_what_older_tools_left_is_taken_over_with_its_id(
    place: publishing.Place,
) -> None:
    atrope, atrope_id = endorsed(place, 'by atrope', mpuri=MPURI)
    keeper, keeper_id = endorsed(place, 'by cloudkeeper')
    pushed, _ = endorsed(place, 'by glancepush')
    claimed, claimed_id = endorsed(place, 'claimed')
    # The only dialect that has the URI of accounting.
    place.sign(dialect=imagelist.Dialect.APPDB)
    place.well('sync')
    by_atrope = left_behind(
        place,
        atrope,
        'Image for atlas',
        visibility='public',
        tags=['atrope'],
        appdb_id=atrope_id,
        image_list='old-name',
        vmcatcher_event_ad_mpuri=MPURI,
    )
    by_keeper = left_behind(
        place, keeper, 'Linux-1-x86_64', CLOUDKEEPER_core='2', min_disk=2
    )
    by_push = left_behind(
        place, pushed, 'worker', vmcatcher_event_ad_mpuri=PUSHED_MPURI
    )
    # It says all that an old tool would say, and is something else.
    impostor = left_behind(
        place,
        publishing.disk('something else'),
        'claimed',
        tags=['atrope'],
        appdb_id=claimed_id,
        sha512=publishing.digest(claimed),
    )
    before = place.images()

    rehearsed = adopted(place, '--dry-run')
    assert {
        rehearsed[image_id]['outcome']
        for image_id in (by_atrope, by_keeper, by_push)
    } == {'would-adopt'}
    assert ours(place) == {}

    done = adopted(place)
    assert done[by_atrope]['outcome'] == 'adopted'
    assert done[by_atrope]['identifier'] == atrope_id
    assert done[by_keeper]['identifier'] == keeper_id
    assert done[impostor]['outcome'] == 'left'
    assert 'not-endorsed' in done[impostor]['detail']
    assert ours(place) == {
        by_atrope: 'active',
        by_keeper: 'active',
        by_push: 'active',
    }
    assert notices(place, by_atrope) == ['image.adopted']
    assert notices(place, impostor) == []
    # The images themselves are as they were.
    assert place.images() == before
    again = adopted(place)
    assert again[by_atrope]['outcome'] == 'ours'

    # Publishing goes on with them, and makes no second copy of any.
    results = {result['title']: result for result in place.well('publish')}
    assert results['by atrope']['image_id'] == by_atrope
    assert results['by cloudkeeper']['image_id'] == by_keeper
    assert results['by glancepush']['image_id'] == by_push
    assert results['claimed']['outcome'] == 'published'
    after = place.images()
    counts = publishing.contents(after.values())
    for data in (atrope, keeper, pushed, claimed):
        assert counts[publishing.digest(data)] == 1
    image = after[by_atrope]
    assert image['name'] == 'by atrope'
    assert image['vmcatcher_event_ad_mpuri'] == MPURI
    assert image['appdb_id'] == atrope_id
    assert json.loads(image['APPLIANCE_ATTRIBUTES'])['ad:mpuri'] == MPURI
    # A list that does not say how to account for it does not change that.
    pushed_image = after[by_push]
    assert pushed_image['vmcatcher_event_ad_mpuri'] == PUSHED_MPURI
    # cloudkeeper-os writes cores there.
    assert after[by_keeper]['min_disk'] == 0
    assert after[impostor] == before[impostor]


def test_a_newer_version_takes_the_place_of_an_adopted_one(
    place: publishing.Place,
) -> None:
    data, _ = endorsed(place, 'renewed', '1')
    place.follow()
    old = left_behind(place, data, 'renewed', visibility='public')
    assert adopted(place, old)[old]['outcome'] == 'adopted'
    endorsed(place, 'renewed', '2')
    place.follow()
    results = {
        result['outcome']: result
        for result in place.well('publish')
        if result['title'] == 'renewed'
    }
    assert results['retired']['image_id'] == old
    shown = place.images()
    assert shown[results['published']['image_id']]['status'] == 'active'
    assert shown[old]['visibility'] == 'private'


def test_an_endorsement_that_ends_takes_the_adopted_image_with_it(
    place: publishing.Place,
) -> None:
    data, _ = endorsed(place, 'passing')
    place.follow()
    image_id = left_behind(place, data, 'passing')
    assert adopted(place, image_id)[image_id]['outcome'] == 'adopted'
    del place.listed['passing']
    place.follow()
    assert place.images()[image_id]['status'] == 'deactivated'


def test_an_image_of_a_user_is_left_alone_until_it_is_named(
    place: publishing.Place,
) -> None:
    data, _ = endorsed(place, 'same as a users')
    place.follow()
    project = place.cloud.add_project('users of adopting')
    theirs = left_behind(place, data, 'my own', owner=project)
    assert theirs not in adopted(place)
    assert theirs not in ours(place)
    found = adopted(place, '--dry-run', '--project', project)
    assert found[theirs]['outcome'] == 'would-adopt'
    assert adopted(place, theirs)[theirs]['outcome'] == 'adopted'


def test_what_changes_what_boots_is_removed_first(
    place: publishing.Place,
) -> None:
    data, _ = endorsed(place, 'with a kernel')
    place.follow()
    image_id = left_behind(place, data, 'with a kernel', root_device_name='x')
    ran = place.hepix('adopt', image_id, '-f', 'json')
    assert ran.status == 1
    (result,) = json.loads(ran.out)
    assert result['outcome'] == 'left'
    assert 'root_device_name' in result['detail']
    place.client.images.update(image_id, remove_props=['root_device_name'])
    assert adopted(place, image_id)[image_id]['outcome'] == 'adopted'


def test_an_image_that_is_not_there_is_told(place: publishing.Place) -> None:
    ran = place.hepix('adopt', 'unknown')
    assert ran.status == 2
    assert 'image unknown: expected the id of an image' in ran.err
    ran = place.hepix('adopt', '--cloud', 'west')
    assert ran.status == 2
    assert 'cloud west: expected one of default' in ran.err


FAULTS = {
    '403': misbehaving.Answer(403),
    '500': misbehaving.Answer(500),
    '503': misbehaving.Answer(503),
    'dropped': misbehaving.Drop(),
    'cut': misbehaving.Cut(100),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_data_that_cannot_be_read_adopts_nothing_and_the_next_run_does(
    place: publishing.Place, fault: str
) -> None:
    data, _ = endorsed(place, f'hard to read {fault}')
    place.follow()
    image_id = left_behind(place, data, 'hard to read')
    rule = misbehaving.Rule(
        FAULTS[fault], shape='glance GET /v2/images/*/file', nth=0
    )
    place.proxy.rules.append(rule)
    try:
        ran = place.hepix('adopt', image_id, '-f', 'json')
    finally:
        place.proxy.forget()
    assert rule.fired
    assert ran.status == 1, ran
    (result,) = json.loads(ran.out)
    assert result['outcome'] in ('failed', 'left'), result
    assert image_id not in ours(place)
    assert adopted(place, image_id)[image_id]['outcome'] == 'adopted'


def test_an_adopted_image_boots_and_one_that_is_not_does_not(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    admin = acts.Images(cloud, 'admin')
    image_id = admin.uploaded(data, visibility='public')
    user = acts.Servers(cloud)
    assert 'is refused (no-record)' in user.refusal(image_id)
    config = hepix.config_file(cloud.layout.work)
    words = ['--config-file', str(config), 'adopt', image_id]
    assert main.main(words) == 0, capsys.readouterr()
    assert user.refusal(image_id) == ''

# SPDX-License-Identifier: Apache-2.0
"""New versions are booted by the site before its users may, from end to end.

Keystone, Glance, Nova and its filter are real; the guests are those of Nova's
fake driver, whose consoles all end with the same line.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import schema
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests import faulty
from tests.functional import further
from tests.functional import images as acts
from tests.functional import publishing

pytestmark = pytest.mark.timeout(1800)

TRIAL = 'trial'
SAID = 'LAST LINE'
TITLE = 'Worker'


@pytest.fixture
def place(cloud: clouds.Cloud, tmp_path: Path) -> Iterator[publishing.Place]:
    """A site that publishes for some projects into the cloud's own Glance."""
    cloud.add_user(TRIAL, TRIAL)
    path = hepix.config_file(cloud.layout.work)
    before = path.read_text()
    glance = further.Glance(
        name='glance',
        url=cloud.endpoints['glance'],
        database=cloud.site.database('glance'),
        config_file=path,
        log=cloud.log('glance'),
        store=cloud.layout.data / 'glance' / 'local',
    )
    with contextlib.ExitStack() as stack:
        stack.callback(publishing.nova_reads_again, cloud)
        stack.callback(path.write_text, before)
        proxy = stack.enter_context(
            publishing.fronts(cloud, glance, tmp_path / 'web')
        )
        run = stack.enter_context(faulty.runner())
        made = publishing.Place(cloud, glance, tmp_path, run, proxy)
        stack.callback(made.database.close)
        account = dict(made.sections['openstack'])
        account |= {'username': TRIAL, 'project_name': TRIAL}
        made.configure(
            {
                f'subscription:{publishing.NAME}': {
                    'quarantine': 'true',
                    'projects': ','.join(
                        cloud.add_project(name) for name in ('demo', 'admin')
                    ),
                },
                'quarantine': {
                    name: value
                    for name, value in account.items()
                    if name not in ('interface', 'region_name')
                },
                'glance_import': {
                    'publishing_projects': cloud.add_project('admin')
                },
            }
        )
        publishing.nova_reads_again(cloud)
        yield made


def expecting(place: publishing.Place, **options: Any) -> None:
    """Change what the quarantine asks for."""
    place.configure({'quarantine': {'flavor': clouds.FLAVOR, **options}})


def publish(place: publishing.Place, *words: str) -> dict[str, Any]:
    """Publish; what became of the newest version, of one image."""
    ran = place.hepix('publish', *words, '-f', 'json')
    found = json.loads(ran.out)
    newest = place.listed[TITLE].version
    (one,) = (
        result
        for result in found
        if result['outcome'] not in ('retired', 'deleted')
    )
    assert one['version'] == newest
    result: dict[str, Any] = one
    return result


def held(place: publishing.Place) -> dict[str, str]:
    """Who alone may boot an image, by its id."""
    table = schema.quarantine
    with place.database.reading() as connection:
        rows = connection.execute(
            sa.select(table).where(table.c.held == sa.true())
        )
        return {row.image_id: row.project for row in rows}


def events(place: publishing.Place, image_id: str) -> list[str]:
    """What the history says of an image."""
    table = schema.history
    with place.database.reading() as connection:
        return list(
            connection.execute(
                sa.select(table.c.event)
                .where(
                    table.c.subject == image_id,
                    table.c.event.startswith('quarantine'),
                )
                .order_by(table.c.id)
            ).scalars()
        )


def endorse(place: publishing.Place, version: str) -> None:
    """A new version is in the list."""
    place.endorse(TITLE, version)
    place.follow()


def boots(cloud: clouds.Cloud, image_id: str, user: str) -> str:
    """'' when a user's server of an image becomes active, else why not."""
    return acts.Servers(cloud, user).refusal(image_id)


def test_version_is_released_when_the_site_has_seen_it_boot(
    cloud: clouds.Cloud, place: publishing.Place
) -> None:
    trial = acts.Servers(cloud, TRIAL)
    # It cannot be tried out at first, which is not its fault.
    expecting(place, console_line=SAID, flavor='none such')
    endorse(place, '1.0')
    waiting = publish(place)
    assert waiting['outcome'] == 'waiting', waiting
    assert (
        "option flavor: Nova has none of the name or id 'none such'"
        in (waiting['detail'])
    )
    assert place.images()[waiting['image_id']]['os_hidden']
    expecting(place)
    first = publish(place)
    assert first['outcome'] == 'published', first
    assert first['image_id'] == waiting['image_id']
    old = first['image_id']
    assert events(place, old)[-1] == 'quarantine-passed'
    assert held(place) == {}
    # The project of the quarantine has it no longer.
    members = [
        one['member_id'] for one in place.client.image_members.list(old)
    ]
    assert cloud.add_project('demo') in members
    assert trial.client.client.get_project_id() not in members
    assert boots(cloud, old, 'demo') == ''

    # The next one does not do what is expected.
    expecting(place, console_line='never said', boot_timeout=3)
    endorse(place, '2.0')
    second = publish(place)
    new = second['image_id']
    assert second['outcome'] == 'failed'
    assert "did not say a line with 'never said' in 3 s" in second['detail']
    assert 'its console ends with: FAKE' in second['detail']
    assert second['detail'].endswith(SAID)
    assert events(place, new)[-1] == 'quarantine-failed'
    assert held(place) == {new: trial.client.client.get_project_id()}
    shown = place.images()
    assert shown[old]['status'] == 'active'
    assert not shown[old]['os_hidden']
    assert shown[new]['os_hidden']
    # Not even its owner has it; the site may look into it.
    assert 'is refused (quarantine)' in boots(cloud, new, 'admin')
    assert boots(cloud, old, 'demo') == ''
    assert boots(cloud, new, TRIAL) == ''
    assert trial.client.servers.list() == []

    # It is not tried again by itself.
    expecting(place, console_line=SAID)
    again = publish(place)
    assert (again['outcome'], again['image_id']) == ('failed', new)
    assert 'publish --retry' in again['detail']
    assert events(place, new).count('quarantine-failed') == 1
    last = publish(place, '--retry')
    assert (last['outcome'], last['image_id']) == ('published', new)
    assert held(place) == {}
    assert boots(cloud, new, 'demo') == ''
    assert place.images()[old]['os_hidden']

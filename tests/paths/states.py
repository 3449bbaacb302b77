# SPDX-License-Identifier: Apache-2.0
"""How an image gets into each of its states, by what people really do."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import io
import os
from typing import Any

import sqlalchemy as sa

from tests import catalogue_rows
from tests.cloud import actions
from tests.cloud import errors
from tests import guest
from tests.paths import asking
from tests.paths.table import At
from tests.paths.table import State
from tests.paths.table import Who
from tests.paths import world as worlds

_SMALL = 4096
_PURGE = (
    'DELETE FROM image_locations WHERE image_id = :id',
    'DELETE FROM image_members WHERE image_id = :id',
    'DELETE FROM image_properties WHERE image_id = :id',
    'DELETE FROM image_tags WHERE image_id = :id',
    'DELETE FROM images WHERE id = :id',
)
_ENDED = ('success', 'failure')


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image of some state.

    :ivar says: the line that a real machine writes on its console
    """

    image_id: str
    data: bytes
    says: str


def lists(world: worlds.World) -> Mapping[State, str]:
    """Names of the subscriptions, those of some states being their own."""
    plain = dict.fromkeys(State, world.mark)
    return plain | {
        State.STALE: f'{world.mark}-stale',
        State.ANOTHERS: f'{world.mark}-another',
    }


def subscribe(world: worlds.World) -> None:
    """Follow the lists."""
    for name in sorted(set(lists(world).values())):
        world.rows.subscription(name)
    another = world.project_of(worlds.ANOTHER)
    world.rows.subscription(lists(world)[State.ANOTHERS], projects=[another])


def some_data(world: worlds.World, says: str) -> bytes:
    """Bytes that nothing else has."""
    if world.real:
        return guest.image(says, mark=os.urandom(8).hex())
    return os.urandom(_SMALL)


def image(world: worlds.World, state: State) -> Image:
    """The one image of a state, made while its bytes are approved."""
    made: Image = world.made(
        ('image', state), lambda: another_image(world, state)
    )
    return made


def another_image(world: worlds.World, state: State) -> Image:
    """One more image of a state.

    Only that of :func:`image` gets into the states that come later.
    """
    says = f'{world.mark}: {state}'
    data = some_data(world, says)
    if state is State.NEVER_SEEN:
        owner = world.project(Who.USER)
        image_id = create(world, Who.ADMIN, owner=owner)
        upload(world, Who.ADMIN, image_id, data)
        return Image(image_id, data, says)
    world.rows.endorse(data, lists(world)[state])
    if state is State.ANOTHERS:
        return Image(_of_another(world, data), data, says)
    return Image(take_in(world, Who.USER, data), data, says)


def _of_another(world: worlds.World, data: bytes) -> str:
    glance = world.cloud.glance(worlds.ANOTHER)
    made = glance.images.create(
        name=world.mark,
        disk_format='raw',
        container_format='bare',
        **actions.APART,
    )
    glance.images.stage(made.id, io.BytesIO(data))
    glance.images.image_import(made.id, 'glance-direct')
    # An active image whose import still goes on would be shown to nobody:
    # Glance saves it once more as it was.
    if not actions.wait_for_import(world.cloud, glance, made.id):
        raise errors.CloudError(f'image {made.id} was not imported')
    glance.images.update(made.id, visibility='community')
    return str(made.id)


def create(world: worlds.World, who: Who, **values: Any) -> str:
    """An image without bytes."""
    fields = {'disk_format': 'raw', 'container_format': 'bare'}
    made = world.ask(
        who,
        'image',
        'POST',
        '/v2/images',
        {'name': world.mark, **fields, **actions.APART, **values},
    )
    return str(made['id'])


def upload(world: worlds.World, who: Who, image_id: str, data: bytes) -> None:
    """Bytes past the import."""
    put(world, who, f'/v2/images/{image_id}/file', data)


def put(world: worlds.World, who: Who, path: str, data: bytes) -> None:
    """Bytes to some place of Glance."""
    kind = {'Content-Type': 'application/octet-stream'}
    world.ask(who, 'image', 'PUT', path, data=data, headers=kind)


def stage_and_import(
    world: worlds.World, who: Who, data: bytes
) -> tuple[str, asking.Seen]:
    """Bring bytes in as users should; returns the image and the end."""
    image_id = create(world, who)
    put(world, who, f'/v2/images/{image_id}/stage', data)
    return image_id, imported(world, who, image_id, {'name': 'glance-direct'})


def imported(
    world: worlds.World, who: Who, image_id: str, method: Any, **more: Any
) -> asking.Seen:
    """Have Glance import, and wait for the end."""
    path = f'/v2/images/{image_id}'
    before = len(world.ask(who, 'image', 'GET', f'{path}/tasks')['tasks'])
    world.ask(
        who, 'image', 'POST', f'{path}/import', {'method': method, **more}
    )

    def ended() -> Any | None:
        tasks = world.ask(who, 'image', 'GET', f'{path}/tasks')['tasks']
        going = [task for task in tasks if task['status'] not in _ENDED]
        if going or len(tasks) <= before:
            return None
        return max(tasks, key=lambda task: str(task['updated_at']))

    task = world.wait(f'the import of {image_id}', ended, 'glance')
    if task['status'] == 'success':
        world.wait(
            f'image {image_id} to be active',
            lambda: world.ask(who, 'image', 'GET', path)['status'] == 'active',
            'glance',
        )
        return asking.PASSES
    return asking.refusal(At.IMPORT, task['message'] or '', 'no reason')


def take_in(world: worlds.World, who: Who, data: bytes) -> str:
    """Import bytes that are approved now; returns the image's id.

    :raises asking.Refused: when they are refused all the same
    """
    image_id, seen = stage_and_import(world, who, data)
    if seen != asking.PASSES:
        raise asking.Refused(seen)
    return image_id


def turn(world: worlds.World) -> None:
    """From here on each image is in its state.

    The catalogue's last change is that of the list that becomes stale.
    """
    rows = world.rows
    rows.block(catalogue_rows.sha512(image(world, State.BLOCKED).data))
    rows.withdraw(image(world, State.WITHDRAWN).data)
    tampered = image(world, State.TAMPERED).image_id
    change(world, Who.ADMIN, tampered, 'os_command_line', 'init=/bin/sh')
    _use_id_again(world, image(world, State.OTHER_BYTES).image_id)
    rows.subscription(lists(world)[State.STALE], verified_at=1, max_age=600)


def change(
    world: worlds.World, who: Who, image_id: str, name: str, value: Any
) -> None:
    """Set a property of an image."""
    kind = {
        'Content-Type': 'application/openstack-images-v2.1-json-patch',
    }
    patch = [{'op': 'add', 'path': f'/{name}', 'value': value}]
    world.ask(
        who,
        'image',
        'PATCH',
        f'/v2/images/{image_id}',
        patch,
        headers=kind,
    )


def _use_id_again(world: worlds.World, image_id: str) -> None:
    world.ask(Who.ADMIN, 'image', 'DELETE', f'/v2/images/{image_id}')
    engine = sa.create_engine(world.cloud.site.database('glance'))
    with engine.begin() as connection:
        # What "glance-manage db purge" does to images of long ago.
        for statement in _PURGE:
            connection.execute(sa.text(statement), {'id': image_id})
    engine.dispose()
    owner = world.project(Who.USER)
    create(world, Who.ADMIN, id=image_id, owner=owner)
    data = some_data(world, f'{world.mark}: other bytes')
    upload(world, Who.ADMIN, image_id, data)

# SPDX-License-Identifier: Apache-2.0
"""Ways by what was made of an image: snapshots, back-ups, shelved servers.

They need real machines: only those leave bytes behind.
"""

from __future__ import annotations

from collections.abc import Mapping
import time

from tests.paths import asking
from tests.paths import into_glance
from tests.paths import servers
from tests.paths import states
from tests.paths import table
from tests.paths.table import State
from tests.paths.table import Who
from tests.paths.ways import Way
from tests.paths import world as worlds


#: Seconds to wait for a record that may not come.
_PATIENCE = 30


def _image_active(world: worlds.World, image_id: str) -> None:
    def active() -> bool:
        shown = world.ask(Who.USER, 'image', 'GET', f'/v2/images/{image_id}')
        return bool(shown['status'] == 'active')

    world.wait(f'image {image_id} to be active', active, 'nova-compute')


def _recorded(world: worlds.World, image_id: str) -> str:
    """An image whose record, if there will be one, is there.

    Glance calls a snapshot active a moment before it is recorded.
    """
    _image_active(world, image_id)
    for _ in range(_PATIENCE):
        if world.rows.recorded(image_id) is not None:
            break
        time.sleep(1)
    return image_id


def _named(world: worlds.World, name: str) -> str:
    def found() -> str | None:
        listed = world.ask(
            Who.USER, 'image', 'GET', f'/v2/images?name={name}'
        )['images']
        return str(listed[0]['id']) if listed else None

    image_id: str = world.wait(f'an image {name}', found, 'nova-compute')
    return _recorded(world, image_id)


def _copy(world: worlds.World, server_id: str) -> str:
    value = {'name': f'{world.mark}-copy'}
    made = servers.action(world, Who.USER, server_id, 'createImage', value)
    return _recorded(world, str(made['image_id']))


def _snapshot(world: worlds.World, row: table.Row) -> str:
    """A snapshot of a server of the row's image."""
    image_id: str = world.made(
        ('snapshot', row.state),
        lambda: _copy(world, servers.running(world, row.state, 'parent')),
    )
    return image_id


def _backup(world: worlds.World, row: table.Row) -> str:
    def make() -> str:
        server = servers.running(world, row.state, 'backed up')
        name = f'{world.mark}-backup-{server}'
        value = {'name': name, 'backup_type': 'daily', 'rotation': 1}
        servers.action(world, Who.USER, server, 'createBackup', value)
        return _named(world, name)

    image_id: str = world.made(('backup', row.state), make)
    return image_id


def _grandchild(world: worlds.World, row: table.Row) -> str:
    """A snapshot of a server of a snapshot."""

    def make() -> str:
        wanted = servers.body(world, _snapshot(world, row))
        server = servers.asked(world, Who.USER, wanted)
        seen = servers.outcome(world, server, states.image(world, row.state))
        if seen != asking.BOOTS:
            raise asking.Refused(seen)
        return _copy(world, server)

    image_id: str = world.made(('grandchild', row.state), make)
    return image_id


def boot_copy(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Boot what was made of a server."""
    server = servers.asked(world, row.who, servers.body(world, made))
    return servers.outcome(world, server, states.image(world, row.state))


def read_copy(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Read what was made of a server."""
    return into_glance.read(world, row.who, made)


def _shelved(world: worlds.World, row: table.Row) -> str:
    server = servers.running(world, row.state, row.key)
    servers.action(world, Who.USER, server, 'shelve', None)
    world.wait(
        f'server {server} to be shelved',
        lambda: world.settled(server)['status'] == 'SHELVED_OFFLOADED',
        'nova-compute',
    )
    return server


def unshelve(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Bring a shelved server back."""
    servers.action(world, row.who, made, 'unshelve', None)
    return servers.outcome(world, made, states.image(world, row.state))


def _forged(world: worlds.World, row: table.Row) -> str:
    """An image of other bytes that claims to be a snapshot of Nova's."""
    parent = states.image(world, State.APPROVED).image_id
    data = states.some_data(world, 'forged')
    image_id = states.create(
        world,
        Who.ADMIN,
        owner=world.project(Who.USER),
        base_image_ref=parent,
        image_type='snapshot',
    )
    states.upload(world, Who.ADMIN, image_id, data)
    return image_id


def _corrupt(world: worlds.World, row: table.Row) -> states.Image:
    """An approved image whose file was changed in the store."""
    image = states.another_image(world, row.state)
    stored = world.cloud.layout.data / 'glance' / 'local' / image.image_id
    other = image.data.replace(b'\xf4\xeb\xfd', b'\xf4\xeb\xfc')
    if other == image.data:
        raise ValueError('the guest is not the one that this changes')
    stored.write_bytes(other)
    return image


def boot_corrupt(
    world: worlds.World, row: table.Row, made: states.Image
) -> asking.Seen:
    """Boot an image whose bytes were changed in the store."""
    wanted = servers.body(world, made.image_id)
    server = servers.asked(world, row.who, wanted)
    return servers.outcome(world, server, None)


WAYS: Mapping[str, Way] = {
    'boot_snapshot': Way(boot_copy, _snapshot),
    'read_snapshot': Way(read_copy, _snapshot),
    'boot_backup': Way(boot_copy, _backup),
    'boot_grandchild': Way(boot_copy, _grandchild),
    'boot_forged': Way(boot_copy, _forged),
    'unshelve': Way(unshelve, _shelved),
    'boot_corrupt': Way(boot_corrupt, _corrupt),
}

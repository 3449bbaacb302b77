# SPDX-License-Identifier: Apache-2.0
"""Ways to a running machine by Nova's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.cloud import settings
from tests.paths import asking
from tests.paths import servers
from tests.paths import states
from tests.paths import table
from tests.paths.table import State
from tests.paths.ways import Way
from tests.paths import world as worlds


def _need_images(world: worlds.World, row: table.Row) -> None:
    states.image(world, row.state)
    states.image(world, State.APPROVED)


def _boot(
    world: worlds.World, row: table.Row, *, path: str = '/servers', **more: Any
) -> asking.Seen:
    """Boot from the row's image; ``more`` goes into the server's body."""
    image = states.image(world, row.state)
    wanted = servers.body(world, image.image_id, **more)
    made = servers.asked(world, row.who, wanted, path)
    return servers.outcome(world, made, image)


def boot(world: worlds.World, row: table.Row, _made: Any) -> asking.Seen:
    """Boot from the image."""
    return _boot(world, row)


def boot_oldest(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """The same with the oldest microversion."""
    image = states.image(world, row.state)
    wanted = servers.body(world, image.image_id)
    del wanted['server']['networks']
    made = servers.asked(world, row.who, wanted, version='2.1')
    return servers.outcome(world, made, image)


def boot_legacy(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """The same by the endpoint ``/v2``."""
    image = states.image(world, row.state)
    wanted = servers.body(world, image.image_id)
    del wanted['server']['networks']
    url = f'{world.cloud.site.url("nova-api")}/v2'
    made = servers.asked(
        world,
        row.who,
        wanted,
        f'/{world.project(row.who)}/servers',
        endpoint_override=url,
    )
    return servers.outcome(world, made, image)


def boot_in_project(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """The same by an address with the project's id."""
    return _boot(world, row, path=f'/{world.project(row.who)}/servers')


def boot_many(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """Several servers at once."""
    return _boot(world, row, min_count=2, max_count=2)


def boot_on_host(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """On a named host, which the scheduler confirms."""
    return _boot(world, row, host=settings.HOST)


def force_host(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """On a forced host, which no filter is asked about."""
    return _boot(world, row, availability_zone=f'nova:{settings.HOST}')


def pretend_rebuild(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """With the mark by which Nova knows a rebuild of its own."""
    image = states.image(world, row.state)
    wanted = servers.body(world, image.image_id)
    wanted['os:scheduler_hints'] = {'_nova_check_type': 'rebuild'}
    made = servers.asked(world, row.who, wanted)
    return servers.outcome(world, made, image)


def image_as_volume(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """From a volume that Nova is to make of the image."""
    image = states.image(world, row.state)
    root = servers.device('image', image.image_id, 0, volume_size=1)
    wanted = servers.body(world, None, block_device_mapping_v2=[root])
    made = servers.asked(world, row.who, wanted)
    return servers.outcome(world, made, image)


def other_boots(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """The request names an approved image, and boots another one."""
    image = states.image(world, row.state)
    root = servers.device('image', image.image_id, 0, volume_size=1)
    approved = states.image(world, State.APPROVED).image_id
    wanted = servers.body(world, approved, block_device_mapping_v2=[root])
    made = servers.asked(world, row.who, wanted)
    return servers.outcome(world, made, image)


def second_disk(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """Boots an approved image, with a further disk of another one."""
    image = states.image(world, row.state)
    approved = states.image(world, State.APPROVED)
    root = servers.device(
        'image', approved.image_id, 0, destination_type='local'
    )
    data = servers.device('image', image.image_id, 1, volume_size=1)
    wanted = servers.body(
        world, approved.image_id, block_device_mapping_v2=[root, data]
    )
    made = servers.asked(world, row.who, wanted)
    return servers.outcome(world, made, approved)


def no_image(world: worlds.World, row: table.Row, _made: Any) -> asking.Seen:
    """Names nothing to boot from."""
    made = servers.asked(world, row.who, servers.body(world, None))
    return servers.outcome(world, made, None)


def rebuild(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Rebuild a server with another image."""
    image = states.image(world, row.state)
    value = {'imageRef': image.image_id}
    servers.action(world, row.who, made, 'rebuild', value)
    return servers.outcome(world, made, image)


def _of_approved(world: worlds.World, row: table.Row) -> str:
    _need_images(world, row)
    return servers.running(world, State.APPROVED, servers.whose(row))


def rebuild_same(
    world: worlds.World, row: table.Row, made: str
) -> asking.Seen:
    """Rebuild a server with the image that it has."""
    return rebuild(world, row, made)


def rescue(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Rescue a server with another image."""
    image = states.image(world, row.state)
    return _rescued(world, row, made, {'rescue_image_ref': image.image_id})


def rescue_own(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Rescue a server with the image that it has, cached on its host."""
    return _rescued(world, row, made, None)


def _rescued(
    world: worlds.World, row: table.Row, made: str, value: Any
) -> asking.Seen:
    servers.action(world, row.who, made, 'rescue', value)
    server = world.settled(made)
    if server['status'] == 'RESCUE':
        return asking.BOOTS
    return servers.failed(server)


def resize(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Resize a server that exists."""
    value = {'flavorRef': servers.larger_flavor(world)}
    servers.action(world, row.who, made, 'resize', value)
    server = world.settled(made)
    if server['status'] == 'VERIFY_RESIZE':
        return asking.BOOTS
    return servers.failed(server)


def restart(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Stop a server that exists, and start it."""
    servers.action(world, row.who, made, 'os-stop', None)
    world.settled(made)
    servers.action(world, row.who, made, 'os-start', None)
    return servers.outcome(world, made, None)


def forge(world: worlds.World, row: table.Row, made: str) -> asking.Seen:
    """Say of a snapshot that it comes from an approved image."""
    approved = states.image(world, State.APPROVED).image_id
    value: dict[str, Any] = {
        'name': world.mark,
        'metadata': {'base_image_ref': approved},
    }
    name = 'createImage'
    if row.path.name == 'forge_backup':
        name = 'createBackup'
        value |= {'backup_type': 'daily', 'rotation': 1}
    servers.action(world, row.who, made, name, value)
    return asking.PASSES


def filter_boot(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """Boot by an API without the guard."""
    image = states.image(world, row.state)
    wanted = servers.body(world, image.image_id)
    made = servers.unguarded(world, row.who, wanted)['server']['id']
    return servers.outcome(world, made, image)


def filter_other_boots(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Another image boots than the request names, without the guard."""
    image = states.image(world, row.state)
    root = servers.device('image', image.image_id, 0, volume_size=1)
    approved = states.image(world, State.APPROVED).image_id
    wanted = servers.body(world, approved, block_device_mapping_v2=[root])
    made = servers.unguarded(world, row.who, wanted)['server']['id']
    return servers.outcome(world, made, image)


def filter_rebuild(
    world: worlds.World, row: table.Row, made: str
) -> asking.Seen:
    """Rebuild with another image, without the guard."""
    image = states.image(world, row.state)
    value = {'rebuild': {'imageRef': image.image_id}}
    servers.unguarded(world, row.who, value, f'/servers/{made}/action')
    return servers.outcome(world, made, image)


WAYS: Mapping[str, Way] = {
    'boot': Way(boot, _need_images),
    'boot_oldest': Way(boot_oldest, _need_images),
    'boot_legacy': Way(boot_legacy, _need_images),
    'boot_in_project': Way(boot_in_project, _need_images),
    'boot_many': Way(boot_many, _need_images),
    'boot_on_host': Way(boot_on_host, _need_images),
    'force_host': Way(force_host, _need_images),
    'pretend_rebuild': Way(pretend_rebuild, _need_images),
    'image_as_volume': Way(image_as_volume, _need_images),
    'other_boots': Way(other_boots, _need_images),
    'second_disk': Way(second_disk, _need_images),
    'no_image': Way(no_image),
    'rebuild': Way(rebuild, _of_approved),
    'rebuild_same': Way(rebuild_same, servers.own),
    'rescue': Way(rescue, _of_approved),
    'rescue_own': Way(rescue_own, servers.own),
    'resize': Way(resize, servers.own),
    'restart': Way(restart, servers.own),
    'forge_snapshot': Way(forge, _of_approved),
    'forge_backup': Way(forge, _of_approved),
    'real_boot': Way(boot, _need_images),
    'real_force_host': Way(force_host, _need_images),
    'cached_rebuild': Way(rebuild_same, servers.own),
    'cached_rescue': Way(rescue_own, servers.own),
    'volume_of_image': Way(image_as_volume, _need_images),
    'volume_instead': Way(other_boots, _need_images),
    'filter_boot': Way(filter_boot, _need_images),
    'filter_other_boots': Way(filter_other_boots, _need_images),
    'filter_rebuild': Way(filter_rebuild, _of_approved),
}

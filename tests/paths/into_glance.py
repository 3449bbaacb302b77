# SPDX-License-Identifier: Apache-2.0
"""Ways for bytes into Glance, and ways to change an image that is there."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import pathlib
from typing import Any
import uuid

from tests.demo import asked
from tests.paths import asking
from tests.paths import states
from tests.paths import table
from tests.paths.table import State
from tests.paths.table import Who
from tests.paths.ways import Way
from tests.paths import world as worlds

_EMPTY = hashlib.sha512().hexdigest()


def _bytes(world: worlds.World, state: State) -> bytes:
    """Bytes of a state: of a tampered image those with one bit changed."""
    data = states.image(world, state).data
    if state is State.TAMPERED:
        return data[:-1] + bytes([data[-1] ^ 1])
    return data


def _need_image(world: worlds.World, row: table.Row) -> None:
    states.image(world, row.state)


def glance_direct(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Stage and import."""
    data = _bytes(world, row.state)
    return states.stage_and_import(world, row.who, data)[1]


def web_download(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Import from a web server."""
    folder: pathlib.Path = world.cloud.layout.data / 'paths' / world.mark
    folder.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    (folder / name).write_bytes(_bytes(world, row.state))
    image_id = states.create(world, row.who)
    with asked.web_server(folder) as url:
        method = {'name': 'web-download', 'uri': f'{url}/{name}'}
        return states.imported(world, row.who, image_id, method)


def glance_download(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Import from a Glance, here from the same."""
    image_id = states.create(world, row.who)
    method = {
        'name': 'glance-download',
        'glance_region': 'RegionOne',
        'glance_image_id': states.image(world, row.state).image_id,
    }
    return states.imported(world, row.who, image_id, method)


def copy_image(
    world: worlds.World, row: table.Row, made: states.Image
) -> asking.Seen:
    """Copy an image into another store."""
    return states.imported(
        world,
        row.who,
        made.image_id,
        {'name': 'copy-image'},
        stores=['local2'],
    )


def _another(world: worlds.World, row: table.Row) -> states.Image:
    return states.another_image(world, row.state)


def put_file(world: worlds.World, row: table.Row, _made: Any) -> asking.Seen:
    """Upload past the import."""
    image_id = states.create(world, row.who)
    states.upload(world, row.who, image_id, _bytes(world, row.state))
    return asking.PASSES


def stage_again(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Stage other bytes for an image that is active."""
    image_id = states.image(world, row.state).image_id
    states.put(world, row.who, f'/v2/images/{image_id}/stage', b'other')
    return asking.PASSES


def id_in_use(world: worlds.World, row: table.Row, _made: Any) -> asking.Seen:
    """Make an image with the id of another one."""
    states.create(world, row.who, id=states.image(world, row.state).image_id)
    return asking.PASSES


def add_location(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Add a location by PATCH, with a hash of one's own choice."""
    image_id = states.create(world, row.who)
    value = {
        'url': 'http://localhost/image',
        'metadata': {},
        'validation_data': {
            'os_hash_algo': 'sha512',
            'os_hash_value': _EMPTY,
        },
    }
    states.change(world, row.who, image_id, 'locations/-', value)
    return asking.PASSES


def post_location(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Add a location by the newer call."""
    image_id = states.create(world, row.who)
    world.ask(
        row.who,
        'image',
        'POST',
        f'/v2/images/{image_id}/locations',
        {'url': 'http://localhost/image'},
    )
    return asking.PASSES


def post_task(world: worlds.World, row: table.Row, _made: Any) -> asking.Seen:
    """Import by the old API of tasks."""
    fields = {'disk_format': 'raw', 'container_format': 'bare'}
    source = {
        'import_from': 'http://localhost/image',
        'import_from_format': 'raw',
        'image_properties': {'name': world.mark, **fields},
    }
    task = {'type': 'import', 'input': source}
    world.ask(row.who, 'image', 'POST', '/v2/tasks', task)
    return asking.PASSES


def reactivate(
    world: worlds.World, row: table.Row, made: states.Image
) -> asking.Seen:
    """Undo what a withdrawal did to an image."""
    return _action(world, row, made, 'reactivate')


def deactivate(
    world: worlds.World, row: table.Row, made: states.Image
) -> asking.Seen:
    """Take an image out of use."""
    return _action(world, row, made, 'deactivate')


def _action(
    world: worlds.World, row: table.Row, made: states.Image, action: str
) -> asking.Seen:
    path = f'/v2/images/{made.image_id}/actions/{action}'
    world.ask(row.who, 'image', 'POST', path)
    return asking.PASSES


def _deactivated(world: worlds.World, row: table.Row) -> states.Image:
    made = states.another_image(world, row.state)
    path = f'/v2/images/{made.image_id}/actions/deactivate'
    world.ask(Who.ADMIN, 'image', 'POST', path)
    return made


#: By name of the path: which property it sets, and to what.
PROPERTIES: Mapping[str, tuple[str, str]] = {
    'set_kernel': ('kernel_id', str(uuid.UUID(int=1))),
    'set_ramdisk': ('ramdisk_id', str(uuid.UUID(int=1))),
    'set_command_line': ('os_command_line', 'init=/bin/sh'),
    'set_devices': ('block_device_mapping', '[{"boot_index": 0}]'),
    'set_devices_prefixed': ('img_block_device_mapping', '[]'),
    'set_root_device': ('root_device_name', '/dev/vdb'),
    'set_base_image': ('base_image_ref', str(uuid.UUID(int=1))),
    'set_server': ('instance_uuid', str(uuid.UUID(int=1))),
}


def set_property(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Change what an image boots with, or says of its origin."""
    image_id = states.create(world, row.who)
    name, value = PROPERTIES[row.path.name]
    states.change(world, row.who, image_id, name, value)
    return asking.PASSES


def create_with(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Make an image that has such a property from the start."""
    states.create(world, row.who, base_image_ref=str(uuid.UUID(int=1)))
    return asking.PASSES


def larger_disk(
    world: worlds.World, row: table.Row, made: states.Image
) -> asking.Seen:
    """Change the smallest disk of an image, then read it."""
    states.change(world, row.who, made.image_id, 'min_disk', 1)
    return read(world, row.who, made.image_id)


def download(world: worlds.World, row: table.Row, _made: Any) -> asking.Seen:
    """Read the bytes, as every service does that uses them."""
    image_id = states.image(world, row.state).image_id
    return read(world, row.who, image_id)


def read(world: worlds.World, who: Who, image_id: str) -> asking.Seen:
    """Read the bytes of an image."""
    path = f'/v2/images/{image_id}/file'
    answer = world.answer(who, 'image', 'GET', path)
    if answer.status_code >= 400:
        asking.body(answer, table.At.GLANCE)
    return asking.PASSES


def for_a_service(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Read with a user's token and a service's, as Nova and Cinder do."""
    image_id = states.image(world, row.state).image_id
    answer = world.answer(
        row.who,
        'image',
        'GET',
        f'/v2/images/{image_id}/file',
        headers=_of_service(world),
    )
    if answer.status_code >= 400:
        asking.body(answer, table.At.GLANCE)
    return asking.PASSES


def locations(world: worlds.World, row: table.Row, _made: Any) -> asking.Seen:
    """Ask where the bytes are, to read them there."""
    image_id = states.image(world, row.state).image_id
    path = f'/v2/images/{image_id}/locations'
    # Glance of 2025.1 knows services by this token alone.
    headers = _of_service(world) if row.who is table.Who.SERVICE else {}
    world.ask(row.who, 'image', 'GET', path, headers=headers)
    return asking.PASSES


def _of_service(world: worlds.World) -> dict[str, str]:
    token = world.cloud.session('nova', 'service').get_token()
    return {'X-Service-Token': str(token)}


WAYS: Mapping[str, Way] = {
    'glance_direct': Way(glance_direct, _need_image),
    'web_download': Way(web_download, _need_image),
    'glance_download': Way(glance_download, _need_image),
    'copy_image': Way(copy_image, _another),
    'put_file': Way(put_file, _need_image),
    'stage_again': Way(stage_again, _need_image),
    'id_in_use': Way(id_in_use, _need_image),
    'add_location': Way(add_location),
    'post_location': Way(post_location),
    'post_task': Way(post_task),
    'reactivate': Way(reactivate, _deactivated),
    'deactivate': Way(deactivate, _another),
    **dict.fromkeys(PROPERTIES, Way(set_property)),
    'create_with': Way(create_with),
    'larger_disk': Way(larger_disk, _another),
    'download': Way(download, _need_image),
    'for_a_service': Way(for_a_service, _need_image),
    'locations': Way(locations, _need_image),
}

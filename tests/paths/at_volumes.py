# SPDX-License-Identifier: Apache-2.0
"""Ways by volumes: of images, of other volumes, and of nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.paths import asking
from tests.paths import servers
from tests.paths import states
from tests.paths import table
from tests.paths.table import At
from tests.paths.table import Outcome
from tests.paths.table import State
from tests.paths.table import Verdict
from tests.paths.table import Who
from tests.paths.ways import Way
from tests.paths import world as worlds

_RESTING = frozenset({'available', 'error', 'in-use', 'active'})


def make(world: worlds.World, kind: str, **values: Any) -> tuple[str, str]:
    """A volume or snapshot of the user's; its id, and how it ended."""
    fields = {'name': world.mark, **values}
    made = world.ask(
        Who.USER, 'block-storage', 'POST', f'/{kind}s', {kind: fields}
    )
    name = str(made[kind]['id'])
    return name, _rested(world, kind, name)


def _rested(world: worlds.World, kind: str, name: str) -> str:
    def status() -> str | None:
        shown = world.ask(Who.USER, 'block-storage', 'GET', f'/{kind}s/{name}')
        found = str(shown[kind]['status'])
        return found if found in _RESTING else None

    ended: str = world.wait(f'{kind} {name}', status, 'cinder-volume')
    return ended


def made(world: worlds.World, kind: str, **values: Any) -> str:
    """The id of one that can be used.

    :raises asking.Refused: when it cannot
    """
    name, ended = make(world, kind, **values)
    if ended != 'available':
        raise asking.Refused(_not_made(ended))
    return name


def _not_made(status: str) -> asking.Seen:
    return asking.Seen(Verdict(Outcome.REFUSED, At.VOLUME, status))


def create(world: worlds.World, row: table.Row, _made: Any) -> asking.Seen:
    """Make a volume of an image."""
    image = states.image(world, row.state)
    _, ended = make(world, 'volume', size=1, imageRef=image.image_id)
    return asking.PASSES if ended == 'available' else _not_made(ended)


def _need_image(world: worlds.World, row: table.Row) -> None:
    states.image(world, row.state)


def of_image(world: worlds.World, state: State, of: object) -> str:
    """A volume of an image, made while that is approved."""

    def create_it() -> str:
        image = states.image(world, state)
        return made(world, 'volume', size=1, imageRef=image.image_id)

    volume: str = world.made(('volume', state, of), create_it)
    return volume


def _own(world: worlds.World, row: table.Row) -> str:
    return of_image(world, row.state, servers.whose(row))


def _boot(
    world: worlds.World, row: table.Row, disk: dict[str, Any], *, runs: bool
) -> asking.Seen:
    wanted = servers.body(world, None, block_device_mapping_v2=[disk])
    server = servers.asked(world, row.who, wanted)
    image = states.image(world, row.state) if runs else None
    return servers.outcome(world, server, image)


def boot(world: worlds.World, row: table.Row, volume: str) -> asking.Seen:
    """Boot from a volume."""
    disk = servers.device('volume', volume, 0, delete_on_termination=False)
    return _boot(world, row, disk, runs=True)


def boot_legacy(
    world: worlds.World, row: table.Row, volume: str
) -> asking.Seen:
    """The same in the older form of block devices."""
    disk = {
        'device_name': 'vda',
        'volume_id': volume,
        'delete_on_termination': False,
    }
    wanted = servers.body(world, None, block_device_mapping=[disk])
    server = servers.asked(world, row.who, wanted)
    return servers.outcome(world, server, states.image(world, row.state))


def _snapshot(world: worlds.World, row: table.Row) -> str:
    volume = of_image(world, row.state, 'snapshot')
    return made(world, 'snapshot', volume_id=volume)


def boot_snapshot(
    world: worlds.World, row: table.Row, snapshot: str
) -> asking.Seen:
    """Boot from a volume that Nova makes of a volume's snapshot."""
    disk = servers.device('snapshot', snapshot, 0, volume_size=1)
    return _boot(world, row, disk, runs=True)


def boot_clone(
    world: worlds.World, row: table.Row, volume: str
) -> asking.Seen:
    """Clone a volume of the image now, and boot from the clone."""
    clone = made(world, 'volume', size=1, source_volid=volume)
    return boot(world, row, clone)


def _cached(world: worlds.World, row: table.Row) -> str:
    """A volume from which Cinder copies the next ones of the image."""

    def create_it() -> str:
        return _of_cached_type(world, row)

    volume: str = world.made(('cached volume', row.state), create_it)
    return volume


def _of_cached_type(world: worlds.World, row: table.Row) -> str:
    return made(
        world,
        'volume',
        size=1,
        imageRef=states.image(world, row.state).image_id,
        volume_type=world.cached,
    )


def create_cached(
    world: worlds.World, row: table.Row, _first: str
) -> asking.Seen:
    """Make a volume of an image of which Cinder has one."""
    _of_cached_type(world, row)
    return asking.PASSES


def boot_cached(
    world: worlds.World, row: table.Row, _first: str
) -> asking.Seen:
    """The same, and boot from it."""
    return boot(world, row, _of_cached_type(world, row))


def boot_blank(world: worlds.World, row: table.Row, _m: Any) -> asking.Seen:
    """Boot from a volume of which nobody knows what is in it."""
    volume = made(world, 'volume', size=1)
    disk = servers.device('volume', volume, 0)
    return _boot(world, row, disk, runs=False)


def second_disk(
    world: worlds.World, row: table.Row, volume: str
) -> asking.Seen:
    """Boot an approved image, with a volume of another as further disk."""
    approved = states.image(world, State.APPROVED)
    root = servers.device(
        'image', approved.image_id, 0, destination_type='local'
    )
    data = servers.device('volume', volume, 1, delete_on_termination=False)
    wanted = servers.body(
        world, approved.image_id, block_device_mapping_v2=[root, data]
    )
    server = servers.asked(world, row.who, wanted)
    return servers.outcome(world, server, approved)


def rewrite(world: worlds.World, row: table.Row, volume: str) -> asking.Seen:
    """Have a volume say that it was made of another image."""
    approved = states.image(world, State.APPROVED).image_id
    metadata = {'metadata': {'image_id': approved}}
    world.ask(
        row.who,
        'block-storage',
        'POST',
        f'/volumes/{volume}/action',
        {'os-set_image_metadata': metadata},
    )
    return asking.PASSES


def set_bootable(
    world: worlds.World, row: table.Row, _made: Any
) -> asking.Seen:
    """Call a volume of nothing bootable, and boot from it."""
    volume = made(world, 'volume', size=1)
    world.ask(
        row.who,
        'block-storage',
        'POST',
        f'/volumes/{volume}/action',
        {'os-set_bootable': {'bootable': True}},
    )
    disk = servers.device('volume', volume, 0)
    return _boot(world, row, disk, runs=False)


def reimage(world: worlds.World, row: table.Row, volume: str) -> asking.Seen:
    """Write another image over a volume, and boot from it."""
    image = states.image(world, row.state)
    world.ask(
        row.who,
        'block-storage',
        'POST',
        f'/volumes/{volume}/action',
        {'os-reimage': {'image_id': image.image_id}},
    )
    ended = _rested(world, 'volume', volume)
    if ended != 'available':
        return _not_made(ended)
    return boot(world, row, volume)


def _of_approved(world: worlds.World, row: table.Row) -> str:
    _need_image(world, row)
    return of_image(world, State.APPROVED, row.key)


def _uploaded(world: worlds.World, row: table.Row) -> str:
    """An image that Cinder made of a volume of the row's image."""
    volume = of_image(world, row.state, row.key)
    # Cinder of 2026.1 cannot upload what has no properties of an image.
    world.ask(
        Who.ADMIN,
        'block-storage',
        'POST',
        f'/volumes/{volume}/action',
        {'os-set_image_metadata': {'metadata': {'os_distro': 'debian'}}},
    )
    value = {
        'image_name': f'{world.mark}-uploaded',
        # Converted it is small; as it is a volume has 1 GiB.
        'disk_format': 'qcow2',
        'container_format': 'bare',
    }
    answer = world.ask(
        Who.USER,
        'block-storage',
        'POST',
        f'/volumes/{volume}/action',
        {'os-volume_upload_image': value},
    )
    image_id = str(answer['os-volume_upload_image']['image_id'])

    def active() -> bool:
        shown = world.ask(Who.USER, 'image', 'GET', f'/v2/images/{image_id}')
        return bool(shown['status'] == 'active')

    world.wait(f'image {image_id} to be uploaded', active, 'cinder-volume')
    return image_id


def boot_uploaded(
    world: worlds.World, row: table.Row, image_id: str
) -> asking.Seen:
    """Boot an image that Cinder made of a volume."""
    server = servers.asked(world, row.who, servers.body(world, image_id))
    return servers.outcome(world, server, states.image(world, row.state))


WAYS: Mapping[str, Way] = {
    'volume_create': Way(create, _need_image),
    'volume_boot': Way(boot, _own),
    'volume_boot_legacy': Way(boot_legacy, _own),
    'volume_boot_snapshot': Way(boot_snapshot, _snapshot),
    'volume_boot_clone': Way(boot_clone, _own),
    'volume_cached': Way(create_cached, _cached),
    'volume_boot_cached': Way(boot_cached, _cached),
    'volume_boot_blank': Way(boot_blank),
    'volume_set_bootable': Way(set_bootable),
    'volume_second_disk': Way(second_disk, _own),
    'volume_rewrite': Way(rewrite, _own),
    'volume_reimage': Way(reimage, _of_approved),
    'volume_boot_uploaded': Way(boot_uploaded, _uploaded),
}

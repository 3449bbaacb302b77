# SPDX-License-Identifier: Apache-2.0
"""Servers, volumes and snapshots that depend on images, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from cliff import columns

from hepix_vm.nova import descent
from hepix_vm.operations import foreseeing
from hepix_vm.operations import withdrawing

#: Of a table of all that depends on images.
COLUMNS = (
    'kind',
    'id',
    'name',
    'cloud',
    'project',
    'project_name',
    'host',
    'status',
    'age',
    'relation',
    'image',
    'code',
    'detail',
)


class Age(columns.FormattableColumn[int | None]):
    """Seconds for programs, days or hours for people."""

    def human_readable(self) -> str:
        """Such as ``12 d``."""
        return age(self._value)

    def machine_readable(self) -> int | None:
        """Seconds."""
        seconds: int | None = self._value
        return seconds


def age(seconds: int | None) -> str:
    """A time as people say it; '' when it is not known."""
    if seconds is None:
        return ''
    for unit, size in (('d', 86400), ('h', 3600), ('min', 60)):
        if seconds >= 2 * size:
            return f'{seconds // size} {unit}'
    return f'{seconds} s'


def foreseen(what: foreseeing.Foreseen, now: int) -> Iterator[tuple[Any, ...]]:
    """All that a block would hit."""
    for image in what.endorsements:
        yield _row(
            kind='endorsement',
            id=image.identifier,
            name=image.title,
            detail=f'version {image.version} by {image.subscription}',
        )
    for one in what.withdrawals:
        yield _row(
            kind='image',
            id=one.image_id,
            image=one.image_id,
            code=one.code.value,
            detail=one.detail,
        )
    yield from looked(what.clouds, now)


def looked(
    clouds: Mapping[str, withdrawing.Looked], now: int
) -> Iterator[tuple[Any, ...]]:
    """All that depends on images, servers first."""
    for cloud, one in clouds.items():
        yield from _servers(cloud, one, now)
        yield from _disks(cloud, one)


def _servers(
    cloud: str, seen: withdrawing.Looked, now: int
) -> Iterator[tuple[Any, ...]]:
    for one in seen.affected.servers:
        server = one.server
        if not server.runs:
            continue
        yield _row(
            one.link,
            seen.names,
            kind='server',
            id=server.server_id,
            name=server.name,
            cloud=cloud,
            project=server.project,
            host=server.host or '',
            status=server.status,
            age=Age(server.age(now)),
            relation=one.relation.value,
        )


def _disks(cloud: str, seen: withdrawing.Looked) -> Iterator[tuple[Any, ...]]:
    names = seen.names
    for held in seen.affected.volumes:
        volume = held.volume
        yield _row(
            held.link,
            names,
            kind='volume',
            id=volume.volume_id,
            name=volume.name,
            cloud=cloud,
            project=volume.project,
            status=volume.status,
        )
    for kept in seen.affected.snapshots:
        snapshot = kept.snapshot
        yield _row(
            kept.link,
            names,
            kind='snapshot',
            id=snapshot.snapshot_id,
            name=snapshot.name,
            cloud=cloud,
            project=snapshot.project,
            status=snapshot.status,
        )
    for made in seen.affected.copies:
        copy = made.copy
        yield _row(
            made.link,
            names,
            kind='copy',
            id=copy.image_id,
            name=copy.name,
            cloud=cloud,
            project=copy.project,
        )


def _row(
    link: descent.Link | None = None,
    names: Mapping[str, str] | None = None,
    **values: Any,
) -> tuple[Any, ...]:
    if link is not None:
        values['image'] = link.image_id
        values['code'] = link.code
        values['detail'] = ', '.join(f'by {step}' for step in link.through)
        values['project_name'] = (names or {}).get(values['project'], '')
    return tuple(values.get(name, '') for name in COLUMNS)

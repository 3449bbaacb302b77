# SPDX-License-Identifier: Apache-2.0
"""What in the clouds depends on an image.

Nova and Cinder are asked one after the other; one that is away does not keep
the other from being asked. What is not known then is said, and never taken
for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import json
from typing import Any

from oslo_log import log

from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import withdraw
from hepix_vm.nova import descent
from hepix_vm.nova import projects
from hepix_vm.nova import servers
from hepix_vm.nova import volumes
from hepix_vm.operations import site as site_

LOG = log.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """What descends from some images in a cloud, as far as it is known.

    :ivar problems: why some of it is not known; empty when all is
    :ivar names: of projects by their ids, where Keystone tells
    """

    affected: descent.Affected = descent.NOTHING
    problems: tuple[str, ...] = ()
    names: Mapping[str, str] = dataclasses.field(
        default_factory=dict, hash=False
    )


#: Nothing was looked for.
NOTHING = Looked()


def in_use(
    session: Any,
    region: str | None,
    interface: str,
    image_ids: Iterable[str],
    images: Iterable[client.GlanceImage],
) -> frozenset[str]:
    """Which of some images something in a cloud still depends on.

    That is a server (one in ERROR on no host aside), a volume, a snapshot of
    one, or an image that was made of such a server. What cannot be found out
    counts: while Nova or Cinder is away, all of them are in use.

    :param images: as Glance lists them, all of them
    """
    wanted = frozenset(image_ids)
    if not wanted:
        return wanted
    looked = look(
        session, region, interface, dict.fromkeys(wanted, ''), images
    )
    if looked.problems:
        LOG.warning(
            'verdict=in-use images=%s code=unknown %s',
            len(wanted),
            '; '.join(looked.problems),
        )
        return wanted
    return looked.affected.used()


def look(
    session: Any,
    region: str | None,
    interface: str,
    codes: Mapping[str, str],
    images: Iterable[client.GlanceImage],
    names: bool = False,
) -> Looked:
    """What descends from some images in a cloud.

    One paged listing each of servers, volumes and snapshots; none where
    there are no images to look for.

    :param codes: what is noted beside each image, by its id
    :param images: as Glance lists them, all of them
    :param names: whether Keystone is asked for names of projects
    """
    if not codes:
        return Looked()
    problems: list[str] = []
    seen = descent.Seen(
        servers=_or_none(
            lambda: servers.Nova(session, region, interface).servers(),
            problems,
        ),
        volumes=_or_none(
            lambda: volumes.Volumes(session, region, interface).volumes(),
            problems,
        ),
        snapshots=_or_none(
            lambda: volumes.Volumes(session, region, interface).snapshots(),
            problems,
        ),
        copies=tuple(map(copy_of, images)),
    )
    affected = descent.trace(codes, seen)
    return Looked(
        affected,
        tuple(dict.fromkeys(problems)),
        projects.names(session, region, interface, affected.projects())
        if names
        else {},
    )


def _or_none(
    ask: Callable[[], Iterable[Any]], problems: list[str]
) -> tuple[Any, ...]:
    try:
        return tuple(ask())
    except errors.HepixError as exc:
        problems.append(str(exc))
        return ()


def copy_of(image: client.GlanceImage) -> descent.Copy:
    """What an image says that it was made of; its owner may have lied."""
    base = image.properties.get('base_image_ref')
    try:
        mapping = json.loads(image.properties.get('block_device_mapping', ''))
    except (ValueError, RecursionError):
        mapping = ()
    devices = mapping if isinstance(mapping, list) else ()
    return descent.Copy(
        image.image_id,
        image.name,
        image.owner or '',
        base if base and base != image.image_id else None,
        tuple(
            str(device['snapshot_id'])
            for device in devices
            if isinstance(device, dict) and device.get('snapshot_id')
        ),
    )


def running(site: site_.Site) -> tuple[descent.Running, ...]:
    """Servers that run, or are shelved, from withdrawn images.

    :raises errors.HepixError: when Nova, Cinder, Glance or the catalogue
        cannot be asked
    """
    clouds_ = look_all(site).values()
    problems = [problem for looked in clouds_ for problem in looked.problems]
    if problems:
        raise errors.TryAgain('; '.join(problems))
    return tuple(
        one
        for looked in clouds_
        for one in looked.affected.servers
        if one.server.runs
    )


def look_all(site: site_.Site) -> dict[str, Looked]:
    """What descends from withdrawn images in each cloud, by its name.

    :raises errors.HepixError: when the catalogue cannot be used
    """
    with site_.usable(site) as store:
        codes = withdraw.withdrawn(store)
    found = {}
    for name, cloud in site.clouds.items():
        try:
            found[name] = look_in(cloud, codes)
        except errors.HepixError as exc:
            found[name] = Looked(problems=(str(exc),))
    return found


def look_in(cloud: site_.Cloud, codes: Mapping[str, str]) -> Looked:
    """What descends from some images in one cloud.

    :param codes: what is noted beside each image, by its id
    :raises errors.HepixError: when Glance cannot be asked
    """
    if not codes:
        return NOTHING
    session = cloud.logged_in()
    glance = client.Glance(session, cloud.region, cloud.interface, cloud.group)
    return look(
        session,
        cloud.region,
        cloud.interface,
        codes,
        tuple(glance.images()),
        names=True,
    )


def as_json(
    one: descent.Running, names: Mapping[str, str], now: int
) -> dict[str, Any]:
    """A server that depends on an image, as notices and reports have it.

    :param names: of projects by their ids
    """
    server = one.server
    return {
        'server': server.server_id,
        'name': server.name,
        'project': server.project,
        'project_name': names.get(server.project, ''),
        'host': server.host or '',
        'status': server.status,
        'created': server.created,
        'age': server.age(now),
        'relation': one.relation.value,
        'through': list(one.link.through),
    }


def sentence(one: descent.Running, names: Mapping[str, str]) -> str:
    """That a server still runs from a withdrawn image; the same each time."""
    server, link = one.server, one.link
    name = names.get(server.project)
    through = ''.join(f', by {step}' for step in link.through)
    return (
        f'server {server.server_id} ({server.name}) of project '
        f'{server.project}{f" ({name})" if name else ""} on host '
        f'{server.host or "none (shelved)"} '
        f'{"has a disk of" if _attached(one) else "still runs"} withdrawn '
        f'image {link.image_id} ({link.code}{through})'
    )


def _attached(one: descent.Running) -> bool:
    return one.relation is descent.Relation.ATTACHED

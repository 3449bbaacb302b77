# SPDX-License-Identifier: Apache-2.0
"""What blocking an image would hit and break; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses

from hepix_vm.catalogue import excerpt
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.nova import descent
from hepix_vm.operations import images
from hepix_vm.operations import site as site_
from hepix_vm.operations import withdrawing

# Servers that one warning names.
_NAMED = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Foreseen:
    """What a block would do.

    :ivar target: what would be blocked: an image identifier or a SHA-512
    :ivar endorsements: that would count no longer
    :ivar withdrawals: Glance images that would be withdrawn
    :ivar clouds: what depends on those in each cloud, by its name
    :ivar problems: why some of it is not known
    """

    target: str
    endorsements: tuple[store.Image, ...]
    withdrawals: tuple[settle.Withdrawal, ...]
    clouds: Mapping[str, withdrawing.Looked] = dataclasses.field(hash=False)
    problems: tuple[str, ...]


def block(site: site_.Site, now: int, named: str) -> Foreseen:
    """What :func:`images.block` would hit.

    :param named: image identifier, SHA-512 or Glance image id
    :raises errors.Misconfigured: when nothing of that name is known
    """
    ended = model.RecordState.WITHDRAWN.value
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        target = images.block_target(connection, named.lower())
        endorsements = tuple(store.images(connection, named=target))
        snapshot = excerpt.of_records(
            connection, now, schema.glance_record.c.state != ended
        )
    blocked = dataclasses.replace(
        snapshot, blocked=snapshot.blocked | {target}
    )
    # What the next sync withdraws in any case is not the block's doing.
    anyway = {one.image_id for one in settle.ended_by(snapshot, now)}
    withdrawals = tuple(
        one
        for one in settle.ended_by(blocked, now)
        if one.image_id not in anyway
    )
    clouds: dict[str, withdrawing.Looked] = {}
    problems: list[str] = []
    codes = {one.image_id: one.code.value for one in withdrawals}
    for name, cloud in site.clouds.items():
        try:
            clouds[name] = withdrawing.look_in(cloud, codes)
        except errors.HepixError as exc:
            problems.append(str(exc))
            continue
        problems += clouds[name].problems
    return Foreseen(target, endorsements, withdrawals, clouds, tuple(problems))


def warnings(looked: withdrawing.Looked) -> Iterator[str]:
    """What would break, host by host, in sentences.

    Which hosts keep a copy of an image is not told by any API, so this is
    said of every server that was made of one. Glance lets administrators
    read a deactivated image; what a user asks of Nova is done with the user's
    rights.
    """
    of_hosts: dict[str, list[str]] = {}
    shelved: list[str] = []
    copied: list[str] = []
    for one in looked.affected.servers:
        server = one.server
        if one.relation is descent.Relation.COPY and server.runs:
            copied.append(server.server_id)
        elif one.relation is descent.Relation.IMAGE and server.host:
            of_hosts.setdefault(server.host, []).append(server.server_id)
        elif one.relation is descent.Relation.IMAGE and server.runs:
            shelved.append(server.server_id)
    for host, servers in sorted(of_hosts.items()):
        yield (
            f'host {host}: {_some(servers)} could no longer be rebuilt with '
            'the image, and a resize, migration or evacuation to a host that '
            'has no cached copy of it can fail; rescue works only from a '
            'cached copy'
        )
    if shelved:
        yield (
            f'shelved {_some(shelved)} could be unshelved only on a host '
            'that has a cached copy of its image'
        )
    if copied:
        yield (
            f'{_some(copied)}, made of a snapshot, could be rescued only on '
            'a host that has a cached copy of the original image'
        )
    if looked.affected.volumes:
        yield (
            f'{len(looked.affected.volumes)} volumes stay as they are, and '
            'so do servers that run from them; no further volume can be made '
            'of the image itself'
        )


def _some(ids: Iterable[str]) -> str:
    names = sorted(set(ids))
    more = len(names) - _NAMED
    shown = ', '.join(names[:_NAMED]) + (
        f' and {more} more' if more > 0 else ''
    )
    return f'{"server" if len(names) == 1 else "servers"} {shown}'

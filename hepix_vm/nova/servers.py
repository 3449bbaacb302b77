# SPDX-License-Identifier: Apache-2.0
"""Servers and the approval of what they run, over python-novaclient."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import datetime
from typing import Any

from keystoneauth1 import exceptions as ks_exc
from novaclient import client as nova_client
from novaclient import exceptions as nova_exc

from hepix_vm.catalogue import model
from hepix_vm import errors

_FAILURES = (nova_exc.ClientException, ks_exc.ClientException, OSError)

#: Servers asked for at once.
_PAGE = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server as Nova shows it to an administrator.

    :ivar created: as Nova tells it, such as 2026-11-21T12:00:00Z
    :ivar image_id: what its root disk was made of, by the last boot or
        rebuild; None: its root disk is a volume. The image of a rescue is
        not told by Nova.
    :ivar root_device: such as ``/dev/vda``
    :ivar volumes: ids of all that is attached, or would be after unshelving
    :ivar launched: when it was built last, as Nova tells it in UTC; a rebuild
        or a resize is later than ``created``. '': not yet, or not told
    """

    server_id: str
    name: str
    project: str
    host: str | None
    status: str
    created: str
    image_id: str | None
    root_device: str | None = None
    volumes: tuple[str, ...] = ()
    launched: str = ''

    @property
    def runs(self) -> bool:
        """Whether it is on a host, or shelved and may return to one.

        A server that no host took (refused, or being placed) runs nothing.
        """
        return bool(self.host) or self.status.startswith('SHELVED')

    def age(self, now: int) -> int | None:
        """Seconds since it was created; None when Nova does not say."""
        moment = _seconds(self.created)
        return None if moment is None else max(0, now - moment)

    @property
    def launched_at(self) -> int | None:
        """UNIX seconds; None when Nova does not say."""
        return _seconds(self.launched)


def _seconds(text: str) -> int | None:
    """UNIX seconds of a time of Nova's, which is in UTC."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp())


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """A server and what the catalogue says of its image today."""

    server: Server
    decision: model.Decision


class Nova:
    """The calls that this suite makes.

    :param session: keystoneauth session
    :param region: region name, or None
    :param interface: endpoint interface
    """

    def __init__(
        self, session: Any, region: str | None, interface: str
    ) -> None:
        self._client = nova_client.Client(
            # The first that tells the root device; every Nova has it.
            '2.3',
            session=session,
            region_name=region,
            endpoint_type=interface,
            # A kept connection may just be ended by the other side.
            connect_retries=2,
        )

    def servers(self, image_id: str | None = None) -> Iterator[Server]:
        """All servers of all projects, page by page.

        :param image_id: only those made from this Glance image
        :raises errors.TryAgain: when Nova cannot be asked
        :raises errors.Misconfigured: when the account may not ask
        """
        wanted: dict[str, Any] = {'all_tenants': True}
        if image_id is not None:
            wanted['image'] = image_id
        marker: str | None = None
        while True:
            page = self._page(wanted, marker)
            yield from page
            # A site may allow fewer servers a page than are asked for.
            if not page:
                return
            marker = page[-1].server_id

    def has(self, server_id: str) -> bool:
        """Whether there is this server.

        A list passes over servers whose cell is down; this does not.

        :raises errors.TryAgain: when Nova cannot be asked, or the cell
        :raises errors.Misconfigured: when the account may not ask
        """
        try:
            self._client.servers.get(server_id)
        except nova_exc.NotFound:
            return False
        except _FAILURES as exc:
            raise _failed(f'server {server_id}', exc) from exc
        return True

    def _page(
        self, wanted: dict[str, Any], marker: str | None
    ) -> list[Server]:
        try:
            return [
                _server(server)
                for server in self._client.servers.list(
                    search_opts=wanted,
                    marker=marker,
                    limit=_PAGE,
                )
            ]
        except _FAILURES as exc:
            raise _failed('list servers', exc) from exc


def _failed(what: str, exc: Exception) -> errors.HepixError:
    if isinstance(exc, (nova_exc.Forbidden, nova_exc.Unauthorized)):
        return errors.Misconfigured(
            f'Nova: {what}: {exc}; the account in group [openstack] has to '
            'see the servers of all projects'
        )
    return errors.TryAgain(f'Nova: {what}: {type(exc).__name__}: {exc}')


def not_approved(
    servers: Iterator[Server], snapshot: model.Snapshot, now: int
) -> Iterator[Judged]:
    """Those servers whose image would not boot today.

    A server without an image (booted from a volume) is among them: what it
    runs is not known.
    """
    for server in servers:
        decision = model.decide_image(
            snapshot,
            model.ImageFacts(server.image_id, must_know_size=False),
            server.project,
            now,
            1,
        )
        if decision.verdict is not model.Verdict.APPROVED:
            yield Judged(server, decision)


def _server(server: Any) -> Server:
    image = getattr(server, 'image', None)
    return Server(
        server_id=str(server.id),
        name=str(server.name),
        project=str(server.tenant_id),
        host=getattr(server, 'OS-EXT-SRV-ATTR:host', None),
        status=str(server.status),
        created=str(server.created),
        image_id=str(image['id']) if image else None,
        root_device=getattr(server, 'OS-EXT-SRV-ATTR:root_device_name', None),
        volumes=tuple(
            str(volume['id'])
            for volume in getattr(
                server, 'os-extended-volumes:volumes_attached', ()
            )
        ),
        launched=str(getattr(server, 'OS-SRV-USG:launched_at', None) or ''),
    )

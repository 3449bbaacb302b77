# SPDX-License-Identifier: Apache-2.0
"""Nova as the quarantine and pre-caching need it, over python-novaclient.

Foreign exceptions are translated here; what leaves this module is an error
of ours or a value.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from keystoneauth1 import exceptions as ks_exc
from novaclient import client as nova_client
from novaclient import exceptions as nova_exc

from hepix_vm import errors
from hepix_vm.nova import quarantine

_FAILURES = (nova_exc.ClientException, ks_exc.ClientException, OSError)

#: Servers without networks need 2.37, requests to cache images 2.81 (2019).
VERSION = '2.81'

#: A soft-deleted server is gone for its owner.
_GONE = frozenset({'DELETED', 'SOFT_DELETED'})
#: What Nova says, and little else, of a server whose cell does not answer.
_UNKNOWN = 'UNKNOWN'


class Compute:
    """The calls that are made as one account, in its own project.

    :param session: keystoneauth session; may be shared by threads
    :param region: region name, or None
    :param interface: endpoint interface
    :param group: of options that its account is in
    """

    def __init__(
        self,
        session: Any,
        region: str | None,
        interface: str,
        group: str = 'openstack',
    ) -> None:
        self._group = group
        self._client = nova_client.Client(
            VERSION,
            session=session,
            region_name=region,
            endpoint_type=interface,
            # A kept connection may just be ended by the other side.
            connect_retries=2,
        )

    def create(
        self, name: str, image_id: str, settings: quarantine.Settings
    ) -> str:
        """Ask for a server of the quarantine; returns its id.

        :raises errors.Misconfigured: without such a flavor
        """
        flavor = self._flavor(settings.flavor)
        made = self._asked(
            f'make a server of image {image_id}',
            lambda: self._client.servers.create(
                name,
                image_id,
                flavor,
                meta={quarantine.KEY: image_id},
                availability_zone=settings.zone,
                nics=[{'net-id': net} for net in settings.networks] or 'none',
            ),
        )
        return str(made.id)

    def _flavor(self, named: str) -> str:
        found = self._asked(
            'list flavors', lambda: self._client.flavors.list()
        )
        for flavor in found:
            if named in (flavor.name, flavor.id):
                return str(flavor.id)
        raise errors.Misconfigured(
            f'group [quarantine] option flavor: Nova has none of the name or '
            f'id {named!r} for the account; make it, or name another one'
        )

    def server(self, server_id: str) -> quarantine.Server | None:
        """One server; None when there is none."""
        try:
            found = self._client.servers.get(server_id)
        except nova_exc.NotFound:
            return None
        except _FAILURES as exc:
            raise self._translated(f'show server {server_id}', exc) from exc
        if found.status == _UNKNOWN:
            raise errors.TryAgain(
                f'Nova: show server {server_id}: its cell does not answer'
            )
        return None if found.status in _GONE else _server(found)

    def named(self, name: str) -> tuple[quarantine.Server, ...]:
        """The servers of exactly that name in the account's project.

        :param name: letters, digits and "-": Nova takes it as an expression
        """
        found = self._asked(
            'list servers of the quarantine',
            lambda: self._client.servers.list(
                search_opts={'name': f'^{name}$'}
            ),
        )
        return tuple(
            _server(server)
            for server in found
            if server.name == name and server.status not in _GONE
        )

    def console(self, server_id: str) -> str:
        """What the server has said on its console, as far as Nova keeps it."""
        return str(
            self._asked(
                f'show the console of server {server_id}',
                lambda: self._client.servers.get_console_output(server_id),
            )
        )

    def delete(self, server_id: str) -> None:
        """Ask for its end; one that is gone already is fine."""
        try:
            self._client.servers.delete(server_id)
        except nova_exc.NotFound:
            return
        except _FAILURES as exc:
            raise self._translated(f'delete server {server_id}', exc) from exc

    def aggregates(self) -> dict[str, int]:
        """Ids of the host aggregates by their names."""
        found = self._asked(
            'list aggregates', lambda: self._client.aggregates.list()
        )
        return {str(one.name): int(one.id) for one in found}

    def cache_images(self, aggregate: int, image_ids: Iterable[str]) -> None:
        """Ask the hosts of an aggregate to fetch images."""
        ids = list(image_ids)
        self._asked(
            f'cache {len(ids)} images on aggregate {aggregate}',
            lambda: self._client.aggregates.cache_images(aggregate, ids),
        )

    def _asked(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except _FAILURES as exc:
            raise self._translated(what, exc) from exc

    def _translated(self, what: str, exc: BaseException) -> errors.HepixError:
        detail = ' '.join(str(exc).split())[:500]
        sentence = f'Nova: {what}: {type(exc).__name__}: {detail}'
        over_quota = 'uota' in detail
        if (
            isinstance(
                exc,
                (
                    nova_exc.Unauthorized,
                    nova_exc.Forbidden,
                    ks_exc.Unauthorized,
                    ks_exc.Forbidden,
                ),
            )
            and not over_quota
        ):
            return errors.Misconfigured(
                f'{sentence}; the account in group [{self._group}] may not '
                'do this'
            )
        if isinstance(exc, nova_exc.HTTPNotImplemented):
            return errors.Misconfigured(
                f'{sentence}; the hypervisors of this cloud cannot do this'
            )
        return errors.TryAgain(sentence)


def _server(server: Any) -> quarantine.Server:
    fault = getattr(server, 'fault', None) or {}
    networks = getattr(server, 'addresses', None) or {}
    return quarantine.Server(
        server_id=str(server.id),
        status=str(server.status),
        image_id=str((server.metadata or {}).get(quarantine.KEY, '')),
        fault=str(fault.get('message', '')),
        addresses={
            str(name): tuple(str(one['addr']) for one in found)
            for name, found in networks.items()
        },
    )

# SPDX-License-Identifier: Apache-2.0
"""A cloud in which paths are gone: the people, and what they have made."""

from __future__ import annotations

from collections.abc import Callable
import concurrent.futures
import threading
from typing import Any
import uuid

from keystoneauth1 import adapter

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import waits
from tests.paths import asking
from tests.paths.table import At
from tests.paths.table import Who

#: Seconds within which anything ends on a busy machine.
LIMIT = 300.0
_POLL = 0.5
PROJECT = 'paths'
ANOTHER = 'other'
#: Who they are in Keystone: user and project.
PEOPLE = {
    Who.USER: ('paths-user', PROJECT),
    Who.MANAGER: ('paths-manager', PROJECT),
    Who.ADMIN: ('admin', 'admin'),
    Who.SERVICE: ('nova', 'service'),
}
#: Microversions of all supported releases.
_VERSIONS = {'compute': '2.96', 'block-storage': '3.70'}
_AT = {
    'image': At.GLANCE,
    'compute': At.NOVA,
    'block-storage': At.CINDER,
}
_QUOTAS = {
    'compute': ('instances', 'cores', 'ram'),
    'block-storage': ('volumes', 'snapshots', 'gigabytes'),
}
_SERVER_MOVES = frozenset({'BUILD', 'REBUILD', 'RESIZE'})


class World:
    """What paths share: sessions, and things that are made once.

    :param real: whether servers are real machines, and volumes are there
    :param unguarded: URL of a compute API without our guard
    :param cached: type of volumes whose backend caches them by image
    """

    def __init__(
        self,
        cloud: clouds.Cloud,
        rows: catalogue_rows.Rows,
        *,
        real: bool,
        unguarded: str = '',
        cached: str = '',
    ) -> None:
        self.cloud = cloud
        self.rows = rows
        self.real = real
        self.unguarded = unguarded
        self.cached = cached
        #: In the names of all that is made here.
        self.mark = f'paths-{uuid.uuid4().hex[:8]}'
        self._people = _people(cloud)
        self._made: dict[object, concurrent.futures.Future[Any]] = {}
        self._lock = threading.Lock()
        self._quota()

    def _quota(self) -> None:
        services = ['compute', *(['block-storage'] if self.real else [])]
        for service in services:
            values = dict.fromkeys(_QUOTAS[service], -1)
            for who in Who:
                self.ask(
                    Who.ADMIN,
                    service,
                    'PUT',
                    f'/os-quota-sets/{self.project(who)}',
                    {'quota_set': values},
                )

    def project(self, who: Who) -> str:
        """Id of a caller's project."""
        return str(self._people[who].get_project_id())

    def project_of(self, name: str) -> str:
        """Id of a project by its name."""
        return self.cloud.add_project(name)

    def made(self, key: object, make: Callable[[], Any]) -> Any:
        """Something that is made by whoever needs it first."""
        with self._lock:
            future = self._made.get(key)
            mine = future is None
            if future is None:
                future = self._made[key] = concurrent.futures.Future()
        if mine:
            try:
                future.set_result(make())
            except BaseException as exc:
                future.set_exception(exc)
                raise
        return future.result()

    def ask(
        self,
        who: Who,
        service: str,
        method: str,
        path: str,
        json: Any = None,
        **more: Any,
    ) -> Any:
        """The body of an answer.

        :raises asking.Refused: for an HTTP error
        """
        answer = self.answer(who, service, method, path, json, **more)
        return asking.body(answer, _AT[service])

    def answer(
        self,
        who: Who,
        service: str,
        method: str,
        path: str,
        json: Any = None,
        *,
        version: str | None = None,
        **more: Any,
    ) -> Any:
        """The whole answer of a service.

        :param version: microversion, another one than usual
        """
        client = adapter.Adapter(
            self._people[who],
            service_type=service,
            default_microversion=version or _VERSIONS.get(service),
        )
        if json is not None:
            more['json'] = json
        return client.request(path, method, raise_exc=False, **more)

    def wait(self, what: str, done: Callable[[], Any], log: str) -> Any:
        """Wait for something, with the log of a service beside a failure."""
        return waits.until(
            what, done, LIMIT, log=self.cloud.log(log), interval=_POLL
        )

    def settled(self, server_id: str) -> Any:
        """A server at rest, as an administrator sees it."""

        def rest() -> Any | None:
            server = self.ask(
                Who.ADMIN, 'compute', 'GET', f'/servers/{server_id}'
            )['server']
            # Nova tells little of a server whose database is slow to answer.
            known = 'OS-EXT-STS:task_state' in server
            busy = not known or server['OS-EXT-STS:task_state'] is not None
            moving = server['status'] in _SERVER_MOVES
            # It writes down why a moment after the status.
            unsaid = server['status'] == 'ERROR' and 'fault' not in server
            return None if busy or moving or unsaid else server

        return self.wait(
            f'server {server_id} to be at rest', rest, 'nova-scheduler'
        )

    def clean(self) -> None:
        """Delete the servers; images and volumes go with the cloud."""
        mine = self._servers()
        for server in mine:
            self.answer(Who.ADMIN, 'compute', 'DELETE', f'/servers/{server}')
        self.wait(
            'servers to be gone', lambda: not self._servers(), 'nova-compute'
        )

    def _servers(self) -> list[str]:
        found = self.ask(
            Who.ADMIN,
            'compute',
            'GET',
            f'/servers/detail?all_tenants=1&name={self.mark}',
        )['servers']
        return [server['id'] for server in found]


def _people(cloud: clouds.Cloud) -> dict[Who, Any]:
    user, project = PEOPLE[Who.USER]
    cloud.add_user(user, project)
    user, project = PEOPLE[Who.MANAGER]
    cloud.add_user(user, project, ('member', 'manager'))
    return {who: cloud.session(*PEOPLE[who]) for who in Who}

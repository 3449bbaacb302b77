# SPDX-License-Identifier: Apache-2.0
"""What the functional tests do with images and servers of a real cloud."""

import contextlib
import dataclasses
import datetime
import io
import os
import pathlib
from typing import Any

from novaclient import exceptions as nova_exc

from tests.cloud import actions
from tests.cloud import cloud as clouds
from tests.cloud import errors
from tests.cloud import waits

#: Seconds within which a small import or boot ends on a busy machine.
LIMIT = 600.0
MIB = 2**20


def some_bytes(size: int = MIB) -> bytes:
    """Data that no other test has."""
    return os.urandom(size)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How an import ended.

    :ivar message: what the user reads through the tasks API
    """

    status: str
    message: str
    image: Any


class Images:
    """The image service as one user sees it."""

    def __init__(
        self,
        cloud: clouds.Cloud,
        user: str = 'demo',
        project: str | None = None,
    ) -> None:
        self.client = cloud.glance(user, project)
        self._log = cloud.log('glance')
        self._told: dict[str, set[str]] = {}

    def create(self, name: str = 'image', **properties: Any) -> str:
        """An image without data; returns its id."""
        fields = {'disk_format': 'raw', 'container_format': 'bare'}
        made = self.client.images.create(
            name=name, **(fields | actions.APART | properties)
        )
        return str(made['id'])

    def stage(self, image_id: str, data: bytes) -> None:
        """Put the image's data into staging."""
        self.client.images.stage(image_id, io.BytesIO(data))

    def start(
        self, image_id: str, method: str = 'glance-direct', **more: Any
    ) -> None:
        """Ask for an import."""
        self.client.images.image_import(image_id, method, **more)

    def task(self, image_id: str) -> dict[str, Any]:
        """The image's newest task."""
        newest: dict[str, Any] = max(
            self._tasks(image_id), key=lambda task: task['created_at']
        )
        return newest

    def _tasks(self, image_id: str) -> list[dict[str, Any]]:
        # The client asks only a Glance that announces several stores.
        _, body = self.client.http_client.get(f'/v2/images/{image_id}/tasks')
        found: list[dict[str, Any]] = body['tasks']
        return found

    def finished(self, image_id: str, imports: int = 1) -> Outcome:
        """How the latest import ended, once the image is at rest.

        :param imports: how many imports of the image there were
        """

        def ended() -> dict[str, Any] | None:
            tasks = self._tasks(image_id)
            done = [
                task
                for task in tasks
                if task['status'] in ('success', 'failure')
            ]
            if len(tasks) < imports or len(done) < len(tasks):
                return None
            # Glance tells times in whole seconds, which two imports can share.
            told = self._told.setdefault(image_id, set())
            newest: dict[str, Any] = max(
                done,
                key=lambda task: (task['id'] not in told, task['updated_at']),
            )
            told.add(newest['id'])
            return newest

        task = waits.until(
            f'the import of image {image_id}', ended, LIMIT, log=self._log
        )
        image = waits.until(
            f'image {image_id} to be at rest',
            lambda: self._at_rest(image_id, task['status'] == 'success'),
            LIMIT,
            log=self._log,
        )
        return Outcome(task['status'], task['message'] or '', image)

    def _at_rest(self, image_id: str, well: bool) -> Any | None:
        image = self.client.images.get(image_id)
        resting = image['status'] not in ('importing', 'saving', 'uploading')
        # Glance refuses the next import until it has taken its lock away. It
        # does that after a success, and before it tells of a failure; in some
        # failures never.
        locked = well and actions.LOCK in image
        return image if resting and not locked else None

    def imported(self, data: bytes, **properties: Any) -> Outcome:
        """Create, stage and import, as a user does."""
        image_id = self.create(**properties)
        self.stage(image_id, data)
        self.start(image_id)
        return self.finished(image_id)

    def uploaded(self, data: bytes, **properties: Any) -> str:
        """An image by PUT /file, past the import; returns its id."""
        image_id = self.create(**properties)
        self.client.images.upload(image_id, io.BytesIO(data))
        return image_id


def created_at(image: Any) -> int:
    """UNIX seconds of an image's creation."""
    moment = datetime.datetime.fromisoformat(image['created_at'])
    return int(moment.timestamp())


def staged(cloud: clouds.Cloud, image_id: str) -> pathlib.Path:
    """Where this cloud's Glance stages an image."""
    return cloud.layout.data / 'glance' / 'staging' / image_id


#: Nova says UNKNOWN, and little else, while a database is slow to answer.
_MOVING = frozenset({'BUILD', 'REBUILD', 'RESIZE', 'UNKNOWN'})


class Servers:
    """The compute service as one user sees it."""

    def __init__(
        self,
        cloud: clouds.Cloud,
        user: str = 'demo',
        project: str | None = None,
    ) -> None:
        self._cloud = cloud
        self.client = cloud.nova(user, project)

    def flavor(self) -> Any:
        """The cloud's small flavor."""
        return self.client.flavors.find(name=clouds.FLAVOR)

    def boot(self, image_id: str | None, **more: Any) -> Any:
        """Ask for a server and wait until it is ACTIVE or ERROR."""
        made = self.client.servers.create(
            'server', image_id, self.flavor(), nics='none', **more
        )
        return self.settled(made.id)

    def refusal(self, image_id: str | None, **more: Any) -> str:
        """Why there is no server; '' when there is one, which is deleted.

        Whether Nova's API refuses it at once, or its scheduler.
        """
        try:
            server = self.boot(image_id, **more)
        except nova_exc.Forbidden as exc:
            return str(exc)
        try:
            return '' if server.status == 'ACTIVE' else fault(server)
        finally:
            self.delete(server.id)

    def soon_refused(self, image_id: str) -> str:
        """Boot until a change has reached Nova's memory; returns why not.

        Nova looks several times a second; each boot takes longer than that.
        """
        return waits.until(
            f'a boot of image {image_id} to be refused',
            lambda: self.refusal(image_id) or None,
            LIMIT,
        )

    def settled(self, server_id: str, task_over: bool = True) -> Any:
        """A server once it is at rest."""

        def rest() -> Any | None:
            server = self.client.servers.get(server_id)
            busy = getattr(server, 'OS-EXT-STS:task_state', '') is not None
            if server.status in _MOVING or (task_over and busy):
                return None
            return None if actions.unexplained(server) else server

        return waits.until(
            f'server {server_id} to be at rest',
            rest,
            LIMIT,
            log=self._cloud.log('nova-scheduler'),
        )

    def delete(self, *server_ids: str) -> None:
        """Delete servers and wait until they are gone."""
        for server_id in server_ids:
            # It may have gone since it was listed.
            with contextlib.suppress(nova_exc.NotFound):
                self.client.servers.delete(server_id)
        waits.until(
            'servers to be gone',
            lambda: (
                not {server.id for server in self.client.servers.list()}
                & set(server_ids)
            ),
            LIMIT,
            log=self._cloud.log('nova-compute'),
        )


def fault(server: Any) -> str:
    """What the user reads of a server in ERROR."""
    if server.status != 'ERROR':
        raise errors.CloudError(
            f'server {server.id} is {server.status}, expected ERROR'
        )
    return str(server.fault['message'])

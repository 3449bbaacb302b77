# SPDX-License-Identifier: Apache-2.0
"""Glance as publishing and withdrawing need it, over python-glanceclient.

Foreign exceptions are translated here; what leaves this module is an error
of ours or a value. Nothing that changes an image is sent twice: after a
connection that dropped nobody knows whether Glance did it, so the next run
looks.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import json
from pathlib import Path
import time
from typing import Any
import urllib.parse

from glanceclient import exc as glance_exc
from glanceclient.v2 import client as glance_client
from keystoneauth1 import exceptions as ks_exc

from hepix_vm import errors
from hepix_vm.glance import picture
from hepix_vm.glance.picture import GlanceImage as GlanceImage

#: What the client and the layers below it raise for a peer's fault.
_FAILURES = (
    glance_exc.ClientException,
    glance_exc.BaseException,
    ks_exc.ClientException,
    OSError,
    # An answer that is no JSON, or lacks what every answer has.
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)

#: Images of one page; Glance's own upper limit ([DEFAULT] api_limit_max).
_PAGE = 1000

# Seconds between two looks at an import.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
#: Seconds in which an import whose image is active is over, else its Glance
#: has died.
_ENDING = 60.0
#: Property of an image while an import of it goes on: Glance's own lock.
_LOCK = 'os_glance_import_task'

_PATCH = 'application/openstack-images-v2.1-json-patch'


class Conflict(errors.TryAgain):
    """Glance says 409: the image is not as the request takes it to be."""


class Glance:
    """The calls that this suite makes.

    :param session: keystoneauth session
    :param region: region name, or None
    :param interface: endpoint interface
    :param group: the group of options that the account is from
    """

    def __init__(
        self,
        session: Any,
        region: str | None,
        interface: str,
        group: str = 'openstack',
    ) -> None:
        self._session = session
        self._group = group
        self._client = glance_client.Client(
            session=session, region_name=region, interface=interface
        )

    def project(self) -> str | None:
        """The id of the project that the account publishes in."""
        found = self._asked('log in', self._session.get_project_id)
        return None if found is None else str(found)

    def images(self, status: str | None = None) -> Iterator[GlanceImage]:
        """All images that the account sees, by one paged listing."""
        # Without it Glance leaves out the community images of others.
        filters = {'visibility': 'all'}
        if status:
            filters['status'] = status

        def listing() -> list[GlanceImage]:
            # os_hidden images are not in the ordinary listing.
            return [
                picture.image(shown)
                for hidden in ('false', 'true')
                for shown in self._pages({**filters, 'os_hidden': hidden})
            ]

        yield from self._asked('list images', listing)

    def _pages(self, filters: Mapping[str, str]) -> Iterator[Any]:
        """Images of a listing; ten times as fast as the client's models."""
        query = urllib.parse.urlencode({'limit': str(_PAGE), **filters})
        page: str | None = f'/v2/images?{query}'
        seen: set[str] = set()
        while page is not None:
            if page in seen:
                raise ValueError('the listing does not end')
            seen.add(page)
            _, body = self._client.http_client.get(page)
            yield from body['images']
            page = body.get('next')

    def image(self, image_id: str) -> GlanceImage | None:
        """One image; None when there is none."""

        def show() -> GlanceImage | None:
            try:
                return picture.image(self._client.images.get(image_id))
            except glance_exc.HTTPNotFound:
                return None

        found: GlanceImage | None = self._asked(f'show image {image_id}', show)
        return found

    def create(self, image_id: str, values: Mapping[str, Any]) -> None:
        """Make a queued image of that id.

        :raises Conflict: when there is one, or was one that is deleted
        """
        self._asked(
            f'create image {image_id}',
            lambda: self._client.http_client.post(
                '/v2/images', data={'id': image_id, **values}
            ),
        )

    def stage(self, image_id: str, path: Path, size: int) -> None:
        """Send the bytes to Glance's staging area."""
        with path.open('rb') as source:
            self._asked(
                f'stage image {image_id}',
                lambda: self._client.http_client.put(
                    f'/v2/images/{image_id}/stage',
                    headers={
                        'Content-Type': 'application/octet-stream',
                        'x-openstack-image-size': str(size),
                    },
                    data=source,
                    # The file has been read: sent again it would be empty.
                    allow_reauth=False,
                ),
            )

    def import_staged(self, image_id: str) -> None:
        """Start the import, plugins included; all stores or none."""
        self._asked(
            f'import image {image_id}',
            lambda: self._client.images.image_import(
                image_id, method='glance-direct', allow_failure=False
            ),
        )

    def wait_active(
        self,
        image_id: str,
        deadline: float,
        told: Callable[[str], None] = lambda message: None,
        pause: float = _FIRST_PAUSE,
    ) -> None:
        """Wait for the import to end.

        Glance saves the image once more after it has become active (a task
        that verifies its state), as it read it: changes of others in
        between are lost. The import's task tells when that is over; then
        Glance takes its lock from the image, the last of all.

        :param deadline: seconds
        :param told: called with Glance's own progress message
        :param pause: seconds to the first look; the next come later
        :raises errors.NotBelieved: when Glance refused, with its sentence
        :raises errors.TryAgain: when it is not over in time
        """
        end = time.monotonic() + deadline
        over: float | None = None
        while True:
            # First the task: one that ends in between is seen as a success.
            task = self._task(image_id)
            image = self.image(image_id)
            if image is None:
                raise errors.TryAgain(
                    f'image {image_id}: deleted while it was imported'
                )
            if image.status == 'active':
                over = over or time.monotonic() + _ENDING
                going_on = _at_work(task) or _LOCK in image.properties
                if not going_on or time.monotonic() > over:
                    return
                time.sleep(_FIRST_PAUSE)
                continue
            if task.get('status') == 'failure':
                raise errors.NotBelieved(
                    f'image {image_id}: Glance refused the import: '
                    f'{task.get("message") or "no reason given"}'
                )
            told(str(task.get('message') or ''))
            if time.monotonic() > end:
                raise errors.TryAgain(
                    f'image {image_id}: still {image.status} after '
                    f'{deadline:g} s; see [{self._group}] import_deadline'
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _task(self, image_id: str) -> Mapping[str, Any]:
        """The newest import task of the image; empty when there is none."""
        found: Mapping[str, Any] = max(
            self._tasks(image_id),
            key=lambda task: str(task.get('created_at')),
            default={},
        )
        return found

    def imports(self, image_id: str, since: int) -> bool:
        """Whether an import of the image has been at work lately.

        :param since: UNIX seconds
        """
        return any(
            _at_work(task)
            and picture.seconds(task.get('updated_at'), since) >= since
            for task in self._tasks(image_id)
        )

    def _tasks(self, image_id: str) -> list[Mapping[str, Any]]:
        # The client's own call asks only a Glance that announces several
        # stores; the resource is there in any.
        def show() -> list[Mapping[str, Any]]:
            _, tasks = self._client.http_client.get(
                f'/v2/images/{image_id}/tasks'
            )
            return list(tasks.get('tasks', []))

        found: list[Mapping[str, Any]] = self._asked(
            f'show tasks of image {image_id}', show
        )
        return found

    def change(
        self,
        image: GlanceImage,
        values: Mapping[str, Any],
        without: frozenset[str] = frozenset(),
    ) -> None:
        """Change an image by one request; all of it or nothing.

        :param image: as it was shown
        :param values: by the names of Glance's API
        :param without: properties that are to go
        """
        changes: list[dict[str, Any]] = [
            {'op': 'add', 'path': _pointer(name), 'value': value}
            for name, value in sorted(values.items())
        ] + [
            {'op': 'remove', 'path': _pointer(name)}
            for name in sorted(without)
        ]
        self._asked(
            f'change image {image.image_id}',
            lambda: self._client.http_client.patch(
                f'/v2/images/{image.image_id}',
                headers={'Content-Type': _PATCH},
                data=json.dumps(changes),
            ),
        )

    def members(self, image_id: str) -> dict[str, str]:
        """Status by project id of a shared image."""

        def ask() -> dict[str, str]:
            _, body = self._client.http_client.get(
                f'/v2/images/{image_id}/members'
            )
            return {
                str(member['member_id']): str(member['status'])
                for member in body['members']
            }

        found: dict[str, str] = self._asked(
            f'list members of image {image_id}', ask
        )
        return found

    def share(self, image_id: str, project: str) -> None:
        """Make a project a member; it is fine when it is one."""

        def add() -> None:
            try:
                self._client.http_client.post(
                    f'/v2/images/{image_id}/members', data={'member': project}
                )
            except glance_exc.HTTPConflict:
                return

        self._asked(f'share image {image_id} with {project}', add)

    def accept(self, image_id: str, project: str) -> None:
        """Have a member see the image in its listing.

        Glance lets the member itself do that, and an administrator.
        """
        self._asked(
            f'accept image {image_id} for {project}',
            lambda: self._client.http_client.put(
                f'/v2/images/{image_id}/members/{_quoted(project)}',
                data={'status': 'accepted'},
            ),
        )

    def unshare(self, image_id: str, project: str) -> None:
        """Take a project from the members; it is fine when it is none."""

        def remove() -> None:
            try:
                self._client.http_client.delete(
                    f'/v2/images/{image_id}/members/{_quoted(project)}'
                )
            except glance_exc.HTTPNotFound:
                return

        self._asked(f'unshare image {image_id} with {project}', remove)

    def deactivate(self, image_id: str) -> None:
        """Make an image's data unavailable; it stays as it is."""
        self._asked(
            f'deactivate image {image_id}',
            lambda: self._client.images.deactivate(image_id),
        )

    def reactivate(self, image_id: str) -> None:
        """Make a deactivated image's data available again."""
        self._asked(
            f'reactivate image {image_id}',
            lambda: self._client.images.reactivate(image_id),
        )

    def delete(self, image_id: str) -> None:
        """Delete an image of ours; one that is gone already is fine."""

        def delete() -> None:
            try:
                self._client.images.delete(image_id)
            except glance_exc.HTTPNotFound:
                return

        self._asked(f'delete image {image_id}', delete)

    def data(self, image_id: str) -> Iterator[bytes]:
        """The data of an active image, piece by piece.

        Nothing is said of whether they are the right ones, or all of them.
        """
        what = f'read data of image {image_id}'

        def ask() -> Iterator[bytes]:
            _, body = self._client.http_client.get(
                f'/v2/images/{image_id}/file'
            )
            # Something else than data is no data: see the client's own code.
            return iter(body if isinstance(body, Iterator) else ())

        pieces = self._asked(what, ask)
        try:
            yield from pieces
        except _FAILURES as exc:
            raise self._translated(what, exc) from exc

    def _asked(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except _FAILURES as exc:
            raise self._translated(what, exc) from exc

    def _translated(self, what: str, exc: BaseException) -> errors.HepixError:
        detail = ' '.join(str(exc).split())[:500]
        sentence = f'Glance: {what}: {type(exc).__name__}: {detail}'
        if isinstance(exc, (ks_exc.Unauthorized, glance_exc.HTTPUnauthorized)):
            return errors.Misconfigured(
                f'{sentence}; check the account in group [{self._group}]'
            )
        if isinstance(exc, (ks_exc.Forbidden, glance_exc.HTTPForbidden)):
            return errors.Misconfigured(
                f'{sentence}; the account in group [{self._group}] may not '
                'do this'
            )
        if isinstance(exc, glance_exc.HTTPConflict):
            return Conflict(sentence)
        return errors.TryAgain(sentence)


def _at_work(task: Mapping[str, Any]) -> bool:
    return task.get('status') in ('pending', 'processing')


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe='')


def _pointer(name: str) -> str:
    """A property as RFC 6901 writes it."""
    return '/' + name.replace('~', '~0').replace('/', '~1')

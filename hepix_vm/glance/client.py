# SPDX-License-Identifier: Apache-2.0
"""Glance as publishing and withdrawing need it, over python-glanceclient.

Foreign exceptions are translated here; what leaves this module is an error
of ours or a value.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import datetime
from pathlib import Path
import time
from typing import Any

from glanceclient import exc as glance_exc
from glanceclient.v2 import client as glance_client
from keystoneauth1 import exceptions as ks_exc

from hepix_vm import errors

#: What the client and the layers below it raise for a peer's fault.
_FAILURES = (
    glance_exc.ClientException,
    glance_exc.BaseException,
    ks_exc.ClientException,
    OSError,
)


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceImage:
    """An image as Glance shows it.

    :ivar created_at: UNIX seconds; None where Glance does not say
    :ivar sha512: of its data, where Glance says so
    """

    image_id: str
    name: str
    status: str
    size: int | None
    owner: str | None
    created_at: int | None = None
    sha512: str | None = None


class Glance:
    """The calls that this suite makes.

    :param session: keystoneauth session
    :param region: region name, or None
    :param interface: endpoint interface
    """

    def __init__(
        self, session: Any, region: str | None, interface: str
    ) -> None:
        self._client = glance_client.Client(
            session=session, region_name=region, interface=interface
        )

    def images(self, status: str | None = None) -> Iterator[GlanceImage]:
        """All images that the account sees, by one paged listing."""
        # Without it Glance leaves out the community images of others.
        filters = {'visibility': 'all'}
        if status:
            filters['status'] = status

        def listing() -> list[GlanceImage]:
            # os_hidden images are not in the ordinary listing.
            found = []
            for hidden in ('false', 'true'):
                found += [
                    _image(image)
                    for image in self._client.images.list(
                        filters={**filters, 'os_hidden': hidden}
                    )
                ]
            return found

        yield from _asked('list images', listing)

    def image(self, image_id: str) -> GlanceImage | None:
        """One image; None when there is none."""
        try:
            return _image(self._client.images.get(image_id))
        except glance_exc.HTTPNotFound:
            return None
        except _FAILURES as exc:
            raise _translated(f'show image {image_id}', exc) from exc

    def create(self, image_id: str, values: Mapping[str, Any]) -> None:
        """Make a queued image of that id."""
        _asked(
            f'create image {image_id}',
            lambda: self._client.images.create(id=image_id, **values),
        )

    def stage(self, image_id: str, path: Path, size: int) -> None:
        """Send the bytes to Glance's staging area."""
        with path.open('rb') as source:
            _asked(
                f'stage image {image_id}',
                lambda: self._client.images.stage(image_id, source, size),
            )

    def import_staged(self, image_id: str) -> None:
        """Start the import, plugins included; all stores or none."""
        _asked(
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
        pause: float = 0.5,
    ) -> None:
        """Wait for the import to end.

        :param deadline: seconds
        :param told: called with Glance's own progress message
        :raises errors.NotBelieved: when Glance refused, with its sentence
        :raises errors.TryAgain: when it is not over in time
        """
        end = time.monotonic() + deadline
        while True:
            image = self.image(image_id)
            if image is None:
                raise errors.TryAgain(
                    f'image {image_id}: deleted while it was imported'
                )
            if image.status == 'active':
                return
            task = self._task(image_id)
            if task.get('status') == 'failure':
                raise errors.NotBelieved(
                    f'image {image_id}: Glance refused the import: '
                    f'{task.get("message") or "no reason given"}'
                )
            told(str(task.get('message') or ''))
            if time.monotonic() > end:
                raise errors.TryAgain(
                    f'image {image_id}: still {image.status} after '
                    f'{deadline:g} s; see [openstack] import_deadline'
                )
            time.sleep(pause)

    def _task(self, image_id: str) -> Mapping[str, Any]:
        """The newest import task of the image; empty when there is none."""
        # The client's own call asks only a Glance that announces several
        # stores; the resource is there in any.
        _, tasks = _asked(
            f'show tasks of image {image_id}',
            lambda: self._client.http_client.get(
                f'/v2/images/{image_id}/tasks'
            ),
        )
        newest: Mapping[str, Any] = max(
            tasks.get('tasks', []),
            key=lambda task: str(task.get('created_at')),
            default={},
        )
        return newest

    def deactivate(self, image_id: str) -> None:
        """Make an image's data unavailable; it stays as it is."""
        _asked(
            f'deactivate image {image_id}',
            lambda: self._client.images.deactivate(image_id),
        )

    def reactivate(self, image_id: str) -> None:
        """Make a deactivated image's data available again."""
        _asked(
            f'reactivate image {image_id}',
            lambda: self._client.images.reactivate(image_id),
        )

    def delete(self, image_id: str) -> None:
        """Delete an image of ours; one that is gone already is fine."""
        try:
            self._client.images.delete(image_id)
        except glance_exc.HTTPNotFound:
            return
        except _FAILURES as exc:
            raise _translated(f'delete image {image_id}', exc) from exc


def _image(image: Any) -> GlanceImage:
    return GlanceImage(
        image_id=str(image['id']),
        name=str(image.get('name') or ''),
        status=str(image['status']),
        size=image.get('size'),
        owner=image.get('owner'),
        created_at=_seconds(image.get('created_at')),
        sha512=(
            image.get('os_hash_value')
            if image.get('os_hash_algo') == 'sha512'
            else None
        ),
    )


def _seconds(moment: object) -> int | None:
    """UNIX seconds of Glance's times, such as 2026-11-21T12:00:00Z."""
    try:
        found = datetime.datetime.fromisoformat(str(moment))
        if found.tzinfo is None:
            found = found.replace(tzinfo=datetime.UTC)
        return int(found.timestamp())
    except (ValueError, OverflowError):
        return None


def _asked(what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except _FAILURES as exc:
        raise _translated(what, exc) from exc


def _translated(what: str, exc: BaseException) -> errors.HepixError:
    detail = ' '.join(str(exc).split())[:500]
    sentence = f'Glance: {what}: {type(exc).__name__}: {detail}'
    if isinstance(exc, (ks_exc.Unauthorized, glance_exc.HTTPUnauthorized)):
        return errors.Misconfigured(
            f'{sentence}; check the account in group [openstack]'
        )
    if isinstance(exc, (ks_exc.Forbidden, glance_exc.HTTPForbidden)):
        return errors.Misconfigured(
            f'{sentence}; the account in group [openstack] may not do this'
        )
    return errors.TryAgain(sentence)

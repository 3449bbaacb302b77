# SPDX-License-Identifier: Apache-2.0
"""Volumes and their snapshots, by Cinder's API (version 3).

What a volume was made of is told by ``volume_image_metadata``, which a
member of its project can overwrite, and by the snapshot or volume that it
was copied from. It informs; nothing is approved by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exc

from hepix_vm import errors

_SERVICE = 'block-storage'
_FAILURES = (ks_exc.ClientException, OSError)

#: Volumes asked for at once.
_PAGE = 500

#: How often a listing begins anew when what a page begins after was deleted
#: meanwhile.
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """A volume as Cinder shows it to an administrator.

    :ivar image_id: what its image metadata say; clones inherit them
    :ivar snapshot_id: the snapshot that it was made of
    :ivar source_id: the volume that it was cloned from
    :ivar devices: device by id of the server that it is attached to
    """

    volume_id: str
    name: str
    project: str
    status: str
    bootable: bool
    image_id: str | None = None
    snapshot_id: str | None = None
    source_id: str | None = None
    devices: Mapping[str, str | None] = dataclasses.field(
        default_factory=dict, hash=False
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a volume."""

    snapshot_id: str
    name: str
    project: str
    status: str
    volume_id: str


class Volumes:
    """The calls that this suite makes.

    A cloud without Cinder in its service catalogue has no volumes.

    :param session: keystoneauth session
    :param region: region name, or None
    :param interface: endpoint interface
    """

    def __init__(
        self, session: Any, region: str | None, interface: str
    ) -> None:
        self._region = region
        self._cinder = adapter.Adapter(
            session,
            service_type=_SERVICE,
            region_name=region,
            interface=interface,
            connect_retries=2,
        )

    def volumes(self) -> tuple[Volume, ...]:
        """All volumes of all projects, by one paged listing.

        :raises errors.TryAgain: when Cinder cannot be asked
        :raises errors.Misconfigured: when the account may not ask, or sees
            those of its own project only
        """
        if self._absent():
            return ()
        found = self._listed('volumes')
        # Cinder leaves out the others' silently, and this field with them.
        if not all('migration_status' in item for item in found):
            raise _not_all(
                'list volumes: the answer has those of one project only'
            )
        if not found:
            # Only an administrator may ask for this.
            self._get('/os-services', 'list services', {})
        return _understood('list volumes', lambda: map(_volume, found))

    def snapshots(self) -> tuple[Snapshot, ...]:
        """All snapshots of volumes of all projects, by one paged listing.

        :raises errors.TryAgain: when Cinder cannot be asked
        :raises errors.Misconfigured: when the account may not ask
        """
        if self._absent():
            return ()
        found = self._listed('snapshots')
        return _understood('list snapshots', lambda: map(_snapshot, found))

    def _absent(self) -> bool:
        """Whether the region has no Cinder at all.

        An interface that is not there is another matter, and an error.
        """
        session = self._cinder.session
        auth = session.auth
        if not hasattr(auth, 'get_access'):
            # Logged in at one fixed endpoint, which has every service.
            return False
        try:
            catalog = auth.get_access(session).service_catalog
            return not any(
                catalog.get_endpoints_data(
                    service_type=_SERVICE, region_name=self._region
                ).values()
            )
        except _FAILURES as exc:
            raise _translated(
                'look it up in the service catalogue', exc
            ) from exc

    def _listed(self, what: str) -> list[dict[str, Any]]:
        for _ in range(_ATTEMPTS):
            found: list[dict[str, Any]] = []
            try:
                for page in self._pages(what):
                    found += page
            except _MarkerGone:
                continue
            return found
        raise errors.TryAgain(
            f'Cinder: list {what}: they were deleted faster than listed; '
            'the next run asks again'
        )

    def _pages(self, what: str) -> Iterator[list[dict[str, Any]]]:
        marker: str | None = None
        while True:
            query = {'all_tenants': '1', 'limit': str(_PAGE)}
            if marker is not None:
                query['marker'] = marker
            body = self._get(f'/{what}/detail', f'list {what}', query)
            page = body.get(what) if isinstance(body, dict) else None
            if not isinstance(page, list) or not all(
                isinstance(item, dict) and 'id' in item for item in page
            ):
                raise _odd(f'list {what}')
            # A site may allow fewer a page than are asked for.
            if not page:
                return
            yield page
            marker = str(page[-1]['id'])

    def _get(self, path: str, what: str, query: Mapping[str, str]) -> Any:
        try:
            return self._cinder.get(path, params=query).json()
        except ks_exc.NotFound as exc:
            if 'marker' in query:
                raise _MarkerGone from exc
            raise _translated(what, exc) from exc
        except _FAILURES as exc:
            raise _translated(what, exc) from exc
        except ValueError as exc:
            raise _odd(what) from exc


class _MarkerGone(Exception):
    """What the last page ended with was deleted since."""


def _understood(what: str, read: Any) -> tuple[Any, ...]:
    try:
        return tuple(read())
    except (AttributeError, KeyError, TypeError) as exc:
        raise _odd(what) from exc


def _volume(item: Mapping[str, Any]) -> Volume:
    image = item.get('volume_image_metadata') or {}
    return Volume(
        volume_id=str(item['id']),
        name=str(item.get('name') or ''),
        project=str(item.get('os-vol-tenant-attr:tenant_id') or ''),
        status=str(item['status']),
        bootable=str(item.get('bootable')).lower() == 'true',
        image_id=_id(image.get('image_id')),
        snapshot_id=_id(item.get('snapshot_id')),
        source_id=_id(item.get('source_volid')),
        devices={
            str(one['server_id']): one.get('device')
            for one in item.get('attachments') or ()
            if one.get('server_id')
        },
    )


def _snapshot(item: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        snapshot_id=str(item['id']),
        name=str(item.get('name') or ''),
        project=str(
            item.get('os-extended-snapshot-attributes:project_id') or ''
        ),
        status=str(item['status']),
        volume_id=str(item['volume_id']),
    )


def _id(value: object) -> str | None:
    return str(value) if value else None


def _odd(what: str) -> errors.TryAgain:
    return errors.TryAgain(
        f'Cinder: {what}: expected JSON as of its API version 3, found '
        'something else'
    )


def _not_all(what: str) -> errors.Misconfigured:
    return errors.Misconfigured(
        f'Cinder: {what}; the account in group [openstack] has to see the '
        'volumes of all projects'
    )


def _translated(what: str, exc: BaseException) -> errors.HepixError:
    detail = ' '.join(str(exc).split())[:500]
    sentence = f'{what}: {type(exc).__name__}: {detail}'
    if isinstance(exc, (ks_exc.Unauthorized, ks_exc.Forbidden)):
        return _not_all(sentence)
    return errors.TryAgain(f'Cinder: {sentence}')

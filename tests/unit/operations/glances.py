# SPDX-License-Identifier: Apache-2.0
"""A Glance that keeps images in memory, behind our own client's interface."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
from pathlib import Path
from typing import Any

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import records
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import picture
from hepix_vm import hashing

#: Whose account it is.
PROJECT = 'owner'


class Glance:
    """Imports what it is given and records it, as the plugins would.

    :ivar bodies: what images were created with
    :ivar staged: contents by image id
    :ivar created: when it was created, by image id; default: second 1
    :ivar shared: status of each member, by image id
    :ivar changes: what images were changed to, in order
    :ivar listings: how often all images were listed
    :ivar refusing: why imports are refused; '' when they are not
    :ivar checking: whether the import plugins run
    :ivar begun: whether an import was asked for before
    """

    def __init__(self, writer: records.Records) -> None:
        self._writer = writer
        self.statuses: dict[str, str] = {}
        self.bodies: dict[str, dict[str, Any]] = {}
        self.staged: dict[str, bytes] = {}
        self.created: dict[str, int | None] = {}
        self.shared: dict[str, dict[str, str]] = {}
        self.changes: list[tuple[str, dict[str, Any]]] = []
        self.listings = 0
        self.refusing = ''
        self.checking = True
        self.begun = False
        self.broken: dict[str, errors.HepixError] = {}

    def _asked(self, call: str) -> None:
        if call in self.broken:
            raise self.broken[call]

    def _shown(self, image_id: str) -> client.GlanceImage:
        body = {
            'id': image_id,
            'status': self.statuses[image_id],
            'size': len(self.staged.get(image_id, b'')),
            'owner': PROJECT,
            **self.bodies.get(image_id, {}),
        }
        made = self.created.get(image_id, 1)
        return dataclasses.replace(picture.image(body), created_at=made)

    def project(self) -> str:
        return PROJECT

    def images(self, status: str | None = None) -> Iterator[Any]:
        self._asked('images')
        self.listings += 1
        for image_id, found in list(self.statuses.items()):
            if status in (None, found):
                yield self._shown(image_id)

    def image(self, image_id: str) -> client.GlanceImage | None:
        self._asked('image')
        if image_id not in self.statuses:
            return None
        return self._shown(image_id)

    def create(self, image_id: str, values: Mapping[str, Any]) -> None:
        self._asked('create')
        if image_id in self.bodies:
            raise client.Conflict(f'image {image_id} exists')
        self.statuses[image_id] = 'queued'
        self.bodies[image_id] = dict(values)

    def change(
        self,
        image: client.GlanceImage,
        values: Mapping[str, Any],
        without: frozenset[str] = frozenset(),
    ) -> None:
        self._asked('change')
        body = self.bodies[image.image_id]
        body.update(values)
        for name in without:
            del body[name]
        self.changes.append((image.image_id, dict(values)))

    def members(self, image_id: str) -> dict[str, str]:
        self._asked('members')
        assert self._shown(image_id).visibility == 'shared'
        return dict(self.shared.get(image_id, {}))

    def share(self, image_id: str, project: str) -> None:
        self._asked('share')
        self.shared.setdefault(image_id, {})[project] = 'pending'

    def accept(self, image_id: str, project: str) -> None:
        self._asked('accept')
        self.shared[image_id][project] = 'accepted'

    def unshare(self, image_id: str, project: str) -> None:
        self._asked('unshare')
        self.shared.get(image_id, {}).pop(project, None)

    def stage(self, image_id: str, path: Path, size: int) -> None:
        self._asked('stage')
        self.staged[image_id] = path.read_bytes()
        assert len(self.staged[image_id]) == size
        self.statuses[image_id] = 'uploading'

    def import_staged(self, image_id: str) -> None:
        self._asked('import_staged')
        self.statuses[image_id] = 'importing'

    def imports(self, image_id: str, since: int) -> bool:
        self._asked('imports')
        return self.begun

    def wait_active(
        self,
        image_id: str,
        deadline: float,
        told: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._asked('wait_active')
        if self.statuses[image_id] == 'active':
            return
        told('checking')
        if self.refusing:
            self.statuses[image_id] = 'queued'
            raise errors.NotBelieved(self.refusing)
        if self.checking:
            data = self.staged[image_id]
            digest = hashing.hashlib.sha512(data).hexdigest()
            self._writer.verified(
                image_id, 'task', 'owner', digest, len(data), 1, 1
            )
            image = self._shown(image_id)
            self._writer.positive(
                image_id,
                'task',
                digest,
                len(data),
                1,
                boot.stored(boot.of_glance(image.min_disk, image.properties)),
            )
        self.statuses[image_id] = 'active'

    def deactivate(self, image_id: str) -> None:
        self._asked('deactivate')
        self.statuses[image_id] = 'deactivated'

    def reactivate(self, image_id: str) -> None:
        self._asked('reactivate')
        assert self.statuses[image_id] == 'deactivated'
        self.statuses[image_id] = 'active'

    def delete(self, image_id: str) -> None:
        self._asked('delete')
        self.statuses.pop(image_id, None)

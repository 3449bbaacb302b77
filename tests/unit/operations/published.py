# SPDX-License-Identifier: Apache-2.0
"""A site that publishes into Glances that keep images in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.glance import apply
from hepix_vm.glance import audience
from hepix_vm.glance import plan
from hepix_vm.glance import publish
from hepix_vm.glance import template
from hepix_vm.glance import wanted
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers
from tests.unit.operations import glances

RAW = b'\x00' * 512 + b'a disk' * 100
QCOW2 = (
    b'QFI\xfb\x00\x00\x00\x03'
    + b'\x00' * 16
    + (2**20).to_bytes(8, 'big')
    + b'\x00' * 480
)
Outcome = publish.Outcome


class Publishing:
    """A site, a server of images, and a Glance."""

    def __init__(self, site: following.Site, server: servers.Server) -> None:
        self.site = site
        self.server = server
        self.glance = glances.Glance(records.Records(site.database))
        self.glances = {'default': self.glance}
        self.rules = wanted.Rules(template.parse('{title}'))
        self.settings = plan.Settings()
        self.quarantine: apply.Quarantine | None = None
        self.trials: frozenset[str] = frozenset()
        self.used: frozenset[str] = frozenset()
        self.spool = site.folder / 'spool'
        self.progress: list[publish.Progress] = []
        self._version = 0

    def endorse(self, *images: tuple[bytes, dict[str, object]]) -> list[str]:
        """Have a list of these images accepted; returns identifiers."""
        entries = []
        for number, (data, changes) in enumerate(images):
            url = self.server.tell(f'/image{number}', servers.answer(data))
            entries.append(endorser.make_image(data, url, **changes))
        self._version += 1
        self.site.publish(
            'main', str(self._version), *entries, vo='example.vo'
        )
        self.site.sync()
        return [entry.identifier for entry in entries]

    def publish(self, *only: str, **changes: Any) -> list[publish.Published]:
        """Publish; nothing stays in the spool but for who tries again.

        :param changes: of :class:`publish.Manner`
        """
        found = list(
            publish.publish(
                self.site.database,
                self.targets(),
                self.manner(*only, **changes),
                self.site.now,
                self.progress.append,
            )
        )
        if self.spool.exists():
            left = [path.name for path in self.spool.iterdir()]
            if any(one.outcome is Outcome.FAILED for one in found):
                assert not [name for name in left if '.' in name]
            else:
                assert left == []
        return found

    def manner(self, *only: str, **changes: Any) -> publish.Manner:
        """How it goes about it."""
        values = {
            'fetch': fetch.FetchSettings(
                timeout=60, spool_directory=str(self.spool)
            ),
            'settings': self.settings,
            'only': frozenset(only) or None,
        }
        return publish.Manner(**(values | changes))

    def targets(self) -> list[publish.Target]:
        """The clouds, with the rules of this moment."""
        return [
            publish.Target(
                apply.Cloud(
                    name,
                    glance,
                    glances.PROJECT,
                    60,
                    lambda subscription: self.quarantine,
                ),
                self.look,
                lambda image_ids: image_ids & self.used,
                self.trials,
            )
            for name, glance in self.glances.items()
        ]

    def look(
        self, images: Sequence[store.Image]
    ) -> Sequence[wanted.Wanted | wanted.Unsuited]:
        """How the rules of this moment want images to look."""
        with self.site.database.reading() as connection:
            meant = audience.read(connection)
        return wanted.wanted(images, self.rules, meant)

    def states(self) -> list[str]:
        """States of the publications, oldest first."""
        return [
            row.state
            for row in self.site.rows(
                sa.select(schema.publication).order_by(schema.publication.c.at)
            )
        ]

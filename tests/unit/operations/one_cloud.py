# SPDX-License-Identifier: Apache-2.0
"""A site with one cloud, whose services answer as a test says."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import withdrawal
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.nova import projects
from hepix_vm.nova import servers
from hepix_vm.nova import volumes
from hepix_vm.operations import following as following_
from hepix_vm.operations import site as site_
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.operations import glances

DATA, OTHER = b'an image', b'another image'


def server(server_id: str, image: str | None, **changes: Any):
    made = servers.Server(
        server_id,
        f'name of {server_id}',
        'a project',
        'a host',
        'ACTIVE',
        '2026-01-01T00:00:00Z',
        image,
    )
    return dataclasses.replace(made, **changes)


class Clouds:
    """A site with one cloud, whose services answer as a test says.

    :ivar away: errors by service
    :ivar asked: which services were asked, in order
    """

    def __init__(self, made: following.Site) -> None:
        self.made = made
        self.glance = glances.Glance(records.Records(made.database))
        self.servers: tuple[servers.Server, ...] = ()
        #: In a cell that is down: Nova lists others only.
        self.hidden: set[str] = set()
        self.volumes: tuple[volumes.Volume, ...] = ()
        self.snapshots: tuple[volumes.Snapshot, ...] = ()
        self.away: dict[str, errors.HepixError] = {}
        self.asked: list[str] = []
        self.settings = withdrawal.Settings()
        self.further: dict[str, site_.Cloud] = {}

    def answer(self, service: str, values: Any) -> Any:
        """What a service says, unless it is away."""
        self.asked.append(service)
        if service in self.away:
            raise self.away[service]
        return values

    @property
    def site(self) -> site_.Site:
        """What operations work on."""
        return site_.Site(
            catalogue=self.made.database,
            subscriptions=self.made.configured,
            fetch=following.SETTINGS,
            cloud=site_.Cloud(session=object),
            further=self.further,
            withdrawal=self.settings,
        )

    def image(self, data: bytes = DATA, ours: bool = True, **body: Any) -> str:
        """An image in Glance that was endorsed and recorded."""
        image_id = self.made.record(data)
        self.glance.statuses[image_id] = 'active'
        self.glance.staged[image_id] = data
        self.glance.bodies[image_id] = {'visibility': 'public', **body}
        if ours:
            entry = self.entry(data)
            with self.made.database.writing() as transaction:
                transaction.put(
                    schema.publication,
                    {'image_id': image_id},
                    {
                        'subscription': 'main',
                        'identifier': entry.identifier,
                        'version': entry.version,
                        'sha512': entry.sha512,
                        'state': 'active',
                        'at': self.made.now,
                    },
                )
        return image_id

    def entry(self, data: bytes = DATA) -> store.Image:
        """What the list says of these bytes."""
        content = endorser.make_image(data).sha512
        (found,) = (i for i in self.made.images() if i.sha512 == content)
        return found

    def follow(self, after: int = 0) -> following_.Followed:
        """Have the cloud follow some seconds later."""
        self.made.now += after
        (found,) = following_.follow_all(
            self.site, self.made.database, self.made.now
        ).values()
        return found

    def withdraw(self, **changes: Any) -> None:
        """The endorser lists the other image alone."""
        self.made.publish('main', '2', endorser.make_image(OTHER))
        self.made.sync()
        self.settings = dataclasses.replace(self.settings, **changes)

    def notices(self, kind: str) -> list[dict[str, Any]]:
        """Payloads of the notices of a kind, in order."""
        table = schema.notice
        rows = self.made.rows(
            sa.select(table).where(table.c.kind == kind).order_by(table.c.id)
        )
        return [json.loads(row.payload) for row in rows]

    def row(self, image_id: str) -> Any:
        """The publication of an image."""
        table = schema.publication
        (row,) = self.made.rows(
            sa.select(table).where(table.c.image_id == image_id)
        )
        return row


def patched(one: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the clients of services answer for that cloud."""
    monkeypatch.setattr(client, 'Glance', lambda *_: one.glance)
    for kind, name, values in (
        (servers.Nova, 'servers', lambda: one.servers),
        (volumes.Volumes, 'volumes', lambda: one.volumes),
        (volumes.Volumes, 'snapshots', lambda: one.snapshots),
    ):
        monkeypatch.setattr(kind, '__init__', lambda *_: None)
        monkeypatch.setattr(
            kind, name, lambda _, n=name, v=values: one.answer(n, v())
        )
    monkeypatch.setattr(
        servers.Nova,
        'has',
        lambda _, name: one.answer(
            'server', name in {s.server_id for s in one.servers} | one.hidden
        ),
    )
    monkeypatch.setattr(projects, 'names', lambda *_: {'a project': 'atlas'})

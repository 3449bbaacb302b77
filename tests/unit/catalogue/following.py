# SPDX-License-Identifier: Apache-2.0
"""A site that follows image lists: real signatures, a real database."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
from pathlib import Path
import time
from typing import Any
import uuid

import sqlalchemy as sa

from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import model
from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import catalogue_rows
from tests import endorser

#: A busy machine may take its time.
SETTINGS = fetch.FetchSettings(timeout=60)

#: Making keys takes a while on a busy machine: one endorser for all tests
#: that leave it as it is.
_endorsers: dict[str, endorser.Endorser] = {}


def endorser_named(name: str) -> endorser.Endorser:
    """An endorser that no test changes."""
    if name not in _endorsers:
        _endorsers[name] = endorser.Endorser.create(name=name)
    return _endorsers[name]


class Site:
    """A catalogue, trust anchors, and lists in files.

    :param url: of an empty database; default: SQLite in the folder
    :ivar now: UNIX seconds of the next sync
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.anchors = folder / 'anchors'
        self.lists = folder / 'lists'
        self.lists.mkdir()
        if url is None:
            catalogue_rows.new_file(folder / 'catalogue.sqlite')
        self.url = url or f'sqlite:///{folder / "catalogue.sqlite"}'
        self.database = database.Database(self.url, 60)
        if url is not None:
            migrations.upgrade(self.database)
        self.now = int(time.time())
        self.configured: dict[
            str, subscription.Subscription | errors.Misconfigured
        ] = {}
        self.endorsers: dict[str, endorser.Endorser] = {}
        self.withdrawals: tuple[settle.Withdrawal, ...] = ()

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()

    def follow(
        self,
        name: str = 'main',
        by: endorser.Endorser | None = None,
        **changes: Any,
    ) -> subscription.Subscription:
        """Configure a subscription of an endorser's list."""
        by = by or endorser_named(f'Endorser of {name}')
        by.write_trust_anchors(self.anchors)
        self.endorsers[name] = by
        values: dict[str, Any] = {
            'name': name,
            'url': (self.lists / name).as_uri(),
            'list_identifier': identifier_of(name),
            'endorser_subject': by.subject,
            'endorser_issuer': by.issuer,
            'trust_anchors': str(self.anchors),
            'approval': subscription.Approval.ALL,
        }
        made = subscription.Subscription(**(values | changes))
        self.configured[name] = made
        return made

    def change(self, name: str, **changes: Any) -> None:
        """Edit a subscription's group."""
        made = self.configured[name]
        assert isinstance(made, subscription.Subscription)
        self.configured[name] = dataclasses.replace(made, **changes)

    def publish(
        self, name: str, version: str, *images: Any, **changes: Any
    ) -> bytes:
        """Have the endorser sign a list and put it where it is fetched."""
        message = self.endorsers[name].signed_list(
            changes.pop('identifier', identifier_of(name)),
            version,
            *images,
            **changes,
        )
        self.serve(name, message)
        return message

    def serve(self, name: str, message: bytes) -> None:
        """Put any bytes where the list is fetched."""
        (self.lists / name).write_bytes(message)

    def silence(self, name: str) -> None:
        """The server has no list any more."""
        (self.lists / name).unlink(missing_ok=True)

    def sync(
        self,
        *only: str,
        after: int = 0,
        settings: fetch.FetchSettings | None = None,
        told: Callable[[sync.Report], None] = lambda report: None,
        **changes: Any,
    ) -> dict[str, sync.Report]:
        """Sync some seconds later; returns the reports by name."""
        self.now += after
        reports, self.withdrawals = sync.run(
            self.database,
            self.configured,
            settings or SETTINGS,
            self.now,
            frozenset(only) or None,
            told=told,
            chance=lambda: 0.5,
            **changes,
        )
        found = {report.subscription: report for report in reports}
        assert len(found) == len(reports)
        return found

    def record(self, data: bytes, project: str = '') -> str:
        """Have Glance import bytes; returns the id of the image."""
        image_id, task = str(uuid.uuid4()), str(uuid.uuid4())
        writer = records.Records(self.database)
        content = endorser.make_image(data).sha512
        writer.verified(
            image_id, task, project, content, len(data), 1, self.now
        )
        writer.positive(image_id, task, content, len(data), self.now)
        return image_id

    def snapshot(self) -> model.Snapshot:
        """What a reader would see now."""
        with self.database.reading() as connection:
            return loading.load(connection, None, self.now).snapshot

    def decide(self, data: bytes, project: str | None = None) -> model.Reason:
        """What is decided of these bytes now."""
        return model.decide_bytes(
            self.snapshot(),
            endorser.make_image(data).sha512,
            len(data),
            project,
            self.now,
            300,
        ).code

    def image_state(self, image_id: str) -> str:
        """State and reason of a Glance record."""
        with self.database.reading() as connection:
            (found,) = store.records(connection, image_id=image_id)
        return f'{found.state} {found.reason}'.strip()

    def state(self, name: str = 'main') -> store.SubscriptionState:
        """The stored state of a subscription."""
        with self.database.reading() as connection:
            found = store.subscription_state(connection, name)
        assert found is not None
        return found

    def images(self, name: str = 'main') -> list[store.Image]:
        """Endorsements of a subscription, withdrawn ones too."""
        with self.database.reading() as connection:
            return store.images(connection, name, with_withdrawn=True)

    def events(self, subject: str = 'main') -> list[str]:
        """What the history says of a subject."""
        with self.database.reading() as connection:
            return [e.event for e in store.history(connection, subject)]

    def lists_seen(self, name: str = 'main') -> list[str]:
        """Codes of the lists seen, newest first."""
        with self.database.reading() as connection:
            return [seen.code for seen in store.lists_seen(connection, name)]

    def approve(self, image: Any, name: str = 'main') -> None:
        """Approve an image by its identifier."""
        with self.database.writing() as transaction:
            transaction.put(
                schema.approval,
                {'subscription': name, 'identifier': image.identifier},
                {
                    'sha512': image.sha512,
                    'at': self.now,
                    'who': 'me',
                    'reason': '',
                },
            )
            made = self.configured[name]
            assert isinstance(made, subscription.Subscription)
            settle.approvals(transaction, made)

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        """The rows of a query."""
        with self.database.reading() as connection:
            return list(connection.execute(statement))


def identifier_of(name: str) -> str:
    """The list identifier of the subscription of that name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def names(images: Iterable[store.Image]) -> set[tuple[str, str, bool]]:
    """Identifier, version and whether it is withdrawn."""
    return {(i.identifier, i.version, i.withdrawn) for i in images}

# SPDX-License-Identifier: Apache-2.0
"""Why an image is approved or refused, and all that led there: list, signer,
rule, file, Glance, servers.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses

import sqlalchemy as sa

from hepix_vm.catalogue import excerpt
from hepix_vm.catalogue import history
from hepix_vm.catalogue import model
from hepix_vm.catalogue import origin
from hepix_vm.catalogue import store
from hepix_vm import errors
from hepix_vm.nova import servers as servers_
from hepix_vm.operations import cached as cached_
from hepix_vm.operations import images
from hepix_vm.operations import rules
from hepix_vm.operations import site as site_

#: Seconds that Nova may take for an answer; the rest does not wait longer.
NOVA_WAIT = 30.0

# Lines of the history by subject (count).
_LINES = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Endorsed:
    """One endorsement with where it comes from and what the site says.

    :ivar came_with: the list that this version first stood in
    :ivar case: see :mod:`hepix_vm.operations.rules`
    """

    judged: images.Judged
    came_with: origin.SignedList | None
    case: rules.Case


@dataclasses.dataclass(frozen=True, slots=True)
class Followed:
    """A subscription, and the list that it stands on."""

    state: store.SubscriptionState
    newest: origin.SignedList | None


@dataclasses.dataclass(frozen=True, slots=True)
class Servers:
    """Servers that run from the image.

    :ivar problem: why they are not known, or ''
    """

    found: tuple[servers_.Server, ...] = ()
    problem: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """Everything that speaks for and against one image.

    :ivar decision: of the Glance image when one was named, else of the
        bytes
    :ivar changes: what would change the decision
    :ivar cached: where compute hosts may have the image
    """

    decision: model.Decision
    endorsements: tuple[Endorsed, ...]
    subscriptions: tuple[Followed, ...]
    records: tuple[store.Record, ...]
    publications: tuple[origin.Publication, ...]
    blocks: tuple[store.Event, ...]
    history: tuple[history.Line, ...]
    servers: Servers
    changes: tuple[str, ...]
    cached: tuple[cached_.Cached, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Named:
    """What a name stands for."""

    images: list[store.Image]
    records: list[store.Record]
    publications: list[origin.Publication]

    def contents(self) -> list[str]:
        """SHA-512 values."""
        contents = {record.sha512 for record in self.records}
        return sorted(contents | {image.sha512 for image in self.images})

    def glance_ids(self) -> list[str]:
        """Ids of the images in Glance."""
        recorded = [record.image_id for record in self.records]
        published = [item.image_id for item in self.publications]
        return list(dict.fromkeys(recorded + published))


def explain(
    site: site_.Site,
    now: int,
    named: str,
    project: str | None = None,
    nova_wait: float = NOVA_WAIT,
    with_servers: bool = True,
) -> Explained:
    """Why an image is approved or refused.

    :param named: image identifier, SHA-512 or Glance image id
    :param project: project id; None asks in general
    :param nova_wait: seconds
    :param with_servers: whether Nova is asked
    :raises errors.Misconfigured: when nothing of that name is known
    """
    named = named.lower()
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        found = _found(connection, named)
        snapshots = {
            sha512: excerpt.of_bytes(connection, now, sha512)
            for sha512 in found.contents()
        }
        decision = _decision(found, snapshots, named, project, now)
        endorsements = tuple(
            _endorsements(site, connection, found, snapshots, project, now)
        )
        subjects = _subjects(named, found)
        blocks = store.blocks(connection)
        blocked = [name for name in subjects if name in blocks]
        lines = {
            line.row: line
            for subject in subjects
            for line in history.newest(connection, subject, limit=_LINES)
        }
        followed = tuple(_followed(connection, found.images))
        asked = cached_.by_request(connection, found.glance_ids())
    servers = Servers(problem='Nova was not asked')
    if with_servers:
        servers = _servers(site, found.glance_ids(), nova_wait)
    return Explained(
        decision=decision,
        endorsements=endorsements,
        subscriptions=followed,
        records=tuple(found.records),
        publications=tuple(found.publications),
        blocks=tuple(blocks[name] for name in blocked),
        history=tuple(lines[row] for row in sorted(lines)),
        servers=servers,
        changes=rules.changes(
            decision, _case(decision, endorsements), tuple(blocked)
        ),
        cached=(*cached_.by_servers(servers.found), *asked),
    )


def _found(connection: sa.Connection, named: str) -> _Named:
    """What is known under a name.

    :raises errors.Misconfigured: when nothing is
    """
    records = store.records(connection, image_id=named)
    if records:
        contents = {records[0].sha512}
        records += [
            one
            for one in store.records(connection, sha512=records[0].sha512)
            if one.parent == named
        ]
        return _Named(
            _endorsed(connection, contents),
            records,
            origin.publications(connection, contents, named),
        )
    found = store.images(connection, named=named, with_withdrawn=True)
    if not found:
        raise images.unknown(named)
    contents = {item.sha512 for item in found}
    return _Named(
        _endorsed(connection, contents),
        [
            record
            for sha512 in sorted(contents)
            for record in store.records(connection, sha512=sha512)
        ],
        origin.publications(connection, contents),
    )


def _endorsed(
    connection: sa.Connection, contents: set[str]
) -> list[store.Image]:
    """All endorsements of some bytes, whatever the images are called there.

    Decisions are about bytes: another list may approve them.
    """
    return [
        item
        for sha512 in sorted(contents)
        for item in store.images(connection, named=sha512, with_withdrawn=True)
    ]


def _decision(
    found: _Named,
    snapshots: Mapping[str, model.Snapshot],
    named: str,
    project: str | None,
    now: int,
) -> model.Decision:
    for record in found.records:
        if record.image_id == named:
            return model.decide_image(
                snapshots[record.sha512],
                model.ImageFacts(named, must_know_size=False),
                project,
                now,
                1,
            )
    newest = max(
        (i for i in found.images if named in (i.identifier, i.sha512)),
        key=lambda i: (not i.withdrawn, i.row),
    )
    return model.decide_bytes(
        snapshots[newest.sha512], newest.sha512, newest.size, project, now, 1
    )


def _endorsements(
    site: site_.Site,
    connection: sa.Connection,
    found: _Named,
    snapshots: Mapping[str, model.Snapshot],
    project: str | None,
    now: int,
) -> Iterator[Endorsed]:
    anyway = store.running_anyway(connection, now)
    for item in found.images:
        snapshot = snapshots[item.sha512]
        subscribed = snapshot.subscriptions.get(item.subscription)
        yield Endorsed(
            images.judged(snapshot, item, project, now),
            origin.first_list(connection, item),
            rules.Case(
                item,
                site.subscriptions.get(item.subscription),
                origin.approval(connection, item),
                anyway.get(item.sha512),
                subscribed is not None and subscribed.held_run,
            ),
        )


def _case(
    decision: model.Decision, endorsements: tuple[Endorsed, ...]
) -> rules.Case | None:
    """The endorsement that a decision is about."""
    meant = decision.endorsement
    for item in endorsements:
        if meant is not None and item.judged.image.row == meant.row:
            return item.case
    return None


def _subjects(named: str, found: _Named) -> list[str]:
    """Whatever the history and blocks may call it."""
    subjects = [named, *found.contents(), *found.glance_ids()]
    subjects += sorted({item.identifier for item in found.images})
    return list(dict.fromkeys(subjects))


def _followed(
    connection: sa.Connection, found: Iterable[store.Image]
) -> Iterator[Followed]:
    for name in sorted({item.subscription for item in found}):
        state = store.subscription_state(connection, name)
        if state is not None:
            yield Followed(state, origin.newest_list(connection, state))


def _servers(site: site_.Site, image_ids: list[str], wait: float) -> Servers:
    """The servers that run from these, or why that is not known."""
    if not image_ids:
        return Servers()
    try:
        session = site.cloud.session()
        if session is None:
            return Servers(
                problem='no account to ask Nova with (group [openstack] '
                'option auth_type)'
            )
        session.timeout = min(session.timeout or wait, wait)
        nova = servers_.Nova(session, site.cloud.region, site.cloud.interface)
        return Servers(
            tuple(
                server
                for image_id in image_ids
                for server in nova.servers(image_id)
            )
        )
    except errors.HepixError as exc:
        return Servers(problem=str(exc))

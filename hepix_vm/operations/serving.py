# SPDX-License-Identifier: Apache-2.0
"""Publishing images, and the servers that run from them."""

from __future__ import annotations

from collections.abc import Iterator

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import publish as publish_
from hepix_vm.nova import servers
from hepix_vm.operations import proving
from hepix_vm.operations import site as site_


def publish(
    site: site_.Site,
    now: int,
    only: frozenset[str] | None = None,
    told: publish_.Told = lambda progress: None,
) -> Iterator[publish_.Published]:
    """Bring approved images into Glance, one result after the other.

    Images that lack nothing but the signature of their file are proven first.

    :param only: image identifiers; None means all that are approved
    :raises errors.HepixError: when nothing at all can be published
    """
    session = site.cloud.logged_in()
    target = publish_.Target(
        glance=client.Glance(session, site.cloud.region, site.cloud.interface),
        fetch=site.fetch,
        visibility=site.cloud.visibility,
        import_deadline=site.cloud.import_deadline,
        access={
            name: item.reached()
            for name, item in site.subscriptions.items()
            if not isinstance(item, errors.Misconfigured)
        },
    )
    for proved in proving.prove(site, now, told):
        image = proved.image
        if proved.problem and (only is None or image.identifier in only):
            yield publish_.Published(
                image.subscription,
                image.identifier,
                image.version,
                image.title,
                publish_.Outcome.FAILED,
                None,
                f'the signature of the file: {proved.problem}',
            )
    with site_.usable(site) as catalogue:
        yield from publish_.publish(catalogue, target, now, only, told)


def not_approved(site: site_.Site, now: int) -> tuple[servers.Judged, ...]:
    """Servers whose image would not boot today.

    :raises errors.HepixError: when Nova or the catalogue cannot be asked
    """
    nova = servers.Nova(
        site.cloud.logged_in(), site.cloud.region, site.cloud.interface
    )
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        snapshot = loading.load(connection, None, now).snapshot
    return tuple(servers.not_approved(nova.servers(), snapshot, now))


def on_withdrawn_images(
    site: site_.Site, now: int
) -> tuple[servers.Judged, ...]:
    """Servers on a host that run from an image whose record was withdrawn."""
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        snapshot = loading.load(connection, None, now).snapshot
    withdrawn = {
        record.image_id
        for record in snapshot.records.values()
        if record.state is model.RecordState.WITHDRAWN
    }
    if not withdrawn:
        return ()
    nova = servers.Nova(
        site.cloud.logged_in(), site.cloud.region, site.cloud.interface
    )
    return tuple(
        judged
        for judged in servers.not_approved(nova.servers(), snapshot, now)
        if judged.server.image_id in withdrawn and judged.server.host
    )

# SPDX-License-Identifier: Apache-2.0
"""Servers that run from images that the site does not approve."""

from __future__ import annotations

from hepix_vm.catalogue import loading
from hepix_vm.nova import servers
from hepix_vm.operations import site as site_


def not_approved(site: site_.Site, now: int) -> tuple[servers.Judged, ...]:
    """Servers of all clouds whose image would not boot today.

    :raises errors.HepixError: when Nova or the catalogue cannot be asked
    """
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        snapshot = loading.load(connection, None, now).snapshot
    found: list[servers.Judged] = []
    for cloud in site.clouds.values():
        nova = servers.Nova(cloud.logged_in(), cloud.region, cloud.interface)
        found += servers.not_approved(nova.servers(), snapshot, now)
    return tuple(found)

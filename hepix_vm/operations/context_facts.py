# SPDX-License-Identifier: Apache-2.0
"""What is known of a server of the site, for its context."""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Any

from keystoneauth1 import exceptions as ks_exc

from hepix_vm.catalogue import excerpt
from hepix_vm.catalogue import hosts
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.context import completing
from hepix_vm.context import facts as facts_
from hepix_vm.context import facts_api
from hepix_vm.context import identity
from hepix_vm import errors
from hepix_vm.operations import site as site_

_UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')

#: Seconds for Nova.
_PATIENCE = 30.0


class _Excerpt:
    """Of the catalogue only what is about one image."""

    def __init__(self, snapshot: model.Snapshot) -> None:
        self._snapshot = snapshot

    def snapshot(self, wait: bool) -> model.Snapshot:
        return self._snapshot


def of_server(site: site_.Site, uuid: str, now: int) -> facts_.Facts:
    """Ask Nova and the catalogue, as the service does that serves it.

    :param now: UNIX seconds
    :raises errors.Misconfigured: there is no such server
    :raises errors.HepixError: Nova or the catalogue cannot be asked
    """
    uuid = uuid.lower()
    # It becomes a part of a URL.
    if not _UUID.fullmatch(uuid):
        raise errors.Misconfigured(
            f'server {uuid[:80]!a}: expected its UUID; see "openstack server'
            ' list --all-projects"'
        )
    cloud = site.cloud
    servers = facts_api.Servers(
        cloud.logged_in(), cloud.region, cloud.interface, _PATIENCE
    )
    try:
        answer = servers.ask((uuid,))[uuid]
    except ks_exc.ClientException as exc:
        raise errors.TryAgain(
            f'Nova: show server {uuid}: {type(exc).__name__}: {exc}'
        ) from exc
    if isinstance(answer, identity.Refusal) and answer.status == 503:
        raise errors.TryAgain(f'Nova: show server {uuid}: {answer.detail}')
    if isinstance(answer, identity.Refusal):
        raise errors.Misconfigured(
            f'server {uuid}: {answer.detail}; give the UUID of a server that'
            ' exists'
        )
    return _completed(site, answer, now)


def _completed(
    site: site_.Site, found: facts_.Facts, now: int
) -> facts_.Facts:
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        snapshot = excerpt.of_records(
            connection, now, schema.glance_record.c.image_id == found.image
        )
        known: Mapping[str, Any] = {
            host.host: host for host in hosts.hosts(connection)
        }
    return completing.Completing(
        catalogue=_Excerpt(snapshot),
        hosts=lambda: known,
        needed=lambda: True,
        clock=lambda: float(now),
    ).completed(found)

# SPDX-License-Identifier: Apache-2.0
"""An explanation finds in a real Nova the servers that run from an image."""

from __future__ import annotations

from collections.abc import Iterator
import time

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import fetch
from hepix_vm.operations import explaining
from hepix_vm.operations import site as sites
from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.functional import images as acts


@pytest.fixture
def user(cloud: clouds.Cloud) -> Iterator[acts.Servers]:
    """Somebody who boots; the servers are deleted afterwards."""
    one = acts.Servers(cloud)
    yield one
    one.delete(*(server.id for server in one.client.servers.list()))


def explain(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, named: str, account: str
) -> explaining.Explained:
    store = database.Database(rows.connection)
    site = sites.Site(
        store,
        {},
        fetch.FetchSettings(),
        sites.Cloud(lambda: cloud.session(account), interface='public'),
    )
    try:
        return explaining.explain(site, int(time.time()), named, nova_wait=300)
    finally:
        store.close()


def test_servers_of_an_image_are_found_and_no_others(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, user: acts.Servers
) -> None:
    booted = {}
    for _ in range(2):
        data = acts.some_bytes(4096)
        rows.endorse(data)
        outcome = acts.Images(cloud).imported(data)
        assert outcome.status == 'success', outcome.message
        image_id = outcome.image['id']
        server = user.boot(image_id)
        assert server.status == 'ACTIVE'
        booted[image_id] = (data, server.id)
    for image_id, (data, server_id) in booted.items():
        for named in (image_id, catalogue_rows.sha512(data)):
            found = explain(cloud, rows, named, 'admin')
            assert found.servers.problem == ''
            (server,) = found.servers.found
            assert (server.server_id, server.image_id) == (
                server_id,
                image_id,
            )
            assert server.status == 'ACTIVE'
            assert server.host
            (cached,) = found.cached
            assert (cached.host, cached.servers) == (server.host, 1)


def test_account_that_may_not_see_all_servers_is_told(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows
) -> None:
    data = acts.some_bytes(4096)
    rows.endorse(data)
    outcome = acts.Images(cloud).imported(data)
    assert outcome.status == 'success', outcome.message
    found = explain(cloud, rows, outcome.image['id'], 'demo')
    assert 'has to see the servers of all projects' in found.servers.problem
    assert found.records

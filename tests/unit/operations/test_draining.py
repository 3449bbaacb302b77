# SPDX-License-Identifier: Apache-2.0
"""Orders to end: who may give them, and those of withdrawn images."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses

import pytest

from hepix_vm.catalogue import database
from hepix_vm.catalogue import hosts
from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm.nova import volumes
from hepix_vm.operations import draining
from hepix_vm.operations import following as following_
from hepix_vm.operations import site as site_
from tests import catalogue_rows
from tests.unit.catalogue import following
from tests.unit.operations import one_cloud as one_cloud_

NOW = 1_800_000_000
GRACE = 3600
DAY = 86400
UUID = '7c3a3a3e-0d1f-4c39-9a0c-3a3e0d1f4c39'


@pytest.fixture
def rows(tmp_path) -> Iterator[catalogue_rows.Rows]:
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    host = hosts.Host('wn1', 64, None, (), None, NOW)
    made.store.transact(lambda t: hosts.put(t, (host,)))
    yield made
    made.close()


@pytest.fixture
def site(rows) -> site_.Site:
    return site_.Site(
        catalogue=rows.store,
        subscriptions={},
        fetch=following.SETTINGS,
        cloud=site_.Cloud(session=lambda: None),
        grace_secs=GRACE,
    )


def order(
    site: site_.Site,
    name: str = 'wn1',
    ahead: int = DAY,
    force: bool = False,
    now: int = NOW,
) -> draining.Drain:
    return draining.order(site, now, name, now + ahead, 'me', force)


def events(site: site_.Site) -> list[tuple[str, str, str]]:
    table = schema.history
    with site.catalogue.reading() as connection:
        rows = connection.execute(table.select().order_by(table.c.id)).all()
    return [(row.event, row.subject, row.detail) for row in rows]


def test_orders_for_hosts_and_servers(site):
    host = order(site, ahead=2 * DAY)
    server = order(site, UUID.upper())
    assert (host.kind, host.name, host.at) == ('host', 'wn1', NOW + 2 * DAY)
    assert (server.kind, server.name, server.forced) == ('server', UUID, False)
    assert draining.drains(site) == (server, host)
    assert events(site) == [
        ('drain-ordered', 'wn1', 'host ends at 2027-01-17T08:00:00Z'),
        ('drain-ordered', UUID, 'server ends at 2027-01-16T08:00:00Z'),
    ]


def test_an_order_takes_the_place_of_the_one_before(site):
    order(site)
    later = order(site, ahead=2 * DAY)
    assert draining.drains(site) == (later,)


@pytest.mark.parametrize('ahead', [0, 1, GRACE - 1])
def test_less_time_than_promised_needs_force(site, ahead):
    with pytest.raises(errors.Misconfigured, match='at least 3600 seconds'):
        order(site, ahead=ahead)
    assert draining.drains(site) == ()
    assert order(site, ahead=ahead, force=True).forced
    ((_, _, detail),) = events(site)
    assert detail.endswith('sooner than promised')


def test_as_much_time_as_promised_is_enough(site):
    assert not order(site, ahead=GRACE).forced
    # Force that was not needed is none.
    assert not order(site, ahead=GRACE, force=True).forced


@pytest.mark.parametrize('force', [False, True])
@pytest.mark.parametrize('ahead', [-1, -DAY, 3700 * DAY, 1000 * NOW])
def test_a_time_that_cannot_be_meant_is_refused(site, ahead, force):
    with pytest.raises(errors.Misconfigured, match='option --at: expected'):
        order(site, ahead=ahead, force=force)
    assert draining.drains(site) == ()


def test_a_host_that_nova_never_listed_needs_force(site):
    with pytest.raises(errors.Misconfigured, match='wn2: expected a compute'):
        order(site, 'wn2')
    assert not order(site, 'wn2', force=True).forced


@pytest.fixture
def one(one_cloud) -> one_cloud_.Clouds:
    one_cloud.servers = (one_cloud_.server(UUID, None),)
    return one_cloud


def promising(one: one_cloud_.Clouds) -> site_.Site:
    return dataclasses.replace(one.site, grace_secs=GRACE)


OTHER = '8d4b4b4f-1e2a-4d4a-8b1d-4b4f1e2a4d4a'


def test_a_server_that_nova_does_not_have_needs_force(one):
    assert order(promising(one), UUID).name == UUID
    with pytest.raises(errors.Misconfigured, match='found none of that UUID'):
        order(promising(one), OTHER)
    one.asked.clear()
    assert order(promising(one), OTHER, force=True).name == OTHER
    assert one.asked == []


def test_a_server_of_a_further_cloud_is_one(one):
    one.further = {'other': site_.Cloud(session=object)}
    assert order(promising(one), UUID).name == UUID
    # An account of the first cloud alone can say no for itself only.
    one.further = {'other': site_.Cloud(session=lambda: None)}
    assert order(promising(one), UUID).name == UUID


def test_while_nova_cannot_say_a_server_needs_force(one):
    one.away['server'] = errors.TryAgain('Nova: server: away')
    with pytest.raises(errors.TryAgain, match=r'away\); try again, or use'):
        order(promising(one), UUID)
    assert draining.drains(one.site) == ()
    assert order(promising(one), UUID, force=True).name == UUID


def test_a_site_that_promises_nothing_has_to_force_its_orders(site):
    site = dataclasses.replace(site, grace_secs=0)
    with pytest.raises(errors.Misconfigured, match='option grace_secs'):
        order(site)
    assert order(site, force=True).forced


@pytest.mark.parametrize(
    'name',
    ['', '-', '../x', 'a b', 'a\n', 'wn1;', 'é', 'x' * 256, f'{{{UUID}}}'],
)
def test_a_name_that_neither_has_is_refused(site, name):
    with pytest.raises(errors.Misconfigured, match='expected the UUID'):
        order(site, name, force=True)
    with pytest.raises(errors.Misconfigured, match='expected the UUID'):
        draining.clear(site, NOW, [name], 'me')


def test_a_uuid_without_dashes_is_the_name_of_a_host():
    name = UUID.replace('-', '')
    assert draining.named(name) == ('host', name)


def test_orders_are_taken_back_all_or_none(site):
    host, server = order(site), order(site, UUID)
    with pytest.raises(errors.Misconfigured, match='host wn9: expected one'):
        draining.clear(site, NOW, ['wn1', 'wn9'], 'me')
    assert set(draining.drains(site)) == {host, server}
    assert draining.clear(site, NOW, ['wn1', UUID, 'wn1'], 'me') == (
        host,
        server,
    )
    assert draining.drains(site) == ()
    assert events(site)[-1] == (
        'drain-cleared',
        UUID,
        'server was to end at 2027-01-16T08:00:00Z',
    )
    assert draining.clear(site, NOW, [], 'me') == ()


# Servers of withdrawn images


class Withdrawn:
    """A cloud with a withdrawn image from which servers run."""

    def __init__(self, cloud: one_cloud_.Clouds) -> None:
        self.cloud = cloud
        self.image = cloud.image()
        self.runs('one')
        cloud.withdraw(drain_grace=DAY)

    def runs(self, *servers: str) -> None:
        """Have these servers run from it."""
        self.cloud.servers = tuple(
            one_cloud_.server(name, self.image) for name in servers
        )

    def follow(self, after: int = 0, grace: int = GRACE) -> None:
        """Have the cloud and the orders follow some seconds later."""
        made = self.cloud.made
        made.now += after
        site = dataclasses.replace(self.cloud.site, grace_secs=grace)
        clouds = following_.follow_all(site, made.database, made.now)
        draining.follow(site, made.database, clouds.values(), made.now)

    def orders(self) -> dict[str, int]:
        """Seconds from now by server."""
        found = draining.drains(self.cloud.site)
        return {one.name: one.at - self.cloud.made.now for one in found}


@pytest.fixture
def withdrawn(one_cloud: one_cloud_.Clouds) -> Withdrawn:
    return Withdrawn(one_cloud)


def test_servers_of_a_withdrawn_image_are_told_to_end_once(withdrawn):
    withdrawn.follow()
    assert withdrawn.orders() == {'one': DAY}
    withdrawn.runs('one', 'two')
    withdrawn.follow(after=600)
    assert withdrawn.orders() == {'one': DAY - 600, 'two': DAY}
    assert withdrawn.cloud.made.events('two') == ['drain-ordered']
    (drain, _) = draining.drains(withdrawn.cloud.site)
    assert (drain.by, drain.forced) == (draining.WITHDRAWN, False)


def test_they_are_told_nothing_unless_the_site_says_so(withdrawn):
    withdrawn.cloud.withdraw(drain_grace=None)
    withdrawn.follow()
    assert withdrawn.orders() == {}


def test_a_site_that_no_longer_says_so_takes_its_orders_back(withdrawn):
    withdrawn.follow()
    withdrawn.cloud.withdraw(drain_grace=None)
    withdrawn.follow()
    assert withdrawn.orders() == {}


def test_they_have_the_time_that_servers_are_promised(withdrawn):
    withdrawn.cloud.withdraw(drain_grace=0)
    withdrawn.follow(grace=7 * DAY)
    assert withdrawn.orders() == {'one': 7 * DAY}


def test_a_server_that_is_gone_has_no_order(withdrawn):
    withdrawn.follow()
    withdrawn.runs()
    withdrawn.follow(after=1)
    assert withdrawn.orders() == {}
    assert withdrawn.cloud.made.events('one')[-1] == 'drain-cleared'


def test_an_image_that_is_good_again_takes_orders_back(withdrawn):
    withdrawn.follow()
    made = withdrawn.cloud.made
    made.database.transact(
        lambda t: t.put(
            schema.glance_record,
            {'image_id': withdrawn.image},
            {'state': 'positive', 'reason': ''},
        )
    )
    withdrawn.follow()
    assert withdrawn.orders() == {}


@pytest.mark.parametrize('service', ['servers', 'volumes'])
def test_what_is_not_known_takes_no_order_back(withdrawn, service):
    withdrawn.follow()
    withdrawn.runs()
    withdrawn.cloud.away[service] = errors.TryAgain('away')
    withdrawn.follow(after=1)
    assert withdrawn.orders() == {'one': DAY - 1}


def test_a_cloud_without_account_takes_no_order_back(withdrawn):
    withdrawn.follow()
    site = withdrawn.cloud.site
    draining.follow(
        site, site.catalogue, [following_.Followed()], withdrawn.cloud.made.now
    )
    assert withdrawn.orders() == {'one': DAY}


def test_an_order_of_an_operator_stays(withdrawn):
    image = withdrawn.image
    withdrawn.cloud.servers = (one_cloud_.server(UUID, image),)
    site, now = withdrawn.cloud.site, withdrawn.cloud.made.now
    draining.order(site, now, UUID, now + 9 * DAY, 'me', force=True)
    withdrawn.follow()
    assert withdrawn.orders() == {UUID: 9 * DAY}
    withdrawn.runs()
    withdrawn.follow()
    assert withdrawn.orders() == {UUID: 9 * DAY}


def test_an_order_that_an_operator_gives_meanwhile_stays(
    withdrawn, monkeypatch
):
    withdrawn.cloud.servers = (one_cloud_.server(UUID, withdrawn.image),)
    site, now = withdrawn.cloud.site, withdrawn.cloud.made.now
    catalogue = withdrawn.cloud.made.database
    clouds = following_.follow_all(site, catalogue, now)

    def meanwhile(self, work):
        monkeypatch.undo()
        draining.order(site, now, UUID, now + 9 * DAY, 'me', force=True)
        return self.transact(work)

    monkeypatch.setattr(database.Database, 'transact', meanwhile)
    draining.follow(site, catalogue, clouds.values(), now)
    assert withdrawn.orders() == {UUID: 9 * DAY}


def test_a_server_with_a_further_disk_of_it_goes_on(withdrawn):
    withdrawn.cloud.servers = (
        one_cloud_.server(
            'two', 'other', volumes=('v',), root_device='/dev/vda'
        ),
        one_cloud_.server('three', withdrawn.image, host=None, status='BUILD'),
    )
    withdrawn.cloud.volumes = (
        volumes.Volume(
            'v',
            '',
            'p',
            'in-use',
            True,
            withdrawn.image,
            devices={'two': '/dev/vdb'},
        ),
    )
    withdrawn.follow()
    assert withdrawn.orders() == {}


def test_other_images_have_no_orders(withdrawn):
    withdrawn.cloud.servers = (one_cloud_.server('two', 'another image'),)
    withdrawn.follow()
    assert withdrawn.orders() == {}

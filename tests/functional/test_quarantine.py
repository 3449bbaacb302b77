# SPDX-License-Identifier: Apache-2.0
"""Real guests are tried out, and their images brought to real hosts."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import hashlib
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

import pytest

from hepix_vm.catalogue import quarantine as rows_
from hepix_vm.catalogue import schema
from hepix_vm.glance import client
from hepix_vm.nova import compute
from hepix_vm.nova import console
from hepix_vm.nova import precache
from hepix_vm.nova import quarantine
from hepix_vm.operations import precaching
from hepix_vm.operations import quarantining
from tests import catalogue_rows
from tests.cloud import actions
from tests.cloud import cloud as clouds
from tests.cloud import settings
from tests.cloud import waits
from tests import guest

pytestmark = pytest.mark.timeout(1800)

LIMIT = 300
#: A project and its only user, where images are tried out.
TRIAL = 'trial'
ROOT = Path(__file__).parents[2]


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[catalogue_rows.Rows]:
    """The catalogue of those who publish; Nova's filter reads another."""
    made = catalogue_rows.in_file(tmp_path / 'catalogue')
    yield made
    made.close()


@pytest.fixture(scope='module')
def imported(
    guests: clouds.Cloud, guest_rows: catalogue_rows.Rows
) -> Callable[[str], str]:
    """Ids of private images whose guests say a line."""
    guests.add_user(TRIAL, TRIAL)
    glance = guests.glance('demo')
    known: dict[str, str] = {}

    def of(says: str) -> str:
        if says not in known:
            data = guest.image(says)
            guest_rows.endorse(data)
            made = actions.stage_and_import(glance, 'guest', data)
            assert actions.wait_for_import(guests, glance, made)
            known[says] = made
        return known[says]

    return of


def quarantine_of(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    within: float,
    clock: quarantine.Clock | None = None,
) -> quarantining.Quarantine:
    """What waits for the line of the tests' guest."""
    session = cloud.session(TRIAL)
    return quarantining.Quarantine(
        catalogue=rows.store,
        cloud='default',
        glance=client.Glance(cloud.session('demo'), None, 'public'),
        compute=compute.Compute(session, None, 'public', 'quarantine'),
        project=session.get_project_id(),
        settings=quarantine.Settings(
            flavor=clouds.FLAVOR,
            networks=(),
            zone=None,
            active_within=LIMIT,
            good_within=within,
            proof=console.Text(guest.SAYS),
        ),
        now=int(time.time()),
        clock=clock or quarantine.Clock(),
    )


def servers(cloud: clouds.Cloud) -> list[Any]:
    """Those in the project of the quarantine, whoever made them."""
    found: list[Any] = cloud.nova(TRIAL).servers.list()
    return found


def left(rows: catalogue_rows.Rows) -> tuple[rows_.Left, ...]:
    """What the catalogue still has to remove."""
    with rows.store.reading() as connection:
        return rows_.left(connection, 'default')


def test_guest_that_says_the_line_passes(
    guests: clouds.Cloud,
    rows: catalogue_rows.Rows,
    imported: Callable[[str], str],
) -> None:
    image_id = imported(guest.SAYS)
    told: list[str] = []
    # The image is another project's, and private.
    result = quarantine_of(guests, rows, LIMIT).boot(image_id, told.append)
    assert isinstance(result, quarantine.Passed), result
    assert guest.SAYS in result.detail
    assert told == ['booting it in quarantine', 'waiting for what it says']
    assert servers(guests) == []
    assert left(rows) == ()


def test_guest_that_says_something_else_fails_with_what_it_said(
    guests: clouds.Cloud,
    rows: catalogue_rows.Rows,
    imported: Callable[[str], str],
) -> None:
    says = 'no root file system \x1b[2J'
    image_id = imported(says)
    nova = guests.nova(TRIAL)
    passed = 0.0
    end = time.monotonic() + LIMIT
    told: list[str] = []

    def sleep(seconds: float) -> None:
        # The time for its line is over once it has spoken; the removal of its
        # server takes what it takes.
        nonlocal passed
        time.sleep(seconds)
        assert time.monotonic() < end, 'the guest has not spoken'
        if not passed and told[-1] == 'waiting for what it says' and spoken():
            passed = 61

    def spoken() -> bool:
        return any(
            'no root file system' in nova.servers.get_console_output(found.id)
            for found in nova.servers.list()
            if found.status == 'ACTIVE'
        )

    clock = quarantine.Clock(lambda: passed, sleep)
    result = quarantine_of(guests, rows, 60, clock).boot(image_id, told.append)
    assert isinstance(result, quarantine.Failed), result
    assert 'did not say' in result.detail
    assert 'its console ends with: no root file system' in result.detail
    assert result.detail.isprintable()
    assert servers(guests) == []
    assert left(rows) == ()


def test_guest_that_says_nothing_fails_when_its_time_is_over(
    guests: clouds.Cloud,
    rows: catalogue_rows.Rows,
    imported: Callable[[str], str],
) -> None:
    result = quarantine_of(guests, rows, 5).boot(imported(''), print)
    assert isinstance(result, quarantine.Failed), result
    assert result.detail.endswith('in 5 s; its console is empty')
    assert servers(guests) == []
    assert left(rows) == ()


_PROGRAM = """
import sys
from hepix_vm.catalogue import database
from tests import catalogue_rows
from tests.cloud import launch
from tests.functional import test_quarantine
cloud = launch.attach(test_quarantine.Path(sys.argv[1]))
rows = catalogue_rows.Rows(sys.argv[2])
test_quarantine.quarantine_of(cloud, rows, 600).boot(sys.argv[3], print)
"""


def test_server_of_a_run_that_was_killed_is_removed_by_the_next_one(
    guests: clouds.Cloud,
    rows: catalogue_rows.Rows,
    imported: Callable[[str], str],
) -> None:
    nova = guests.nova(TRIAL)
    flavor = nova.flavors.find(name=clouds.FLAVOR)
    image_id = imported('')
    trying = quarantine_of(guests, rows, 5)
    trying.glance.share(image_id, trying.project)
    # Whose name and image are right, but which was not made by a boot.
    other = nova.servers.create(
        f'{rows_.PREFIX}mine', image_id, flavor, nics='none'
    )
    try:
        _killed_in_the_midst(guests, rows, image_id)
        assert len(left(rows)) == 1
        assert len(servers(guests)) == 2
        quarantine_of(guests, rows, 5).clean()
        assert left(rows) == ()
        # Nova shows a server once more that is deleted while its conductor
        # is about to make it.
        waits.until(
            'the other server to be the only one',
            lambda: [server.id for server in servers(guests)] == [other.id],
            LIMIT,
            log=guests.log('nova-conductor'),
        )
    finally:
        actions.delete_server(guests, nova, other.id)


def _killed_in_the_midst(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, image_id: str
) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            '-c',
            _PROGRAM,
            str(cloud.layout.work),
            rows.connection,
            image_id,
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    ) as process:
        try:
            waits.until(
                'the server of the quarantine to be there',
                lambda: len(servers(cloud)) == 2,
                LIMIT,
                log=cloud.log('nova-api'),
                alive=lambda: process.poll() is None,
            )
        finally:
            process.kill()


@pytest.fixture
def aggregate(guests: clouds.Cloud) -> Iterator[str]:
    """A host aggregate with the cloud's host."""
    nova = guests.nova()
    made = nova.aggregates.create('fast', None)
    made.add_host(settings.HOST)
    yield made.name
    made.remove_host(settings.HOST)
    made.delete()


def test_released_image_is_fetched_by_the_hosts_of_an_aggregate(
    guests: clouds.Cloud,
    guest_rows: catalogue_rows.Rows,
    rows: catalogue_rows.Rows,
    aggregate: str,
) -> None:
    data = guest.image(mark='to be fetched')
    guest_rows.endorse(data)
    glance = guests.glance('demo')
    made = actions.stage_and_import(glance, 'guest', data)
    assert actions.wait_for_import(guests, glance, made)
    rows.subscription('trusted')
    rows.endorse(data)
    rows.record(made, data)
    _publish(rows, made, data)
    nova = compute.Compute(guests.session(), None, 'public')
    wanted = precache.Settings((aggregate,))
    now = int(time.time())

    def asked() -> list[precache.Asked]:
        return list(
            precaching.precached(rows.store, nova, 'default', wanted, now)
        )

    assert asked() == [precache.Asked(aggregate, made)]
    name = hashlib.sha1(made.encode(), usedforsecurity=False).hexdigest()
    cached = guests.layout.data / 'nova' / 'instances' / '_base' / name
    waits.until(
        'the image to be in the cache of the host',
        cached.is_file,
        LIMIT,
        log=guests.log('nova-compute'),
    )
    assert cached.read_bytes() == data
    assert asked() == []
    rows.withdraw(data)
    assert asked() == []


def _publish(rows: catalogue_rows.Rows, image_id: str, data: bytes) -> None:
    with rows.store.writing() as transaction:
        transaction.put(
            schema.publication,
            {'image_id': image_id},
            {
                'cloud': 'default',
                'subscription': 'trusted',
                'identifier': image_id,
                'version': '1.0',
                'sha512': catalogue_rows.sha512(data),
                'state': 'active',
                'at': 1,
                'published_at': 1,
            },
        )

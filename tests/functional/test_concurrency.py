# SPDX-License-Identifier: Apache-2.0
"""Many imports and boots at once, while endorsers withdraw images."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import concurrent.futures
import dataclasses
import itertools
import re
import threading
import time
from typing import Any

from keystoneauth1 import exceptions as keystone_exc
from novaclient import exceptions as nova_exc
import pytest

from hepix_vm.catalogue import settle
from tests import catalogue_rows
from tests.cloud import actions
from tests.cloud import cloud as clouds
from tests.cloud import waits
from tests.functional import images as acts

#: Seconds for all of it on a busy machine; it takes a minute or two.
LIMIT = 800.0
#: Servers, and of how many of them a request asks for.
BOOTS, EACH = 200, 4
#: Servers that have to run in the end. The others are placed, and wait for
#: the one compute host, which takes its time.
RUNNING = 4
#: Imports by what becomes of their bytes meanwhile.
STAYING, WITHDRAWN, UNKNOWN = 30, 10, 10
PROJECT = 'crowd'
ENDED = frozenset({'withdrawn', 'record-withdrawn'})
VERDICT = re.compile(
    r'verdict=(?P<verdict>approved|refused) image=(?P<image>[0-9a-f-]{36})'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """An image of this test."""

    image_id: str
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Imported:
    """How one of the imports ended."""

    data: bytes
    outcome: acts.Outcome


class Crowd:
    """Users who all want something at the same time.

    Each thread has clients of its own.
    """

    def __init__(self, cloud: clouds.Cloud) -> None:
        self._cloud = cloud
        self._own = threading.local()
        #: What a request for servers was answered at once, by image.
        self.forbidden: list[tuple[str, str]] = []

    @property
    def images(self) -> acts.Images:
        if not hasattr(self._own, 'images'):
            self._own.images = acts.Images(self._cloud, PROJECT)
        found: acts.Images = self._own.images
        return found

    @property
    def servers(self) -> acts.Servers:
        if not hasattr(self._own, 'servers'):
            self._own.servers = acts.Servers(self._cloud, PROJECT)
            self._own.flavor = self._own.servers.flavor()
        found: acts.Servers = self._own.servers
        return found

    def take_in(self, data: bytes) -> Imported:
        return Imported(data, self.images.imported(data))

    def boot(self, image_id: str) -> None:
        servers = self.servers
        try:
            servers.client.servers.create(
                'crowd',
                image_id,
                self._own.flavor,
                nics='none',
                min_count=EACH,
                max_count=EACH,
            )
        except (nova_exc.Forbidden, keystone_exc.Forbidden) as exc:
            self.forbidden.append((image_id, str(exc)))

    def count(self, status: str) -> int:
        """How many servers of a status there are."""
        found = self.servers.client.servers.list(
            detailed=False, search_opts={'status': status}, limit=-1
        )
        return len(found)

    def explained(self) -> list[Any] | None:
        """All servers, once Nova has said of each why it has failed."""
        found: list[Any] = self.servers.client.servers.list(limit=-1)
        return None if any(map(actions.unexplained, found)) else found


@pytest.fixture
def crowd(cloud: clouds.Cloud) -> Iterator[Crowd]:
    """A project that may have as many servers as it wants."""
    project = cloud.add_project(PROJECT)
    cloud.add_user(PROJECT, PROJECT)
    cloud.nova().quotas.update(project, instances=-1, cores=-1, ram=-1)
    one = Crowd(cloud)
    yield one
    client = one.servers.client
    left = [server.id for server in client.servers.list(limit=-1)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(client.servers.delete, left))


def endorsed(rows: catalogue_rows.Rows, number: int) -> list[bytes]:
    many = [acts.some_bytes(4096) for _ in range(number)]
    for data in many:
        rows.endorse(data)
    return many


def withdraw(rows: catalogue_rows.Rows, data: bytes) -> None:
    """What the sync does when a list leaves an image out."""
    rows.withdraw(data)
    rows.store.transact(lambda made: settle.records(made, int(time.time())))


def verdicts(log: str, images: Iterable[str]) -> dict[str, list[str]]:
    """What a process decided of each image, in its order."""
    found: dict[str, list[str]] = {image_id: [] for image_id in images}
    for match in VERDICT.finditer(log):
        if match['image'] in found:
            found[match['image']].append(match['verdict'])
    return found


def all_at_once(
    calls: Iterable[Callable[[], Any]], threads: int
) -> list[concurrent.futures.Future[Any]]:
    """Have many calls under way; the caller waits for them."""
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    asked = [pool.submit(call) for call in calls]
    pool.shutdown(wait=False)
    return asked


def ended(what: str, asked: list[concurrent.futures.Future[Any]]) -> list[Any]:
    """What they returned.

    A deadlock anywhere in the cloud shows here.
    """
    _done, late = concurrent.futures.wait(asked, LIMIT)
    assert not late, f'{len(late)} of {len(asked)} {what} never ended'
    return [one.result() for one in asked]


def test_imports_and_boots_at_once_with_withdrawals_in_between(
    cloud: clouds.Cloud, rows: catalogue_rows.Rows, crowd: Crowd
) -> None:
    booted = [
        Taken(one.outcome.image['id'], one.data)
        for one in map(crowd.take_in, endorsed(rows, 4))
    ]
    lasting, doomed = booted[:2], booted[2:]
    staying = endorsed(rows, STAYING)
    leaving = endorsed(rows, WITHDRAWN)
    unknown = [acts.some_bytes(4096) for _ in range(UNKNOWN)]
    # Those of a kind are spread over the whole time.
    mixed = [
        data
        for several in itertools.zip_longest(staying, leaving, unknown)
        for data in several
        if data is not None
    ]
    imports = all_at_once(
        [lambda data=data: crowd.take_in(data) for data in mixed],  # type: ignore[misc]
        10,
    )
    boots = all_at_once(
        [
            lambda one=one: crowd.boot(one.image_id)  # type: ignore[misc]
            for one in itertools.islice(
                # Most of them will be refused, which is quick.
                itertools.cycle([lasting[0], *doomed, lasting[1], *doomed]),
                BOOTS // EACH,
            )
        ],
        10,
    )
    # Each when a share of the boots has been asked for.
    going = [*(one.data for one in doomed), *leaving]
    for number, data in enumerate(going, 1):
        share = len(boots) * number // (len(going) + 1)
        waits.until(
            f'{share} of {len(boots)} boots to be asked for',
            lambda: sum(one.done() for one in boots) >= share,  # noqa: B023
            LIMIT,
        )
        withdraw(rows, data)
    ended('boots', boots)
    taken = {one.data: one.outcome for one in ended('imports', imports)}
    decided = all_decided(cloud, crowd, [one.image_id for one in booted])
    check_imports(rows, taken, staying, leaving, unknown)
    check_servers(crowd, decided, lasting, doomed)


def check_imports(
    rows: catalogue_rows.Rows,
    taken: dict[bytes, acts.Outcome],
    staying: list[bytes],
    leaving: list[bytes],
    unknown: list[bytes],
) -> None:
    """Approved bytes came in; no other is approved now."""
    for data in staying:
        assert taken[data].status == 'success', taken[data].message
        record = rows.recorded(taken[data].image['id'])
        assert record is not None
        assert record.state == 'positive'
        assert record.final_sha512 == catalogue_rows.sha512(data)
    for data in unknown:
        assert '(not-endorsed)' in taken[data].message
        assert rows.recorded(taken[data].image['id']) is None
    rows.store.transact(lambda made: settle.records(made, int(time.time())))
    for data in leaving:
        record = rows.recorded(taken[data].image['id'])
        assert record is None or record.state == 'withdrawn'
        if taken[data].status == 'failure':
            assert '(withdrawn)' in taken[data].message


def all_decided(
    cloud: clouds.Cloud, crowd: Crowd, images: list[str]
) -> dict[str, list[str]]:
    """What the scheduler said of each image, once it said all of it."""
    log = cloud.log('nova-scheduler')
    asked = BOOTS // EACH - len(crowd.forbidden)

    def decided() -> dict[str, list[str]] | None:
        found = verdicts(log.read_text(), images)
        return found if sum(map(len, found.values())) >= asked else None

    found = waits.until(
        f'the scheduler to decide {asked} requests', decided, LIMIT, log=log
    )
    refused = sum(order.count('refused') for order in found.values())
    for status, number in (('ERROR', EACH * refused), ('ACTIVE', RUNNING)):
        waits.until(
            f'{number} servers to be {status}',
            lambda: crowd.count(status) >= number,  # noqa: B023
            LIMIT,
            log=cloud.log('nova-conductor'),
            interval=2,
        )
    return found


def check_servers(
    crowd: Crowd,
    decided: dict[str, list[str]],
    lasting: list[Taken],
    doomed: list[Taken],
) -> None:
    """No approved boot was refused, and no refused image runs."""
    servers = waits.until(
        'Nova to say why servers have failed', crowd.explained, LIMIT
    )
    by_image: dict[str, list[Any]] = {}
    for server in servers:
        by_image.setdefault(server.image['id'], []).append(server)
    for _, text in crowd.forbidden:
        assert any(f'({code})' in text for code in ENDED), text
    assert len(servers) + EACH * len(crowd.forbidden) == BOOTS
    guarded = {image_id for image_id, _ in crowd.forbidden}
    for one in lasting:
        states = {server.status for server in by_image[one.image_id]}
        assert states <= {'ACTIVE', 'BUILD'}, one
        assert one.image_id not in guarded
        assert set(decided[one.image_id]) == {'approved'}
    for one in doomed:
        order = decided[one.image_id]
        # Once it was refused nothing approved it again.
        assert order == sorted(order), order
        wrong = [s for s in by_image[one.image_id] if s.status == 'ERROR']
        assert len(wrong) == EACH * order.count('refused')
        for server in wrong:
            assert any(f'({code})' in acts.fault(server) for code in ENDED)
        # Some came too late for the scheduler, or for the API.
        assert wrong or one.image_id in guarded

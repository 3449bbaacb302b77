# SPDX-License-Identifier: Apache-2.0
"""Which requests the filter refuses, decided over a real catalogue."""

from collections.abc import Iterator
import pathlib
from typing import Any

import pytest

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.nova import judgement
from hepix_vm.nova import placing
from hepix_vm.nova import request
from tests import catalogue_rows

GOOD = 'aaaaaaaa-0000-4000-8000-000000000001'
BAD = 'bbbbbbbb-0000-4000-8000-000000000002'
OTHER = 'eeeeeeee-0000-4000-8000-000000000005'
WITH_KERNEL = 'dddddddd-0000-4000-8000-000000000004'
BAD_KERNEL = 'ffffffff-0000-4000-8000-000000000006'
SERVER = 'cccccccc-0000-4000-8000-000000000003'
DATA = b'endorsed bytes'
CREATED = 1_700_000_000
ENFORCED = judgement.Scope.ENFORCED
EXISTING = judgement.Scope.EXISTING_SERVER
Scope = judgement.Scope


@pytest.fixture(scope='module')
def catalogue(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[reader.Reader]:
    path: pathlib.Path = tmp_path_factory.mktemp('catalogue') / 'c.sqlite'
    rows = catalogue_rows.Rows(f'sqlite:///{path}')
    rows.subscription('trusted')
    rows.endorse(DATA)
    rows.record(GOOD, DATA, created_at=CREATED, boot='')
    for image_id, kernel in ((WITH_KERNEL, GOOD), (BAD_KERNEL, BAD)):
        rows.record(
            image_id,
            DATA,
            created_at=CREATED,
            boot=boot.stored([('kernel_id', kernel)]),
        )
    yield (
        one := reader.Reader(
            reader.ReaderSettings(rows.connection, store_timeout=30)
        )
    )
    one.close()
    rows.close()


def placement(image_id: str | None = GOOD, **values: Any) -> request.Placement:
    fields: dict[str, Any] = {
        'image': model.ImageFacts(
            image_id, len(DATA), CREATED, boot=request._PLAIN
        ),
        'server': SERVER,
        'project': 'project',
        'volume_boot': False,
        'rebuild': False,
    } | values
    return request.Placement(**fields)


def disk(source: str, index: int = -1, **values: Any) -> request.Device:
    fields: dict[str, Any] = {
        'volume': source in ('volume', 'snapshot'),
        'boots': index >= 0,
    } | values
    return request.Device(source, **fields)


ROOT = disk('image', 0, image_id=GOOD)
NO_KERNEL = ('', '')
NEW = request.Server(False, (ROOT,), NO_KERNEL)
THERE = request.Server(True)
REBUILT = request.Server(True, kernel=NO_KERNEL)
SITE = placing.Placing()
FROM_VOLUMES = placing.Placing(volume_boot=placing.VolumeBoot.ENDORSED)


def new(*devices: request.Device, kernel: Any = NO_KERNEL) -> request.Server:
    return request.Server(False, devices, kernel)


def judge(
    catalogue: reader.Reader,
    one: request.Placement,
    server: request.Server,
    site: placing.Placing = SITE,
) -> tuple[str, judgement.Scope]:
    judged = judgement.judge(one, catalogue, site, lambda: server)
    return str(judged.decision.code), judged.scope


@pytest.mark.parametrize(
    ('one', 'server', 'expected'),
    [
        (placement(), NEW, ('approved', ENFORCED)),
        (placement(BAD), NEW, ('no-record', ENFORCED)),
        (placement(None), new(), ('no-image', ENFORCED)),
        (placement(volume_boot=True), NEW, ('volume-boot', ENFORCED)),
        (placement(volume_boot=None), NEW, ('volume-boot', ENFORCED)),
        (placement(None, volume_boot=True), NEW, ('volume-boot', ENFORCED)),
        # The mark of a rebuild on a new server, as a user can set it.
        (
            placement(volume_boot=True, rebuild=True),
            NEW,
            ('volume-boot', ENFORCED),
        ),
        (placement(BAD, rebuild=True), NEW, ('no-record', ENFORCED)),
        # What Nova does not say of the server is refused.
        (
            placement(server=None),
            request.Server(),
            ('internal-error', ENFORCED),
        ),
        (placement(BAD), request.Server(), ('no-record', ENFORCED)),
        (placement(), new(ROOT, kernel=None), ('internal-error', ENFORCED)),
        (placement(rebuild=True), THERE, ('internal-error', ENFORCED)),
        # Existing servers
        (placement(BAD), THERE, ('no-record', EXISTING)),
        (placement(), THERE, ('approved', ENFORCED)),
        (placement(None), THERE, ('no-image', EXISTING)),
        (placement(None, volume_boot=True), THERE, ('no-image', EXISTING)),
        (placement(BAD, rebuild=True), REBUILT, ('no-record', ENFORCED)),
        (placement(None, rebuild=True), REBUILT, ('no-image', ENFORCED)),
        (placement(rebuild=True), REBUILT, ('approved', ENFORCED)),
        # A rebuild writes the new image into the server's volume.
        (
            placement(volume_boot=True, rebuild=True),
            REBUILT,
            ('approved', ENFORCED),
        ),
        (
            placement(rebuild=True),
            request.Server(True, kernel=(BAD, '')),
            ('image-changed', ENFORCED),
        ),
    ],
)
def test_requests(
    catalogue: reader.Reader,
    one: request.Placement,
    server: request.Server,
    expected: tuple[str, judgement.Scope],
) -> None:
    assert judge(catalogue, one, server) == expected


@pytest.mark.parametrize(
    ('devices', 'refusing', 'endorsed'),
    [
        ((ROOT,), 'approved', 'approved'),
        ((ROOT, disk('blank')), 'approved', 'approved'),
        # Data beside the image
        ((ROOT, disk('volume')), 'approved', 'approved'),
        ((ROOT, disk('image', image_id=BAD)), 'no-record', 'no-record'),
        ((ROOT, disk('image', image_id=GOOD)), 'approved', 'approved'),
        # Tried after the first
        ((ROOT, disk('volume', 1)), 'volume-boot', 'approved'),
        (
            (ROOT, disk('image', 1, volume=True, image_id=BAD)),
            'volume-boot',
            'no-record',
        ),
        # Another image than that of the request boots.
        (
            (disk('image', 0, volume=True, image_id=BAD),),
            'volume-boot',
            'no-record',
        ),
        ((disk('image', 0, image_id=BAD),), 'no-record', 'no-record'),
        (
            (disk('image', 0, volume=True, image_id=GOOD),),
            'volume-boot',
            'approved',
        ),
    ],
)
def test_every_disk_of_a_new_server_is_looked_at(
    catalogue: reader.Reader,
    devices: tuple[request.Device, ...],
    refusing: str,
    endorsed: str,
) -> None:
    server = new(*devices)
    assert judge(catalogue, placement(), server)[0] == refusing
    assert judge(catalogue, placement(), server, FROM_VOLUMES)[0] == endorsed


@pytest.mark.parametrize(
    ('image', 'devices', 'code'),
    [
        # The API guard has asked Cinder about these.
        (None, (disk('volume', 0),), 'approved'),
        (None, (disk('snapshot', 0),), 'approved'),
        (None, (disk('volume', 0), disk('image', image_id=BAD)), 'no-record'),
        (BAD, (disk('volume', 0),), 'no-record'),
        # Nothing endorsed boots.
        (None, (disk('blank', 0, volume=True),), 'no-image'),
        (None, (disk('volume'),), 'no-image'),
        (None, (), 'no-image'),
        (GOOD, (disk('image', 0, volume=True, image_id=GOOD),), 'approved'),
        (None, (disk('image', 0, volume=True, image_id=GOOD),), 'approved'),
        (None, (disk('image', 0, volume=True, image_id=BAD),), 'no-record'),
    ],
)
def test_servers_boot_from_volumes_where_the_site_lets_them(
    catalogue: reader.Reader,
    image: str | None,
    devices: tuple[request.Device, ...],
    code: str,
) -> None:
    one = placement(image, volume_boot=True)
    assert judge(catalogue, one, new(*devices), FROM_VOLUMES)[0] == code
    assert judge(catalogue, one, new(*devices))[0] == 'volume-boot'
    unseen = request.Server()
    assert judge(catalogue, one, unseen, FROM_VOLUMES)[0] != 'approved'


@pytest.mark.parametrize(
    ('kernel', 'code'),
    [
        (NO_KERNEL, 'approved'),
        ((BAD, ''), 'image-changed'),
        (('', BAD), 'image-changed'),
        # Even a good one was not there when the image was recorded.
        ((GOOD, ''), 'image-changed'),
    ],
)
def test_kernel_that_came_later_stops_the_boot(
    catalogue: reader.Reader, kernel: tuple[str, str], code: str
) -> None:
    assert judge(catalogue, placement(), new(ROOT, kernel=kernel))[0] == code


def test_recorded_kernel_has_to_be_approved_itself(
    catalogue: reader.Reader,
) -> None:
    one = placement(WITH_KERNEL)
    assert judge(catalogue, one, new(kernel=(GOOD, '')))[0] == 'approved'
    other = placement(BAD_KERNEL)
    assert judge(catalogue, other, new(kernel=(BAD, '')))[0] == 'no-record'
    assert judge(catalogue, one, new())[0] == 'image-changed'


@pytest.mark.parametrize(
    ('one', 'expected'),
    [
        (placement(), ('approved', ENFORCED)),
        (placement(BAD), ('no-record', ENFORCED)),
        (placement(None), ('no-image', ENFORCED)),
        # Nobody can say any more what its volume was made from.
        (placement(None, volume_boot=True), ('no-image', EXISTING)),
        (placement(BAD, volume_boot=True), ('no-record', ENFORCED)),
    ],
)
def test_strict_site_judges_moves(
    catalogue: reader.Reader,
    one: request.Placement,
    expected: tuple[str, judgement.Scope],
) -> None:
    site = placing.Placing(on_moves=True)
    assert judge(catalogue, one, THERE, site) == expected


@pytest.mark.parametrize(
    ('site', 'project', 'scope'),
    [
        (placing.Placing(dry_run=True), 'project', Scope.DRY_RUN),
        (
            placing.Placing(where=placing.Where.AGGREGATES),
            'project',
            Scope.ENFORCING_HOSTS,
        ),
        (
            placing.Placing(
                where=placing.Where.AGGREGATES,
                exempt_projects=frozenset({'project'}),
            ),
            'project',
            Scope.EXEMPT,
        ),
        (
            placing.Placing(exempt_projects=frozenset({'other'})),
            'project',
            ENFORCED,
        ),
        (
            placing.Placing(enforced_projects=frozenset({'other'})),
            'project',
            Scope.EXEMPT,
        ),
        (
            placing.Placing(enforced_projects=frozenset({'project'})),
            'project',
            ENFORCED,
        ),
        # Nobody knows whose it is.
        (
            placing.Placing(enforced_projects=frozenset({'other'})),
            '',
            ENFORCED,
        ),
    ],
)
def test_what_a_refusal_does(
    catalogue: reader.Reader,
    site: placing.Placing,
    project: str,
    scope: judgement.Scope,
) -> None:
    one = placement(BAD, project=project)
    assert judge(catalogue, one, NEW, site) == ('no-record', scope)
    assert judge(catalogue, placement(), NEW, site)[0] == 'approved'
    assert judge(catalogue, placement(BAD), THERE, site)[1] is EXISTING


def test_every_image_involved_is_named(catalogue: reader.Reader) -> None:
    server = new(
        disk('image', 0, volume=True, image_id=BAD),
        disk('image', image_id=BAD),
        disk('blank'),
        kernel=(OTHER, ''),
    )
    judged = judgement.judge(
        placement(), catalogue, FROM_VOLUMES, lambda: server
    )
    assert judged.images == (GOOD, BAD, OTHER)


@pytest.mark.parametrize(
    ('size', 'created', 'code'),
    [
        (len(DATA), CREATED, 'approved'),
        (len(DATA), None, 'approved'),
        (len(DATA) + 1, CREATED, 'image-changed'),
        (None, CREATED, 'image-changed'),
        (len(DATA), CREATED + 1, 'image-changed'),
    ],
)
def test_the_image_must_be_the_recorded_one(
    catalogue: reader.Reader, size: int | None, created: int | None, code: str
) -> None:
    one = placement(image=model.ImageFacts(GOOD, size, created))
    assert judge(catalogue, one, NEW)[0] == code

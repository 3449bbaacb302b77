# SPDX-License-Identifier: Apache-2.0
"""Which requests the filter refuses, decided over a real catalogue."""

from collections.abc import Iterator
import pathlib
from typing import Any

import pytest

from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.nova import judgement
from hepix_vm.nova import request
from tests import catalogue_rows

GOOD = 'aaaaaaaa-0000-4000-8000-000000000001'
BAD = 'bbbbbbbb-0000-4000-8000-000000000002'
SERVER = 'cccccccc-0000-4000-8000-000000000003'
DATA = b'endorsed bytes'
CREATED = 1_700_000_000
ENFORCED = judgement.Scope.ENFORCED
EXISTING = judgement.Scope.EXISTING_SERVER


@pytest.fixture(scope='module')
def catalogue(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[reader.Reader]:
    path: pathlib.Path = tmp_path_factory.mktemp('catalogue') / 'c.sqlite'
    rows = catalogue_rows.Rows(f'sqlite:///{path}')
    rows.subscription('trusted')
    rows.endorse(DATA)
    rows.record(GOOD, DATA, created_at=CREATED)
    yield (
        one := reader.Reader(
            reader.ReaderSettings(rows.connection, store_timeout=30)
        )
    )
    one.close()
    rows.close()


def placement(image_id: str | None = GOOD, **values: Any) -> request.Placement:
    fields: dict[str, Any] = {
        'image': model.ImageFacts(image_id, len(DATA), CREATED),
        'server': SERVER,
        'project': 'project',
        'volume_boot': False,
        'rebuild': False,
    } | values
    return request.Placement(**fields)


def judge(
    catalogue: reader.Reader, one: request.Placement, exists: bool
) -> tuple[bool, str, judgement.Scope]:
    decision, scope = judgement.judge(one, catalogue, lambda: exists)
    return decision.approved, str(decision.code), scope


@pytest.mark.parametrize(
    ('one', 'exists', 'expected'),
    [
        (placement(), False, (True, 'approved', ENFORCED)),
        (placement(BAD), False, (False, 'no-record', ENFORCED)),
        (placement(None), False, (False, 'no-image', ENFORCED)),
        (
            placement(volume_boot=True),
            False,
            (False, 'volume-boot', ENFORCED),
        ),
        (
            placement(volume_boot=None),
            False,
            (False, 'volume-boot', ENFORCED),
        ),
        (
            placement(None, volume_boot=True),
            False,
            (False, 'volume-boot', ENFORCED),
        ),
        # The mark of a rebuild on a new server, as a user can set it.
        (
            placement(volume_boot=True, rebuild=True),
            False,
            (False, 'volume-boot', ENFORCED),
        ),
        (placement(BAD, rebuild=True), False, (False, 'no-record', ENFORCED)),
        (placement(server=None), False, (True, 'approved', ENFORCED)),
        # Existing servers
        (placement(BAD), True, (False, 'no-record', EXISTING)),
        (placement(None), True, (False, 'no-image', EXISTING)),
        (
            placement(None, volume_boot=True),
            True,
            (False, 'no-image', EXISTING),
        ),
        (placement(BAD, rebuild=True), True, (False, 'no-record', ENFORCED)),
        (placement(None, rebuild=True), True, (False, 'no-image', ENFORCED)),
        (placement(rebuild=True), True, (True, 'approved', ENFORCED)),
        # A rebuild writes the new image into the server's volume.
        (
            placement(volume_boot=True, rebuild=True),
            True,
            (True, 'approved', ENFORCED),
        ),
    ],
)
def test_requests(
    catalogue: reader.Reader,
    one: request.Placement,
    exists: bool,
    expected: tuple[bool, str, judgement.Scope],
) -> None:
    assert judge(catalogue, one, exists) == expected


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
    assert judge(catalogue, one, False)[1] == code


def test_nova_is_not_asked_about_what_is_approved(
    catalogue: reader.Reader,
) -> None:
    def asked() -> bool:
        pytest.fail('asked whether the server exists')

    judgement.judge(placement(), catalogue, asked)

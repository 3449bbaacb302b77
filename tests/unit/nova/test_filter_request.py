# SPDX-License-Identifier: Apache-2.0
"""What is read of Nova's own request objects, whatever is unset in them."""

import datetime

import pytest

pytest.importorskip('nova')

from nova import objects

from hepix_vm.catalogue import model
from hepix_vm.nova import request

objects.register_all()

IMAGE = 'aaaaaaaa-0000-4000-8000-000000000001'
SERVER = 'cccccccc-0000-4000-8000-000000000003'
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def test_a_full_request() -> None:
    spec = objects.RequestSpec(
        image=objects.ImageMeta(id=IMAGE, size=7, created_at=WHEN),
        instance_uuid=SERVER,
        project_id='project',
        is_bfv=True,
        scheduler_hints={'_nova_check_type': ['rebuild']},
    )
    assert request.read(spec) == request.Placement(
        image=model.ImageFacts(IMAGE, 7, int(WHEN.timestamp())),
        server=SERVER,
        project='project',
        volume_boot=True,
        rebuild=True,
    )


def test_an_empty_request() -> None:
    assert request.read(objects.RequestSpec()) == request.Placement(
        image=model.ImageFacts(None, None, None),
        server=None,
        project='',
        volume_boot=None,
        rebuild=False,
    )


@pytest.mark.parametrize(
    'spec',
    [
        objects.RequestSpec(image=None, scheduler_hints=None),
        objects.RequestSpec(image=objects.ImageMeta(), scheduler_hints={}),
        objects.RequestSpec(
            image=objects.ImageMeta(created_at=None), project_id=None
        ),
    ],
)
def test_fields_without_a_value(spec: object) -> None:
    read = request.read(spec)
    assert read.image == model.ImageFacts(None, None, None)
    assert read.rebuild is False


@pytest.mark.parametrize(
    'hints',
    [
        {'_nova_check_type': ['Rebuild']},
        {'_nova_check_type': []},
        {'group': ['rebuild']},
    ],
)
def test_other_hints_are_no_rebuild(hints: dict[str, list[str]]) -> None:
    spec = objects.RequestSpec(scheduler_hints=hints)
    assert request.read(spec).rebuild is False

# SPDX-License-Identifier: Apache-2.0
"""What publishing changes of an image is no change behind its approval."""

import pytest

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm import errors
from hepix_vm.glance import rules
from hepix_vm.glance import template
from hepix_vm.glance import wanted
from tests.unit.operations.published import RAW


def want_disk(publishing, gib: int) -> None:
    publishing.rules = wanted.Rules(
        template.parse('{title}'),
        rules=(rules.parse(f'* : min_disk = {gib}'),),
    )


def decision(publishing, image_id: str) -> model.Decision:
    """The decision over the image as Glance has it at this moment."""
    now = publishing.site.now
    image = publishing.glance.image(image_id)
    with publishing.site.database.reading() as connection:
        snapshot = loading.load(connection, None, now).snapshot
    return model.decide_image(
        snapshot,
        model.ImageFacts(
            image_id,
            image.size,
            boot=boot.of_glance(image.min_disk, image.properties),
        ),
        None,
        now,
        600,
    )


@pytest.fixture
def released(publishing) -> str:
    publishing.endorse((RAW, {}))
    want_disk(publishing, 1)
    (one,) = publishing.publish()
    assert decision(publishing, one.image_id).approved
    return one.image_id


def test_another_min_disk_by_the_sites_own_rules_keeps_it_approved(
    publishing, released
):
    want_disk(publishing, 7)
    publishing.publish()
    assert publishing.glance.image(released).min_disk == 7
    assert decision(publishing, released).approved


def test_half_of_the_change_is_not_approved_and_the_next_run_ends_it(
    publishing, released
):
    want_disk(publishing, 7)
    publishing.glance.broken['change'] = errors.TryAgain('away')
    publishing.publish()
    assert publishing.glance.image(released).min_disk == 1
    half = decision(publishing, released)
    assert half.code is model.Reason.IMAGE_CHANGED
    publishing.glance.broken.clear()
    publishing.publish()
    assert publishing.glance.image(released).min_disk == 7
    assert decision(publishing, released).approved


def test_what_others_change_is_taken_back_and_never_approved(
    publishing, released
):
    publishing.glance.bodies[released] |= {'min_disk': 50, 'kernel_id': 'k'}
    changed = decision(publishing, released)
    assert changed.code is model.Reason.IMAGE_CHANGED
    publishing.publish()
    image = publishing.glance.image(released)
    assert (image.min_disk, image.properties.get('kernel_id')) == (1, None)
    assert decision(publishing, released).approved

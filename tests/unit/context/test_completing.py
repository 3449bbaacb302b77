# SPDX-License-Identifier: Apache-2.0
"""What Nova does not say is added from memory."""

import pytest

from hepix_vm.catalogue import hosts
from hepix_vm.catalogue import model
from hepix_vm.context import completing
from hepix_vm.context import facts
from hepix_vm.context import identities
from tests.unit.catalogue import snapshots

UUID = '0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6a11'
HOST = hosts.Host('h', 8, 'a model', (), 'QEMU', snapshots.NOW)


class Catalogue:
    """In memory, or still away."""

    def __init__(self, snapshot):
        self.found = snapshot
        self.waited = []

    def snapshot(self, wait):
        self.waited.append(wait)
        return self.found


@pytest.fixture
def catalogue():
    return Catalogue(
        snapshots.snapshot(
            [snapshots.endorsement(vo='atlas')],
            [snapshots.subscribed(endorser='CN=One')],
        )
    )


def _asked(catalogue, answer, needed=True):
    asked = completing.Completing(
        ask=lambda uuids: dict.fromkeys(uuids, answer),
        catalogue=catalogue,
        hosts=lambda: {'h': HOST},
        needed=lambda: needed,
        clock=lambda: snapshots.NOW + 0.5,
    ).asked([UUID])
    return asked[UUID]


def _facts(**values):
    return facts.Facts(UUID, 'p', **values)


def test_the_endorsement_of_the_image_is_added(catalogue):
    found = _asked(catalogue, _facts(image=snapshots.GLANCE_IMAGE))
    assert found.endorsed == facts.Endorsed(
        endorser='CN=One',
        list=snapshots.LIST,
        vo='atlas',
        identifier=snapshots.IMAGE,
    )


@pytest.mark.parametrize('image', [None, 'unknown'])
def test_an_image_that_nobody_endorsed_adds_nothing(catalogue, image):
    assert _asked(catalogue, _facts(image=image)) == _facts(image=image)


def test_the_kind_of_the_hypervisor_is_added(catalogue):
    found = _asked(catalogue, _facts(host='h'))
    assert found.hypervisor_type == 'QEMU'
    found = _asked(catalogue, _facts(host='h', hypervisor_type='Xen'))
    assert found.hypervisor_type == 'Xen'


def test_a_refusal_stays_one(catalogue):
    refusal = identities.unknown(UUID)
    assert _asked(catalogue, refusal) is refusal
    assert catalogue.waited == []


def test_a_host_that_is_not_known_leaves_the_kind_awaited(catalogue):
    found = _asked(catalogue, _facts(host='other'))
    assert found == _facts(host='other', awaited=('hypervisor_type',))
    assert _asked(catalogue, _facts()).awaited == ()
    assert _asked(catalogue, _facts(host='h')).awaited == ()


@pytest.mark.parametrize('needed', [True, False])
def test_a_catalogue_that_has_never_answered_leaves_much_awaited(needed):
    away = Catalogue(model.EMPTY)
    found = _asked(away, _facts(image='i'), needed=needed)
    assert found == _facts(image='i', awaited=facts.ENDORSED)
    # Only where it matters it is waited for.
    assert away.waited == [needed]


def test_for_a_hundred_instances_the_catalogue_is_waited_for_once():
    away = Catalogue(model.EMPTY)
    names = [f'{UUID[:-3]}{number:03}' for number in range(100)]
    found = completing.Completing(
        ask=lambda uuids: {
            uuid: facts.Facts(uuid, 'p', image='i') for uuid in uuids
        },
        catalogue=away,
        hosts=dict,
        needed=lambda: True,
        clock=lambda: snapshots.NOW,
    ).asked(names)
    assert list(found) == names
    assert away.waited == [True]

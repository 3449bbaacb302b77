# SPDX-License-Identifier: Apache-2.0
"""What Nova does not say is added from memory."""

import pytest

from hepix_vm.catalogue import hosts
from hepix_vm.catalogue import model
from hepix_vm.context import completing
from hepix_vm.context import facts
from hepix_vm.context import identities
from hepix_vm.context import identity
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
    assert _asked(catalogue, _facts(host='other')).hypervisor_type is None
    found = _asked(catalogue, _facts(host='h', hypervisor_type='Xen'))
    assert found.hypervisor_type == 'Xen'


def test_a_refusal_stays_one(catalogue):
    refusal = identities.unknown(UUID)
    assert _asked(catalogue, refusal) is refusal
    assert catalogue.waited == []


def test_while_the_catalogue_has_never_answered_it_is_waited_for():
    away = Catalogue(model.EMPTY)
    found = _asked(away, _facts(image='i'), needed=True)
    assert isinstance(found, identity.Refusal)
    assert found.status == 503
    assert found.reason == identity.Reason.CATALOGUE_AWAY
    assert away.waited == [True]


def test_where_endorsements_do_not_matter_nothing_is_waited_for():
    away = Catalogue(model.EMPTY)
    found = _asked(away, _facts(image='i'), needed=False)
    assert found == _facts(image='i')
    assert away.waited == [False]

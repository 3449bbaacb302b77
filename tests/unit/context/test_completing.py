# SPDX-License-Identifier: Apache-2.0
"""What Nova does not say is added from memory."""

import dataclasses

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


def _completing(catalogue, needed=True):
    return completing.Completing(
        catalogue=catalogue,
        hosts=lambda: {'h': HOST},
        needed=lambda: needed,
        clock=lambda: snapshots.NOW + 0.5,
    )


def _completed(catalogue, answer):
    return _completing(catalogue).completed(answer)


def _facts(**values):
    return facts.Facts(UUID, 'p', **values)


def test_the_endorsement_of_the_image_is_added(catalogue):
    found = _completed(catalogue, _facts(image=snapshots.GLANCE_IMAGE))
    assert found.endorsed == facts.Endorsed(
        endorser='CN=One',
        list=snapshots.LIST,
        vo='atlas',
        identifier=snapshots.IMAGE,
    )


@pytest.mark.parametrize('image', [None, 'unknown'])
def test_an_image_that_nobody_endorsed_adds_nothing(catalogue, image):
    there = _facts(host='h', hypervisor_type='QEMU', image=image)
    assert _completed(catalogue, there) == there


def test_the_kind_of_the_hypervisor_is_added(catalogue):
    found = _completed(catalogue, _facts(host='h'))
    assert found.hypervisor_type == 'QEMU'
    found = _completed(catalogue, _facts(host='h', hypervisor_type='Xen'))
    assert found.hypervisor_type == 'Xen'


def test_a_host_that_is_not_known_leaves_the_kind_awaited(catalogue):
    found = _completed(catalogue, _facts(host='other'))
    assert found == _facts(host='other', awaited=('hypervisor_type',))
    assert _completed(catalogue, _facts(host='h')).awaited == ()


def test_a_host_that_nova_does_not_tell_is_awaited(catalogue):
    found = _completed(catalogue, _facts())
    assert found.awaited == ('host', 'hypervisor_type')
    found = _completed(catalogue, _facts(hypervisor_type='Xen'))
    assert found.awaited == ('host',)


def test_a_catalogue_that_has_never_answered_leaves_much_awaited():
    away = Catalogue(model.EMPTY)
    there = _facts(host='h', hypervisor_type='QEMU', image='i')
    found = _completed(away, there)
    assert found == dataclasses.replace(there, awaited=facts.ENDORSED)
    assert away.waited == [False]


def test_what_the_catalogue_says_later_counts_at_once(catalogue):
    there, catalogue.found = catalogue.found, model.EMPTY
    known = _facts(image=snapshots.GLANCE_IMAGE)
    whole = _completing(catalogue)
    assert whole.completed(known).endorsed is None
    catalogue.found = there
    assert whole.completed(known).endorsed.vo == 'atlas'


@pytest.mark.parametrize('needed', [True, False])
def test_for_many_answers_the_catalogue_is_waited_for_once(needed):
    away = Catalogue(model.EMPTY)
    names = [f'{UUID[:-3]}{number:03}' for number in range(100)]
    answers = {name: facts.Facts(name, 'p', image='i') for name in names}
    assert _completing(away, needed).awaited(answers) is answers
    # Only where it matters.
    assert away.waited == [needed]


@pytest.mark.parametrize('answer', [_facts(), identities.unknown(UUID)])
def test_for_answers_without_an_image_it_is_not_waited_for(catalogue, answer):
    _completing(catalogue).awaited({UUID: answer})
    assert catalogue.waited == []

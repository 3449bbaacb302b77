# SPDX-License-Identifier: Apache-2.0
"""Whose image it is: which of several endorsements says so."""

import pytest

from hepix_vm.catalogue import endorsed
from tests.unit.catalogue import snapshots


SUBSCRIBED = (snapshots.subscribed(),)


def _row(*endorsements, subscriptions=SUBSCRIBED):
    found = endorsed.of_image(
        snapshots.snapshot(endorsements, subscriptions),
        snapshots.GLANCE_IMAGE,
        'p',
        snapshots.NOW,
    )
    return None if found is None else found.endorsement.row


def test_the_endorsement_and_its_subscription_are_found():
    found = endorsed.of_image(
        snapshots.snapshot(
            [snapshots.endorsement(vo='atlas')],
            [snapshots.subscribed(endorser='CN=Endorser')],
        ),
        snapshots.GLANCE_IMAGE,
        'p',
        snapshots.NOW,
    )
    assert found.endorsement.vo == 'atlas'
    assert found.subscribed.endorser == 'CN=Endorser'
    assert found.subscribed.list_identifier == snapshots.LIST


def test_an_image_without_a_record_has_none():
    found = endorsed.of_image(
        snapshots.snapshot(), 'another', 'p', snapshots.NOW
    )
    assert found is None


def test_bytes_without_an_endorsement_have_none():
    assert _row(snapshots.endorsement(sha512=snapshots.OTHER_BYTES)) is None


def test_one_of_a_subscription_that_nobody_knows_does_not_count():
    assert _row(snapshots.endorsement(), subscriptions=()) is None


@pytest.mark.parametrize(
    'worse',
    [
        {'withdrawn': True},
        {'approved': False},
        {'expires': snapshots.NOW - 1},
        {'subscription': 'others'},
    ],
)
def test_one_that_counts_for_the_project_goes_first(worse):
    subscriptions = (
        snapshots.subscribed(),
        snapshots.subscribed('others', projects=frozenset({'q'})),
    )
    assert (
        _row(
            snapshots.endorsement(1, **worse),
            snapshots.endorsement(2),
            subscriptions=subscriptions,
        )
        == 2
    )


def test_then_one_that_is_still_listed():
    assert (
        _row(
            snapshots.endorsement(1, withdrawn=True),
            snapshots.endorsement(2, approved=False),
        )
        == 2
    )


def test_a_withdrawn_one_still_says_whose_image_a_server_runs():
    assert _row(snapshots.endorsement(withdrawn=True)) == 1


def test_of_equal_ones_it_is_always_the_oldest():
    assert _row(snapshots.endorsement(2), snapshots.endorsement(1)) == 1

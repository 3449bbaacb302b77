# SPDX-License-Identifier: Apache-2.0
"""Lists that more than one endorser has to sign."""

from __future__ import annotations

import dataclasses

import pytest

from hepix_vm.catalogue import model
from hepix_vm.catalogue import sync
from hepix_vm import imagelist
from hepix_vm.trust import signing
from tests import endorser
from tests.unit.catalogue import following


@pytest.fixture
def two(site) -> following.Site:
    """A site that wants the signatures of two endorsers."""
    second = following.endorser_named('Second Endorser')
    second.write_trust_anchors(site.anchors)
    site.follow(threshold=2, co_endorsers=((second.subject, second.issuer),))
    return site


def _list(site: following.Site, *names: str) -> bytes:
    first = site.endorsers['main']
    people = {'first': first}
    people['second'] = following.endorser_named('Second Endorser')
    people['third'] = following.endorser_named('Third Endorser')
    people['third'].write_trust_anchors(site.anchors)
    made = first.make_list(
        following.identifier_of('main'), '1', [endorser.make_image(b'one')]
    )
    made = dataclasses.replace(
        made,
        endorsers=tuple(
            imagelist.Endorser(
                creator=name,
                subject=people[name].subject,
                issuer=people[name].issuer,
                email='someone@example.org',
            )
            for name in names
        ),
    )
    message = people[names[0]].sign(made)
    for name in names[1:]:
        message = signing.add_signature(
            message, people[name].certificate, people[name].key
        )
    return message


def test_two_of_two_are_believed(two) -> None:
    two.serve('main', _list(two, 'first', 'second'))
    assert two.sync()['main'].outcome is sync.Outcome.ACCEPTED
    assert two.decide(b'one') is model.Reason.APPROVED


def test_one_of_two_is_not_enough(two) -> None:
    two.serve('main', _list(two, 'first'))
    assert two.sync()['main'].code == 'threshold'
    assert two.decide(b'one') is model.Reason.NOT_ENDORSED


def test_a_stranger_beside_the_first_does_not_count(two) -> None:
    two.serve('main', _list(two, 'first', 'third'))
    assert two.sync()['main'].code == 'endorser-mismatch'


def test_two_where_one_is_wanted_are_too_many(main) -> None:
    main.serve('main', _list(main, 'first', 'second'))
    assert main.sync()['main'].code == 'too-many-signers'


def test_a_threshold_that_nobody_can_reach_is_a_mistake(site) -> None:
    site.follow(threshold=2)
    site.publish('main', '1')
    report = site.sync()['main']
    assert report.outcome is sync.Outcome.MISCONFIGURED
    assert 'threshold' in report.detail

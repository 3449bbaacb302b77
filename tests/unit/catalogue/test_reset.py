# SPDX-License-Identifier: Apache-2.0
"""An endorser who went too far ahead, and the way back."""

from __future__ import annotations

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm.operations import catalogue
from hepix_vm.operations import site as site_
from tests import endorser
from tests.unit.catalogue import following


def _site(made: following.Site) -> site_.Site:
    return site_.Site(
        catalogue=made.database,
        subscriptions=made.configured,
        fetch=fetch.FetchSettings(),
        cloud=site_.Cloud(session=lambda: None),
    )


def test_a_lower_list_is_taken_once_after_a_reset(main) -> None:
    old = endorser.make_image(b'one', version='1')
    far = endorser.make_image(
        b'far', identifier=old.identifier, version='999999'
    )
    main.publish('main', '999999', far)
    main.sync()
    main.publish('main', '2', old)
    assert main.sync(after=60)['main'].code == 'rollback'

    catalogue.reset(_site(main), main.now, 'main', 'me', 'version slipped')
    assert main.decide(b'far') is model.Reason.APPROVED
    report = main.sync(after=60)['main']
    assert report.outcome is sync.Outcome.ACCEPTED
    assert main.decide(b'one') is model.Reason.APPROVED
    assert main.decide(b'far') is model.Reason.WITHDRAWN
    assert 'subscription-reset' in main.events()

    main.publish('main', '1', far)
    assert main.sync(after=60)['main'].code == 'rollback'


def test_a_reset_waits_for_another_list(main) -> None:
    image = endorser.make_image(b'one', version='1')
    main.publish('main', '999999', image)
    main.sync()
    catalogue.reset(_site(main), main.now, 'main', 'me', 'version slipped')
    main.sync(after=60)
    main.publish('main', '2', image)
    assert main.sync(after=60)['main'].outcome is sync.Outcome.ACCEPTED


def test_a_reset_believes_nobody_else(main) -> None:
    main.publish('main', '5', endorser.make_image(b'one'))
    main.sync()
    catalogue.reset(_site(main), main.now, 'main', 'me', 'to see')
    stranger = following.endorser_named('a stranger')
    stranger.write_trust_anchors(main.anchors)
    main.serve(
        'main', stranger.signed_list(following.identifier_of('main'), '1')
    )
    assert main.sync(after=60)['main'].code == 'endorser-mismatch'
    assert main.decide(b'one') is model.Reason.APPROVED


def test_what_was_never_accepted_cannot_be_reset(main) -> None:
    with pytest.raises(errors.Misconfigured, match='accepted list'):
        catalogue.reset(_site(main), main.now, 'main', 'me', 'why not')

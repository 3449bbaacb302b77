# SPDX-License-Identifier: Apache-2.0
"""Bytes that the site made of endorsed ones are imported as those."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hepix_vm.catalogue import model
from hepix_vm.catalogue import staged
from tests.unit.catalogue import snapshots as made

DERIVED = 'ef' * 64
DERIVED_SIZE = 777
SECOND = 'de' * 64


def origin(sha512: str = made.BYTES, **changes: Any) -> model.Derived:
    values: dict[str, Any] = {
        'size': DERIVED_SIZE,
        'sha512': sha512,
        'origin_size': made.SIZE,
        'step': 'gunzip',
    }
    return model.Derived(**(values | changes))


def catalogue(*origins: model.Derived, **changes: Any) -> model.Snapshot:
    return dataclasses.replace(
        made.snapshot(**changes), derived={DERIVED: origins}
    )


def decide(
    snapshot: model.Snapshot,
    named: str | None = None,
    sha512: str = DERIVED,
    size: int = DERIVED_SIZE,
) -> staged.Staged:
    return staged.decide(
        snapshot,
        staged.Data(sha512, size, named),
        None,
        made.NOW,
        made.READER_MAX_AGE,
    )


def test_endorsed_bytes_are_imported_as_themselves():
    for named in (None, made.BYTES):
        found = decide(made.snapshot(), named, made.BYTES, made.SIZE)
        assert found.decision.code is model.Reason.APPROVED
        assert (found.sha512, found.size) == (made.BYTES, made.SIZE)
        assert found.step == ''


def test_what_was_made_of_endorsed_bytes_is_imported_as_those():
    for named in (None, made.BYTES):
        found = decide(catalogue(origin()), named)
        assert found.decision.code is model.Reason.APPROVED
        assert (found.sha512, found.size) == (made.BYTES, made.SIZE)
        assert found.step == 'gunzip'
        assert (
            found.decision.subject == 'image data sha512:efefefefefefefef...'
        )


def test_bytes_that_nobody_made_or_endorsed_are_refused():
    found = decide(made.snapshot())
    assert found.decision.code is model.Reason.NOT_ENDORSED
    assert found.sha512 == DERIVED


def test_the_size_of_what_was_made_counts_too():
    found = decide(catalogue(origin()), size=DERIVED_SIZE + 1)
    assert found.decision.code is model.Reason.NOT_ENDORSED


@pytest.mark.parametrize(
    ('changes', 'code'),
    [
        ({'approved': False}, model.Reason.NOT_APPROVED),
        ({'withdrawn': True}, model.Reason.WITHDRAWN),
        ({'expires': made.NOW - 1}, model.Reason.IMAGE_EXPIRED),
        ({'size': 7}, model.Reason.SIZE_DIFFERS),
    ],
)
def test_whatever_ends_the_endorsement_ends_what_was_made(changes, code):
    endorsement = made.endorsement(**changes)
    for named in (None, made.BYTES):
        found = decide(catalogue(origin(), endorsements=[endorsement]), named)
        assert found.decision.code is code
        assert found.step == 'gunzip'


@pytest.mark.parametrize('target', [DERIVED, made.BYTES, made.IMAGE])
def test_a_block_of_either_holds(target):
    for named in (None, made.BYTES):
        found = decide(catalogue(origin(), blocked=[target]), named)
        assert found.decision.code is model.Reason.BLOCKED


@pytest.mark.parametrize(
    ('answered_at', 'code'),
    [
        (None, model.Reason.STORE_UNAVAILABLE),
        (made.NOW + made.DAY, model.Reason.CLOCK),
    ],
)
def test_without_a_catalogue_nothing_is_imported(answered_at, code):
    found = decide(catalogue(origin(), answered_at=answered_at))
    assert found.decision.code is code


def test_a_revoked_endorser_of_what_was_made_is_not_outweighed():
    found = decide(
        catalogue(
            origin(),
            endorsements=[
                made.endorsement(),
                made.endorsement(
                    2, subscription='bad', sha512=DERIVED, size=DERIVED_SIZE
                ),
            ],
            subscriptions=[
                made.subscribed(),
                made.subscribed('bad', standing=model.Standing.REVOKED),
            ],
        ),
        made.BYTES,
    )
    assert found.decision.code is model.Reason.REVOKED


def test_publishing_says_of_which_bytes_it_made_them():
    second = made.endorsement(
        2, identifier=made.OTHER_IMAGE, sha512=SECOND, size=5
    )
    snapshot = catalogue(
        origin(),
        origin(SECOND, origin_size=5, step='ova'),
        endorsements=[made.endorsement(withdrawn=True), second],
    )
    # One of the two is enough where nobody says which it is.
    assert decide(snapshot).sha512 == SECOND
    assert decide(snapshot).decision.approved
    named = decide(snapshot, SECOND)
    assert (named.sha512, named.size, named.step) == (SECOND, 5, 'ova')
    assert named.decision.approved
    withdrawn = decide(snapshot, made.BYTES)
    assert withdrawn.decision.code is model.Reason.WITHDRAWN


def test_bytes_that_publishing_cannot_have_meant_are_refused():
    # Endorsed themselves, and yet not the image that is published here.
    found = decide(made.snapshot(), made.OTHER_BYTES, made.BYTES, made.SIZE)
    assert found.decision.code is model.Reason.NOT_ENDORSED
    assert 'sha512:cdcdcdcdcdcdcdcd' in found.decision.detail


def test_bytes_that_are_endorsed_themselves_may_have_been_made_as_well():
    both = [
        made.endorsement(),
        made.endorsement(2, sha512=DERIVED, size=DERIVED_SIZE),
    ]
    snapshot = catalogue(origin(), endorsements=both)
    assert decide(snapshot).sha512 == DERIVED
    assert decide(snapshot, DERIVED).sha512 == DERIVED
    assert decide(snapshot, made.BYTES).sha512 == made.BYTES
    ended = dataclasses.replace(both[1], withdrawn=True)
    snapshot = catalogue(origin(), endorsements=[both[0], ended])
    assert decide(snapshot).sha512 == made.BYTES
    assert decide(snapshot, DERIVED).decision.code is model.Reason.WITHDRAWN


def test_a_block_of_what_was_made_holds_at_each_boot():
    record = made.record(final_sha512=DERIVED, final_size=DERIVED_SIZE)
    facts = made.facts(size=DERIVED_SIZE)
    found = made.of_image(made.snapshot(records=[record]), facts)
    assert found.code is model.Reason.APPROVED
    for target in (DERIVED, made.BYTES):
        found = made.of_image(
            made.snapshot(records=[record], blocked=[target]), facts
        )
        assert found.code is model.Reason.BLOCKED

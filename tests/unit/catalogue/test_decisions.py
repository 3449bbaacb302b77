# SPDX-License-Identifier: Apache-2.0
"""Each reason of a decision, and which one is said when several hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hepix_vm.catalogue import model
from tests.unit.catalogue import snapshots as s

Reason = model.Reason


def code(decision: model.Decision) -> Reason:
    return decision.code


def test_fresh_approved_endorsement_approves_its_bytes():
    decision = s.of_bytes(s.snapshot())
    assert decision.verdict is model.Verdict.APPROVED
    assert decision.approved
    assert decision.endorsement == s.endorsement()
    assert decision.list_identifier == s.LIST
    assert 'version 1.0' in decision.sentence


def test_a_decision_has_no_truth_value():
    decision = s.of_bytes(s.snapshot())
    with pytest.raises(TypeError, match='compare its verdict'):
        if decision:
            pass


def test_every_reason_has_a_sentence():
    assert set(model.SENTENCES) == set(Reason)
    assert all(model.SENTENCES.values())


def test_what_a_user_reads_names_subject_verdict_code_and_remedy():
    decision = s.of_bytes(s.snapshot(endorsements=()))
    assert decision.sentence == (
        'image data sha512:abababababababab... is refused (not-endorsed): '
        + model.SENTENCES[Reason.NOT_ENDORSED]
    )


# The catalogue itself


def test_catalogue_that_never_answered_refuses():
    catalogue = s.snapshot(answered_at=None)
    assert code(s.of_bytes(catalogue)) is Reason.STORE_UNAVAILABLE
    assert code(s.of_image(catalogue)) is Reason.STORE_UNAVAILABLE


def test_catalogue_may_be_silent_for_exactly_the_reader_max_age():
    last = s.NOW - s.READER_MAX_AGE
    assert s.of_bytes(s.snapshot(answered_at=last)).approved
    late = s.snapshot(answered_at=last - 1)
    assert code(s.of_bytes(late)) is Reason.STORE_UNAVAILABLE
    assert code(s.of_image(late)) is Reason.STORE_UNAVAILABLE


def test_clock_behind_the_catalogue_refuses_beyond_the_skew():
    ahead = s.NOW + model.CLOCK_SKEW
    assert s.of_bytes(s.snapshot(answered_at=ahead)).approved
    wrong = s.snapshot(answered_at=ahead + 1)
    assert code(s.of_bytes(wrong)) is Reason.CLOCK
    assert code(s.of_image(wrong)) is Reason.CLOCK


# Bytes


def test_unknown_bytes_are_not_endorsed():
    assert code(s.of_bytes(s.snapshot(), s.OTHER_BYTES)) is Reason.NOT_ENDORSED


def test_blocked_content_is_refused_even_when_nobody_endorses_it():
    catalogue = s.snapshot(endorsements=(), blocked=[s.BYTES])
    assert code(s.of_bytes(catalogue)) is Reason.BLOCKED


def test_blocked_identifier_blocks_its_bytes():
    assert code(s.of_bytes(s.snapshot(blocked=[s.IMAGE]))) is Reason.BLOCKED


def two(**changes: Any) -> model.Snapshot:
    """The bytes endorsed by two lists; changes concern the second."""
    other = {
        name: changes.pop(name)
        for name in tuple(changes)
        if name in {f.name for f in dataclasses.fields(model.Subscribed)}
    }
    return s.snapshot(
        endorsements=[
            s.endorsement(1),
            s.endorsement(
                2,
                subscription='second',
                identifier=s.OTHER_IMAGE,
                **changes,
            ),
        ],
        subscriptions=[s.subscribed(), s.subscribed('second', **other)],
    )


def test_withdrawal_of_one_endorsement_leaves_the_other():
    decision = s.of_bytes(two(withdrawn=True))
    assert decision.approved
    assert decision.endorsement is not None
    assert decision.endorsement.subscription == 'main'


def test_block_of_one_of_two_endorsements_blocks_the_bytes():
    catalogue = dataclasses.replace(two(), blocked=frozenset({s.OTHER_IMAGE}))
    decision = s.of_bytes(catalogue)
    assert code(decision) is Reason.BLOCKED
    assert 'second' in decision.detail


def test_block_of_a_withdrawn_endorsement_still_blocks_the_bytes():
    catalogue = dataclasses.replace(
        two(withdrawn=True), blocked=frozenset({s.OTHER_IMAGE})
    )
    assert code(s.of_bytes(catalogue)) is Reason.BLOCKED


def test_revocation_of_one_of_two_endorsers_refuses_the_bytes():
    decision = s.of_bytes(two(standing=model.Standing.REVOKED))
    assert code(decision) is Reason.REVOKED
    assert decision.list_identifier == s.LIST


def test_endorsement_withdrawn_before_the_revocation_does_not_count():
    assert s.of_bytes(
        two(standing=model.Standing.REVOKED, withdrawn=True)
    ).approved


def test_unsubscribed_list_neither_approves_nor_refuses_for_others():
    assert s.of_bytes(two(standing=model.Standing.UNSUBSCRIBED)).approved


REFUSALS: list[tuple[Reason, dict[str, Any], dict[str, Any]]] = [
    (
        Reason.UNSUBSCRIBED,
        {'standing': model.Standing.UNSUBSCRIBED},
        {},
    ),
    (Reason.WITHDRAWN, {}, {'withdrawn': True}),
    (Reason.SIZE_DIFFERS, {}, {'size': s.SIZE + 1}),
    (Reason.NOT_APPROVED, {}, {'approved': False}),
    (Reason.DISTRUSTED, {'standing': model.Standing.DISTRUSTED}, {}),
    (Reason.CLOCK, {'verified_at': s.NOW + model.CLOCK_SKEW + 1}, {}),
    (Reason.LIST_EXPIRED, {'expires': s.NOW}, {}),
    (Reason.IMAGE_EXPIRED, {}, {'expires': s.NOW}),
    (Reason.LIST_STALE, {'verified_at': s.NOW - s.WEEK - 1}, {}),
    (Reason.SUSPENDED, {}, {'held': True}),
    (Reason.WRONG_PROJECT, {'projects': frozenset({'theirs'})}, {}),
]


def one(of_list: dict[str, Any], of_image: dict[str, Any]) -> model.Snapshot:
    return s.snapshot(
        endorsements=[s.endorsement(**of_image)],
        subscriptions=[s.subscribed(**of_list)],
    )


@pytest.mark.parametrize(
    ('expected', 'of_list', 'of_image'),
    REFUSALS,
    ids=[reason.value for reason, _, _ in REFUSALS],
)
def test_what_speaks_against_an_endorsement(expected, of_list, of_image):
    decision = s.of_bytes(one(of_list, of_image), project='mine')
    assert code(decision) is expected
    assert decision.verdict is model.Verdict.REFUSED
    assert s.IMAGE in decision.detail
    assert 'subscription main' in decision.detail


@pytest.mark.parametrize('position', range(len(REFUSALS) - 1))
def test_the_first_of_several_reasons_is_said(position):
    of_list: dict[str, Any] = {}
    of_image: dict[str, Any] = {}
    for _, more_list, more_image in reversed(REFUSALS[position:]):
        of_list |= more_list
        of_image |= more_image
    decision = s.of_bytes(one(of_list, of_image), project='mine')
    assert code(decision) is REFUSALS[position][0]


def test_endorsement_of_a_subscription_without_state_does_not_count():
    catalogue = s.snapshot(subscriptions=())
    decision = s.of_bytes(catalogue)
    assert code(decision) is Reason.UNSUBSCRIBED
    assert decision.list_identifier is None


def test_of_two_refusals_the_one_that_got_furthest_is_said():
    catalogue = two(verified_at=s.NOW - s.WEEK - 1)
    first = dataclasses.replace(
        s.endorsement(1),
        withdrawn=True,
    )
    catalogue = dataclasses.replace(
        catalogue,
        endorsements={
            s.BYTES: (first, catalogue.endorsements[s.BYTES][1]),
        },
    )
    assert code(s.of_bytes(catalogue)) is Reason.LIST_STALE
    turned = dataclasses.replace(
        catalogue,
        endorsements={
            s.BYTES: tuple(reversed(catalogue.endorsements[s.BYTES]))
        },
    )
    assert code(s.of_bytes(turned)) is Reason.LIST_STALE


@pytest.mark.parametrize(
    ('of_list', 'of_image'),
    [
        ({'expires': s.NOW + 1}, {}),
        ({}, {'expires': s.NOW + 1}),
        ({'verified_at': s.NOW - s.WEEK}, {}),
        ({'verified_at': s.NOW + model.CLOCK_SKEW}, {}),
        ({'projects': frozenset({'mine', 'theirs'})}, {}),
    ],
)
def test_the_last_moment_before_a_boundary_approves(of_list, of_image):
    assert s.of_bytes(one(of_list, of_image), project='mine').approved


def test_asking_for_no_project_ignores_the_projects():
    assert s.of_bytes(one({'projects': frozenset({'theirs'})}, {})).approved


def test_no_project_at_all_may_use_a_list_mapped_to_none():
    catalogue = one({'projects': frozenset()}, {})
    assert code(s.of_bytes(catalogue, project='x')) is Reason.WRONG_PROJECT


# Images of Glance


def test_recorded_image_with_approved_bytes_is_approved():
    decision = s.of_image(s.snapshot())
    assert decision.approved
    assert decision.subject == f'image {s.GLANCE_IMAGE}'


@pytest.mark.parametrize('image_id', [None, ''])
def test_request_without_image_is_refused(image_id):
    decision = s.of_image(s.snapshot(), s.facts(image_id=image_id))
    assert code(decision) is Reason.NO_IMAGE
    assert decision.subject == 'this request'


def test_image_without_record_is_refused():
    assert code(s.of_image(s.snapshot(records=()))) is Reason.NO_RECORD


def test_image_whose_import_has_not_finished_is_refused():
    catalogue = s.snapshot(
        records=[s.record(state=model.RecordState.VERIFIED)]
    )
    assert code(s.of_image(catalogue)) is Reason.RECORD_PENDING


def test_withdrawn_record_says_why_its_bytes_are_refused_for_good():
    catalogue = s.snapshot(
        endorsements=[s.endorsement(withdrawn=True)],
        records=[s.record(state=model.RecordState.WITHDRAWN)],
    )
    assert code(s.of_image(catalogue)) is Reason.WITHDRAWN


def test_withdrawn_record_stays_refused_when_its_bytes_are_approved_again():
    catalogue = s.snapshot(
        records=[s.record(state=model.RecordState.WITHDRAWN)]
    )
    assert code(s.of_image(catalogue)) is Reason.RECORD_WITHDRAWN


def test_withdrawn_record_does_not_hope_for_a_stale_list():
    catalogue = s.snapshot(
        subscriptions=[s.subscribed(verified_at=s.NOW - s.WEEK - 1)],
        records=[s.record(state=model.RecordState.WITHDRAWN)],
    )
    assert code(s.of_image(catalogue)) is Reason.RECORD_WITHDRAWN


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'size': s.SIZE + 1}, f'{s.SIZE + 1} bytes, {s.SIZE} were recorded'),
        ({'size': 0}, '0 bytes'),
        ({'size': None}, 'its size is not known'),
        ({'created_at': s.CREATED + 1}, 'created at another time'),
        ({'final_sha512': s.OTHER_BYTES}, 'its hash is not the recorded one'),
    ],
)
def test_image_that_is_not_the_recorded_one_is_refused(changes, said):
    decision = s.of_image(s.snapshot(), s.facts(**changes))
    assert code(decision) is Reason.IMAGE_CHANGED
    assert said in decision.detail


def test_caller_that_cannot_know_the_size_says_so():
    image = model.ImageFacts(s.GLANCE_IMAGE, must_know_size=False)
    assert s.of_image(s.snapshot(), image).approved


def test_converted_image_is_compared_with_what_glance_stores():
    catalogue = s.snapshot(
        records=[s.record(final_sha512=s.OTHER_BYTES, final_size=77)]
    )
    stored = s.facts(size=77, final_sha512=s.OTHER_BYTES)
    assert s.of_image(catalogue, stored).approved
    endorsed = s.facts(final_sha512=s.BYTES)
    assert code(s.of_image(catalogue, endorsed)) is Reason.IMAGE_CHANGED


def test_changed_image_is_told_before_what_holds_its_bytes_back():
    catalogue = s.snapshot(
        subscriptions=[s.subscribed(verified_at=s.NOW - s.WEEK - 1)]
    )
    assert code(s.of_image(catalogue)) is Reason.LIST_STALE
    changed = s.facts(size=1)
    assert code(s.of_image(catalogue, changed)) is Reason.IMAGE_CHANGED


def test_record_of_another_size_than_endorsed_is_refused():
    catalogue = s.snapshot(records=[s.record(size=1, final_size=s.SIZE)])
    assert code(s.of_image(catalogue)) is Reason.SIZE_DIFFERS


def test_image_is_approved_only_for_its_projects():
    catalogue = s.snapshot(
        subscriptions=[s.subscribed(projects=frozenset({'mine'}))]
    )
    assert s.of_image(catalogue, project='mine').approved
    assert code(s.of_image(catalogue, project='x')) is Reason.WRONG_PROJECT


# What ends a record for good


def test_only_what_does_not_pass_by_itself_withdraws_records():
    assert (
        frozenset(
            {
                Reason.NOT_ENDORSED,
                Reason.BLOCKED,
                Reason.REVOKED,
                Reason.UNSUBSCRIBED,
                Reason.WITHDRAWN,
                Reason.REPLACED,
                Reason.SIZE_DIFFERS,
                Reason.NOT_APPROVED,
            }
        )
        == model.WITHDRAWING
    )


# What a newer version has replaced


def test_replaced_versions_count_until_their_time_is_over():
    soon = {'replaced_until': s.NOW + 1}
    assert s.of_bytes(one({}, soon)).approved
    over = s.of_bytes(one({}, {'replaced_until': s.NOW}))
    assert code(over) is Reason.REPLACED


def test_withdrawal_and_blocks_do_not_wait_for_the_newer_version():
    soon = {'replaced_until': s.NOW + 1}
    gone = s.of_bytes(one({}, soon | {'withdrawn': True}))
    assert code(gone) is Reason.WITHDRAWN
    revoked = one({'standing': model.Standing.REVOKED}, soon)
    assert code(s.of_bytes(revoked)) is Reason.REVOKED


# What waits for a confirmation


def test_waiting_images_run_where_the_site_keeps_them():
    assert s.of_bytes(one({'held_run': True}, {'held': True})).approved


def test_revocation_does_not_wait():
    catalogue = one(
        {'held_run': True, 'standing': model.Standing.REVOKED}, {'held': True}
    )
    assert code(s.of_bytes(catalogue)) is Reason.REVOKED


# What runs although its endorsement has ended


def anyway(
    of_list: dict[str, Any], of_image: dict[str, Any], until: int = s.NOW + 1
) -> model.Snapshot:
    return dataclasses.replace(
        one(of_list, of_image), run_anyway={s.BYTES: until}
    )


@pytest.mark.parametrize(
    ('reason', 'of_list', 'of_image'),
    REFUSALS,
    ids=[reason.value for reason, _, _ in REFUSALS],
)
def test_only_an_end_is_passed_over(reason, of_list, of_image):
    catalogue = anyway(of_list, of_image)
    decision = s.of_bytes(catalogue, project='mine')
    if reason in model.PASSED_OVER:
        assert code(decision) is Reason.RUN_ANYWAY
        assert decision.approved
        assert decision.list_identifier == s.LIST
        assert 'was endorsed as' in decision.detail
        assert s.of_image(catalogue, project='mine').approved
    else:
        assert code(decision) is reason


def test_passed_over_are_ends_and_nothing_else():
    assert {
        Reason.WITHDRAWN,
        Reason.REPLACED,
        Reason.LIST_EXPIRED,
        Reason.IMAGE_EXPIRED,
        Reason.LIST_STALE,
        Reason.SUSPENDED,
    } == model.PASSED_OVER


def test_several_ends_are_passed_over_together():
    of_list = {'expires': s.NOW, 'verified_at': s.NOW - s.WEEK - 1}
    of_image = {'withdrawn': True, 'held': True, 'expires': s.NOW}
    assert s.of_bytes(anyway(of_list, of_image)).approved


def test_run_anyway_ends_to_the_second():
    gone = {'withdrawn': True}
    assert s.of_bytes(anyway({}, gone, s.NOW + 1)).approved
    ended = s.of_bytes(anyway({}, gone, s.NOW))
    assert code(ended) is Reason.WITHDRAWN


def test_what_holds_by_itself_is_approved_as_such():
    assert code(s.of_bytes(anyway({}, {}))) is Reason.APPROVED


@pytest.mark.parametrize(
    ('of_list', 'of_image', 'expected'),
    [
        ({'standing': model.Standing.REVOKED}, {}, Reason.REVOKED),
        (
            {'standing': model.Standing.REVOKED},
            {'withdrawn': True},
            Reason.REVOKED,
        ),
        (
            {'standing': model.Standing.DISTRUSTED},
            {'withdrawn': True},
            Reason.DISTRUSTED,
        ),
        (
            {'standing': model.Standing.UNSUBSCRIBED},
            {'withdrawn': True},
            Reason.UNSUBSCRIBED,
        ),
        ({}, {'withdrawn': True, 'approved': False}, Reason.NOT_APPROVED),
        ({}, {'withdrawn': True, 'size': 1}, Reason.SIZE_DIFFERS),
    ],
)
def test_what_ran_anyway_is_refused_for_any_other_reason(
    of_list, of_image, expected
):
    assert code(s.of_bytes(anyway(of_list, of_image))) is expected


def test_block_counts_although_it_would_run_anyway():
    catalogue = anyway({}, {'withdrawn': True})
    for target in (s.BYTES, s.IMAGE):
        blocked = dataclasses.replace(catalogue, blocked=frozenset({target}))
        assert code(s.of_bytes(blocked)) is Reason.BLOCKED


def test_fresh_endorsement_is_said_before_one_that_runs_anyway():
    catalogue = dataclasses.replace(
        two(withdrawn=True), run_anyway={s.BYTES: s.NOW + 1}
    )
    turned = dataclasses.replace(
        catalogue,
        endorsements={
            s.BYTES: tuple(reversed(catalogue.endorsements[s.BYTES]))
        },
    )
    for either in (catalogue, turned):
        assert code(s.of_bytes(either)) is Reason.APPROVED


def test_one_of_two_ends_that_runs_anyway_is_enough():
    catalogue = dataclasses.replace(
        two(approved=False), run_anyway={s.BYTES: s.NOW + 1}
    )
    first, second = catalogue.endorsements[s.BYTES]
    gone = dataclasses.replace(first, withdrawn=True)
    for order in ((gone, second), (second, gone)):
        made = dataclasses.replace(catalogue, endorsements={s.BYTES: order})
        assert code(s.of_bytes(made)) is Reason.RUN_ANYWAY


# Fresh, stale, withdrawn


def test_every_reason_stands_for_a_state():
    assert set(model.STATES) == set(Reason)


def test_states_go_with_verdicts_and_with_what_withdraws():
    fresh = {c for c, state in model.STATES.items() if state == 'fresh'}
    assert fresh == {
        Reason.APPROVED,
        Reason.RUN_ANYWAY,
        Reason.NOT_APPROVED,
        Reason.WRONG_PROJECT,
    }
    for reason in model.WITHDRAWING - {Reason.NOT_APPROVED}:
        assert model.STATES[reason] is model.State.WITHDRAWN
    for reason in model.PASSED_OVER - {Reason.WITHDRAWN, Reason.REPLACED}:
        assert model.STATES[reason] is model.State.STALE


def test_a_decision_knows_its_state():
    assert s.of_bytes(s.snapshot()).state is model.State.FRESH
    gone = s.of_bytes(one({}, {'withdrawn': True}))
    assert gone.state is model.State.WITHDRAWN
    stale = s.of_bytes(one({'expires': s.NOW}, {}))
    assert stale.state is model.State.STALE


# Quarantine


def test_image_in_quarantine_is_for_the_project_that_tries_it_out_alone():
    catalogue = s.snapshot(quarantined={s.GLANCE_IMAGE: 'trial'})
    assert s.of_image(catalogue, project='trial').approved
    for other in ('user', ''):
        decision = s.of_image(catalogue, project=other)
        assert code(decision) is Reason.QUARANTINE
        assert decision.list_identifier == s.LIST


def test_project_that_tries_out_needs_no_approval_for_itself():
    restricted = (s.subscribed(projects=frozenset({'user'})),)
    held = s.snapshot(
        subscriptions=restricted, quarantined={s.GLANCE_IMAGE: 'trial'}
    )
    assert s.of_image(held, project='trial').approved
    assert code(s.of_image(held, project='user')) is Reason.QUARANTINE
    assert code(s.of_image(held, project='other')) is Reason.WRONG_PROJECT
    # Only for as long, and only for that image.
    for quarantined in ({}, {s.OTHER_IMAGE: 'trial'}):
        after = s.snapshot(subscriptions=restricted, quarantined=quarantined)
        assert code(s.of_image(after, project='trial')) is Reason.WRONG_PROJECT
        assert s.of_image(after, project='user').approved


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'blocked': [s.BYTES]}, Reason.BLOCKED),
        (
            {'endorsements': [s.endorsement(withdrawn=True)]},
            Reason.WITHDRAWN,
        ),
        (
            {'records': [s.record(state=model.RecordState.VERIFIED)]},
            Reason.RECORD_PENDING,
        ),
        ({'records': [s.record(final_size=1)]}, Reason.IMAGE_CHANGED),
    ],
    ids=['blocked', 'withdrawn', 'pending', 'changed'],
)
def test_quarantine_passes_over_nothing_else(changes, reason):
    catalogue = s.snapshot(quarantined={s.GLANCE_IMAGE: 'trial'}, **changes)
    assert code(s.of_image(catalogue, project='trial')) is reason


def test_in_general_an_image_in_quarantine_is_what_its_bytes_are():
    catalogue = s.snapshot(quarantined={s.GLANCE_IMAGE: 'trial'})
    assert s.of_image(catalogue).approved

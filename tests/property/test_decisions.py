# SPDX-License-Identifier: Apache-2.0
"""What holds for every catalogue, however its rows came about."""

from __future__ import annotations

import dataclasses

from hypothesis import assume
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st

from hepix_vm.catalogue import model

#: A busy machine draws slowly; what is drawn stays the same.
BUSY = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
NOW = 1_800_000_000
MAX_AGE = 300
CONTENTS = ('a' * 128, 'b' * 128)
SIZES = (1, 2)
NAMES = ('first', 'second', 'third')
IDENTIFIERS = ('image-1', 'image-2', 'image-3')
PROJECTS = ('mine', 'theirs')
GLANCE = ('glance-1', 'glance-2')

#: Times on both sides of every boundary.
times = st.sampled_from(
    [
        NOW + offset
        for offset in (
            -10_000,
            -1_001,
            -1_000,
            -301,
            -300,
            -1,
            0,
            1,
            300,
            301,
            10_000,
        )
    ]
)
projects = st.none() | st.frozensets(st.sampled_from(PROJECTS))


@st.composite
def snapshots(draw: st.DrawFn) -> model.Snapshot:
    """Any catalogue of a few lists, images and records."""
    subscriptions = {
        name: model.Subscribed(
            name=name,
            list_identifier=f'list of {name}',
            list_version='1',
            standing=draw(st.sampled_from(model.Standing)),
            expires=draw(times),
            verified_at=draw(times),
            max_age=1_000,
            projects=draw(projects),
            held_run=draw(st.booleans()),
        )
        for name in draw(st.sets(st.sampled_from(NAMES)))
    }
    index: dict[str, tuple[model.Endorsement, ...]] = {}
    for row in range(draw(st.integers(0, 5))):
        content = draw(st.sampled_from(CONTENTS))
        made = model.Endorsement(
            row=row,
            subscription=draw(st.sampled_from(NAMES)),
            identifier=draw(st.sampled_from(IDENTIFIERS)),
            version='1',
            sha512=content,
            size=draw(st.sampled_from(SIZES)),
            expires=draw(st.none() | times),
            approved=draw(st.booleans()),
            withdrawn=draw(st.booleans()),
            held=draw(st.booleans()),
        )
        index[content] = (*index.get(content, ()), made)
    records = {
        image_id: model.GlanceRecord(
            image_id=image_id,
            state=draw(st.sampled_from(model.RecordState)),
            sha512=draw(st.sampled_from(CONTENTS)),
            size=draw(st.sampled_from(SIZES)),
            final_sha512=draw(st.sampled_from(CONTENTS)),
            final_size=draw(st.sampled_from(SIZES)),
            created_at=draw(st.sampled_from((5, 6))),
        )
        for image_id in draw(st.sets(st.sampled_from(GLANCE)))
    }
    return model.Snapshot(
        subscriptions=subscriptions,
        endorsements=index,
        records=records,
        blocked=draw(st.frozensets(st.sampled_from(IDENTIFIERS + CONTENTS))),
        answered_at=draw(st.none() | times),
        run_anyway=draw(
            st.dictionaries(st.sampled_from(CONTENTS), times, max_size=2)
        ),
    )


@st.composite
def friendly(draw: st.DrawFn) -> model.Snapshot:
    """A catalogue in which little speaks against anything."""
    catalogue = draw(snapshots())
    return dataclasses.replace(
        catalogue,
        answered_at=NOW,
        blocked=draw(st.just(frozenset()) | st.just(catalogue.blocked)),
        subscriptions={
            name: dataclasses.replace(
                item,
                standing=draw(
                    st.sampled_from(
                        [model.Standing.TRUSTED] * 3
                        + [model.Standing.DISTRUSTED]
                    )
                ),
                expires=NOW + 10,
                verified_at=NOW,
            )
            for name, item in catalogue.subscriptions.items()
        },
    )


anything = snapshots() | friendly()
questions = st.tuples(
    st.sampled_from(CONTENTS),
    st.sampled_from(SIZES),
    st.none() | st.sampled_from(PROJECTS),
)
images = st.builds(
    model.ImageFacts,
    image_id=st.none() | st.sampled_from((*GLANCE, 'unknown')),
    size=st.none() | st.sampled_from(SIZES),
    created_at=st.none() | st.sampled_from((5, 6)),
    final_sha512=st.none() | st.sampled_from(CONTENTS),
    must_know_size=st.booleans(),
)


def about(
    catalogue: model.Snapshot, question: tuple[str, int, str | None]
) -> model.Decision:
    return model.decide_bytes(catalogue, *question, NOW, MAX_AGE)


def counts(
    catalogue: model.Snapshot,
    endorsement: model.Endorsement,
    size: int,
    project: str | None,
    anyway: bool,
) -> bool:
    """Whether one endorsement alone is good, in other words than theirs.

    :param anyway: whether its end does not matter
    """
    item = catalogue.subscriptions.get(endorsement.subscription)
    return (
        item is not None
        and item.standing is model.Standing.TRUSTED
        and endorsement.approved
        and endorsement.size == size
        and item.verified_at <= NOW + model.CLOCK_SKEW
        and (
            anyway
            or (
                not endorsement.withdrawn
                and (item.held_run or not endorsement.held)
                and item.expires > NOW
                and (endorsement.expires is None or endorsement.expires > NOW)
                and NOW - item.max_age <= item.verified_at
            )
        )
        and (
            project is None
            or item.projects is None
            or project in item.projects
        )
    )


@given(anything, questions)
@settings(BUSY, max_examples=200)
def test_bytes_are_approved_exactly_when_one_endorsement_counts_and_none_bars(
    catalogue, question
):
    content, size, project = question
    candidates = catalogue.endorsements.get(content, ())
    barred = content in catalogue.blocked or any(
        item.identifier in catalogue.blocked
        or (
            item.subscription in catalogue.subscriptions
            and catalogue.subscriptions[item.subscription].standing
            is model.Standing.REVOKED
            and not item.withdrawn
        )
        for item in candidates
    )
    answered = (
        catalogue.answered_at is not None
        and catalogue.answered_at >= NOW - MAX_AGE
        and catalogue.answered_at <= NOW + model.CLOCK_SKEW
    )
    runs = catalogue.run_anyway.get(content, 0) > NOW
    usable = answered and not barred
    fresh, anyway = (
        usable
        and any(counts(catalogue, e, size, project, end) for e in candidates)
        for end in (False, runs)
    )
    decision = about(catalogue, question)
    assert decision.approved is anyway
    assert (decision.code is model.Reason.APPROVED) is fresh
    assert (decision.code is model.Reason.RUN_ANYWAY) is (anyway and not fresh)
    assert decision.detail
    if anyway:
        assert decision.endorsement is not None
        assert counts(
            catalogue, decision.endorsement, size, project, not fresh
        )


@given(anything, questions, st.sampled_from(IDENTIFIERS + CONTENTS))
@settings(BUSY)
def test_one_more_block_never_approves(catalogue, question, target):
    blocked = dataclasses.replace(
        catalogue, blocked=catalogue.blocked | {target}
    )
    before, after = about(catalogue, question), about(blocked, question)
    assert before.approved or not after.approved
    if target == question[0]:
        assert not after.approved


@given(anything, questions, st.data())
@settings(BUSY)
def test_one_more_withdrawal_never_approves(catalogue, question, data):
    # A revoked endorser's endorsement bars the bytes until it is withdrawn;
    # withdrawing takes a newer list that its endorser signed anew.
    rows = [
        item
        for items in catalogue.endorsements.values()
        for item in items
        if (held := catalogue.subscriptions.get(item.subscription)) is None
        or held.standing is not model.Standing.REVOKED
    ]
    assume(rows)
    gone = data.draw(st.sampled_from(rows))
    withdrawn = dataclasses.replace(
        catalogue,
        endorsements={
            content: tuple(
                dataclasses.replace(item, withdrawn=True)
                if item.row == gone.row
                else item
                for item in items
            )
            for content, items in catalogue.endorsements.items()
        },
    )
    assert (
        about(catalogue, question).approved
        or not about(withdrawn, question).approved
    )


@given(anything, questions, st.sampled_from(NAMES))
@settings(BUSY)
def test_an_endorser_that_is_revoked_never_approves(catalogue, question, name):
    revoked = dataclasses.replace(
        catalogue,
        subscriptions={
            other: dataclasses.replace(item, standing=model.Standing.REVOKED)
            if other == name
            else item
            for other, item in catalogue.subscriptions.items()
        },
    )
    assert (
        about(catalogue, question).approved
        or not about(revoked, question).approved
    )


@given(anything, questions)
@settings(BUSY)
def test_the_order_of_rows_never_matters(catalogue, question):
    turned = dataclasses.replace(
        catalogue,
        endorsements={
            content: tuple(reversed(items))
            for content, items in catalogue.endorsements.items()
        },
    )
    assert (
        about(catalogue, question).verdict is about(turned, question).verdict
    )


@given(anything, images, st.none() | st.sampled_from(PROJECTS))
@settings(BUSY, max_examples=200)
def test_an_approved_image_has_a_positive_record_of_approved_bytes(
    catalogue, image, project
):
    decision = model.decide_image(catalogue, image, project, NOW, MAX_AGE)
    assert isinstance(decision.code, model.Reason)
    if not decision.approved:
        return
    record = catalogue.records[image.image_id]
    assert record.state is model.RecordState.POSITIVE
    assert about(catalogue, (record.sha512, record.size, project)).approved
    assert image.size in (None, record.final_size)
    assert image.size is not None or not image.must_know_size
    assert image.created_at in (None, record.created_at)
    assert image.final_sha512 in (None, record.final_sha512)


@given(friendly(), images)
@settings(BUSY)
def test_a_withdrawn_record_is_refused_whatever_its_bytes_are(
    catalogue, image
):
    if image.image_id not in catalogue.records:
        image = dataclasses.replace(image, image_id=GLANCE[0])
    withdrawn = dataclasses.replace(
        catalogue,
        records={
            name: dataclasses.replace(
                record, state=model.RecordState.WITHDRAWN
            )
            for name, record in catalogue.records.items()
        },
    )
    decision = model.decide_image(withdrawn, image, None, NOW, MAX_AGE)
    assert not decision.approved
    assert decision.code in model.WITHDRAWING | {
        model.Reason.NO_RECORD,
        model.Reason.RECORD_WITHDRAWN,
    }

# SPDX-License-Identifier: Apache-2.0
"""Snapshots inherit the word of the image that their server was made of."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from pathlib import Path
import uuid

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import lineage
from hepix_vm.catalogue import lineage_names
from hepix_vm.catalogue import loading
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import settle
from hepix_vm import errors
from tests import catalogue_rows

NOW = 1_800_000_000
DATA = b'an endorsed image'
COPY = b'what a server made of it'
NONE = boot.of_glance(0, {})
KEEP, FOLLOW, REFUSE = (
    model.Children.KEEP,
    model.Children.FOLLOW,
    model.Children.REFUSE,
)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[catalogue_rows.Rows]:
    """A catalogue in which DATA is endorsed."""
    one = catalogue_rows.in_file(tmp_path / 'catalogue.sqlite')
    one.subscription(
        'trusted', verified_at=NOW, created=NOW - 60, expires=NOW + 86_400
    )
    one.endorse(DATA)
    yield one
    one.close()


@pytest.fixture
def parent(rows: catalogue_rows.Rows) -> str:
    """An approved image."""
    image_id = str(uuid.uuid4())
    rows.record(image_id, DATA, boot='')
    return image_id


def child_of(parent: str, **values: object) -> lineage.Child:
    made = lineage.Child(
        image_id=str(uuid.uuid4()),
        parent=parent,
        server=str(uuid.uuid4()),
        project='mine',
        created_at=NOW,
        boot=NONE,
    )
    return dataclasses.replace(made, **values)  # type: ignore[arg-type]


def filled(child: lineage.Child, **values: object) -> lineage.Filled:
    made = lineage.Filled(
        image_id=child.image_id,
        sha512=catalogue_rows.sha512(COPY),
        size=len(COPY),
        created_at=child.created_at,
        boot=child.boot,
    )
    return dataclasses.replace(made, **values)  # type: ignore[arg-type]


def snapshot_of(rows: catalogue_rows.Rows, parent: str) -> str:
    """A recorded child; returns its id."""
    child = child_of(parent)
    lineage.note(rows.store, child, NOW)
    assert lineage.record(rows.store, filled(child), NOW) == 'positive'
    return child.image_id


def decided(
    rows: catalogue_rows.Rows, image_id: str, data: bytes = COPY
) -> model.Decision:
    with rows.store.reading() as connection:
        snapshot = loading.load(connection, None, NOW).snapshot
    facts = model.ImageFacts(
        image_id,
        len(data),
        final_sha512=catalogue_rows.sha512(data),
        boot=NONE,
    )
    return model.decide_image(snapshot, facts, 'mine', NOW, 1)


def test_snapshot_has_the_endorsed_bytes_of_its_parent(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    child = snapshot_of(rows, parent)
    row = rows.recorded(child)
    assert row is not None
    assert (row.state, row.parent, row.step) == (
        'positive',
        parent,
        'snapshot',
    )
    assert (row.sha512, row.size) == (catalogue_rows.sha512(DATA), len(DATA))
    assert (row.final_sha512, row.final_size) == (
        catalogue_rows.sha512(COPY),
        len(COPY),
    )
    assert decided(rows, child).approved
    assert decided(rows, child, DATA).code is model.Reason.IMAGE_CHANGED
    assert rows.events(child) == ['snapshot-recorded']
    assert not lineage.noted(rows.store, child)


def test_snapshot_of_a_snapshot_has_those_of_the_first_parent(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    child = snapshot_of(rows, snapshot_of(rows, parent))
    row = rows.recorded(child)
    assert row is not None
    assert row.sha512 == catalogue_rows.sha512(DATA)
    rows.withdraw(DATA)
    assert decided(rows, child).code is model.Reason.WITHDRAWN


def test_refusal_says_what_the_image_is_a_snapshot_of(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    child = snapshot_of(rows, parent)
    rows.withdraw(DATA)
    decision = decided(rows, child)
    assert decision.subject == f'image {child}'
    assert f'a snapshot of a server of image {parent}; ' in decision.sentence


@pytest.mark.parametrize(
    'state', ['none', 'verified', 'withdrawn', 'refused', 'dropped']
)
def test_nothing_is_inherited_of_what_is_not_approved(
    rows: catalogue_rows.Rows, state: str
) -> None:
    parent = str(uuid.uuid4())
    if state == 'refused':
        rows.record(parent, DATA)
        lineage.choose(rows.store, REFUSE, NOW)
    elif state == 'dropped':
        rows.record(parent, DATA, state='withdrawn', reason='import-failed')
    elif state != 'none':
        rows.record(parent, DATA, state=state)
    child = child_of(parent)
    with pytest.raises(errors.NotBelieved):
        lineage.note(rows.store, child, NOW)
    assert not lineage.noted(rows.store, child.image_id)
    assert rows.recorded(child.image_id) is None


def test_image_that_nova_did_not_make_has_no_record(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    child = child_of(parent)
    with pytest.raises(errors.NotBelieved, match='has not made it'):
        lineage.record(rows.store, filled(child), NOW)
    assert rows.recorded(child.image_id) is None


@pytest.mark.parametrize(
    'changed',
    [
        {'created_at': NOW + 1},
        {'boot': boot.of_glance(0, {'kernel_id': 'another'})},
        {'boot': boot.of_glance(0, {'img_block_device_mapping': '[{}]'})},
    ],
    ids=['creation', 'kernel', 'disks'],
)
def test_image_that_was_changed_on_the_way_has_no_record(
    rows: catalogue_rows.Rows, parent: str, changed: dict[str, object]
) -> None:
    child = child_of(parent)
    lineage.note(rows.store, child, NOW)
    with pytest.raises(errors.NotBelieved):
        lineage.record(rows.store, filled(child, **changed), NOW)
    assert rows.recorded(child.image_id) is None


def test_snapshot_boots_as_its_parent_does(rows: catalogue_rows.Rows) -> None:
    parent = str(uuid.uuid4())
    kernel = boot.of_glance(0, {'kernel_id': 'a kernel'})
    rows.record(parent, DATA, boot=boot.stored(kernel))
    disk = boot.of_glance(10, {'kernel_id': 'a kernel'})
    lineage.note(rows.store, child_of(parent, boot=disk), NOW)
    other = boot.of_glance(10, {'kernel_id': 'another'})
    with pytest.raises(errors.NotBelieved, match='kernel_id'):
        lineage.note(rows.store, child_of(parent, boot=other), NOW)


def test_parent_that_is_withdrawn_meanwhile_takes_its_child_along(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    child = child_of(parent)
    lineage.note(rows.store, child, NOW)
    rows.withdraw(DATA)
    rows.store.transact(lambda t: settle.records(t, NOW))
    assert lineage.record(rows.store, filled(child), NOW) == 'withdrawn'
    assert decided(rows, child.image_id).code is model.Reason.WITHDRAWN


def test_children_that_follow_are_withdrawn_with_their_parent(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    child = snapshot_of(rows, parent)
    rows.withdraw(DATA)
    ended = rows.store.transact(lambda t: settle.records(t, NOW))
    assert {one.image_id for one in ended} == {parent, child}
    assert not decided(rows, child).approved


def test_kept_children_outlive_the_endorsement(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    child, late = snapshot_of(rows, parent), child_of(parent)
    lineage.choose(rows.store, KEEP, NOW)
    rows.withdraw(DATA)
    ended = rows.store.transact(lambda t: settle.records(t, NOW))
    assert [one.image_id for one in ended] == [parent]
    assert not decided(rows, parent, DATA).approved
    assert decided(rows, child).code is model.Reason.RUN_ANYWAY
    # A server of the parent may still be shelved.
    lineage.note(rows.store, late, NOW)
    assert lineage.record(rows.store, filled(late), NOW) == 'positive'
    assert decided(rows, late.image_id).approved


def test_kept_children_outlive_several_endorsements(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    rows.endorse(DATA)
    child = snapshot_of(rows, parent)
    lineage.choose(rows.store, KEEP, NOW)
    rows.withdraw(DATA)
    assert decided(rows, child).code is model.Reason.RUN_ANYWAY


@pytest.mark.parametrize('how', ['blocked', 'copy', 'revoked', 'left'])
def test_kept_children_end_where_the_site_or_a_revocation_says_so(
    rows: catalogue_rows.Rows, parent: str, how: str
) -> None:
    child = snapshot_of(rows, parent)
    lineage.choose(rows.store, KEEP, NOW)
    if how == 'blocked':
        rows.block(catalogue_rows.sha512(DATA))
    elif how == 'copy':
        rows.block(catalogue_rows.sha512(COPY))
    else:
        standing = 'revoked' if how == 'revoked' else 'unsubscribed'
        rows.subscription('trusted', standing=standing)
    ended = rows.store.transact(lambda t: settle.records(t, NOW))
    assert child in {one.image_id for one in ended}
    assert not decided(rows, child).approved


def test_refused_children_come_back_with_the_option(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    child = snapshot_of(rows, parent)
    lineage.choose(rows.store, REFUSE, NOW)
    assert rows.store.transact(lambda t: settle.records(t, NOW)) == ()
    assert decided(rows, child).code is model.Reason.NO_RECORD
    assert decided(rows, parent, DATA).approved
    lineage.choose(rows.store, FOLLOW, NOW)
    assert decided(rows, child).approved
    assert rows.events('refuse') == rows.events('follow')


def test_choice_that_stays_is_not_written_again(
    rows: catalogue_rows.Rows,
) -> None:
    lineage.choose(rows.store, FOLLOW, NOW)
    assert rows.events('follow') == []


def test_reader_that_knows_the_catalogue_learns_of_a_new_choice(
    rows: catalogue_rows.Rows,
) -> None:
    with rows.store.reading() as connection:
        before = loading.load(connection, None, NOW)
    lineage.choose(rows.store, KEEP, NOW)
    with rows.store.reading() as connection:
        after = loading.load(connection, before, NOW)
    assert (before.snapshot.children, after.snapshot.children) == (
        FOLLOW,
        KEEP,
    )


def test_image_that_is_never_filled_is_forgotten(
    rows: catalogue_rows.Rows, parent: str
) -> None:
    old, new = child_of(parent), child_of(parent)
    lineage.note(rows.store, old, NOW)
    lineage.note(rows.store, new, NOW + lineage.FORGOTTEN_AFTER + 1)
    with rows.store.reading() as connection:
        left = connection.execute(sa.select(schema.lineage.c.image_id))
        assert left.scalars().all() == [new.image_id]


def test_names_that_nova_alone_may_say_include_all_that_changes_the_boot():
    assert set(boot.NAMES) < lineage_names.NOVAS_OWN
    assert 'base_image_ref' in lineage_names.NOVAS_OWN
    assert 'img_block_device_mapping' in lineage_names.NOVAS_OWN

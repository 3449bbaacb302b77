# SPDX-License-Identifier: Apache-2.0
"""What is packed comes back as it was, whatever it is."""

from __future__ import annotations

from typing import Any
import uuid

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from hepix_vm.catalogue import believed
from hepix_vm.catalogue import packed

INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
#: Few, so that they meet; some are not as we write them.
IMAGES = st.sampled_from(
    [
        str(uuid.UUID(int=1)),
        str(uuid.UUID(int=2**128 - 1)),
        'ABCDEF00-0000-4000-8000-000000000001',
        'abcdef00-0000-4000-8000-000000000001',
        'abcdef00-0000-4000-8000-000000000001\n',
        'an image',
        '',
    ]
)
DIGESTS = st.sampled_from(
    ['0' * 128, 'a' * 128, '0a' * 64, 'A' * 128, 'b' * 127, '']
)
TEXTS = st.sampled_from(['', 'one', 'zwei', '0' * 128])

records = st.builds(
    believed.GlanceRecord,
    image_id=IMAGES,
    state=st.sampled_from(believed.RecordState),
    sha512=DIGESTS,
    size=INT64,
    final_sha512=DIGESTS,
    final_size=INT64,
    created_at=INT64,
    boot=st.none() | TEXTS,
    parent=TEXTS | IMAGES,
)
endorsements = st.builds(
    believed.Endorsement,
    row=st.integers(1, 4),
    subscription=TEXTS,
    identifier=IMAGES,
    version=TEXTS,
    sha512=DIGESTS,
    size=INT64,
    expires=st.none() | INT64,
    approved=st.booleans(),
    withdrawn=st.booleans(),
    held=st.booleans(),
    replaced_until=st.none() | INT64,
    vo=TEXTS,
)


@given(st.lists(st.lists(records, max_size=8), max_size=4))
@settings(deadline=None)
def test_records_are_those_of_a_dictionary(
    changes: list[list[believed.GlanceRecord]],
) -> None:
    mine, plain = packed.Records(), {}
    for change in changes:
        before, copy = mine, dict(plain)
        mine = mine.changed(change)
        plain |= {one.image_id: one for one in change}
        assert dict(before) == copy
        assert dict(mine) == plain
        assert len(mine) == len(plain)
        for image_id in plain:
            assert mine[image_id] == mine.get(image_id) == plain[image_id]


@given(st.lists(st.lists(endorsements, max_size=8), max_size=4))
@settings(deadline=None)
def test_endorsements_are_those_of_a_dictionary(
    changes: list[list[believed.Endorsement]],
) -> None:
    mine: Any = packed.Endorsements()
    plain: dict[str, tuple[believed.Endorsement, ...]] = {}
    for change in changes:
        before, copy = mine, dict(plain)
        mine = mine.changed(change)
        for one in change:
            others = plain.get(one.sha512, ())
            kept = tuple(e for e in others if e.row != one.row)
            plain[one.sha512] = (*kept, one)
        assert dict(before) == copy
        assert dict(mine) == plain
        assert len(mine) == len(plain)
        for sha512 in plain:
            assert mine[sha512] == mine.get(sha512) == plain[sha512]


def record(number: int, **values: Any) -> believed.GlanceRecord:
    fields: dict[str, Any] = {
        'image_id': str(uuid.UUID(int=number)),
        'state': believed.RecordState.POSITIVE,
        'sha512': f'{number:0128x}',
        'size': 1,
        'final_sha512': f'{number:0128x}',
        'final_size': 1,
        'created_at': 1,
    } | values
    return believed.GlanceRecord(**fields)


@pytest.mark.parametrize(
    'key', [str(uuid.UUID(int=7)), 'none', '', str(uuid.UUID(int=2**120))]
)
def test_what_is_not_there_is_missed(key: str) -> None:
    mine = packed.Records().changed([record(1), record(257)])
    assert mine.get(key) is None
    with pytest.raises(KeyError):
        mine[key]
    assert packed.Endorsements().get(key) is None


def test_bytes_inside_of_an_entry_are_no_key() -> None:
    # The digest contains what looks like the key of another image.
    one = record(1, sha512=f'{1:032x}{2:032x}' * 2)
    mine = packed.Records()
    for number in range(3, 20_000, 4096):
        mine = mine.changed([one, record(number)])
    assert mine.get(str(uuid.UUID(int=2))) is None
    assert mine[one.image_id] == one


def test_more_are_asked_for_than_stay_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed, '_AT_HAND', 3)
    made = [record(number) for number in range(10)]
    mine = packed.Records().changed(made)
    for _ in range(2):
        assert [mine[one.image_id] for one in made] == made
        assert len(mine._hand) <= 3


def test_unchanged_values_share_their_bytes() -> None:
    mine = packed.Records().changed(record(n) for n in range(5000))
    other = mine.changed([record(1, size=2)])
    assert mine.changed([])._buckets is mine._buckets
    pairs = zip(mine._buckets._buckets, other._buckets._buckets, strict=True)
    assert sum(a is not b for a, b in pairs) == 1
    assert mine[str(uuid.UUID(int=1))].size == 1
    assert other[str(uuid.UUID(int=1))].size == 2

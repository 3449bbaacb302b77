# SPDX-License-Identifier: Apache-2.0
"""A list never steps back, and one version is one list."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from hepix_vm import errors
from hepix_vm import trust
from hepix_vm.trust import replay
from tests.assets import cases
from tests.assets import lists
from tests.assets import pki
from tests.assets import writer
from tests.unit.trust import judging


def _endorsed(**changes):
    payload = lists.payload(
        **{k.replace('_', ':'): v for k, v in changes.items()}
    )
    message = writer.usual(payload, pki.site().endorser)
    endorsed = judging.judge(cases.Case(message, is_list=True))
    assert isinstance(endorsed, trust.EndorsedList), endorsed
    return endorsed


def _seen(**changes):
    first = replay.check(None, _endorsed(), pki.NOW)
    assert isinstance(first, replay.New)
    return dataclasses.replace(first.seen, **changes)


def _refusal(previous, endorsed, now=pki.NOW, **more):
    with pytest.raises(errors.Refused) as caught:
        replay.check(previous, endorsed, now, **more)
    return caught.value


def _code(previous, endorsed, now=pki.NOW, **more):
    return _refusal(previous, endorsed, now, **more).code


def test_first_list_is_new():
    endorsed = _endorsed()
    assert replay.check(None, endorsed, pki.NOW) == replay.New(
        replay.Seen(
            lists.IDENTIFIER,
            '2',
            pki.NOW - pki.DAY,
            endorsed.payload_sha256,
        )
    )


def test_same_payload_is_the_same_list():
    same = replay.check(_seen(), _endorsed(), pki.NOW)
    assert same == replay.Same(_seen())


def test_higher_version_renews():
    previous = _seen()
    outcome = replay.check(previous, _endorsed(hv_version='10'), pki.NOW)
    assert isinstance(outcome, replay.Renewal)
    assert outcome.previous == previous
    assert outcome.seen.version == '10'


def test_lower_version_is_a_rollback():
    assert _code(_seen(version='10'), _endorsed(hv_version='9')) == 'rollback'


def test_higher_version_created_earlier_is_a_rollback():
    earlier = lists.stamp(pki.NOW - 2 * pki.DAY)
    later = _endorsed(**{'hv:version': '3', 'dc:date:created': earlier})
    assert _code(_seen(), later) == 'rollback'


def test_same_version_with_other_content_is_equivocation():
    assert _code(_seen(), _endorsed(dc_title='Other')) == 'equivocation'


def test_equal_versions_in_another_spelling_are_equal():
    previous = _seen(version='02')
    assert _code(previous, _endorsed(dc_title='Other')) == 'equivocation'


def test_list_of_another_identifier():
    previous = _seen(identifier='5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6ffff')
    assert _code(previous, _endorsed()) == 'wrong-identifier'


def test_list_from_the_future_does_not_fast_forward():
    endorsed = _endorsed()
    before = pki.NOW - 2 * pki.DAY
    assert _code(None, endorsed, before) == 'list-from-future'


def test_clock_of_the_endorser_may_be_ahead_by_the_skew():
    endorsed = _endorsed()
    created = endorsed.image_list.created
    second = datetime.timedelta(seconds=1)
    for skew, more in (
        (300 * second, {}),
        (60 * second, {'skew': 60 * second}),
    ):
        assert replay.check(None, endorsed, created - skew, **more)
        before = created - skew - second
        refusal = _refusal(None, endorsed, before, **more)
        assert refusal.code == 'list-from-future'
        assert created.isoformat() in refusal.detail
        assert before.isoformat() in refusal.detail


EARLIER = pki.NOW - 2 * pki.DAY


@pytest.mark.parametrize(
    ('before', 'changes', 'expected', 'found'),
    [
        ({'version': '10'}, {'hv_version': '9'}, '10', '9'),
        (
            {},
            {'hv_version': '3', 'dc:date:created': lists.stamp(EARLIER)},
            (pki.NOW - pki.DAY).isoformat(),
            EARLIER.isoformat(),
        ),
        (
            {'identifier': '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6ffff'},
            {},
            '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6ffff',
            lists.IDENTIFIER,
        ),
    ],
)
def test_refusal_says_what_was_seen_and_what_came(
    before, changes, expected, found
):
    refusal = _refusal(_seen(**before), _endorsed(**changes))
    assert refusal.values == {'expected': expected, 'found': found}
    assert expected in refusal.detail
    assert found in refusal.detail


def test_equivocation_names_both_payloads():
    previous, other = _seen(), _endorsed(dc_title='Other')
    refusal = _refusal(previous, other)
    assert refusal.values == {
        'expected': previous.payload_sha256,
        'found': other.payload_sha256,
    }
    assert 'version 2 ' in refusal.detail


def test_version_that_only_another_tool_saw_may_come_again():
    elsewhere = _seen(payload_sha256=None)
    outcome = replay.check(elsewhere, _endorsed(dc_title='Other'), pki.NOW)
    assert isinstance(outcome, replay.Renewal)
    assert outcome.seen.payload_sha256 is not None


def test_list_older_than_what_another_tool_saw_is_a_rollback():
    later = _seen(payload_sha256=None, version='3')
    assert _code(later, _endorsed()) == 'rollback'
    created = pki.NOW - pki.DAY / 2
    assert _code(_seen(payload_sha256=None, created=created), _endorsed()) == (
        'rollback'
    )

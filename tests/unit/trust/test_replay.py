# SPDX-License-Identifier: Apache-2.0
"""A list never steps back, and one version is one list."""

from __future__ import annotations

import dataclasses

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


def _code(previous, endorsed, now=pki.NOW):
    with pytest.raises(errors.Refused) as caught:
        replay.check(previous, endorsed, now)
    return caught.value.code


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
    assert isinstance(replay.check(_seen(), _endorsed(), pki.NOW), replay.Same)


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

# SPDX-License-Identifier: Apache-2.0
"""The log: one line a decision, and never a flood of them."""

import logging

import pytest

from hepix_vm.context import identity
from hepix_vm.context import telling

HOUR = telling.AGAIN
WHO = identity.Instance('0b7c8f7e-5ad6-4bd0-9d8e-3f1c2b7a6a11', 'p')


@pytest.fixture
def tell():
    return telling.Telling()


def _refusal(detail='why', status=403):
    return identity.Refusal(status, identity.Reason.HEADER_MISSING, detail)


def _levels(caplog):
    return [record.levelname for record in caplog.records]


def test_a_bundle_is_told_once_an_hour_whatever_its_form(tell, caplog):
    with caplog.at_level(logging.DEBUG):
        tell.served(WHO, 'tgz', 'a' * 64, 7, 0.0)
        tell.served(WHO, 'manifest', 'a' * 64, 7, 1.0)
        tell.served(WHO, 'tgz', 'a' * 64, 7, HOUR - 1)
        tell.served(WHO, 'tgz', 'b' * 64, 7, HOUR - 1)
        tell.served(WHO, 'tgz', 'a' * 64, 7, HOUR)
    assert _levels(caplog) == ['INFO', 'DEBUG', 'DEBUG', 'INFO', 'INFO']
    assert caplog.messages[0] == (
        f'context served: instance={WHO.uuid} project=p form=tgz'
        f' sha256={"a" * 64} bytes=7'
    )


def test_repetitions_cost_no_line_without_debug(tell, caplog):
    with caplog.at_level(logging.INFO):
        for second in range(5):
            tell.served(WHO, 'tgz', 'a' * 64, 7, second)
            tell.refused(_refusal(), second)
    assert _levels(caplog) == ['INFO', 'WARNING']


def test_a_refusal_says_status_reason_and_why(tell, caplog):
    tell.refused(_refusal('no header'), 0.0)
    assert caplog.messages == [
        'context refused: status=403 reason=header-missing: no header'
    ]


def test_a_name_that_is_not_there_is_nothing_unusual(tell, caplog):
    with caplog.at_level(logging.INFO):
        tell.refused(_refusal(status=404), 0.0)
    assert _levels(caplog) == ['INFO']


def test_a_flood_of_refusals_is_counted_instead(tell, caplog):
    for number in range(telling.REFUSALS + 40):
        tell.refused(_refusal(f'name {number}'), 1.0)
    assert len(caplog.records) == telling.REFUSALS
    caplog.clear()
    tell.refused(_refusal('one later'), 1.0 + telling.SPAN)
    assert caplog.messages == [
        'context refused: 40 more refusals were not written down',
        'context refused: status=403 reason=header-missing: one later',
    ]


def test_what_was_told_is_remembered_within_bounds(tell, monkeypatch):
    monkeypatch.setattr(telling, 'REMEMBERED', 10)
    for number in range(100):
        tell.served(
            identity.Instance(str(number), 'p'), 'tgz', 'a' * 64, 7, 0.0
        )
    assert len(tell._told) == 10

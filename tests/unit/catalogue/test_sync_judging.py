# SPDX-License-Identifier: Apache-2.0
"""A standing that was found holds while nothing can have changed it; then
the stored list is verified again, whatever its server does.
"""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from hepix_vm.catalogue import accept
from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import judging
from hepix_vm.catalogue import model
from hepix_vm.catalogue import outcomes
from hepix_vm.catalogue import planning
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import sync
from hepix_vm.catalogue import timing as timing_
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers

DATA, OTHER = b'an image', b'another image'
DAY = endorser.DAY_SECONDS
Outcome = sync.Outcome
Reason = model.Reason
Standing = model.Standing

image = endorser.make_image


class Verified:
    """Counts what is verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = accept._verified

        def counting(*arguments):
            self.count += 1
            return real(*arguments)

        monkeypatch.setattr(accept, '_verified', counting)


@pytest.fixture
def held(site):
    """One image is endorsed and imported, by an endorser of its own."""
    # Of the same second: what ends is counted from the endorser's time.
    now = endorser.utc(site.now)
    site.follow('main', endorser.Endorser.create(name='Lonely', now=now))
    site.publish('main', '1', image(DATA))
    site.sync()
    site.image = site.record(DATA)
    return site


@pytest.fixture
def verified(held, monkeypatch) -> Verified:
    return Verified(monkeypatch)


def expires(site: following.Site, seconds: int) -> None:
    """Write the CRLs anew, to run out so many seconds from now."""
    site.endorsers['main'].write_trust_anchors(
        site.anchors, crl_lifetime=datetime.timedelta(seconds=seconds)
    )


# While nothing changes


def test_unchanged_list_is_neither_loaded_nor_verified(
    held, verified, monkeypatch
):
    monkeypatch.delattr(store, 'message')
    report = held.sync(after=DAY)['main']
    assert report == sync.Report(
        'main', Outcome.UNCHANGED, 'ok', '', Standing.TRUSTED, '1'
    )
    assert report.well
    assert verified.count == 0
    assert held.state().verified_at == held.now


def test_not_modified_is_neither_loaded_nor_verified(
    held, verified, monkeypatch
):
    message = held.publish('main', '2', image(DATA))
    with servers.running() as server:
        behaviour = servers.revalidated(message, '"2"', 'today')
        held.change('main', url=server.tell('/list', behaviour))
        held.sync()
        verified.count = 0
        monkeypatch.delattr(store, 'message')
        report = held.sync(after=DAY)['main']
    assert report.outcome is Outcome.UNCHANGED
    assert verified.count == 0
    assert held.state().verified_at == held.now


def test_failed_fetch_of_a_trusted_list_verifies_nothing(held, verified):
    held.silence('main')
    report = held.sync(after=60)['main']
    assert report.outcome is Outcome.UNREACHABLE
    assert report.standing is Standing.TRUSTED
    assert verified.count == 0
    assert held.state().verified_at == held.now - 60


def test_new_validators_of_the_same_bytes_are_kept(held):
    message = held.publish('main', '2', image(DATA))
    with servers.running() as server:
        url = server.tell('/list', servers.answer(message, ETag='"1"'))
        held.change('main', url=url)
        held.sync()
        server.tell('/list', servers.answer(message, ETag='"2"'))
        held.sync()
    assert held.state().validators.etag == '"2"'


def test_list_that_was_only_signed_anew_is_verified(held, verified):
    payload = held.publish('main', '1', held_entry(held))
    del payload
    held.sync(after=60)
    assert verified.count == 1


def held_entry(site: following.Site):
    (row,) = site.images()
    return image(DATA, identifier=row.identifier)


# Something changes


def test_list_that_does_not_stand_is_verified_at_each_attempt(held, verified):
    held.endorsers['main'].revoke()
    held.silence('main')
    for _ in range(2):
        report = held.sync(after=60)['main']
        assert report.standing is Standing.REVOKED
    assert verified.count == 2


@pytest.mark.parametrize('silent', [True, False])
def test_revocation_acts_although_it_is_not_the_time_to_ask(held, silent):
    if silent:
        held.silence('main')
    held.endorsers['main'].revoke()
    report = held.sync(after=60, due=True)['main']
    assert report.outcome is Outcome.JUDGED
    assert (report.code, report.standing) == ('revoked', Standing.REVOKED)
    assert not report.well
    assert held.decide(DATA) is Reason.REVOKED
    (withdrawal,) = held.withdrawals
    assert withdrawal.image_id == held.image
    assert 'standing' in held.events()
    assert held.sync(after=60, due=True) == {}


def test_anchor_that_goes_and_comes_back_acts_between_attempts(held):
    by = held.endorsers['main']
    by.remove_trust_anchors(held.anchors)
    endorser.Endorser.create(name='Other').write_trust_anchors(held.anchors)
    report = held.sync(after=60, due=True)['main']
    assert (report.code, report.standing) == (
        'no-anchor',
        Standing.DISTRUSTED,
    )
    assert held.decide(DATA) is Reason.DISTRUSTED
    assert held.withdrawals == ()
    by.write_trust_anchors(held.anchors)
    report = held.sync(after=60, due=True)['main']
    assert report.standing is Standing.TRUSTED
    assert report.well
    assert held.decide(DATA) is Reason.APPROVED


def test_directory_that_cannot_be_used_acts_between_attempts(held):
    moved = held.anchors.rename(held.folder / 'moved')
    report = held.sync(after=60, due=True)['main']
    assert (report.outcome, report.code) == (Outcome.JUDGED, 'configuration')
    assert report.standing is Standing.DISTRUSTED
    assert str(held.anchors) in report.detail
    assert held.sync(after=60, due=True) == {}
    moved.rename(held.anchors)
    assert held.sync(after=60, due=True)['main'].well
    assert held.decide(DATA) is Reason.APPROVED


def test_change_of_another_ca_is_looked_at_and_not_told(held, verified):
    before = held.state()
    endorser.Endorser.create(name='Other').write_trust_anchors(held.anchors)
    assert held.sync(after=60, due=True) == {}
    assert verified.count == 1
    assert held.state().judged_by != before.judged_by
    assert held.sync(after=60, due=True) == {}
    assert verified.count == 1


def test_revocation_list_that_ends_acts_between_attempts(held, verified):
    expires(held, 600)
    held.sync()
    verified.count = 0
    assert held.sync(after=300, due=True) == {}
    assert verified.count == 0
    report = held.sync(after=301, due=True)['main']
    assert (report.code, report.standing) == (
        'crl-expired',
        Standing.DISTRUSTED,
    )
    expires(held, DAY * 30)
    assert held.sync(after=60, due=True)['main'].well


def test_certificate_that_ends_acts_between_attempts(site):
    by = endorser.Endorser.create(name='Short')
    by.renew(datetime.timedelta(days=10))
    site.follow('main', by)
    site.publish('main', '1', image(DATA))
    site.sync()
    expires(site, DAY * 60)
    assert site.sync(after=5 * DAY)['main'].well
    until = site.state().judged_until
    assert until is not None
    site.change('main', sync_interval=30 * DAY)
    site.silence('main')
    site.sync()
    site.now = until + 1
    timing = timing_.Timing(retry_first=30 * DAY, retry_longest=30 * DAY)
    site.sync(timing=timing)
    state = site.state()
    assert state.standing is Standing.DISTRUSTED


def test_clock_that_went_back_makes_us_look_again(held, verified):
    held.sync(after=1000)
    assert verified.count == 0
    assert held.sync(after=-100)['main'].outcome is Outcome.UNCHANGED
    assert verified.count == 1
    assert held.state().verified_at == held.now


def test_another_release_looks_again(held, verified, monkeypatch):
    monkeypatch.setattr(judging, '_versions', lambda: ('99',))
    held.sync(after=60)
    assert verified.count == 1


def test_list_whose_entry_waits_for_another_list_is_looked_at(site):
    """An identifier is free when the list that holds it lets it go."""
    site.follow()
    site.follow('second')
    entry = image(DATA)
    other = image(OTHER, identifier=entry.identifier)
    site.publish('main', '1', entry)
    site.publish('second', '1', other)
    site.sync('main')
    assert 'already listed' in site.sync('second')['second'].problems[0]
    assert site.sync('second', due=True, after=60) == {}
    site.publish('main', '2')
    site.sync('main')
    report = site.sync('second')['second']
    assert (report.outcome, report.added) == (Outcome.UNCHANGED, 1)
    assert site.decide(OTHER) is Reason.APPROVED


def test_expired_list_is_told_at_each_attempt(site):
    site.follow()
    site.publish(
        'main', '1', image(DATA), expires=endorser.now_utc() + endorser.DAY
    )
    site.sync()
    for _ in range(2):
        report = site.sync(after=2 * DAY)['main']
        assert (report.outcome, report.code) == (
            Outcome.REFUSED,
            'list-expired',
        )
        assert report.standing is Standing.TRUSTED


def test_signer_without_a_path_is_looked_at_each_time(held, monkeypatch):
    real = accept._verified

    def pathless(*arguments):
        endorsed = real(*arguments)
        signers = tuple(
            dataclasses.replace(signer, path_ends=None)
            for signer in endorsed.signers
        )
        object.__setattr__(endorsed, 'signers', signers)
        return endorsed

    monkeypatch.setattr(accept, '_verified', pathless)
    held.publish('main', '2', image(OTHER))
    held.sync()
    assert held.state().judged_until is None


def test_catalogue_of_an_earlier_release_is_looked_at_once(held, verified):
    with held.database.writing() as transaction:
        transaction.execute(
            schema.subscription.update().values(
                judged_by=None, judged_until=None, next_attempt=None
            )
        )
    report = held.sync(after=60, due=True)['main']
    assert report.outcome is Outcome.UNCHANGED
    assert verified.count == 1
    held.sync(after=60)
    assert verified.count == 1


# A sync beside ours


@pytest.mark.parametrize('looked', ['failed', 'looked again'])
def test_list_that_another_sync_stored_meanwhile_keeps_its_standing(
    held, looked
):
    """Ours looked at the list before it, which was revoked."""
    before = held.state()
    held.publish('main', '2', image(OTHER))
    held.sync(after=60)
    judged = outcomes.Judgement(
        Standing.REVOKED, 'revoked', '', '0' * 64, None, before.list_id
    )
    item = held.configured['main']
    with held.database.writing() as transaction:
        if looked == 'failed':
            report = outcomes.failed(
                transaction,
                item,
                Outcome.UNREACHABLE,
                'fetch',
                'away',
                judged,
                lambda failures: held.now + failures,
                held.now,
            )
            assert report.standing is Standing.TRUSTED
        else:
            assert (
                outcomes.looked_again(transaction, item, judged, held.now)
                is None
            )
    state = held.state()
    assert state.standing is Standing.TRUSTED
    assert state.judged_by != '0' * 64
    assert state.failures == (1 if looked == 'failed' else 0)
    assert 'standing' not in held.events()


def test_list_that_another_sync_stored_meanwhile_is_not_refreshed(held):
    stale = planning.plan(
        held.database, held.configured, held.now + 9, None, False, TIMING
    )
    held.publish('main', '2', image(OTHER))
    held.sync(after=5)
    unchanged = attempts.Attempt(held.configured['main'], None, None)
    sync.act(held.database, stale, [unchanged], TIMING)
    assert held.state().list_version == '2'
    assert held.state().verified_at == held.now


TIMING = timing_.Timing()

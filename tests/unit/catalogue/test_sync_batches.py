# SPDX-License-Identifier: Apache-2.0
"""Many subscriptions are written together; what breaks with one stays with
it, and a store that is away ends the run at once.
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import batches
from hepix_vm.catalogue import database
from hepix_vm.catalogue import examining
from hepix_vm.catalogue import model
from hepix_vm.catalogue import outcomes
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import endorser
from tests.unit.catalogue import following

DATA = b'an image'
NAMES = ('main', 'second', 'third')
Outcome = sync.Outcome
Reason = model.Reason

image = endorser.make_image


@pytest.fixture
def three(site, monkeypatch) -> following.Site:
    """Three lists were accepted, and are written together from now on."""
    by = following.endorser_named('Endorser of main')
    for name in NAMES:
        site.follow(name, by)
        site.publish(name, '1', image(name.encode()))
    site.sync()
    monkeypatch.setattr(batches, 'LONGEST_WAIT', 1000)
    return site


class Transactions:
    """Counts what is begun, and fails as told."""

    def __init__(self, site: following.Site) -> None:
        self.count = 0
        self.failing = 0
        self.failure: Exception = sa.exc.OperationalError('', {}, OSError())
        real = site.database.writing

        def writing():
            self.count += 1
            if self.failing:
                self.failing -= 1
                raise self.failure
            return real()

        site.database.writing = writing


@pytest.fixture
def transactions(three) -> Transactions:
    return Transactions(three)


#: For rules, and for records.
OTHERS = 2


def test_unchanged_lists_are_written_together(three, transactions):
    revision = three.snapshot().revision
    reports = three.sync(after=60)
    assert {r.outcome for r in reports.values()} == {Outcome.UNCHANGED}
    assert set(reports) == set(NAMES)
    assert transactions.count == 1 + OTHERS
    snapshot = three.snapshot()
    for name in NAMES:
        assert snapshot.subscriptions[name].verified_at == three.now
        assert three.state(name).last_attempt == three.now
    assert snapshot.revision == revision + 1 + OTHERS


def test_failures_and_news_are_written_together_too(three, transactions):
    three.silence('main')
    three.serve('second', b'garbage')
    three.publish('third', '2', image(DATA))
    reports = three.sync(after=60)
    assert [reports[name].outcome for name in NAMES] == [
        Outcome.UNREACHABLE,
        Outcome.REFUSED,
        Outcome.ACCEPTED,
    ]
    assert transactions.count == 1 + OTHERS
    assert three.decide(DATA) is Reason.APPROVED


@pytest.mark.parametrize(
    ('limit', 'value', 'batches_'),
    [('MOST', 2, 2), ('MOST', 1, 3), ('MOST_BYTES', 1, 1)],
)
def test_transactions_are_bounded(
    three, transactions, monkeypatch, limit, value, batches_
):
    monkeypatch.setattr(batches, limit, value)
    three.sync(after=60)
    assert transactions.count == batches_ + OTHERS


def test_large_messages_are_not_kept_waiting(three, transactions, monkeypatch):
    monkeypatch.setattr(batches, 'MOST_BYTES', 1)
    for name in NAMES:
        three.publish(name, '2', image(name.encode()))
    three.sync(after=60)
    assert transactions.count == len(NAMES) + OTHERS


def test_results_do_not_wait_long_for_company(
    three, transactions, monkeypatch
):
    monkeypatch.setattr(batches, 'LONGEST_WAIT', 0)
    three.sync(after=60)
    assert transactions.count == len(NAMES) + OTHERS


def test_transaction_that_is_given_up_is_done_again(three, transactions):
    transactions.failing = 1
    transactions.failure = database.db_exc.DBDeadlock()
    reports = three.sync(after=60)
    assert {r.outcome for r in reports.values()} == {Outcome.UNCHANGED}
    assert transactions.count == 2 + OTHERS


def test_batch_that_fails_is_written_one_by_one(three, transactions):
    transactions.failing = 1
    reports = three.sync(after=60)
    assert {r.outcome for r in reports.values()} == {Outcome.UNCHANGED}
    assert transactions.count == 1 + len(NAMES) + OTHERS


@pytest.mark.parametrize(
    ('failure', 'code', 'said'),
    [
        (sa.exc.DatabaseError('', {}, OSError('too long')), 'store', 'too'),
        (ZeroDivisionError('by zero'), 'internal-error', 'ZeroDivisionError'),
    ],
    ids=['store', 'fault'],
)
def test_what_breaks_with_one_stays_with_it(
    three, monkeypatch, failure, code, said
):
    real = outcomes.failed

    def failed(transaction, subscription, *arguments):
        if subscription.name == 'second':
            raise failure
        return real(transaction, subscription, *arguments)

    def broken(transaction, **named):
        return failed(transaction, named.pop('subscription'), *named.values())

    monkeypatch.setattr(outcomes, 'failed', broken)
    for name in NAMES:
        three.silence(name)
    reports = three.sync(after=60)
    assert (reports['second'].outcome, reports['second'].code) == (
        Outcome.FAILED,
        code,
    )
    assert said in reports['second'].detail
    assert reports['second'].standing is model.Standing.TRUSTED
    assert reports['second'].list_version == '1'
    for name in ('main', 'third'):
        assert reports[name].outcome is Outcome.UNREACHABLE
        assert three.state(name).last_attempt == three.now
    assert three.state('second').last_attempt == three.now - 60


def test_single_result_that_cannot_be_written_is_told(three, monkeypatch):
    def broken(transaction, **named):
        raise ZeroDivisionError('by zero')

    monkeypatch.setattr(outcomes, 'failed', broken)
    three.silence('main')
    report = three.sync('main', after=60)['main']
    assert (report.outcome, report.code) == (Outcome.FAILED, 'internal-error')


def test_store_that_is_away_ends_the_run_and_is_not_asked_for_each(
    three, transactions
):
    transactions.failing = 10**6
    with pytest.raises(errors.LocalFault, match='cannot be written'):
        three.sync(after=60)
    # All together, the first alone, and whether anything goes at all.
    assert transactions.count == 3
    transactions.failing = 0
    assert all(report.well for report in three.sync(after=60).values())


def test_lost_lease_ends_the_run_and_writes_nothing(three):
    with three.database.writing() as transaction:
        transaction.put(
            schema.lease,
            {'name': 'sync'},
            {'holder': 'other', 'fence': 7, 'beat': 1, 'at': three.now},
        )
    before = {name: three.state(name) for name in NAMES}
    three.silence('main')
    ours = three.database
    three.database = ours.fenced('sync', 6)
    with pytest.raises(errors.LeaseLost, match='other'):
        three.sync(after=60)
    three.database = ours
    assert {name: three.state(name) for name in NAMES} == before


def test_lost_lease_is_told_when_written_one_by_one_too(three, transactions):
    transactions.failing = 1
    real = three.database.writing
    seen: list[int] = []

    def writing():
        seen.append(1)
        if len(seen) > 1:
            raise errors.LeaseLost('taken over')
        return real()

    three.database.writing = writing
    with pytest.raises(errors.LeaseLost):
        three.sync(after=60)
    assert len(seen) == 2


def test_lost_lease_while_anchors_are_kept_ends_the_run(three, transactions):
    """A directory that cannot be noted down is not an unusable one."""
    three.endorsers['main'].write_trust_anchors(three.anchors)
    transactions.failing = 1
    transactions.failure = errors.LeaseLost('taken over')
    with pytest.raises(errors.LeaseLost):
        three.sync(after=60)
    assert transactions.count == 1


def test_empty_batch_writes_nothing(three, transactions):
    batch = batches.Batch(three.database, lambda name: None, 1)
    assert not batch.is_full
    assert list(batch.write()) == []
    assert transactions.count == 0


def test_nothing_to_tell_is_no_report(three):
    batch = batches.Batch(three.database, lambda name: None, 1)
    batch.add(examining.Work('main', lambda transaction: None))
    assert list(batch.write()) == []


# Judging


@pytest.fixture
def unreadable(three, monkeypatch):
    """The stored message of the second list cannot be had."""
    real = store.message
    unlucky = three.state('second').list_id

    def message(connection, list_id):
        if list_id == unlucky:
            raise sa.exc.DatabaseError('', {}, OSError('malformed'))
        return real(connection, list_id)

    monkeypatch.setattr(store, 'message', message)
    # So that all are looked at.
    endorser.Endorser.create(name='New').write_trust_anchors(three.anchors)
    for name in NAMES:
        three.silence(name)
    return three


@pytest.mark.parametrize('due', [False, True])
def test_message_that_cannot_be_read_is_that_subscriptions_own(
    unreadable, due
):
    reports = unreadable.sync(after=60, due=due)
    assert (reports['second'].outcome, reports['second'].code) == (
        Outcome.FAILED,
        'store',
    )
    assert 'malformed' in reports['second'].detail
    others = {'main', 'third'} & reports.keys()
    assert others == (set() if due else {'main', 'third'})
    judged = {unreadable.state(name).judged_by for name in ('main', 'third')}
    assert unreadable.state('second').judged_by not in judged


def test_store_that_cannot_be_read_or_written_ends_the_run(unreadable):
    Transactions(unreadable).failing = 10**6
    with pytest.raises(errors.LocalFault):
        unreadable.sync('second', after=60)

# SPDX-License-Identifier: Apache-2.0
"""What a newer, older, equal, odd or hostile list does to the catalogue."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import accept
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import kept
from hepix_vm.catalogue import model
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm import imagelist
from hepix_vm import trust
from tests import endorser
from tests.unit.catalogue import following

DATA, OTHER, THIRD = b'an image', b'another image', b'a third image'
Outcome = sync.Outcome
Reason = model.Reason
Standing = model.Standing

image = endorser.make_image


# A list comes in


def test_first_list_is_believed_and_its_images_are_approved(main):
    main.publish('main', '1', image(DATA))
    report = main.sync()['main']
    assert report.outcome is Outcome.ACCEPTED
    assert (report.code, report.list_version) == ('ok', '1')
    assert (report.added, report.withdrawn) == (1, 0)
    assert report.standing is Standing.TRUSTED
    assert report.well
    assert main.decide(DATA) is Reason.APPROVED
    assert main.decide(OTHER) is Reason.NOT_ENDORSED
    assert main.lists_seen() == ['ok']
    assert main.events() == ['list-accepted']


def test_everything_that_the_list_says_of_an_image_is_kept(main):
    main.publish(
        'main',
        '1',
        image(
            DATA,
            uri='https://example.org/i',
            title='Worker ☃ 😀',
            expires=endorser.utc(main.now + 60),
            core_minimum=2,
            ram_minimum=2**30,
            format='qcow2',
            os_name='Example OS',
        ),
        vo='example.vo',
    )
    main.sync()
    (kept,) = main.images()
    assert kept.title == 'Worker ☃ 😀'
    assert kept.uri == 'https://example.org/i'
    assert kept.expires == main.now + 60
    assert kept.vo == 'example.vo'
    assert kept.first_seen == main.now
    assert kept.entry['core_minimum'] == 2
    assert kept.entry['ram_minimum'] == 2**30
    assert kept.entry['format'] == 'qcow2'
    assert kept.entry['os_name'] == 'Example OS'


def test_who_signed_is_kept_with_the_signed_message(main):
    message = main.publish('main', '1')
    main.sync()
    with main.database.reading() as connection:
        (seen,) = store.lists_seen(connection, 'main')
        assert store.message(connection, seen.row) == message
    (signer,) = json.loads(seen.signers)
    assert signer['subject'] == main.endorsers['main'].subject
    assert signer['issuer'] == main.endorsers['main'].issuer
    assert len(signer['sha256']) == 64


def test_same_list_again_only_moves_its_age(main):
    main.publish('main', '1', image(DATA))
    main.sync()
    before = main.state()
    rows = main.images()
    report = main.sync(after=100)['main']
    assert report.outcome is Outcome.UNCHANGED
    assert (report.added, report.withdrawn) == (0, 0)
    assert report.well
    assert main.state() == dataclasses.replace(
        before,
        verified_at=main.now,
        last_attempt=main.now,
        next_attempt=main.now + 3600,
    )
    assert main.images() == rows
    assert main.lists_seen() == ['ok']
    assert main.events() == ['list-accepted']


def test_list_that_is_signed_anew_is_kept_in_its_new_form(main):
    entry = image(DATA)
    by = main.endorsers['main']
    payload = imagelist.render(
        by.make_list(following.identifier_of('main'), '1', [entry])
    )
    main.serve('main', by.sign(payload))
    main.sync()
    again = by.sign(payload)
    main.serve('main', again)
    report = main.sync(after=10)['main']
    assert report.outcome is Outcome.UNCHANGED
    with main.database.reading() as connection:
        list_id = main.state().list_id
        assert list_id is not None
        assert store.message(connection, list_id) == again
    assert main.lists_seen() == ['ok', 'ok']


def test_image_that_is_no_longer_listed_is_withdrawn(main):
    kept, gone = image(DATA), image(OTHER)
    main.publish('main', '1', kept, gone)
    main.sync()
    main.publish('main', '2', kept)
    report = main.sync()['main']
    assert (report.added, report.withdrawn) == (0, 1)
    assert main.decide(DATA) is Reason.APPROVED
    assert main.decide(OTHER) is Reason.WITHDRAWN


def test_empty_list_retires_all_images(main):
    main.publish('main', '1', image(DATA))
    main.sync()
    main.publish('main', '2')
    report = main.sync()['main']
    assert report.outcome is Outcome.ACCEPTED
    assert report.withdrawn == 1
    assert main.decide(DATA) is Reason.WITHDRAWN


def test_withdrawn_image_that_is_listed_again_comes_back(main):
    entry = image(DATA)
    for version, images in (('1', [entry]), ('2', []), ('3', [entry])):
        main.publish('main', version, *images)
        main.sync()
    assert main.decide(DATA) is Reason.APPROVED
    assert following.names(main.images()) == {(entry.identifier, '1.0', False)}


def test_new_version_of_an_image_replaces_the_old_one(main):
    old = image(DATA)
    new = image(OTHER, identifier=old.identifier, version='1.1')
    main.publish('main', '1', old)
    main.sync()
    main.publish('main', '2', new)
    report = main.sync()['main']
    assert (report.added, report.withdrawn) == (1, 1)
    assert main.decide(DATA) is Reason.WITHDRAWN
    assert main.decide(OTHER) is Reason.APPROVED
    assert following.names(main.images()) == {
        (old.identifier, '1.0', True),
        (old.identifier, '1.1', False),
    }


def test_what_a_newer_list_says_of_the_same_image_replaces_the_old(main):
    entry = image(DATA)
    main.publish('main', '1', entry)
    main.sync()
    moved = dataclasses.replace(
        entry,
        uri='https://example.org/moved',
        title='renamed',
        expires=endorser.utc(main.now + 50),
    )
    main.publish('main', '2', moved)
    report = main.sync()['main']
    assert (report.added, report.withdrawn) == (0, 0)
    (kept,) = main.images()
    assert (kept.uri, kept.title) == (moved.uri, 'renamed')
    assert main.decide(DATA) is Reason.APPROVED
    main.now += 50
    assert main.decide(DATA) is Reason.IMAGE_EXPIRED


def test_same_bytes_under_two_identifiers_count_once_for_each(main):
    first, second = image(DATA), image(DATA)
    main.publish('main', '1', first, second)
    main.sync()
    main.publish('main', '2', second)
    main.sync()
    assert main.decide(DATA) is Reason.APPROVED


# A list that is not believed changes nothing


@pytest.fixture
def held(main):
    """One image is endorsed by list version 5, created now."""
    main.publish('main', '5', image(DATA))
    main.sync()
    return main


def refused(site: following.Site, code: str) -> sync.Report:
    """The next sync refuses with that code, and nothing changes."""
    before, rows = site.state(), site.images()
    report = site.sync(after=60)['main']
    assert (report.outcome, report.code) == (Outcome.REFUSED, code)
    assert report.detail
    assert not report.well
    assert site.decide(DATA) is Reason.APPROVED
    assert report.standing is Standing.TRUSTED
    assert site.images() == rows
    after = site.state()
    assert after == dataclasses.replace(
        before,
        last_attempt=site.now,
        last_code=code,
        last_detail=report.detail,
        # Another endorser's CA may lie among the anchors by now.
        judged_by=after.judged_by,
        judged_until=after.judged_until,
        failures=before.failures + 1,
        next_attempt=site.now + 60 * 2**before.failures,
    )
    assert site.lists_seen()[0] == code
    return report


def test_older_version_is_a_rollback(held):
    held.publish('main', '4', image(OTHER))
    report = refused(held, 'rollback')
    assert 'version 4' in report.detail
    assert 'list-refused' in held.events()


def test_newer_version_that_was_created_earlier_is_a_rollback(held):
    held.publish('main', '6', created=endorser.now_utc() - 10 * endorser.DAY)
    refused(held, 'rollback')


def test_other_content_under_the_same_version_is_equivocation(held):
    held.publish('main', '5', image(OTHER))
    refused(held, 'equivocation')


def test_expired_list_is_refused(held):
    held.publish(
        'main',
        '6',
        created=endorser.now_utc() - 3 * endorser.DAY,
        expires=endorser.now_utc() - endorser.DAY,
    )
    refused(held, 'list-expired')


def test_list_from_the_future_is_refused(held):
    held.publish('main', '6', created=endorser.now_utc() + endorser.DAY)
    refused(held, 'list-from-future')


def test_list_of_another_identity_is_refused(held):
    held.publish('main', '6', identifier=following.identifier_of('other'))
    refused(held, 'wrong-identifier')


def test_list_signed_by_somebody_else_is_refused(held):
    other = endorser.Endorser.create(name='Somebody Else')
    other.write_trust_anchors(held.anchors)
    held.serve('main', other.signed_list(following.identifier_of('main'), '6'))
    refused(held, 'endorser-mismatch')


def test_list_of_an_endorser_of_an_unknown_ca_is_refused(held):
    other = endorser.Endorser.create(name='Unknown')
    held.serve('main', other.signed_list(following.identifier_of('main'), '6'))
    refused(held, 'no-anchor')


def test_list_that_names_another_endorser_than_its_signer_is_refused(held):
    by = held.endorsers['main']
    told = dataclasses.replace(
        by.make_list(following.identifier_of('main'), '6').endorsers[0],
        subject='/C=CH/O=Example Grid/CN=Somebody Else',
    )
    held.publish('main', '6', endorsers=(told,))
    refused(held, 'endorser-differs')


@pytest.mark.parametrize(
    ('content', 'code'),
    [
        (b'', 'not-signed'),
        (b'\xff\xfe\x00', 'not-signed'),
        (b'{"hv:imagelist": {}}', 'not-signed'),
    ],
)
def test_what_is_no_signed_message_is_refused(held, content, code):
    held.serve('main', content)
    report = held.sync(after=60)['main']
    assert report.outcome is Outcome.REFUSED
    assert report.code in {code, 'malformed'}
    assert held.decide(DATA) is Reason.APPROVED


def test_tampered_list_is_refused(held):
    message = held.publish('main', '6', image(OTHER))
    held.serve('main', message.replace(b'a test image', b'a best image'))
    refused(held, 'digest')


def test_signed_message_that_is_no_list_is_refused(held):
    held.serve('main', held.endorsers['main'].sign(b'{"hv:imagelist": {}}'))
    report = refused(held, 'invalid-list')
    assert '$' in report.detail


def test_refusal_is_kept_once_and_told_in_the_history_once(held):
    held.publish('main', '4')
    for _ in range(3):
        refused(held, 'rollback')
    assert held.lists_seen() == ['rollback', 'ok']
    assert held.events().count('list-refused') == 1


def test_message_of_a_refusal_is_kept_as_evidence(held):
    message = held.publish('main', '4')
    refused(held, 'rollback')
    with held.database.reading() as connection:
        seen = store.lists_seen(connection, 'main')[0]
        assert store.message(connection, seen.row) == message
    assert (seen.verdict, seen.list_identifier) == ('refused', None)


def test_large_refused_message_does_not_fill_the_database(held, monkeypatch):
    monkeypatch.setattr(kept, 'LARGEST', 1000)
    held.serve('main', b'x' * 1001)
    refused(held, 'not-signed')
    (row,) = held.rows(
        sa.select(schema.list_seen).where(
            schema.list_seen.c.verdict == 'refused'
        )
    )
    assert row.message == b''
    assert len(row.message_sha256) == 64


def test_recovery_after_a_refusal_is_a_list_that_goes_forward(held):
    held.publish('main', '4')
    refused(held, 'rollback')
    held.publish('main', '6', image(OTHER))
    report = held.sync()['main']
    assert report.outcome is Outcome.ACCEPTED
    assert held.state().last_code == 'ok'
    assert held.decide(OTHER) is Reason.APPROVED


def test_operator_who_follows_another_list_by_that_name_starts_anew(held):
    other = following.identifier_of('other')
    held.change('main', list_identifier=other)
    held.publish('main', '1', image(OTHER), identifier=other)
    report = held.sync()['main']
    assert report.outcome is Outcome.ACCEPTED
    assert held.decide(DATA) is Reason.WITHDRAWN
    assert held.decide(OTHER) is Reason.APPROVED


def test_until_the_other_list_comes_the_old_one_is_not_trusted(held):
    held.change('main', list_identifier=following.identifier_of('other'))
    report = held.sync()['main']
    assert report.code == 'wrong-identifier'
    assert report.standing is Standing.DISTRUSTED
    assert held.decide(DATA) is Reason.DISTRUSTED


# Entries that do not count


def test_broken_entry_is_reported_by_its_place_and_the_rest_counts(main):
    by = main.endorsers['main']
    document = json.loads(
        imagelist.render(
            by.make_list(
                following.identifier_of('main'),
                '1',
                [image(DATA), image(OTHER)],
            )
        )
    )
    broken = document['hv:imagelist']['hv:images'][1]['hv:image']
    broken['sl:checksum:sha512'] = 'x'
    main.serve('main', by.sign(json.dumps(document, indent=1).encode()))
    report = main.sync()['main']
    assert report.outcome is Outcome.ACCEPTED
    assert not report.well
    (problem,) = report.problems
    assert 'hv:images[1]' in problem
    assert main.decide(DATA) is Reason.APPROVED
    assert main.decide(OTHER) is Reason.NOT_ENDORSED
    assert 'list-problem' in main.events()
    again = main.sync()['main']
    assert again.problems == report.problems
    assert again.well
    assert main.events().count('list-problem') == 1


def test_image_version_that_goes_back_does_not_count(main):
    entry = image(DATA, version='2')
    main.publish('main', '1', entry)
    main.sync()
    older = image(OTHER, identifier=entry.identifier, version='1.9')
    main.publish('main', '2', older)
    report = main.sync()['main']
    (problem,) = report.problems
    assert 'went back from version 2 to 1.9' in problem
    assert main.decide(OTHER) is Reason.NOT_ENDORSED
    assert main.decide(DATA) is Reason.WITHDRAWN


def test_version_that_goes_back_after_a_withdrawal_does_not_count(main):
    entry = image(DATA, version='2')
    older = image(OTHER, identifier=entry.identifier, version='1')
    for version, images in (('1', [entry]), ('2', []), ('3', [older])):
        main.publish('main', version, *images)
        report = main.sync()['main']
    assert 'went back' in report.problems[0]
    assert main.decide(OTHER) is Reason.NOT_ENDORSED


def test_other_bytes_under_the_same_image_version_do_not_count(main):
    entry = image(DATA)
    main.publish('main', '1', entry)
    main.sync()
    main.publish('main', '2', image(OTHER, identifier=entry.identifier))
    report = main.sync()['main']
    assert 'other bytes under the same version 1.0' in report.problems[0]
    assert main.decide(OTHER) is Reason.NOT_ENDORSED


def test_same_bytes_under_a_version_that_is_written_otherwise_count(main):
    entry = image(DATA, version='1')
    main.publish('main', '1', entry)
    main.sync()
    main.publish('main', '2', dataclasses.replace(entry, version='01'))
    report = main.sync()['main']
    assert not report.problems
    assert main.decide(DATA) is Reason.APPROVED


# Two lists


@pytest.fixture
def both(main):
    """Two lists; the first one lists an image already."""
    main.follow('second')
    return main


def test_identifier_of_another_list_is_not_taken_over(both):
    entry = image(DATA)
    both.publish('main', '1', entry)
    both.publish('second', '1')
    both.sync()
    hostile = image(OTHER, identifier=entry.identifier, version='9')
    both.publish('second', '2', hostile, image(THIRD))
    report = both.sync()['second']
    assert report.outcome is Outcome.ACCEPTED
    (problem,) = report.problems
    assert 'already listed by subscription main' in problem
    assert 'hv:images[0]' in problem
    assert both.decide(DATA) is Reason.APPROVED
    assert both.decide(OTHER) is Reason.NOT_ENDORSED
    assert both.decide(THIRD) is Reason.APPROVED


def test_identifier_is_free_when_its_list_withdrew_it(both):
    entry = image(DATA)
    taken = image(OTHER, identifier=entry.identifier)
    both.publish('main', '1', entry)
    both.publish('second', '1')
    both.sync()
    both.publish('second', '2', taken)
    both.sync()
    assert both.decide(OTHER) is Reason.NOT_ENDORSED
    both.publish('main', '2')
    both.sync('main')
    report = both.sync('second')['second']
    assert report.outcome is Outcome.UNCHANGED
    assert report.added == 1
    assert both.decide(OTHER) is Reason.APPROVED


def test_lists_that_first_come_with_one_identifier_do_not_both_get_it(both):
    entry = image(DATA)
    both.publish('main', '1', entry)
    both.publish('second', '1', image(OTHER, identifier=entry.identifier))
    both.sync()
    reasons = {both.decide(DATA), both.decide(OTHER)}
    assert reasons == {Reason.APPROVED, Reason.NOT_ENDORSED}
    both.sync()
    assert {both.decide(DATA), both.decide(OTHER)} == reasons


def test_withdrawal_by_one_endorser_leaves_the_other(both):
    both.publish('main', '1', image(DATA))
    both.publish('second', '1', image(DATA))
    both.sync()
    both.publish('main', '2')
    both.sync()
    assert both.decide(DATA) is Reason.APPROVED


def test_one_hostile_list_does_not_end_the_run_for_the_others(both):
    both.publish('main', '1', image(DATA))
    both.serve('second', b'garbage' * 1000)
    reports = both.sync()
    assert reports['main'].outcome is Outcome.ACCEPTED
    assert reports['second'].outcome is Outcome.REFUSED


def test_fault_of_our_own_with_one_list_does_not_end_the_run(
    both, monkeypatch
):
    both.publish('main', '1', image(DATA))
    both.publish('second', '1', image(OTHER))
    real = accept.judge

    def broken(subscription, *arguments):
        if subscription.name == 'main':
            raise ZeroDivisionError('division by zero')
        return real(subscription, *arguments)

    monkeypatch.setattr(accept, 'judge', broken)
    reports = both.sync()
    assert reports['main'].outcome is Outcome.FAILED
    assert reports['main'].code == 'internal-error'
    assert 'ZeroDivisionError' in reports['main'].detail
    assert reports['second'].outcome is Outcome.ACCEPTED


def test_list_that_the_database_does_not_take_does_not_end_the_run(
    both, monkeypatch
):
    both.publish('main', '1', image(DATA))
    both.publish('second', '1', image(OTHER))
    real = accept.store_list

    def broken(transaction, subscription, *arguments):
        if subscription.name == 'main':
            transaction.execute(sa.text('SELECT * FROM nowhere'))
        return real(transaction, subscription, *arguments)

    monkeypatch.setattr(accept, 'store_list', broken)
    reports = both.sync()
    assert reports['main'].outcome is Outcome.FAILED
    assert reports['main'].code == 'store'
    assert 'no such table' in reports['main'].detail
    assert reports['second'].outcome is Outcome.ACCEPTED
    assert both.decide(DATA) is Reason.NOT_ENDORSED


# Two syncs at once


def test_older_list_cannot_overtake_a_newer_one_between_check_and_store(
    held,
):
    anchors = trust.load(held.anchors)
    subscription = held.configured['main']
    by = held.endorsers['main']
    identifier = following.identifier_of('main')
    older, newer = (
        by.signed_list(identifier, version, image(data))
        for version, data in (('6', OTHER), ('7', THIRD))
    )
    believed = {
        message: accept.judge(subscription, message, anchors, held.now)
        for message in (older, newer)
    }

    def put(message: bytes) -> None:
        with held.database.writing() as transaction:
            accept.store_list(
                transaction,
                subscription,
                believed[message],
                message,
                fetch.Validators(),
                held.now,
            )

    put(newer)
    with pytest.raises(errors.Refused) as caught:
        put(older)
    assert caught.value.code == 'rollback'
    assert held.state().list_version == '7'
    assert held.decide(THIRD) is Reason.APPROVED
    assert held.decide(OTHER) is Reason.NOT_ENDORSED


def test_two_syncs_at_once_end_well(held):
    held.publish('main', '6', image(DATA), image(OTHER))
    reports: list[sync.Report] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            reports.extend(held.sync().values())
        except BaseException as exc:  # noqa: BLE001 - told below
            problems.append(exc)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    outcomes = sorted(report.outcome for report in reports)
    assert outcomes == ['accepted', 'unchanged', 'unchanged', 'unchanged']
    assert len(held.images()) == 3
    assert held.decide(OTHER) is Reason.APPROVED
    assert held.lists_seen() == ['ok', 'ok']

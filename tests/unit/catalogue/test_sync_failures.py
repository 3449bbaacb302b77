# SPDX-License-Identifier: Apache-2.0
"""A server, an anchor or a certificate fails: nothing is withdrawn that the
endorser has not withdrawn, and nothing is trusted that must not be.
"""

from __future__ import annotations

import dataclasses
import threading

import pytest

from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import sync
from hepix_vm import errors
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers

DATA, OTHER = b'an image', b'another image'
DAY = endorser.DAY_SECONDS
Outcome = sync.Outcome
Reason = model.Reason
Standing = model.Standing

image = endorser.make_image


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Whoever keeps to a deadline is not left behind on a slow machine."""
    monkeypatch.setattr(attempts, 'GRACE', 600)


@pytest.fixture
def server():
    with servers.running() as made:
        yield made


@pytest.fixture
def held(main):
    """One image is endorsed and imported into Glance."""
    main.publish('main', '1', image(DATA))
    main.sync()
    main.image = main.record(DATA)
    return main


def unharmed(site: following.Site, report: sync.Report) -> None:
    assert report.standing is Standing.TRUSTED
    assert not report.well
    assert site.withdrawals == ()
    assert site.image_state(site.image) == 'positive'
    assert site.decide(DATA) is Reason.APPROVED
    assert not any(found.withdrawn for found in site.images())


# The server fails

PATIENT = fetch.FetchSettings(
    timeout=60, list_deadline=120, max_list_size=10**6
)
#: For servers that make us wait until the deadline.
HURRIED = dataclasses.replace(PATIENT, list_deadline=0.5)
LATE = 'not finished within'


@pytest.mark.parametrize(
    ('behaviour', 'said'),
    [
        (servers.status(404), 'found 404'),
        (servers.status(503), 'found 503'),
        (servers.status(302, Location='http://127.0.0.1/'), 'redirects'),
        (servers.hanging, LATE),
        (servers.dripping_headers, LATE),
        (servers.dripping_body, LATE),
        (servers.dripping_body_without_length, LATE),
        (servers.endless, ''),
        (servers.declaring(1000, b'truncated'), ''),
        (servers.chunks_cut_off(b'truncated'), ''),
        (servers.hung_up, ''),
        (servers.nonsense, ''),
    ],
    ids=[
        '404',
        '503',
        'redirect',
        'hang',
        'slow-headers',
        'slow-body',
        'slow-body-without-length',
        'endless',
        'truncated',
        'truncated-chunks',
        'hung-up',
        'nonsense',
    ],
)
def test_failed_fetch_withdraws_nothing(held, server, behaviour, said):
    held.change('main', url=server.tell('/list', behaviour))
    settings = HURRIED if said == LATE else PATIENT
    report = held.sync(settings=settings, after=60)['main']
    assert (report.outcome, report.code) == (Outcome.UNREACHABLE, 'fetch')
    assert said in report.detail
    unharmed(held, report)
    assert held.state().last_code == 'fetch'
    assert 'list-unreachable' in held.events()


@pytest.mark.parametrize(
    'body', [b'', b'<html>It works</html>', b'{"hv:imagelist": {}}']
)
def test_server_that_answers_something_else_withdraws_nothing(
    held, server, body
):
    held.change('main', url=server.tell('/list', servers.answer(body)))
    report = held.sync(settings=PATIENT, after=60)['main']
    assert report.outcome is Outcome.REFUSED
    unharmed(held, report)


def test_truncated_list_withdraws_nothing(held, server):
    message = held.publish('main', '2')
    held.change(
        'main',
        url=server.tell('/list', servers.without_length(message[:-700])),
    )
    report = held.sync(after=60)['main']
    assert report.outcome is Outcome.REFUSED
    unharmed(held, report)


def test_list_that_is_too_large_withdraws_nothing(held):
    held.serve('main', bytes(2000))
    settings = fetch.FetchSettings(max_list_size=1000)
    report = held.sync(settings=settings, after=60)['main']
    assert report.outcome is Outcome.UNREACHABLE
    assert 'at most 1000 bytes' in report.detail
    unharmed(held, report)


def test_fault_in_fetching_is_that_subscriptions_own(held, monkeypatch):
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError('division by zero')

    reports, _ = sync.run(
        held.database,
        held.configured,
        fetch.FetchSettings(),
        held.now,
        fetch_list=broken,
    )
    assert reports[0].outcome is Outcome.UNREACHABLE
    assert 'ZeroDivisionError' in reports[0].detail
    unharmed(held, reports[0])


def test_url_that_cannot_be_used_is_told(held):
    held.change('main', url='gopher://example.org/list')
    report = held.sync()['main']
    assert report.outcome is Outcome.UNREACHABLE
    assert 'gopher' in report.detail
    unharmed(held, report)


def test_one_hanging_server_does_not_end_the_others(held, server):
    held.follow('second')
    held.publish('second', '1', image(OTHER))
    told: list[str] = []
    over = threading.Event()

    def hangs(handler: servers.Handler) -> None:
        over.wait(PATIENT.timeout)
        servers.hung_up(handler)

    def tell(report: sync.Report) -> None:
        told.append(report.subscription)
        over.set()

    held.change('main', url=server.tell('/list', hangs))
    reports = held.sync(settings=PATIENT, told=tell)
    assert reports['main'].outcome is Outcome.UNREACHABLE
    assert reports['second'].outcome is Outcome.ACCEPTED
    assert told == ['second', 'main']
    assert held.decide(OTHER) is Reason.APPROVED


def test_silent_server_makes_the_list_stale_then_it_comes_back(held):
    held.silence('main')
    assert held.sync(after=6 * DAY)['main'].outcome is Outcome.UNREACHABLE
    assert held.decide(DATA) is Reason.APPROVED
    held.sync(after=DAY + 1)
    assert held.decide(DATA) is Reason.LIST_STALE
    assert held.image_state(held.image) == 'positive'
    held.publish(
        'main', '2', image(DATA, identifier=held.images()[0].identifier)
    )
    held.sync()
    assert held.decide(DATA) is Reason.APPROVED


def test_server_that_says_not_modified_refreshes_the_list(held, server):
    message = held.publish('main', '2', image(DATA))
    url = server.tell('/list', servers.revalidated(message, '"2"', 'today'))
    held.change('main', url=url)
    held.sync()
    report = held.sync(after=5 * DAY)['main']
    assert report.outcome is Outcome.UNCHANGED
    assert held.state().verified_at == held.now
    assert [headers.get('If-None-Match') for _, headers in server.asked] == [
        None,
        '"2"',
    ]


def test_not_modified_is_verified_again(held, server):
    message = held.publish('main', '2', image(DATA))
    url = server.tell('/list', servers.revalidated(message, '"2"', 'today'))
    held.change('main', url=url)
    held.sync()
    held.endorsers['main'].remove_trust_anchors(held.anchors)
    endorser.Endorser.create(name='Other').write_trust_anchors(held.anchors)
    report = held.sync(after=60)['main']
    assert (report.outcome, report.code) == (Outcome.REFUSED, 'no-anchor')
    assert report.standing is Standing.DISTRUSTED


def test_not_modified_of_nothing_is_no_list(site, server):
    site.follow()
    site.change('main', url=server.tell('/list', servers.status(304)))

    def lying(*arguments: object) -> fetch.NotModified:
        return fetch.NotModified()

    (report,), _ = sync.run(
        site.database,
        site.configured,
        fetch.FetchSettings(),
        site.now,
        fetch_list=lying,
    )
    assert report.outcome is Outcome.UNREACHABLE
    assert 'nothing of it was ever stored' in report.detail


def test_first_fetch_that_fails_leaves_a_subscription_without_a_list(main):
    report = main.sync()['main']
    assert report.outcome is Outcome.UNREACHABLE
    assert report.standing is Standing.DISTRUSTED
    assert main.state().list_identifier is None
    assert main.decide(DATA) is Reason.NOT_ENDORSED


# Verification fails later, without the server


@pytest.fixture
def lonely(site):
    """As ``held``, by an endorser that a test may revoke."""
    site.follow('main', endorser.Endorser.create(name='Lonely'))
    site.publish('main', '1', image(DATA))
    site.sync()
    site.image = site.record(DATA)
    site.silence('main')
    return site


def test_revocation_acts_while_the_server_is_silent(lonely):
    lonely.endorsers['main'].revoke()
    report = lonely.sync(after=60)['main']
    assert report.outcome is Outcome.UNREACHABLE
    assert report.standing is Standing.REVOKED
    assert lonely.decide(DATA) is Reason.REVOKED
    (withdrawal,) = lonely.withdrawals
    assert withdrawal.image_id == lonely.image
    assert withdrawal.code is Reason.REVOKED
    assert lonely.image_state(lonely.image) == 'withdrawn revoked'
    assert 'standing' in lonely.events()
    assert lonely.sync(after=60)['main'].standing is Standing.REVOKED
    assert lonely.withdrawals == ()


def test_list_of_the_revoked_certificate_is_refused(lonely):
    lonely.endorsers['main'].revoke()
    lonely.publish('main', '2', image(OTHER))
    report = lonely.sync()['main']
    assert (report.outcome, report.code) == (Outcome.REFUSED, 'revoked')
    assert lonely.decide(OTHER) is Reason.NOT_ENDORSED
    assert lonely.decide(DATA) is Reason.REVOKED


def test_endorser_comes_back_with_a_new_certificate(lonely):
    by = lonely.endorsers['main']
    by.revoke()
    lonely.sync()
    by.renew()
    lonely.publish('main', '2', image(OTHER))
    report = lonely.sync()['main']
    assert report.outcome is Outcome.ACCEPTED
    assert report.standing is Standing.TRUSTED
    assert lonely.decide(OTHER) is Reason.APPROVED
    assert lonely.image_state(lonely.image) == 'withdrawn revoked'


def test_removed_anchor_distrusts_and_withdraws_nothing(lonely):
    by = lonely.endorsers['main']
    by.remove_trust_anchors(lonely.anchors)
    endorser.Endorser.create(name='Other').write_trust_anchors(lonely.anchors)
    report = lonely.sync(after=60)['main']
    assert report.standing is Standing.DISTRUSTED
    assert lonely.decide(DATA) is Reason.DISTRUSTED
    assert lonely.image_state(lonely.image) == 'positive'
    by.write_trust_anchors(lonely.anchors)
    assert lonely.sync(after=60)['main'].standing is Standing.TRUSTED
    assert lonely.decide(DATA) is Reason.APPROVED
    assert lonely.events().count('standing') == 2


def test_revocation_list_that_runs_out_distrusts_until_it_is_fresh(lonely):
    report = lonely.sync(after=40 * DAY)['main']
    assert report.standing is Standing.DISTRUSTED
    assert lonely.image_state(lonely.image) == 'positive'


@pytest.mark.parametrize('broken', ['absent', 'empty', 'file'])
def test_unusable_anchor_directory_is_a_matter_of_configuration(
    lonely, tmp_path, broken
):
    folder = tmp_path / 'broken'
    if broken == 'empty':
        folder.mkdir()
    elif broken == 'file':
        folder.write_text('not a directory')
    lonely.change('main', trust_anchors=str(folder))
    report = lonely.sync()['main']
    assert report.outcome is Outcome.MISCONFIGURED
    assert report.code == 'configuration'
    assert str(folder) in report.detail
    assert report.standing is Standing.DISTRUSTED
    assert lonely.image_state(lonely.image) == 'positive'


def test_list_that_expires_stops_without_the_server_and_stays(site):
    site.follow()
    entry = image(DATA)
    site.publish('main', '1', entry, expires=endorser.now_utc() + endorser.DAY)
    site.sync()
    record = site.record(DATA)
    site.silence('main')
    report = site.sync(after=2 * DAY)['main']
    assert report.standing is Standing.TRUSTED
    assert site.decide(DATA) is Reason.LIST_EXPIRED
    assert site.image_state(record) == 'positive'
    site.publish('main', '2', entry)
    site.sync()
    assert site.decide(DATA) is Reason.APPROVED


def test_server_that_still_serves_the_expired_list_is_told(site):
    site.follow()
    site.publish(
        'main', '1', image(DATA), expires=endorser.now_utc() + endorser.DAY
    )
    site.sync()
    report = site.sync(after=2 * DAY)['main']
    assert (report.outcome, report.code) == (Outcome.REFUSED, 'list-expired')
    assert site.decide(DATA) is Reason.LIST_EXPIRED


def test_endorser_that_the_site_no_longer_names_is_not_trusted(held):
    held.change('main', endorser_subject='/C=CH/O=Example Grid/CN=Other')
    report = held.sync()['main']
    assert (report.outcome, report.code) == (
        Outcome.REFUSED,
        'endorser-mismatch',
    )
    assert report.standing is Standing.DISTRUSTED
    assert held.decide(DATA) is Reason.DISTRUSTED
    assert held.image_state(held.image) == 'positive'


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'endorser_subject': 'CN="'}, 'endorser_subject'),
        ({'endorser_issuer': 'no name'}, 'endorser_issuer'),
        ({'crl': 'sometimes'}, 'crl'),
        ({'dangerous_accept_self_signed': True}, 'pin'),
    ],
)
def test_subscription_that_cannot_be_used_names_its_group(held, changes, said):
    held.change('main', **changes)
    report = held.sync()['main']
    assert report.outcome is Outcome.MISCONFIGURED
    assert 'group [subscription:main]' in report.detail
    assert said in report.detail
    assert held.image_state(held.image) == 'positive'


def test_group_with_a_typing_error_withdraws_nothing(held):
    held.configured['main'] = errors.Misconfigured('a typing error')
    report = held.sync()['main']
    assert report.outcome is Outcome.MISCONFIGURED
    assert report.detail == 'a typing error'
    unharmed(held, report)


def test_group_that_was_broken_from_the_start_is_told(site):
    site.configured['main'] = errors.Misconfigured('a typing error')
    report = site.sync()['main']
    assert report.outcome is Outcome.MISCONFIGURED
    assert report.standing is Standing.DISTRUSTED

# SPDX-License-Identifier: Apache-2.0
"""A site that follows an image on a StratusLab marketplace."""

from __future__ import annotations

from collections.abc import Iterator
import datetime
from pathlib import Path
from typing import Any

import pytest

from hepix_vm.catalogue import demands
from hepix_vm.catalogue import drivers
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from hepix_vm import errors
from hepix_vm.imagelist import marketplace as rules
from hepix_vm.trust import names
from tests.assets import marketplace
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers

NOTHING = fetch.Validators()
SETTINGS = fetch.FetchSettings(
    timeout=60, list_deadline=120, max_list_size=100_000
)
DATA = b'the bytes of an image'
EMAIL = 'endorser@example.org'
MINUTE = datetime.timedelta(minutes=1)
TAG = 'worker'


def identifier_for(by: endorser.Endorser, tag: str = TAG) -> str:
    """The identifier under which a tag of an endorser is followed."""
    about = rules.Key('x', tag, EMAIL, by.now)
    parts = (by.certificate.subject, by.certificate.issuer)
    text = '\n'.join(names.from_x509(part).rfc4514() for part in parts)
    return rules.list_identifiers(about, text)[0]


class Marketplace:
    """A marketplace with the entries of an endorser, and a site."""

    def __init__(
        self, server: servers.Server, site: following.Site, name: str
    ) -> None:
        self.server = server
        self.site = site
        self.by = following.endorser_named(name)
        query = f'email={EMAIL.replace("@", "%40")}&status=all'
        self.path = f'/metadata?{query}'
        self.url = server.url(f'/metadata?email={EMAIL}&tag={TAG}').replace(
            'http:', 'stratuslab+http:'
        )

    def follow(self, **changes: Any) -> None:
        """Follow the image with the tag."""
        values = {
            'url': self.url,
            'list_identifier': identifier_for(self.by),
            'approval': subscription.Approval.ALL,
        }
        self.site.follow('main', self.by, **(values | changes))

    def entry(self, minutes: int = 10, **changes: Any) -> bytes:
        """A signed entry, made so many minutes ago."""
        changes.setdefault('tag', TAG)
        content = marketplace.entry(
            self.by.certificate, self.by.now - minutes * MINUTE, **changes
        )
        return marketplace.sign(content, self.by.certificate, self.by.key)

    def show(self, *entries: bytes) -> None:
        """Have the marketplace show these."""
        self.server.tell(self.path, servers.answer(marketplace.feed(*entries)))

    def sync(self) -> sync.Report:
        """Sync the one subscription."""
        return self.site.sync(after=1)['main']

    def decision(self, data: bytes = DATA) -> model.Reason:
        """What is decided of the image."""
        return self.site.decide(data)


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as running:
        yield running


@pytest.fixture
def market(server: servers.Server, tmp_path: Path) -> Iterator[Marketplace]:
    site = following.Site(tmp_path)
    made = Marketplace(server, site, 'Endorser on a marketplace')
    made.follow()
    yield made
    site.close()


def test_entry_is_believed_and_its_image_approved(market):
    market.show(market.entry())
    report = market.sync()
    assert (report.outcome, report.added) == (sync.Outcome.ACCEPTED, 1)
    assert market.decision() is model.Reason.APPROVED
    assert market.sync().outcome is sync.Outcome.UNCHANGED
    assert market.server.asked[0][0] == market.path


def test_entry_alone_is_followed_by_its_own_identifier(market):
    market.show(market.entry(tag=None))
    with pytest.raises(errors.TryAgain, match='no such entry'):
        fetch.fetch_list(market.url, SETTINGS, NOTHING)
    url = market.url.replace(f'tag={TAG}', 'identifier=abc')
    path = f'{market.path}&identifier=abc'
    message = market.entry(tag=None, identifier='abc')
    market.server.tell(path, servers.answer(message))
    got = fetch.fetch_list(url, SETTINGS, NOTHING)
    assert isinstance(got, fetch.Fetched)
    assert fetch.fetch_list(url, SETTINGS, got.validators) == (
        fetch.NotModified()
    )


def test_newest_entry_counts_wherever_it_stands(market):
    old, new = market.entry(20, data=b'old'), market.entry(10)
    for shown in ((old, new), (new, old)):
        market.show(*shown)
        market.sync()
        assert market.decision() is model.Reason.APPROVED
        assert market.decision(b'old') is model.Reason.NOT_ENDORSED


def test_newer_image_of_the_tag_replaces_the_older(market):
    market.show(market.entry(20, data=b'old'))
    market.sync()
    assert market.decision(b'old') is model.Reason.APPROVED
    market.show(market.entry(20, data=b'old'), market.entry(10))
    report = market.sync()
    assert (report.added, report.withdrawn) == (1, 1)
    assert market.decision(b'old') is model.Reason.WITHDRAWN
    assert market.decision() is model.Reason.APPROVED


def test_older_entry_is_a_rollback(market):
    old = market.entry(20, data=b'old')
    market.show(old, market.entry(10))
    market.sync()
    market.show(old)
    report = market.sync()
    assert (report.outcome, report.code) == (sync.Outcome.REFUSED, 'rollback')
    assert market.decision() is model.Reason.APPROVED
    assert market.decision(b'old') is model.Reason.NOT_ENDORSED


def test_deprecated_entry_withdraws_its_image(market):
    market.show(market.entry(20))
    market.sync()
    deprecation = market.entry(10, deprecated='a flaw', locations=[])
    market.show(market.entry(20), deprecation)
    report = market.sync()
    assert (report.outcome, report.withdrawn) == (sync.Outcome.ACCEPTED, 1)
    assert market.decision() is model.Reason.WITHDRAWN
    market.show(market.entry(20))
    assert market.sync().code == 'rollback'
    assert market.decision() is model.Reason.WITHDRAWN


def test_expired_entry_is_stale_and_withdraws_nothing(market):
    valid = market.by.now + 60 * MINUTE
    market.show(market.entry(10, valid=valid))
    market.sync()
    market.site.now = int(valid.timestamp()) + 1
    report = market.sync()
    assert (report.outcome, report.code) == (
        sync.Outcome.REFUSED,
        'list-expired',
    )
    assert report.withdrawn == 0
    assert market.decision() is model.Reason.LIST_EXPIRED


def test_entry_of_another_tag_is_not_taken_for_ours(market):
    """A marketplace that hands out another signed entry gains nothing."""
    url = market.url.replace(f'tag={TAG}', 'tag=other')
    market.follow(url=url)
    market.show(market.entry(tag='other'))
    report = market.sync()
    assert report.code == 'wrong-identifier'
    assert identifier_for(market.by, 'other') in report.detail


def test_entry_that_was_changed_is_refused(market):
    message = market.entry()
    assert b'>21<' in message
    market.show(message.replace(b'>21<', b'>22<'))
    assert market.sync().code == 'digest'
    assert market.decision() is model.Reason.NOT_ENDORSED


def test_entry_of_somebody_else_with_that_address_is_refused(market):
    other = following.endorser_named('Somebody else')
    market.show(
        marketplace.sign(
            marketplace.entry(other.certificate, other.now - MINUTE, tag=TAG),
            other.certificate,
            other.key,
        )
    )
    assert market.sync().code == 'no-anchor'


def test_entries_of_others_and_broken_ones_are_passed_over(market):
    market.show(
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
        market.entry(5, email='other@example.org'),
        market.entry(5, tag='other'),
        market.entry(10),
        market.entry(1).replace(b'<dcterms:created>', b'<dcterms:created>x'),
    )
    assert market.sync().outcome is sync.Outcome.ACCEPTED


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'<html>',
        b'<html/>',
        b'<!DOCTYPE metadata [<!ENTITY a "x">]><metadata>&a;</metadata>',
    ],
)
def test_answer_that_is_no_marketplaces_is_tried_again(market, content):
    market.show(market.entry())
    market.sync()
    market.server.tell(market.path, servers.answer(content))
    report = market.sync()
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert 'expected entries of a marketplace' in report.detail
    assert market.decision() is model.Reason.APPROVED


def test_marketplace_without_our_entry_is_tried_again(market):
    market.show()
    report = market.sync()
    assert report.outcome is sync.Outcome.UNREACHABLE
    assert 'no such entry' in report.detail


def test_answer_beyond_the_limit_is_not_read(market):
    market.server.tell(market.path, servers.endless)
    with pytest.raises(errors.TryAgain, match='at most 100000 bytes'):
        fetch.fetch_list(market.url, SETTINGS, NOTHING)


def test_revoked_endorser_acts_without_the_marketplace(server, tmp_path):
    site = following.Site(tmp_path)
    # Not one that other tests share.
    following._endorsers.pop('Endorser to be revoked', None)
    market = Marketplace(server, site, 'Endorser to be revoked')
    market.follow()
    market.show(market.entry())
    market.sync()
    assert market.decision() is model.Reason.APPROVED
    market.by.revoke()
    server.tell(market.path, servers.status(503))
    assert market.sync().standing is model.Standing.REVOKED
    assert market.decision() is model.Reason.REVOKED
    site.close()


def test_stored_entry_under_another_kind_of_url_is_not_believed(market):
    """The form of a list is the URL's, never the server's choice."""
    market.show(market.entry())
    market.sync()
    plain = market.server.tell('/plain', servers.answer(market.entry()))
    market.follow(url=plain)
    report = market.sync()
    assert report.code == 'not-signed'
    assert market.decision() is model.Reason.DISTRUSTED


def test_smime_under_the_url_of_a_marketplace_is_not_believed(market):
    smime = market.by.signed_list(identifier_for(market.by), '1')
    market.server.tell(market.path, servers.answer(smime))
    assert market.sync().outcome is sync.Outcome.UNREACHABLE


@pytest.mark.parametrize(
    'query',
    [
        '',
        '?',
        f'?email={EMAIL}',
        f'?tag={TAG}',
        f'?email={EMAIL}&tag={TAG}&identifier=x',
        f'?email={EMAIL}&email={EMAIL}&tag={TAG}',
        f'?email={EMAIL}&tag={TAG}&status=valid',
        f'?email={EMAIL}&tag={TAG}#x',
        f'?email={EMAIL}&tag',
    ],
)
def test_url_that_follows_no_image_is_a_mistake(query):
    with pytest.raises(errors.Misconfigured, match=r'expected stratuslab\+'):
        fetch.fetch_list(
            f'stratuslab+https://h/metadata{query}', SETTINGS, NOTHING
        )


def test_broken_url_is_a_mistake():
    with pytest.raises(errors.Misconfigured):
        fetch.fetch_list('stratuslab+https://[/?a=b', SETTINGS, NOTHING)


def test_form_that_cannot_be_loaded_is_a_mistake_of_that_subscription(
    market, monkeypatch
):
    def load(namespace: str, name: str) -> Any:
        raise errors.Misconfigured(f'{name} cannot be loaded')

    market.show(market.entry())
    market.sync()
    monkeypatch.setattr(drivers, 'load', load)
    demands._envelope.cache_clear()
    try:
        report = market.sync()
    finally:
        demands._envelope.cache_clear()
    assert report.outcome is sync.Outcome.MISCONFIGURED
    assert 'cannot be loaded' in report.detail

# SPDX-License-Identifier: Apache-2.0
"""Images that run although their endorsement has ended."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import model
from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from hepix_vm import errors
from hepix_vm.glance import withdraw
from hepix_vm import imagelist
from hepix_vm.operations import anyway
from hepix_vm.operations import images
from hepix_vm.operations import site as site_
from hepix_vm.operations import site_list
from hepix_vm.operations import waiting
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.operations import glances

DATA, OTHER = b'an image', b'another image'
HOUR = 3600
Reason = model.Reason


class Ended:
    """A site with an image whose endorsement was taken back.

    :ivar entry: the image
    :ivar record: its Glance image, deactivated by the sync
    """

    def __init__(self, made: following.Site) -> None:
        self.site = made
        self.by = endorser.Endorser.create(name='Endorser')
        made.follow('main', self.by)
        self.entry = endorser.make_image(DATA)
        made.publish('main', '1', self.entry)
        made.sync()
        self.record = made.record(DATA)
        self.glance = glances.Glance(records.Records(made.database))
        self.glance.statuses[self.record] = 'active'
        self.glance.staged[self.record] = DATA
        made.publish('main', '2')
        self.sync()

    @property
    def operations(self) -> site_.Site:
        return site_.Site(
            catalogue=self.site.database,
            subscriptions=self.site.configured,
            fetch=fetch.FetchSettings(),
            cloud=site_.Cloud(session=lambda: None),
        )

    def sync(self, after: int = 0) -> None:
        self.site.sync(after=after)
        database, now = self.site.database, self.site.now
        codes, images = withdraw.withdrawn(database), self.glance.images()
        withdraw.deactivate(database, self.glance, images, codes, now)
        withdraw.reactivate(database, self.glance, now)

    def allow(
        self, named: str | None = None, seconds: int = HOUR
    ) -> anyway.Allowed:
        return anyway.allow(
            self.operations,
            self.site.now,
            named or self.entry.identifier,
            self.site.now + seconds,
            'me',
            'a running campaign',
        )

    def end(self, named: str | None = None) -> anyway.Ended:
        return anyway.end(
            self.operations,
            self.site.now,
            named or self.entry.identifier,
            'me',
            'campaign over',
        )

    @property
    def status(self) -> str:
        """Of the image in Glance."""
        return self.glance.statuses[self.record]

    def decided(self) -> Reason:
        """Of the image in Glance."""
        return model.decide_image(
            self.site.snapshot(),
            model.ImageFacts(self.record, len(DATA), 1),
            None,
            self.site.now,
            300,
        ).code


@pytest.fixture
def ended(tmp_path) -> Iterator[Ended]:
    made = following.Site(tmp_path)
    yield Ended(made)
    made.close()


def refused(ended: Ended, said: str, **given: Any) -> None:
    """Nothing is allowed, and nothing is written."""
    before = len(ended.site.rows(sa.select(schema.history)))
    with pytest.raises(errors.Misconfigured, match=said):
        ended.allow(**given)
    assert ended.site.rows(sa.select(schema.run_anyway)) == []
    assert len(ended.site.rows(sa.select(schema.history))) == before


def test_withdrawn_image_runs_again_and_returns_to_glance(ended):
    assert (ended.status, ended.decided()) == ('deactivated', 'withdrawn')
    allowed = ended.allow()
    assert allowed.sha512 == ended.entry.sha512
    assert allowed.decision.code is Reason.RUN_ANYWAY
    assert allowed.restored == (ended.record,)
    assert ended.site.image_state(ended.record) == 'positive'
    assert ended.decided() is Reason.RUN_ANYWAY
    assert ended.status == 'deactivated'
    ended.sync()
    assert ended.status == 'active'


def test_who_when_and_why_are_kept(ended):
    ended.allow()
    with ended.site.database.reading() as connection:
        running = store.running_anyway(connection, ended.site.now)
        (event,) = store.history(connection, ended.entry.sha512)
    assert running == {
        ended.entry.sha512: store.Anyway(
            ended.site.now + HOUR, ended.site.now, 'me', 'a running campaign'
        )
    }
    assert (event.event, event.who) == ('run-anyway', 'me')
    assert 'a running campaign' in event.detail
    assert ended.site.events(ended.record)[-1] == 'record-restored'


def test_when_the_time_is_over_it_is_refused_at_once_and_withdrawn_by_the_sync(
    ended,
):
    ended.allow()
    ended.sync()
    ended.site.now += HOUR - 1
    assert ended.decided() is Reason.RUN_ANYWAY
    ended.site.now += 1
    assert ended.decided() is Reason.WITHDRAWN
    assert ended.status == 'active'
    ended.sync()
    assert ended.site.image_state(ended.record) == 'withdrawn withdrawn'
    assert ended.status == 'deactivated'


def test_operator_ends_it_at_once(ended):
    ended.allow()
    ended.sync()
    done = ended.end()
    assert [w.image_id for w in done.withdrawals] == [ended.record]
    assert ended.decided() is Reason.WITHDRAWN
    assert ended.site.events(ended.entry.sha512)[-1] == 'run-anyway-ended'
    ended.sync()
    assert ended.status == 'deactivated'
    with pytest.raises(errors.Misconfigured, match='that runs anyway'):
        ended.end()


def test_it_may_be_allowed_again_for_longer(ended):
    ended.allow()
    ended.allow(seconds=2 * HOUR)
    ended.site.now += HOUR
    assert ended.decided() is Reason.RUN_ANYWAY


@pytest.mark.parametrize('by', ['identifier', 'sha512', 'record'])
def test_image_is_named_in_three_ways(ended, by):
    named = {
        'identifier': ended.entry.identifier,
        'sha512': ended.entry.sha512,
        'record': ended.record,
    }[by].upper()
    assert ended.allow(named).sha512 == ended.entry.sha512
    assert ended.end(named).sha512 == ended.entry.sha512


@pytest.mark.parametrize(
    'seconds', [-HOUR, 0, 2592001], ids=['past', 'now', 'too far']
)
def test_time_has_to_be_ahead_and_not_too_far(ended, seconds):
    refused(ended, 'option --until: expected', seconds=seconds)


def test_the_longest_time_is_the_sites(ended):
    short = dataclasses.replace(ended.operations, run_anyway_longest=60)
    with pytest.raises(errors.Misconfigured, match='60 seconds ahead'):
        anyway.allow(
            short, ended.site.now, ended.record, ended.site.now + 61, 'me', 'x'
        )
    ended.allow(seconds=2592000)


def test_unknown_image_is_said(ended):
    refused(ended, 'expected an image identifier', named='nonsense')
    unknown = endorser.make_image(b'never listed').sha512
    refused(ended, 'expected an image identifier', named=unknown)
    with pytest.raises(errors.Misconfigured, match='expected an image id'):
        ended.end(unknown)


def test_bytes_that_were_recorded_but_never_endorsed_do_not_run(ended):
    record = ended.site.record(b'never listed')
    refused(ended, 'expected an image identifier', named=record)


def newer(ended: Ended) -> Any:
    """A newer version of the image, which is withdrawn too."""
    entry = endorser.make_image(
        OTHER, identifier=ended.entry.identifier, version='2'
    )
    ended.site.publish('main', '3', entry)
    ended.sync()
    return entry


def test_name_of_several_contents_has_to_be_said_exactly(ended):
    entry = newer(ended)
    refused(ended, 'stands for 2 contents; name one by its SHA-512')
    with pytest.raises(errors.Misconfigured) as caught:
        ended.allow()
    for sha512 in (ended.entry.sha512, entry.sha512):
        assert sha512 in str(caught.value)
    assert 'version 1.0, subscription main, no longer listed' in str(
        caught.value
    )
    ended.allow(ended.entry.sha512)
    assert ended.end().sha512 == ended.entry.sha512
    with pytest.raises(errors.Misconfigured, match='stands for 2 contents'):
        ended.end()


# What it never covers


def test_block_counts_before_and_after(ended):
    def block(target: str) -> None:
        images.block(ended.operations, ended.site.now, target, 'me', 'a hole')

    ended.allow()
    block(ended.entry.identifier)
    assert ended.decided() is Reason.BLOCKED
    assert ended.site.image_state(ended.record) == 'withdrawn blocked'
    images.unblock(
        ended.operations, ended.site.now, ended.entry.identifier, 'me', ''
    )
    ended.end()
    # Somebody blocked it once: it takes a new import.
    assert ended.allow().restored == ()
    assert ended.decided() is Reason.RECORD_WITHDRAWN


@pytest.mark.parametrize('by', ['identifier', 'sha512'])
def test_blocked_image_is_not_allowed(ended, by):
    images.block(
        ended.operations, ended.site.now, getattr(ended.entry, by), 'me', 'x'
    )
    refused(ended, r'cannot run anyway, because .*\(blocked\)')


def test_revoked_endorser_is_not_allowed(ended):
    ended.by.revoke()
    ended.sync()
    refused(ended, r'cannot run anyway, because .*\(revoked\)')


def test_revocation_that_comes_later_counts(ended):
    ended.allow()
    ended.sync()
    assert ended.status == 'active'
    ended.by.revoke()
    ended.sync()
    assert ended.decided() is Reason.REVOKED
    assert ended.site.image_state(ended.record) == 'withdrawn revoked'
    assert ended.status == 'deactivated'
    ended.sync()
    assert ended.status == 'deactivated'


def test_distrusted_list_is_not_allowed(ended):
    ended.by.remove_trust_anchors(ended.site.anchors)
    ended.sync()
    refused(ended, r'cannot run anyway, because .*\(distrusted\)')


def test_list_that_is_distrusted_later_counts(ended):
    ended.allow()
    ended.by.remove_trust_anchors(ended.site.anchors)
    ended.sync()
    assert ended.decided() is Reason.DISTRUSTED


def test_image_that_was_never_approved_is_not_allowed(ended):
    ended.site.change('main', approval=subscription.Approval.NONE)
    ended.sync()
    refused(ended, r'cannot run anyway, because .*\(not-approved\)')


def test_list_that_is_followed_no_more_is_not_allowed(ended):
    ended.site.configured.clear()
    ended.sync()
    refused(ended, r'cannot run anyway, because .*\(unsubscribed\)')


# What it covers


def listed(ended: Ended, version: str = '3', **changes: Any) -> None:
    """The image is endorsed again, under its own new record."""
    ended.site.publish(
        'main', version, dataclasses.replace(ended.entry, **changes)
    )
    ended.sync()
    ended.record = ended.site.record(DATA)


def test_expired_and_stale_images_run(ended):
    listed(ended, expires=endorser.utc(ended.site.now + HOUR))
    ended.site.now += HOUR
    assert ended.decided() is Reason.IMAGE_EXPIRED
    ended.allow()
    assert ended.decided() is Reason.RUN_ANYWAY
    ended.site.silence('main')
    ended.sync(after=8 * endorser.DAY_SECONDS)
    assert ended.decided() is Reason.IMAGE_EXPIRED
    ended.allow()
    assert ended.decided() is Reason.RUN_ANYWAY
    assert ended.site.image_state(ended.record) == 'positive'


def test_suspended_images_run_and_go_on_running_once_confirmed(ended):
    listed(ended)
    ended.site.change('main', brake=subscription.Brake(images=0))
    ended.site.publish('main', '4')
    ended.sync()
    assert ended.decided() is Reason.SUSPENDED
    assert ended.record not in ended.allow().restored
    assert ended.decided() is Reason.RUN_ANYWAY
    waiting.confirm(ended.operations, ended.site.now, 'main', 'me', 'asked')
    assert ended.decided() is Reason.RUN_ANYWAY
    assert ended.site.image_state(ended.record) == 'positive'


def test_image_may_be_allowed_before_its_end(ended):
    listed(ended)
    assert ended.allow().decision.code is Reason.APPROVED
    ended.site.publish('main', '4')
    ended.sync()
    assert ended.decided() is Reason.RUN_ANYWAY
    assert ended.site.image_state(ended.record) == 'positive'


def test_bytes_that_run_anyway_may_be_imported(ended):
    ended.allow()
    assert ended.site.decide(DATA) is Reason.RUN_ANYWAY


def test_what_runs_anyway_here_is_endorsed_for_nobody_else(ended, tmp_path):
    draft = tmp_path / 'draft.json'
    empty = ended.by.make_list(following.identifier_of('the site'))
    draft.write_bytes(imagelist.render(empty))

    def listed_by_the_site() -> list[str]:
        made = site_list.compose(ended.operations, draft, ended.site.now)
        return [image.identifier for image in made.images]

    listed(ended, expires=endorser.utc(ended.site.now + HOUR))
    assert listed_by_the_site() == [ended.entry.identifier]
    ended.site.now += HOUR
    ended.allow()
    assert ended.site.decide(DATA) is Reason.RUN_ANYWAY
    assert listed_by_the_site() == []


# What returns, and what does not


def test_import_that_was_under_way_does_not_become_a_good_one(ended):
    listed(ended)
    writer = records.Records(ended.site.database)
    writer.verified(
        'half',
        'task',
        '',
        ended.entry.sha512,
        len(DATA),
        1,
        ended.site.now,
    )
    ended.site.publish('main', '4')
    ended.sync()
    restored = ended.allow().restored
    assert 'half' not in restored
    assert ended.record in restored
    assert ended.site.image_state('half') == 'withdrawn withdrawn'


def test_record_of_another_size_does_not_return(ended):
    table = schema.glance_record
    with ended.site.database.writing() as transaction:
        transaction.execute(table.update().values(size=1))
    assert ended.allow().restored == ()


def test_record_of_a_failed_import_does_not_return(ended):
    table = schema.glance_record
    with ended.site.database.writing() as transaction:
        transaction.execute(table.update().values(reason='import-failed'))
    assert ended.allow().restored == ()


def deactivated_by(ended: Ended) -> int | None:
    (row,) = ended.site.rows(
        sa.select(schema.glance_record.c.deactivated_at).where(
            schema.glance_record.c.image_id == ended.record
        )
    )
    return row.deactivated_at


def test_what_somebody_else_deactivated_stays_so(ended):
    listed(ended)
    ended.glance.statuses[ended.record] = 'deactivated'
    ended.glance.staged[ended.record] = DATA
    ended.site.publish('main', '4')
    ended.sync()
    assert deactivated_by(ended) is None
    ended.allow()
    ended.sync()
    assert ended.site.image_state(ended.record) == 'positive'
    assert ended.status == 'deactivated'


@pytest.mark.parametrize('created', [2, None], ids=['another', 'unknown'])
def test_image_created_at_another_time_is_not_reactivated(ended, created):
    ended.glance.created[ended.record] = created
    ended.allow()
    ended.sync()
    assert ended.status == 'deactivated'


def test_image_with_other_bytes_is_not_reactivated(ended):
    ended.glance.staged[ended.record] = DATA + b'!'
    ended.allow()
    ended.sync()
    assert ended.status == 'deactivated'


def test_image_that_is_gone_or_back_is_left_alone(ended):
    assert deactivated_by(ended) == ended.site.now
    ended.allow()
    ended.glance.statuses[ended.record] = 'active'
    ended.sync()
    assert deactivated_by(ended) is None
    assert ended.status == 'active'
    ended.end()
    ended.sync()
    ended.allow()
    del ended.glance.statuses[ended.record]
    ended.sync()
    assert deactivated_by(ended) is None


def test_new_import_starts_with_nothing_of_the_old_one(ended):
    assert deactivated_by(ended) is not None
    writer = records.Records(ended.site.database)
    sha512, size = ended.entry.sha512, len(DATA)
    writer.verified(ended.record, 'new', '', sha512, size, 1, ended.site.now)
    assert deactivated_by(ended) is None
    writer.drop(ended.record, 'new', 'withdrawn', ended.site.now)
    assert ended.allow().restored == ()

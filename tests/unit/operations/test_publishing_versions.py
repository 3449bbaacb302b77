# SPDX-License-Identifier: Apache-2.0
"""Versions follow each other, in one cloud and in several."""

from __future__ import annotations

import json
import uuid

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import loading
from hepix_vm.catalogue import quarantine as quarantines
from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm.glance import apply
from hepix_vm.glance import plan
from tests.unit.operations.published import Outcome
from tests.unit.operations.published import Publishing
from tests.unit.operations.published import RAW

NEW, NEWEST = RAW + b'new', RAW + b'newest'
OUR_TRIAL = 'project of the quarantine'


def said(results) -> list[str]:
    """Outcomes with versions, in order."""
    return [f'{r.outcome} {r.version}' for r in results]


def replaced(publishing: Publishing, data: bytes, version: str) -> str:
    """Endorse a version of the one image, while the older one counts."""
    publishing.site.change('main', replace_grace=86400)
    identifier = '0b5c2d1e-93c1-4b7c-8a43-6f0f7f1c5d11'
    publishing.endorse((data, {'identifier': identifier, 'version': version}))
    return identifier


def notices(publishing: Publishing) -> list[tuple[str, str]]:
    """Kinds and versions of what is to be told, oldest first."""
    rows = publishing.site.rows(
        sa.select(schema.notice).order_by(schema.notice.c.id)
    )
    return [(r.kind, json.loads(r.payload)['version']) for r in rows]


def problems(publishing: Publishing) -> dict[tuple[str, str], str]:
    """What is noted, by cloud and version."""
    rows = publishing.site.rows(sa.select(schema.publication_problem))
    return {(row.cloud, row.version): row.detail for row in rows}


def until(publishing: Publishing) -> dict[str, int | None]:
    """Until when each version counts although it is replaced."""
    return {
        image.version: image.replaced_until
        for image in publishing.site.images()
    }


def test_new_version_is_released_before_the_old_one_is_retired(publishing):
    replaced(publishing, RAW, '1')
    (old,) = publishing.publish()
    replaced(publishing, NEW, '2')
    new, left = publishing.publish()
    assert said([new, left]) == ['published 2', 'retired 1']
    glance = publishing.glance
    # The last change of the new image, and the first one of the old.
    shown = [
        image_id
        for image_id, values in glance.changes
        if values.get('os_hidden') is False
    ]
    hidden = [
        image_id
        for image_id, values in glance.changes
        if values.get('os_hidden') is True
    ]
    assert shown == [old.image_id, new.image_id]
    assert hidden == [old.image_id]
    assert glance.changes.index(
        (old.image_id, glance.changes[-1][1])
    ) > shown.index(new.image_id)
    assert glance.statuses[old.image_id] == 'deactivated'
    assert until(publishing) == {'1': publishing.site.now, '2': None}
    assert notices(publishing) == [
        ('image.released', '1'),
        ('image.released', '2'),
        ('image.retired', '1'),
    ]
    assert publishing.site.events(old.image_id)[-1] == 'retired'


def test_newer_version_of_the_same_bytes_is_not_uploaded_again(publishing):
    replaced(publishing, RAW, '1')
    (first,) = publishing.publish()
    replaced(publishing, RAW, '2')
    (second,) = publishing.publish()
    assert said([second]) == ['changed 2']
    assert second.image_id == first.image_id
    assert until(publishing) == {'1': publishing.site.now, '2': None}
    assert 'renumbered' in publishing.site.events(first.image_id)
    (again,) = publishing.publish()
    assert said([again]) == ['present 2']
    publishing.site.now += 1
    assert publishing.site.decide(RAW) == 'approved'


def test_old_version_stays_when_the_new_one_fails(publishing):
    replaced(publishing, RAW, '1')
    (old,) = publishing.publish()
    replaced(publishing, NEW, '2')
    publishing.glance.refusing = 'no space left'
    publishing.settings = plan.Settings(keep=0)
    assert said(publishing.publish()) == ['failed 2']
    glance = publishing.glance
    assert glance.statuses == {old.image_id: 'active'}
    assert glance.bodies[old.image_id]['os_hidden'] is False
    assert until(publishing)['1'] == publishing.site.now + 86400
    assert problems(publishing) == {('default', '2'): 'no space left'}
    assert notices(publishing)[-1] == ('image.publish-failed', '2')
    # The same again is told once.
    publishing.publish()
    kinds = [kind for kind, _ in notices(publishing)]
    assert kinds.count('image.publish-failed') == 1
    glance.refusing = ''
    assert said(publishing.publish()) == [
        'published 2',
        'retired 1',
        'deleted 1',
    ]
    assert problems(publishing) == {}
    assert until(publishing)['1'] == publishing.site.now


def test_old_version_that_is_in_use_is_not_deleted(publishing):
    publishing.settings = plan.Settings(keep=0)
    replaced(publishing, RAW, '1')
    (old,) = publishing.publish()
    publishing.used = frozenset({old.image_id})
    replaced(publishing, NEW, '2')
    assert said(publishing.publish()) == ['published 2', 'retired 1']
    assert said(publishing.publish()) == ['present 2']
    assert old.image_id in publishing.glance.statuses
    publishing.used = frozenset()
    assert said(publishing.publish()) == ['present 2', 'deleted 1']
    assert old.image_id not in publishing.glance.statuses
    assert notices(publishing)[-1] == ('image.deleted', '1')


@pytest.mark.parametrize('call', ['change', 'deactivate'])
def test_retiring_that_was_cut_off_is_finished(publishing, call):
    replaced(publishing, RAW, '1')
    (old,) = publishing.publish()
    replaced(publishing, NEW, '2')
    glance = publishing.glance
    real = getattr(glance, call)

    def broken(image, *values):
        if getattr(image, 'image_id', image) == old.image_id:
            raise errors.TryAgain('Glance is away')
        real(image, *values)

    setattr(glance, call, broken)
    results = publishing.publish()
    assert said(results) == ['published 2', 'failed 2']
    setattr(glance, call, real)
    assert said(publishing.publish()) == ['present 2', 'retired 1']
    assert glance.statuses[old.image_id] == 'deactivated'
    assert glance.bodies[old.image_id]['visibility'] == 'private'
    assert said(publishing.publish()) == ['present 2']


# Several clouds


def second(publishing: Publishing):
    """A further cloud beside the first one."""
    glance = type(publishing.glance)(publishing.glance._writer)
    publishing.glances['second'] = glance
    return glance


def test_image_goes_into_all_clouds_and_is_downloaded_once(publishing):
    glance = second(publishing)
    publishing.endorse((RAW, {}))
    results = publishing.publish()
    assert {r.cloud for r in results} == {'default', 'second'}
    assert said(results) == ['published 1.0'] * 2
    assert list(glance.staged.values()) == [RAW]
    asked = [path for path, _ in publishing.server.asked]
    assert asked.count('/image0') == 1
    rows = publishing.site.rows(sa.select(schema.publication))
    assert {row.cloud for row in rows} == {'default', 'second'}


def test_cloud_that_fails_ends_nothing_in_the_other(publishing):
    glance = second(publishing)
    replaced(publishing, RAW, '1')
    publishing.publish()
    replaced(publishing, NEW, '2')
    glance.broken['stage'] = errors.TryAgain('a full store')
    results = {(r.cloud, r.outcome) for r in publishing.publish()}
    assert results == {
        ('default', Outcome.PUBLISHED),
        ('default', Outcome.RETIRED),
        ('second', Outcome.FAILED),
    }
    assert problems(publishing) == {('second', '2'): 'a full store'}
    # It counts until the newer one is in both.
    assert until(publishing)['1'] == publishing.site.now + 86400
    glance.broken.clear()
    publishing.publish()
    assert until(publishing)['1'] == publishing.site.now
    assert problems(publishing) == {}


def test_cloud_that_is_away_leaves_older_versions_as_they_are(publishing):
    glance = second(publishing)
    replaced(publishing, RAW, '1')
    publishing.publish()
    replaced(publishing, NEW, '2')
    glance.broken['images'] = errors.TryAgain('away')
    outcomes = {(r.cloud, r.outcome) for r in publishing.publish()}
    assert ('default', Outcome.PUBLISHED) in outcomes
    assert ('second', Outcome.FAILED) in outcomes
    assert until(publishing)['1'] == publishing.site.now + 86400


# Quarantine


class Trial:
    """Tries images out, with the outcome of this moment."""

    def __init__(self, publishing: Publishing) -> None:
        self.verdict = apply.Verdict.PASSED
        self.booted: list[str] = []
        self._publishing = publishing
        publishing.quarantine = apply.Quarantine(OUR_TRIAL, self)
        publishing.trials = frozenset({'main'})

    def __call__(self, image_id: str, told) -> apply.Tried:
        self.booted.append(image_id)
        body = self._publishing.glance.bodies[image_id]
        assert body['os_hidden'] is True
        assert body['visibility'] == 'private'
        assert self.held(image_id) == OUR_TRIAL
        told('waiting')
        return apply.Tried(self.verdict, 'what was seen')

    def held(self, image_id: str) -> str | None:
        """The only project that may boot an image."""
        site = self._publishing.site
        with site.database.reading() as connection:
            snapshot = loading.load(connection, None, site.now).snapshot
        return snapshot.quarantined.get(image_id)


def test_image_is_released_when_it_passed_and_not_before(publishing):
    trial = Trial(publishing)
    publishing.endorse((RAW, {}))
    trial.verdict = apply.Verdict.UNDECIDED
    (waiting,) = publishing.publish()
    assert waiting.outcome is Outcome.WAITING
    assert publishing.states() == ['quarantine']
    assert trial.held(waiting.image_id) == OUR_TRIAL
    trial.verdict = apply.Verdict.PASSED
    (done,) = publishing.publish()
    assert (done.outcome, done.image_id) == (
        Outcome.PUBLISHED,
        waiting.image_id,
    )
    assert trial.booted == [done.image_id] * 2
    assert trial.held(done.image_id) is None
    assert publishing.glance.bodies[done.image_id]['os_hidden'] is False
    kinds = [kind for kind, _ in notices(publishing)]
    assert kinds == ['image.quarantine-passed', 'image.released']
    events = publishing.site.events(done.image_id)
    assert events[-3:] == [
        'quarantine-waiting',
        'quarantine-passed',
        'released',
    ]


def test_image_that_failed_stays_hidden_until_the_operator_says(publishing):
    trial = Trial(publishing)
    replaced(publishing, RAW, '1')
    (old,) = publishing.publish()
    replaced(publishing, NEW, '2')
    trial.verdict = apply.Verdict.FAILED
    assert said(publishing.publish()) == ['failed 2']
    assert publishing.glance.statuses[old.image_id] == 'active'
    (held,) = publishing.publish()
    assert held.outcome is Outcome.FAILED
    assert 'what was seen' in held.detail
    assert '--retry' in held.detail
    assert len(trial.booted) == 2
    assert 'what was seen' in problems(publishing)['default', '2']
    trial.verdict = apply.Verdict.PASSED
    assert said(publishing.publish(retry=True)) == ['published 2', 'retired 1']
    assert problems(publishing) == {}


def test_newer_version_takes_the_place_of_one_that_failed(publishing):
    trial = Trial(publishing)
    replaced(publishing, RAW, '1')
    trial.verdict = apply.Verdict.FAILED
    (failed,) = publishing.publish()
    replaced(publishing, NEW, '2')
    trial.verdict = apply.Verdict.PASSED
    assert said(publishing.publish()) == ['published 2']
    assert failed.image_id not in publishing.glance.statuses


def test_image_without_quarantine_is_held_for_nobody(publishing):
    publishing.endorse((RAW, {}))
    (done,) = publishing.publish()
    rows = publishing.site.rows(sa.select(schema.quarantine))
    assert rows == []
    assert done.outcome is Outcome.PUBLISHED
    assert quarantines.PREFIX


# What others did


def test_image_of_somebody_else_under_our_id_is_not_written_to(publishing):
    publishing.endorse((RAW, {}))
    (mine,) = publishing.publish()
    glance = publishing.glance
    glance.created[mine.image_id] = 77
    before = dict(glance.bodies[mine.image_id])
    glance.changes.clear()
    (again,) = publishing.publish()
    assert again.outcome is Outcome.PUBLISHED
    assert again.image_id != mine.image_id
    assert glance.bodies[mine.image_id] == before
    assert glance.statuses[mine.image_id] == 'active'
    assert mine.image_id not in [image_id for image_id, _ in glance.changes]


def test_creation_whose_answer_got_lost_makes_no_second_image(publishing):
    publishing.endorse((RAW, {}))
    glance = publishing.glance
    real = glance.create

    def lost(image_id, values):
        real(image_id, values)
        raise errors.TryAgain('the connection ended')

    glance.create = lost
    assert said(publishing.publish()) == ['failed 1.0']
    assert len(glance.statuses) == 1
    # Glance lists it late: nobody knows yet that it is there.
    images = glance.images
    glance.images = lambda status=None: iter(())
    glance.create = real
    (done,) = publishing.publish()
    glance.images = images
    assert done.outcome is Outcome.PUBLISHED
    assert list(glance.statuses) == [done.image_id]


def test_listing_that_lacks_an_image_is_not_believed(publishing):
    publishing.endorse((RAW, {}))
    (mine,) = publishing.publish()
    glance = publishing.glance
    images = glance.images
    glance.images = lambda status=None: iter(())
    (result,) = publishing.publish()
    assert result.outcome is Outcome.FAILED
    assert 'did not list it' in result.detail
    assert list(glance.statuses) == [mine.image_id]
    glance.images = images
    assert said(publishing.publish()) == ['present 1.0']
    assert problems(publishing) == {}


def test_fault_of_our_own_in_one_image_ends_no_other(publishing):
    one, two = publishing.endorse((RAW, {}), (NEW, {}))
    glance = publishing.glance
    real = glance.stage

    def odd(image_id, path, size):
        if size == len(RAW):
            raise ZeroDivisionError('never thought of')
        real(image_id, path, size)

    glance.stage = odd
    results = {r.identifier: r for r in publishing.publish()}
    assert results[one].outcome is Outcome.FAILED
    assert results[one].detail == 'ZeroDivisionError: never thought of'
    assert results[two].outcome is Outcome.PUBLISHED


def test_many_at_a_time_are_all_published(publishing):
    publishing.settings = plan.Settings(parallel=8)
    publishing.endorse(*((RAW + uuid.uuid4().bytes, {}) for _ in range(20)))
    assert said(publishing.publish()) == ['published 1.0'] * 20
    publishing.glance.changes.clear()
    publishing.glance.listings = 0
    assert said(publishing.publish()) == ['present 1.0'] * 20
    assert publishing.glance.changes == []
    assert publishing.glance.listings == 1

# SPDX-License-Identifier: Apache-2.0
"""Editing keeps identifiers, and versions never go backwards."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from hepix_vm.endorse import difference
from hepix_vm.endorse import draft as drafts
from hepix_vm import errors
from hepix_vm import imagelist
from tests import endorser

NOW = datetime.datetime(2026, 6, 1, 12, 0, 0, 77, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
ONE = '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b001'
TWO = '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b002'


def image(data=b'one', identifier=ONE, version='1.0', **more):
    return endorser.make_image(
        data, identifier=identifier, version=version, **more
    )


def a_list(*images, version='1', **more):
    values = {
        'identifier': '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6a001',
        'title': 'images',
        'description': '',
        'created': NOW.replace(microsecond=0) - DAY,
        'expires': NOW.replace(microsecond=0) + 27 * DAY,
        'source': 'tests',
        'version': version,
        'uri': 'https://lists.example.org/worker.signed',
        'endorsers': (
            imagelist.Endorser('Jo', '/CN=Jo', '/CN=CA', 'jo@example.org'),
        ),
        'images': images,
    }
    return imagelist.ImageList(**(values | more))


def refused(call, *arguments, **more):
    with pytest.raises(errors.Misconfigured) as caught:
        call(*arguments, **more)
    return str(caught.value)


class TestImages:
    def test_added(self):
        found = drafts.with_image(a_list(image()), image(b'two', TWO))
        assert [i.identifier for i in found.images] == [ONE, TWO]

    def test_identifier_stands_once(self):
        said = refused(drafts.with_image, a_list(image()), image(b'two'))
        assert '--update' in said

    def test_bytes_stand_once(self):
        said = refused(drafts.with_image, a_list(image()), image(b'one', TWO))
        assert f'as image {ONE}' in said

    def test_update_takes_the_place_of_the_former_version(self):
        before = a_list(image(), image(b'two', TWO))
        found = drafts.with_update(before, image(b'new', version='1.1'))
        assert [i.version for i in found.images] == ['1.1', '1.0']

    @pytest.mark.parametrize('version', ['1.0', '0.9', '1.0rc1'])
    def test_other_bytes_need_a_later_version(self, version):
        said = refused(
            drafts.with_update, a_list(image()), image(b'new', version=version)
        )
        assert 'beyond 1.0' in said

    def test_same_bytes_may_keep_their_version_but_not_go_back(self):
        drafts.with_update(a_list(image()), image(title='new'))
        said = refused(
            drafts.with_update, a_list(image()), image(version='0.9')
        )
        assert 'goes back' in said

    def test_update_with_the_bytes_of_another_image(self):
        both = a_list(image(), image(b'two', TWO))
        said = refused(drafts.with_update, both, image(b'two', version='1.1'))
        assert 'same bytes' in said

    def test_found_by_identifier_or_by_a_title_of_its_own(self):
        both = a_list(image(title='first'), image(b'two', TWO, title='second'))
        assert drafts.find(both, ONE.upper()).title == 'first'
        assert drafts.find(both, 'second').identifier == TWO
        assert 'found none' in refused(drafts.find, both, 'third')
        alike = a_list(image(), image(b'two', TWO))
        assert ' and ' in refused(drafts.find, alike, 'a test image')

    def test_removed(self):
        both = a_list(image(), image(b'two', TWO))
        assert drafts.without(both, (ONE,)).images == (both.images[1],)
        assert drafts.retired(both).images == ()
        assert 'found none' in refused(drafts.without, both, ('x',))

    def test_fields_change_and_none_keeps_one(self):
        found = drafts.changed_image(a_list(image()), ONE, title='x', os=None)
        assert (found.images[0].title, found.images[0].os) == ('x', 'Linux')
        changed = drafts.changed(found, title='y', source=None)
        assert (changed.title, changed.source) == ('y', 'tests')

    def test_version_of_an_image_is_not_set_back(self):
        said = refused(
            drafts.changed_image, a_list(image()), ONE, version='0.1'
        )
        assert 'goes back' in said


class TestDating:
    def test_created_now_with_its_own_lifetime(self):
        found = drafts.dated(a_list(), None, NOW)
        assert found.created == NOW.replace(microsecond=0)
        assert found.expires - found.created == 28 * DAY
        assert found.version == '1'

    def test_version_follows_that_of_the_list_before(self):
        before = a_list(version='7')
        assert drafts.dated(a_list(version='2'), before, NOW).version == '8'
        assert drafts.dated(a_list(version='9'), before, NOW).version == '9'

    def test_lifetime(self):
        assert drafts.with_lifetime(a_list(), DAY).expires == NOW.replace(
            microsecond=0
        )
        assert 'more than 0' in refused(
            drafts.with_lifetime, a_list(), 0 * DAY
        )
        assert 'calendar' in refused(
            drafts.with_lifetime, a_list(), datetime.timedelta.max
        )

    @pytest.mark.parametrize(
        ('version', 'following'),
        [
            ('3', '4'),
            ('1.0.9', '1.0.10'),
            ('2026-09', '2026-10'),
            ('099', '100'),
            ('1.0rc1', '1.0rc2'),
            ('20150618211400', '20150618211401'),
            ('v1', 'v2'),
        ],
    )
    def test_next_version(self, version, following):
        assert drafts.next_version(version) == following

    @pytest.mark.parametrize('version', ['9' * 255, 'none'])
    def test_no_next_version(self, version):
        assert '--list-version' in refused(drafts.next_version, version)


class TestForward:
    def test_what_subscribers_refuse_after_another_list(self):
        before = a_list(image(version='2'), version='5')
        for following, why in (
            (a_list(version='5'), 'does not go beyond 5'),
            (a_list(version='4'), 'does not go beyond 5'),
            (a_list(version='6', identifier=TWO), 'for ever'),
            (
                a_list(version='6', created=before.created - DAY),
                "machine's clock",
            ),
            (a_list(image(version='1'), version='6'), 'goes back'),
            (a_list(image(b'new', version='2'), version='6'), 'beyond 2'),
            (a_list(version='word'), 'contains a digit'),
        ):
            assert why in refused(drafts.require_forward, before, following)

    def test_what_they_take(self):
        before = a_list(image(version='2'), version='5')
        drafts.require_forward(
            before, a_list(image(b'new', version='3'), version='6')
        )
        drafts.require_forward(
            before, a_list(image(b'two', TWO, version='1'), version='5.1')
        )


class TestDifference:
    def test_lists_and_images(self):
        old = a_list(image(), image(b'two', TWO), extra={'x': [1]})
        new = dataclasses.replace(
            old,
            title='new',
            extra={},
            images=(
                image(b'new', version='1.1', expires=NOW),
                image(b'3', old.identifier),
            ),
        )
        found = list(difference.changes(old, new))
        assert [(c.subject, c.change) for c in found] == [
            ('list', 'title'),
            ('list', 'extra'),
            (ONE, 'version'),
            (ONE, 'sha512'),
            (ONE, 'expires'),
            (old.identifier, 'added'),
            (TWO, 'removed'),
        ]
        assert (found[1].before, found[1].after) == ('{"x": [1]}', '{}')
        assert (found[4].before, found[4].after) == ('', NOW.isoformat())
        assert found[2].more_than_dates

    def test_signing_again_changes_only_version_and_dates(self):
        old = a_list()
        found = list(
            difference.changes(old, drafts.dated(old, old, NOW + DAY))
        )
        assert {c.change for c in found} == {'version', 'created', 'expires'}
        assert not any(c.more_than_dates for c in found)

    def test_endorsers_and_hypervisors_are_readable(self):
        old = a_list(image())
        new = a_list(
            image(hypervisors=('kvm', 'xen')),
            endorsers=(imagelist.Endorser('Al', '/CN=Al', '/CN=CA', 'a@b'),),
        )
        one, two = difference.changes(old, new)
        assert one.after == 'Al <a@b> /CN=Al'
        assert two.after == 'kvm, xen'

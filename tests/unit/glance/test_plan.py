# SPDX-License-Identifier: Apache-2.0
"""What publishing would do, by what is wanted, there, ours and recorded."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
from typing import Any

import pytest

from hepix_vm.catalogue import model
from hepix_vm.glance import picture
from hepix_vm.glance import plan
from hepix_vm.glance import publications
from hepix_vm.glance.publications import State
from hepix_vm.glance.publications import Trial
from hepix_vm.glance import wanted as wanted_
from tests.unit.glance import images

NOW = 1_000_000
DAY = 86400
MINE = 'our project'
SHA = {version: version * 128 for version in '123'}


def wanted(version: str = '2', **changes: Any) -> wanted_.Wanted:
    """The newest version of the one image."""
    values: dict[str, Any] = {
        'image': dataclasses.replace(
            images.image(), version=version, sha512=SHA[version]
        ),
        'name': 'Worker',
        'tags': frozenset({'worker'}),
        'visibility': 'public',
        'members': frozenset(),
        'owner': None,
        'protected': False,
        'min_disk': 0,
        'min_ram': 512,
        'properties': {'hepix_vo': 'ops', 'os_distro': 'debian'},
    }
    return wanted_.Wanted(**(values | changes))


def row(
    image_id: str, version: str, state: State = State.ACTIVE, **changes: Any
) -> publications.Publication:
    """A row of ours."""
    of = images.image()
    values: dict[str, Any] = {
        'image_id': image_id,
        'cloud': 'default',
        'subscription': of.subscription,
        'identifier': of.identifier,
        'version': version,
        'sha512': SHA[version],
        'state': state,
        'at': NOW - DAY,
        'published_at': NOW - DAY,
    }
    if state is State.RETIRED:
        values['retired_at'] = NOW - DAY
    return publications.Publication(**(values | changes))


def shown(
    one: publications.Publication, **changes: Any
) -> picture.GlanceImage:
    """Its image, as a run that went well left it."""
    values: dict[str, Any] = {
        'image_id': one.image_id,
        'name': 'Worker',
        'status': 'active',
        'size': 5,
        'owner': MINE,
        'created_at': 7,
        'visibility': 'public',
        'tags': frozenset({'worker'}),
        'min_ram': 512,
        'properties': {
            'hepix_vo': 'ops',
            'os_distro': 'debian',
            'stranger': 'here',
        },
    }
    if one.state is State.RETIRED:
        values |= {
            'status': 'deactivated',
            'visibility': 'private',
            'hidden': True,
            'tags': frozenset(),
        }
    if one.state in (State.CREATING, State.QUARANTINE):
        values |= {'visibility': 'private', 'hidden': True}
    return picture.GlanceImage(**(values | changes))


def record(
    image_id: str, state: model.RecordState = model.RecordState.POSITIVE
) -> model.GlanceRecord:
    return model.GlanceRecord(image_id, state, 'x', 5, 'x', 5, 7)


class Cloud:
    """A Glance with these images of ours, each well unless said otherwise."""

    def __init__(self, *rows: publications.Publication) -> None:
        self.rows = rows
        self.present = {one.image_id: shown(one) for one in rows}
        self.records = {one.image_id: record(one.image_id) for one in rows}
        self.settings = plan.Settings()
        self.more: dict[str, Any] = {}

    def change(self, image_id: str, **changes: Any) -> None:
        """Have an image look otherwise."""
        self.present[image_id] = dataclasses.replace(
            self.present[image_id], **changes
        )

    def groups(
        self,
        *ones: wanted_.Wanted | wanted_.Unsuited,
        **more: Any,
    ) -> tuple[plan.Group, ...]:
        """The plan."""
        seen = plan.Seen(
            self.present, self.rows, self.records, MINE, **self.more
        )
        return plan.plan(ones, seen, self.settings, NOW, **more)

    def actions(
        self, one: wanted_.Wanted | wanted_.Unsuited, **more: Any
    ) -> list[plan.Action]:
        """What is done for the one image."""
        (group,) = self.groups(one, **more)
        return list(group.actions)

    def said(self, one: Any, **more: Any) -> list[str]:
        """The same in words: kind of action and image id."""
        return list(map(word, self.actions(one, **more)))


def word(action: plan.Action) -> str:
    name = type(action).__name__
    of = getattr(action, 'row', None)
    return name if of is None else f'{name} {of.image_id}'


# What is not there


def test_image_that_is_not_there_is_created():
    assert Cloud().said(wanted()) == ['Create']


def test_newer_version_is_created_before_the_older_one_retires():
    cloud = Cloud(row('old', '1'))
    assert cloud.said(wanted('2')) == ['Create', 'Retire old']


def test_same_version_with_other_bytes_is_created():
    cloud = Cloud(row('old', '2', sha512='other'))
    assert cloud.said(wanted('2')) == ['Create', 'Retire old']


def test_newer_version_of_the_same_bytes_is_the_same_image():
    cloud = Cloud(row('one', '1', sha512=SHA['2']))
    assert cloud.said(wanted('2')) == ['Correct one']
    retired = Cloud(row('one', '1', State.RETIRED, sha512=SHA['2']))
    assert retired.said(wanted('2')) == ['Revive one']


def test_of_two_images_of_the_same_bytes_that_of_the_version_stays():
    cloud = Cloud(row('one', '1', sha512=SHA['2']), row('two', '2'))
    assert cloud.said(wanted('2')) == ['Leave two', 'Retire one']


def test_published_image_is_left_as_it_is():
    cloud = Cloud(row('new', '2'))
    (action,) = cloud.actions(wanted('2'))
    assert isinstance(action, plan.Leave)
    assert action.because == ''
    assert not plan.changes(action)


def test_half_made_image_is_finished_even_when_glance_does_not_list_it():
    cloud = Cloud(row('half', '2', State.CREATING))
    assert cloud.said(wanted('2')) == ['Finish half']
    cloud.present.clear()
    cloud.records.clear()
    assert cloud.said(wanted('2')) == ['Finish half']


def test_half_made_older_version_is_discarded_first():
    cloud = Cloud(
        row('old', '1'),
        row('half', '1', State.CREATING),
        row('tried', '1', State.QUARANTINE),
    )
    assert cloud.said(wanted('2')) == [
        'Discard half',
        'Discard tried',
        'Create',
        'Retire old',
    ]


def test_image_that_somebody_deleted_is_forgotten_and_created():
    cloud = Cloud(row('new', '2'))
    del cloud.present['new']
    assert cloud.said(wanted('2')) == ['Forget new', 'Create']


# Whose image it is


def test_another_image_under_our_id_is_left_alone():
    cloud = Cloud(row('new', '2'))
    cloud.change('new', created_at=8)
    first, second = cloud.actions(wanted('2'))
    assert isinstance(first, plan.Forget)
    assert 'another image' in first.because
    assert isinstance(second, plan.Create)


def test_image_of_somebody_else_under_an_id_that_we_chose_is_left_alone():
    cloud = Cloud(row('half', '2', State.CREATING))
    del cloud.records['half']
    assert cloud.said(wanted('2')) == ['Finish half']
    cloud.change('half', owner='a stranger')
    assert cloud.said(wanted('2')) == ['Forget half', 'Create']


# How it looks


@pytest.mark.parametrize(
    ('changes', 'name', 'before', 'after'),
    [
        ({'name': 'mine'}, 'name', 'mine', 'Worker'),
        ({'owner': 'other'}, 'owner', 'other', MINE),
        ({'visibility': 'private'}, 'visibility', 'private', 'public'),
        ({'hidden': True}, 'os_hidden', 'True', 'False'),
        ({'protected': True}, 'protected', 'True', 'False'),
        ({'tags': frozenset()}, 'tags', '(none)', 'worker'),
        ({'min_disk': 9}, 'min_disk', '9', '0'),
        ({'min_ram': 0}, 'min_ram', '0', '512'),
    ],
)
def test_attribute_that_somebody_changed_is_corrected(
    changes, name, before, after
):
    cloud = Cloud(row('new', '2'))
    cloud.change('new', **changes)
    (action,) = cloud.actions(wanted('2'))
    assert isinstance(action, plan.Correct)
    (found,) = action.differences
    assert (found.name, found.found, found.wanted) == (name, before, after)


@pytest.mark.parametrize(
    ('properties', 'expected'),
    [
        ({'os_distro': 'debian'}, ('hepix_vo', '(none)', 'ops')),
        (
            {'hepix_vo': 'x', 'os_distro': 'debian'},
            ('hepix_vo', 'x', 'ops'),
        ),
        (
            {'hepix_vo': 'ops', 'os_distro': 'debian', 'hepix_old': 'x'},
            ('hepix_old', 'x', '(none)'),
        ),
        (
            {'hepix_vo': 'ops', 'os_distro': 'debian', 'kernel_id': 'x'},
            ('kernel_id', 'x', '(none)'),
        ),
        (
            {'hepix_vo': 'ops', 'os_distro': 'debian', 'os_glance_x': 'x'},
            None,
        ),
    ],
    ids=['missing', 'changed', 'no longer', 'dangerous', "Glance's own"],
)
def test_property_that_somebody_changed_is_corrected(properties, expected):
    cloud = Cloud(row('new', '2'))
    cloud.change('new', properties=properties)
    (action,) = cloud.actions(wanted('2'))
    if expected is None:
        assert isinstance(action, plan.Leave)
        return
    assert isinstance(action, plan.Correct)
    (found,) = action.differences
    assert (found.name, found.found, found.wanted) == expected


def test_deactivated_image_is_left_and_told():
    cloud = Cloud(row('old', '1'), row('new', '2'))
    cloud.change('new', status='deactivated', name='mine')
    (action,) = cloud.actions(wanted('2'))
    assert isinstance(action, plan.Leave)
    assert 'somebody deactivated it' in action.because
    cloud.more = {'deactivated': frozenset({'new'})}
    (action,) = cloud.actions(wanted('2'))
    assert action.because == 'deactivated by the sync'


@pytest.mark.parametrize('status', ['queued', 'killed', 'pending_delete'])
def test_published_image_whose_data_is_gone_is_made_anew(status):
    cloud = Cloud(row('new', '2'))
    cloud.change('new', status=status)
    assert cloud.said(wanted('2')) == ['Create', 'Retire new', 'Delete new']


@pytest.mark.parametrize('state', ['verified', 'withdrawn', None])
def test_image_without_a_positive_record_is_made_anew(state):
    cloud = Cloud(row('new', '2'))
    if state is None:
        del cloud.records['new']
    else:
        cloud.records['new'] = record('new', model.RecordState(state))
    assert cloud.said(wanted('2')) == ['Create', 'Retire new']


# Members


def shared(*members: str) -> wanted_.Wanted:
    return wanted(visibility='shared', members=frozenset(members))


def compared(*members: str, at: int = NOW) -> Cloud:
    """A shared image whose members were compared with these then."""
    cloud = Cloud(
        row(
            'new',
            '2',
            members_at=at,
            members_sha256=publications.digest(members),
        )
    )
    cloud.change('new', visibility='shared')
    return cloud


def test_members_are_compared_when_the_mapping_changed():
    assert compared('a', 'b').said(shared('b', 'a')) == ['Leave new']
    assert compared('a').said(shared('a', 'b')) == ['Share new']
    assert compared('a').said(shared()) == ['Share new']


def test_members_are_compared_now_and_then():
    cloud = compared('a', at=NOW - DAY)
    assert cloud.said(shared('a')) == ['Leave new']
    cloud = compared('a', at=NOW - DAY - 1)
    assert cloud.said(shared('a')) == ['Share new']


def test_image_that_is_shared_from_now_on_is_corrected():
    cloud = Cloud(row('new', '2'))
    assert cloud.said(shared('a')) == ['Correct new']


# What leaves


def test_older_versions_beyond_keep_are_deleted_the_eldest_first_of_all():
    rows = [
        row('a', '1', State.RETIRED, retired_at=NOW - 3 * DAY),
        row('b', '1', State.RETIRED, retired_at=NOW - 2 * DAY),
        row('c', '1'),
    ]
    cloud = Cloud(*rows, row('new', '2'))
    said = cloud.said(wanted('2'))
    assert said == ['Leave new', 'Retire c', 'Delete b', 'Delete a']
    cloud.settings = plan.Settings(keep=0)
    assert cloud.said(wanted('2'))[2:] == ['Delete c', 'Delete b', 'Delete a']
    cloud.settings = plan.Settings(keep=3)
    assert cloud.said(wanted('2')) == ['Leave new', 'Retire c']


def test_nothing_leaves_while_the_new_version_is_held():
    cloud = Cloud(
        row('old', '1'),
        row('new', '2', State.QUARANTINE, trial=Trial.FAILED),
    )
    cloud.more = {'trials': frozenset({cloud.rows[0].subscription})}
    assert cloud.said(wanted('2')) == ['Hold new']


@pytest.mark.parametrize(
    'changes',
    [
        {'status': 'active'},
        {'hidden': False},
        {'visibility': 'public'},
        {'visibility': 'shared'},
        {'tags': frozenset({'worker'})},
        {'protected': True},
    ],
)
def test_retired_version_that_can_be_seen_is_retired_again(changes):
    cloud = Cloud(row('old', '1', State.RETIRED), row('new', '2'))
    assert cloud.said(wanted('2')) == ['Leave new']
    cloud.change('old', **changes)
    assert cloud.said(wanted('2')) == ['Leave new', 'Retire old']


def test_retired_version_that_is_wanted_again_comes_back():
    cloud = Cloud(row('one', '1', State.RETIRED), row('two', '2'))
    assert cloud.said(wanted('1')) == ['Revive one', 'Retire two']
    cloud.records['one'] = record('one', model.RecordState.WITHDRAWN)
    assert cloud.said(wanted('1')) == ['Create', 'Retire two', 'Delete one']


def test_image_that_is_not_suited_any_more_is_retired_and_told():
    one = wanted()
    cloud = Cloud(row('new', '2'), row('half', '2', State.CREATING))
    unsuited = wanted_.Unsuited(one.image, 'made for xen')
    assert cloud.said(unsuited) == ['Skip', 'Retire new', 'Discard half']


def test_what_is_not_approved_is_left_but_for_what_was_never_released():
    cloud = Cloud(
        row('old', '1'),
        row('gone', '1', State.RETIRED),
        row('half', '2', State.CREATING),
        row('tried', '2', State.QUARANTINE),
    )
    (group,) = cloud.groups()
    assert list(map(word, group.actions)) == ['Discard half', 'Discard tried']
    cloud.rows = cloud.rows[:2]
    assert cloud.groups() == ()


# Quarantine


def tried(trial: Trial) -> Cloud:
    cloud = Cloud(
        row('new', '2', State.QUARANTINE, trial=trial, trial_detail='no login')
    )
    cloud.more = {'trials': frozenset({cloud.rows[0].subscription})}
    return cloud


@pytest.mark.parametrize('trial', [Trial.WAITING, Trial.PASSED])
def test_image_in_quarantine_is_gone_on_with(trial):
    assert tried(trial).said(wanted('2')) == ['Finish new']


def test_image_that_failed_in_quarantine_waits_for_the_operator():
    (action,) = tried(Trial.FAILED).actions(wanted('2'))
    assert isinstance(action, plan.Hold)
    assert 'no login' in action.because
    assert '--retry' in action.because
    retried = tried(Trial.FAILED).said(wanted('2'), retry=True)
    assert retried == ['Finish new']


def test_image_that_needs_no_quarantine_any_more_is_released():
    cloud = tried(Trial.FAILED)
    cloud.more = {}
    assert cloud.said(wanted('2')) == ['Finish new']


def test_newer_version_takes_the_place_of_one_that_failed():
    cloud = tried(Trial.FAILED)
    assert cloud.said(wanted('3')) == ['Discard new', 'Create']


# What a dry run says


def lines(groups: Iterable[plan.Group]) -> list[str]:
    return plan.text('default', groups).splitlines()


def test_nothing_to_do_is_no_text():
    assert lines(Cloud(row('new', '2')).groups(wanted('2'))) == []


def test_text_names_what_comes_changes_and_goes():
    cloud = Cloud(row('old', '1'))
    said = lines(cloud.groups(shared('p', 'q')))
    assert said[0] == '--- cloud/default now'
    assert said[1] == '+++ cloud/default after publishing'
    assert said[2].startswith('+image ')
    assert 'as "Worker", shared with p, q, tags worker' in said[2]
    assert said[3].startswith('-image old (')
    assert 'retire' in said[3]


def test_text_of_each_action():
    one, of = wanted(), row('x', '1')
    expected = {
        plan.Finish(one, of): '+image x',
        plan.Revive(one, of): '+image x',
        plan.Share(one, of): ' image x',
        plan.Hold(one, of, 'why'): ' image x',
        plan.Leave(one, of, 'why'): ' image x',
        plan.Skip(one.image, 'why'): ' image ',
        plan.Delete(of, 'why'): '-image x',
        plan.Discard(of, 'why'): '-image x',
        plan.Forget(of, 'why'): '-image x',
    }
    for action, beginning in expected.items():
        (line,) = plan.lines_of(action)
        assert line.startswith(beginning), line


def test_text_of_a_correction_is_a_line_of_before_and_one_of_after():
    cloud = Cloud(row('new', '2'))
    cloud.change('new', name='mine', visibility='private')
    said = lines(cloud.groups(wanted('2')))
    assert said[3:] == [
        '-    name: mine',
        '+    name: Worker',
        '-    visibility: private',
        '+    visibility: public',
    ]


def test_words_of_an_endorser_do_not_control_a_terminal():
    one = wanted()
    image = dataclasses.replace(one.image, version='2\x1b[2J\n+image forged')
    said = plan.text('default', Cloud().groups(wanted(image=image)))
    assert '\x1b' not in said
    assert len(said.splitlines()) == 3

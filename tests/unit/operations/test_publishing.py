# SPDX-License-Identifier: Apache-2.0
"""Approved images enter Glance once; withdrawn ones are deactivated."""

from __future__ import annotations

import uuid

import pytest

from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm.glance import client
from hepix_vm.glance import formats
from hepix_vm.glance import withdraw
from tests.unit.catalogue import servers
from tests.unit.operations.published import Outcome
from tests.unit.operations.published import Publishing
from tests.unit.operations.published import QCOW2
from tests.unit.operations.published import RAW


def test_approved_image_is_downloaded_staged_and_imported(publishing):
    (identifier,) = publishing.endorse(
        (
            RAW,
            {
                'title': 'Worker',
                'version': '2.1',
                'ram_minimum': 2**30 + 1,
                'os_name': 'Scientific Linux',
                'mpuri': 'https://db.example.org/image:1:2/',
                'hypervisors': ('kvm', 'xen'),
            },
        )
    )
    (result,) = publishing.publish()
    assert result.outcome is Outcome.PUBLISHED
    assert (result.identifier, result.version) == (identifier, '2.1')
    glance = publishing.glance
    assert glance.statuses == {result.image_id: 'active'}
    assert glance.staged[result.image_id] == RAW
    body = glance.bodies[result.image_id]
    assert body['name'] == 'Worker'
    assert (body['disk_format'], body['container_format']) == ('raw', 'bare')
    assert body['visibility'] == 'public'
    assert body['min_ram'] == 1025
    assert body['os_distro'] == 'scientificlinux'
    assert body['hepix_hypervisors'] == 'kvm,xen'
    assert body['hepix_vo'] == 'example.vo'
    assert body['vmcatcher_event_ad_mpuri'].startswith('https://db.example')
    assert publishing.states() == ['active']
    assert publishing.progress[0].step == 'download'
    assert publishing.progress[-1].message == 'checking'
    assert publishing.progress[0].total == len(RAW)
    assert publishing.site.events(result.image_id)[0] == 'publishing'


def test_published_image_is_not_published_again(publishing):
    publishing.endorse((RAW, {}))
    (first,) = publishing.publish()
    (second,) = publishing.publish()
    assert second.outcome is Outcome.PRESENT
    assert second.image_id == first.image_id
    assert len(publishing.glance.statuses) == 1


def test_image_that_somebody_deactivated_is_not_uploaded_again(publishing):
    publishing.endorse((RAW, {}))
    (first,) = publishing.publish()
    publishing.glance.statuses[first.image_id] = 'deactivated'
    (second,) = publishing.publish()
    assert second.outcome is Outcome.PRESENT


def test_deleted_image_is_published_again(publishing):
    publishing.endorse((RAW, {}))
    (first,) = publishing.publish()
    publishing.glance.statuses.clear()
    (second,) = publishing.publish()
    assert second.outcome is Outcome.PUBLISHED
    assert second.image_id != first.image_id
    assert sorted(publishing.states()) == ['active', 'gone']


def test_withdrawn_and_endorsed_again_is_a_new_image(publishing):
    (identifier,) = publishing.endorse((RAW, {}))
    (first,) = publishing.publish()
    publishing.endorse()
    assert publishing.publish() == []
    publishing.endorse((RAW, {'identifier': identifier}))
    second, left = publishing.publish()
    assert second.outcome is Outcome.PUBLISHED
    assert second.image_id != first.image_id
    assert (left.outcome, left.image_id) == (Outcome.RETIRED, first.image_id)
    (third,) = publishing.publish()
    assert third.outcome is Outcome.PRESENT
    assert third.image_id == second.image_id


def test_only_approved_images_are_published(publishing):
    publishing.site.change('main', approval='none')
    publishing.endorse((RAW, {}))
    assert publishing.publish() == []


def test_named_image_that_is_not_approved_is_refused(publishing):
    publishing.endorse((RAW, {}))
    unknown = str(uuid.uuid4())
    with pytest.raises(errors.Misconfigured, match=unknown):
        publishing.publish(unknown)
    assert publishing.glance.statuses == {}


def test_named_image_alone_is_published(publishing):
    first, _ = publishing.endorse((RAW, {}), (RAW + b'other', {}))
    (result,) = publishing.publish(first)
    assert result.identifier == first


def test_same_bytes_under_two_names_are_two_images(publishing):
    # Their names, members and properties are not the same.
    identifiers = publishing.endorse((RAW, {}), (RAW, {}))
    results = publishing.publish()
    assert {r.identifier for r in results} == set(identifiers)


# The server of the image


@pytest.mark.parametrize(
    'behaviour',
    [
        servers.status(404),
        servers.hung_up,
        servers.answer(RAW[:-1]),
        servers.answer(RAW + b'x'),
        servers.answer(b'x' * len(RAW)),
        servers.endless,
        servers.declaring(len(RAW), RAW[:-5]),
    ],
    ids=['404', 'hung', 'short', 'long', 'other', 'endless', 'truncated'],
)
def test_other_bytes_never_reach_glance_and_end_no_other_image(
    publishing, behaviour
):
    bad, good = publishing.endorse((RAW, {}), (RAW + b'other', {}))
    publishing.server.tell('/image0', behaviour)
    results = {r.identifier: r for r in publishing.publish()}
    assert results[bad].outcome is Outcome.FAILED
    assert results[bad].detail
    assert results[good].outcome is Outcome.PUBLISHED
    assert list(publishing.glance.staged.values()) == [RAW + b'other']


def test_uri_of_another_image_server_that_is_no_url_fails_that_image(
    publishing,
):
    publishing.endorse((RAW, {}))
    with publishing.site.database.writing() as transaction:
        transaction.execute(
            schema.endorsement.update().values(uri='ftp://h/image')
        )
    (result,) = publishing.publish()
    assert result.outcome is Outcome.FAILED


def test_spool_that_cannot_be_made_is_told(publishing):
    publishing.endorse((RAW, {}))
    publishing.spool.write_text('a file')
    with_file = publishing.spool
    publishing.spool = with_file / 'below'
    (result,) = publishing.publish()
    assert result.outcome is Outcome.FAILED
    assert 'spool directory' in result.detail


# Formats


@pytest.mark.parametrize(
    ('data', 'declared', 'expected'),
    [
        (QCOW2, 'qcow2', 'qcow2'),
        (QCOW2, None, 'qcow2'),
        (RAW, None, 'raw'),
        (RAW, 'raw', 'raw'),
        (RAW, 'IMG', 'raw'),
    ],
)
def test_format_of_the_bytes_is_given_to_glance(
    publishing, data, declared, expected
):
    publishing.endorse((data, {'format': declared}))
    (result,) = publishing.publish()
    assert result.outcome is Outcome.PUBLISHED
    body = publishing.glance.bodies[result.image_id]
    assert body['disk_format'] == expected


@pytest.mark.parametrize(
    ('data', 'declared'),
    [(RAW, 'qcow2'), (QCOW2, 'raw'), (RAW, 'ova'), (RAW, 'vdi.gz')],
)
def test_image_that_nova_cannot_boot_as_it_is_is_left_out(
    publishing, data, declared
):
    publishing.endorse((data, {'format': declared}))
    (result,) = publishing.publish()
    assert result.outcome is Outcome.SKIPPED
    assert declared.lower() in result.detail
    assert publishing.glance.statuses == {}


def test_bytes_of_two_formats_at_once_are_left_out_and_end_no_other(
    publishing,
):
    # A qcow2 header, and a CD's volume descriptor in its place.
    both = bytearray(QCOW2.ljust(140_000, b'\x00'))
    both[32769:32774] = both[34817:34822] = b'CD001'
    bad, good = publishing.endorse(
        (bytes(both), {'format': 'qcow2'}), (RAW, {})
    )
    results = {r.identifier: r for r in publishing.publish()}
    assert results[bad].outcome is Outcome.SKIPPED
    assert 'at the same time' in results[bad].detail
    assert results[good].outcome is Outcome.PUBLISHED


def test_every_format_that_is_offered_is_one_of_glance():
    assert set(formats.BOOTABLE) <= {
        'raw',
        'qcow2',
        'vmdk',
        'vhd',
        'vhdx',
        'vdi',
        'iso',
    }


# Glance refuses or fails


def test_refused_import_leaves_nothing_and_tells_the_sentence(publishing):
    publishing.endorse((RAW, {}))
    publishing.glance.refusing = 'image x is refused (blocked)'
    (result,) = publishing.publish()
    assert result.outcome is Outcome.FAILED
    assert result.detail == 'image x is refused (blocked)'
    assert publishing.glance.statuses == {}
    assert publishing.states() == ['gone']


def test_glance_without_our_plugins_is_noticed(publishing):
    publishing.endorse((RAW, {}))
    publishing.glance.checking = False
    (result,) = publishing.publish()
    assert result.outcome is Outcome.FAILED
    assert 'image_import_plugins' in result.detail
    assert publishing.glance.statuses == {}


@pytest.mark.parametrize(
    'call', ['create', 'stage', 'import_staged', 'wait_active']
)
def test_interrupted_publication_is_tidied_up_by_the_next_run(
    publishing, call
):
    publishing.endorse((RAW, {}))
    publishing.glance.broken[call] = errors.TryAgain('Glance is away')
    (result,) = publishing.publish()
    assert (result.outcome, result.detail) == (
        Outcome.FAILED,
        'Glance is away',
    )
    publishing.glance.broken.clear()
    (again,) = publishing.publish()
    assert again.outcome is Outcome.PUBLISHED
    assert list(publishing.glance.statuses.values()) == ['active']
    assert publishing.states().count('active') == 1
    assert set(publishing.states()) <= {'active', 'gone'}


@pytest.mark.parametrize('begun', [True, False])
def test_import_that_was_asked_for_before_is_waited_for(publishing, begun):
    publishing.endorse((RAW, {}))
    publishing.glance.broken['import_staged'] = errors.TryAgain('no answer')
    publishing.publish()
    # Glance has taken the request, or is in another trouble.
    publishing.glance.broken['import_staged'] = client.Conflict('not twice')
    publishing.glance.begun = begun
    (result,) = publishing.publish()
    if begun:
        assert result.outcome is Outcome.PUBLISHED
    else:
        assert (result.outcome, result.detail) == (Outcome.FAILED, 'not twice')


def test_import_that_never_begins_is_waited_for_once(publishing):
    publishing.endorse((RAW, {}))
    publishing.glance.broken['import_staged'] = errors.TryAgain('no answer')
    publishing.publish()
    publishing.glance.broken['import_staged'] = client.Conflict('not twice')
    publishing.glance.begun = True
    publishing.site.now += 61
    (result,) = publishing.publish()
    assert (result.outcome, result.detail) == (Outcome.FAILED, 'not twice')


def test_image_that_glance_refuses_to_make_fails_and_ends_no_other(publishing):
    publishing.endorse((RAW, {}))
    publishing.glance.broken['create'] = errors.Misconfigured('no rights')
    (result,) = publishing.publish()
    assert (result.outcome, result.detail) == (Outcome.FAILED, 'no rights')


def test_cloud_that_cannot_be_listed_is_one_result(publishing):
    publishing.endorse((RAW, {}), (RAW + b'other', {}))
    publishing.glance.broken['images'] = errors.TryAgain('Glance is away')
    (result,) = publishing.publish()
    assert result.outcome is Outcome.FAILED
    assert (result.identifier, result.detail) == ('', 'Glance is away')


# Withdrawing


@pytest.fixture
def withdrawn(publishing):
    """A published image that is endorsed no more, and one that still is."""
    _, kept = publishing.endorse(
        (RAW, {'title': 'gone'}), (RAW + b'other', {'title': 'kept'})
    )
    publishing.publish()
    publishing.glance.statuses['not ours'] = 'active'
    publishing.endorse((RAW + b'other', {'identifier': kept}))
    return publishing


def deactivated(made: Publishing) -> tuple[withdraw.Deactivated, ...]:
    codes = withdraw.withdrawn(made.site.database)
    images = list(made.glance.images()) if codes else []
    return withdraw.deactivate(
        made.site.database, made.glance, images, codes, made.site.now
    )


def test_withdrawn_image_is_deactivated_and_no_other(withdrawn):
    (done,) = deactivated(withdrawn)
    assert (done.name, done.code, done.error) == ('gone', 'withdrawn', '')
    statuses = withdrawn.glance.statuses
    assert statuses[done.image_id] == 'deactivated'
    assert statuses['not ours'] == 'active'
    assert list(statuses.values()).count('active') == 2
    assert deactivated(withdrawn) == ()


def test_image_that_was_reactivated_by_hand_is_deactivated_again(withdrawn):
    (done,) = deactivated(withdrawn)
    withdrawn.glance.statuses[done.image_id] = 'active'
    (again,) = deactivated(withdrawn)
    assert again.image_id == done.image_id


def test_image_that_cannot_be_deactivated_is_told(withdrawn):
    withdrawn.glance.broken['deactivate'] = errors.TryAgain('busy')
    (done,) = deactivated(withdrawn)
    assert done.error == 'busy'


def test_without_withdrawals_glance_is_not_asked(publishing):
    publishing.glance.broken['images'] = errors.TryAgain('away')
    assert deactivated(publishing) == ()

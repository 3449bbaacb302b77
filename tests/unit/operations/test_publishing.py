# SPDX-License-Identifier: Apache-2.0
"""Approved images enter Glance once; withdrawn ones are deactivated."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import os
from pathlib import Path
import uuid

import pytest
import sqlalchemy as sa

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import records
from hepix_vm.catalogue import schema
from hepix_vm import errors
from hepix_vm.glance import properties
from hepix_vm.glance import publish
from hepix_vm.glance import withdraw
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.catalogue import servers
from tests.unit.operations import glances

RAW = b'\x00' * 510 + b'\x55\xaa' + b'a disk' * 100
QCOW2 = (
    b'QFI\xfb\x00\x00\x00\x03'
    + b'\x00' * 16
    + (2**20).to_bytes(8, 'big')
    + b'\x00' * 480
)
Outcome = publish.Outcome


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as made:
        yield made


class Publishing:
    """A site, a server of images, and a Glance."""

    def __init__(self, site: following.Site, server: servers.Server) -> None:
        self.site = site
        self.server = server
        self.glance = glances.Glance(records.Records(site.database))
        self.spool = site.folder / 'spool'
        self.progress: list[publish.Progress] = []
        self._version = 0

    def endorse(self, *images: tuple[bytes, dict[str, object]]) -> list[str]:
        """Have a list of these images accepted; returns identifiers."""
        entries = []
        for number, (data, changes) in enumerate(images):
            url = self.server.tell(f'/image{number}', servers.answer(data))
            entries.append(endorser.make_image(data, url, **changes))
        self._version += 1
        self.site.publish(
            'main', str(self._version), *entries, vo='example.vo'
        )
        self.site.sync()
        return [entry.identifier for entry in entries]

    def publish(self, *only: str) -> list[publish.Published]:
        """Publish; nothing stays in the spool."""
        target = publish.Target(
            glance=self.glance,
            fetch=fetch.FetchSettings(
                timeout=60, spool_directory=str(self.spool)
            ),
            visibility='public',
            import_deadline=60,
        )
        found = list(
            publish.publish(
                self.site.database,
                target,
                self.site.now,
                frozenset(only) or None,
                self.progress.append,
            )
        )
        if self.spool.exists():
            assert list(self.spool.iterdir()) == []
        return found

    def states(self) -> list[str]:
        """States of the publications, oldest first."""
        return [
            row.state
            for row in self.site.rows(
                sa.select(schema.publication).order_by(schema.publication.c.at)
            )
        ]


@pytest.fixture
def publishing(tmp_path, server) -> Iterator[Publishing]:
    site = following.Site(tmp_path)
    site.follow()
    yield Publishing(site, server)
    site.close()


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
    (second,) = publishing.publish()
    assert second.outcome is Outcome.PUBLISHED
    assert second.image_id != first.image_id
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


def test_same_bytes_under_two_names_are_published_once(publishing):
    publishing.endorse((RAW, {}), (RAW, {}))
    results = publishing.publish()
    assert len(results) == 1


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
    publishing, server, behaviour
):
    bad, good = publishing.endorse((RAW, {}), (RAW + b'other', {}))
    server.tell('/image0', behaviour)
    results = {r.identifier: r for r in publishing.publish()}
    assert results[bad].outcome is Outcome.FAILED
    assert results[bad].detail
    assert results[good].outcome is Outcome.PUBLISHED
    assert list(publishing.glance.staged.values()) == [RAW + b'other']


def test_uri_of_another_image_server_that_is_no_url_fails_that_image(
    publishing, server
):
    publishing.endorse((RAW, {}))
    with publishing.site.database.writing() as transaction:
        transaction.execute(
            schema.endorsement.update().values(uri='ftp://h/image')
        )
    (result,) = publishing.publish()
    assert result.outcome is Outcome.FAILED


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full')
def test_full_disk_is_told_and_fails_that_image(publishing, monkeypatch):
    publishing.endorse((RAW, {}))
    real = os.fdopen

    def full(handle: int, mode: str):
        os.close(handle)
        return Path('/dev/full').open(mode)

    monkeypatch.setattr(os, 'fdopen', full)
    (result,) = publishing.publish()
    monkeypatch.setattr(os, 'fdopen', real)
    assert result.outcome is Outcome.FAILED
    assert 'spool directory' in result.detail
    assert 'No space left' in result.detail


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
    assert 'ambiguous' in results[bad].detail
    assert results[good].outcome is Outcome.PUBLISHED


def test_every_format_that_is_offered_is_one_of_glance():
    assert set(properties.DISK_FORMATS.values()) <= {
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
    if call == 'wait_active':
        (waiting,) = publishing.publish()
        assert 'still running' in waiting.detail
        (image_id,) = publishing.glance.statuses
        publishing.glance.statuses[image_id] = 'queued'
    (again,) = publishing.publish()
    assert again.outcome is Outcome.PUBLISHED
    assert list(publishing.glance.statuses.values()) == ['active']
    assert sorted(publishing.states()) == ['active', 'gone']


def test_account_that_glance_refuses_ends_the_run(publishing):
    publishing.endorse((RAW, {}))
    publishing.glance.broken['create'] = errors.Misconfigured('no rights')
    with pytest.raises(errors.Misconfigured, match='no rights'):
        publishing.publish()


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
    return withdraw.deactivate(made.site.database, made.glance, made.site.now)


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


def test_target_is_a_value():
    target = publish.Target(None, fetch.FetchSettings(), 'public', 1)
    assert dataclasses.replace(target, visibility='private') != target

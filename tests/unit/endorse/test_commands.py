# SPDX-License-Identifier: Apache-2.0
"""The endorser's commands, as typed."""

from __future__ import annotations

import argparse
import datetime
import json

import pytest

from hepix_vm.catalogue import subscription
from hepix_vm.cli import endorsing
from hepix_vm.cli import list_options
from hepix_vm.cli import main
from hepix_vm.endorse import files
from hepix_vm.endorse import sealing
from hepix_vm import imagelist
from tests import endorser
from tests.unit.catalogue import following
from tests.unit.cli import commands
from tests.unit.endorse import disks
from tests.unit.endorse import people

RAW = disks.gpt(disks.ROOT_X86_64)
URI = 'https://lists.example.org/worker.signed'


class Desk:
    """An endorser's folder, and the command."""

    def __init__(self, folder, capsys):
        self.folder = folder
        self._capsys = capsys
        self.certificate, self.key = people.write(folder, people.holder())
        self.draft = folder / 'draft.json'
        self.message = folder / 'worker.signed'
        self.web = folder / 'web'
        self.web.mkdir()

    def __call__(self, *arguments):
        return commands.run(main.main, ('list', *arguments), self._capsys)

    def well(self, *arguments):
        ran = self(*arguments)
        assert ran.status == 0, ran.err
        return ran

    def refused(self, *arguments, status=2):
        ran = self(*arguments)
        assert ran.status == status, ran.err
        return ran.err

    def new(self, *more):
        return self.well(
            *('new', self.draft, '--endorser', self.certificate),
            *('--title', 'Workers', '--uri', URI, *more),
        ).out.strip()

    def image(self, data=RAW, name='disk.raw'):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def add(self, path=None, version='1.0', *more):
        return self.well(
            *('add', self.draft, path or self.image(), '--os', 'Linux'),
            *('--os-version', 'EL 9', '--image-version', version, *more),
        ).out.strip()

    def signer(self):
        return '--certificate', self.certificate, '--key', self.key

    def sign(self, *more):
        return self.well(
            *('sign', self.draft, '--output', self.message, '-f', 'json'),
            *(*self.signer(), *more),
        )

    def read(self):
        return files.read_draft(self.draft)

    def signed(self):
        return sealing.read(self.message.read_bytes())


@pytest.fixture
def desk(tmp_path, capsys):
    return Desk(tmp_path, capsys)


class TestNew:
    def test_draft(self, desk):
        identifier = desk.new('--description', 'for\ttests')
        draft = desk.read()
        assert draft.identifier == identifier
        assert (draft.version, draft.source) == ('1', 'lists.example.org')
        assert draft.expires - draft.created == datetime.timedelta(28)
        assert draft.endorsers[0].email == 'jo@example.org'
        assert draft.dialect is imagelist.Dialect.HEPIX

    def test_never_over_a_file(self, desk):
        desk.new()
        err = desk.refused(
            *('new', desk.draft, '--endorser', desk.certificate),
            *('--title', 'x', '--uri', URI),
        )
        assert 'file already' in err

    def test_needs(self, desk):
        err = desk.refused(
            'new', desk.draft, '--endorser', desk.certificate, '--title', 'x'
        )
        assert '--uri' in err
        err = desk.refused(
            *('new', desk.draft, '--endorser', desk.certificate),
            *('--title', 'x', '--uri', 'nonsense'),
        )
        assert 'hv:uri' in err

    def test_appdb(self, desk):
        desk.new('--dialect', 'appdb', '--vo', 'ops')
        assert desk.read().vo == 'ops'

    def test_from_a_signed_list_with_its_identifiers(self, desk):
        other = endorser.Endorser.create(name='Former')
        image = endorser.make_image(b'one')
        source = desk.folder / 'former.signed'
        source.write_bytes(
            other.signed_list(
                '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6a001',
                '7',
                image,
                expires=datetime.datetime(2499, 12, 31, tzinfo=datetime.UTC),
            )
        )
        ran = desk.well(
            *('new', desk.draft, '--endorser', desk.certificate),
            *('--from', source, '--title', 'Taken over'),
        )
        assert 'protects nobody' in ran.err
        draft = desk.read()
        assert draft.title == 'Taken over'
        assert (draft.version, draft.images) == ('7', (image,))
        assert draft.endorsers[0].creator == 'Jo'
        assert draft.expires - draft.created == datetime.timedelta(28)

    def test_from_a_list_with_a_broken_image(self, desk):
        one = people.draft(images=(endorser.make_image(b'one'),))
        broken = files.render(one).replace(b'"hv:size": 3', b'"hv:size": "x"')
        source = desk.image(broken, 'broken.json')
        err = desk.refused(
            *('new', desk.draft, '--endorser', desk.certificate),
            *('--from', source),
        )
        assert 'hv:size' in err


class TestAdd:
    def test_what_the_file_tells(self, desk):
        desk.new()
        identifier = desk.add()
        (image,) = desk.read().images
        assert image.identifier == identifier
        assert (image.format, image.arch) == ('raw', 'x86_64')
        assert image.uri == 'https://lists.example.org/disk.raw'
        assert image.title == 'disk'

    def test_what_it_does_not_tell(self, desk):
        desk.new()
        path = desk.image(b'only text')
        err = desk.refused('add', desk.draft, path)
        for option in (
            '--image-version',
            '--arch',
            '--os-version',
            '--format',
        ):
            assert f'(give {option})' in err
        assert desk.read().images == ()

    def test_format_that_the_file_denies(self, desk):
        desk.new()
        common = ('--os', 'L', '--os-version', '1', '--image-version', '1')
        err = desk.refused(
            'add', desk.draft, desk.image(), *common, '--format', 'qcow2'
        )
        assert 'the file is raw' in err
        text = desk.image(b'only text')
        arch = ('--arch', 'x86_64')
        err = desk.refused(
            'add', desk.draft, text, *common, *arch, '--format', 'QCOW2'
        )
        assert 'the file is not' in err
        desk.well('add', desk.draft, text, *common, *arch, '--format', 'raw')

    def test_all_options(self, desk):
        desk.new()
        desk.add(
            None,
            '1.0',
            *('--title', 'T', '--description', 'D', '--arch', 'aarch64'),
            *('--os-name', 'Alma', '--comments', 'C', '--hypervisor'),
            *('kvm,xen', '--core-minimum', '2', '--ram-minimum', '2 GiB'),
            *('--expires', '2030-01-01T00:00:00Z'),
            *('--identifier', '5b7f0c1e-6a0c-4f5e-9d55-0c52b6f6b001'),
            *('--uri', 'https://x.example.org/{identifier}/{version}/{name}'),
        )
        (image,) = desk.read().images
        assert image.uri.endswith('b001/1.0/disk.raw')
        assert image.hypervisors == ('kvm', 'xen')
        assert (image.core_minimum, image.ram_minimum) == (2, 2**31)
        assert image.expires == datetime.datetime(
            2030, 1, 1, tzinfo=datetime.UTC
        )

    def test_address_by_digest(self, desk):
        desk.new()
        uri = 'https://x.example.org/v2/a/blobs/sha256:{sha256}'
        desk.add(None, '1', '--uri', uri)
        (image,) = desk.read().images
        assert len(image.uri.rpartition(':')[2]) == 64

    def test_new_version_keeps_what_is_not_given(self, desk):
        desk.new()
        identifier = desk.add(None, '1.0', '--title', 'Worker')
        newer = desk.image(disks.gpt(disks.ROOT_X86_64, size=70_000), 'b.raw')
        assert (
            desk.well(
                *('add', desk.draft, newer, '--update', 'Worker'),
                *('--image-version', '1.1'),
            ).out.strip()
            == identifier
        )
        (image,) = desk.read().images
        assert (image.title, image.os_version) == ('Worker', 'EL 9')
        assert (image.version, image.size) == ('1.1', 70_000)
        assert image.uri.endswith('/b.raw')

    def test_new_version_at_the_old_address_is_a_warning(self, desk):
        desk.new()
        identifier = desk.add()
        newer = desk.image(disks.gpt(disks.ROOT_X86_64, size=70_000))
        ran = desk.well(
            *('add', desk.draft, newer, '--update', identifier),
            *('--image-version', '2'),
        )
        assert 'address of its own' in ran.err

    def test_update_that_is_none(self, desk):
        desk.new()
        identifier = desk.add()
        update = ('--update', identifier, '--image-version')
        path = desk.folder / 'disk.raw'
        err = desk.refused('add', desk.draft, path, *update, '2')
        assert 'these bytes' in err
        err = desk.refused(
            'add', desk.draft, path, *update, '2', '--identifier', 'x'
        )
        assert 'not both' in err
        err = desk.refused('add', desk.draft, path, '--update', identifier)
        assert 'image-version' in err

    def test_not_into_a_signed_message(self, desk):
        desk.new()
        desk.sign()
        err = desk.refused('add', desk.message, desk.image())
        assert 'list new --from' in err


class TestEdit:
    def test_remove_and_retire(self, desk):
        desk.new()
        desk.add(None, '1', '--title', 'Worker')
        assert 'retire' in desk.refused('remove', desk.draft)
        retire = '--retire-list-withdrawing-all'
        err = desk.refused('remove', desk.draft, 'Worker', retire)
        assert 'name images' in err
        desk.well('remove', desk.draft, 'Worker')
        assert desk.read().images == ()
        desk.add()
        desk.well('remove', desk.draft, retire)
        assert desk.read().images == ()

    def test_set_fields_of_the_list(self, desk):
        desk.new()
        desk.well(
            *('set', desk.draft, '--title', 'T', '--lifetime', '7'),
            *('--list-version', '5', '--source', 'S'),
        )
        draft = desk.read()
        assert (draft.title, draft.version, draft.source) == ('T', '5', 'S')
        assert draft.expires - draft.created == datetime.timedelta(7)

    def test_set_several_endorsers(self, desk):
        desk.new()
        second = desk.image(people.other().pem, 'second.pem')
        desk.well(
            *('set', desk.draft, '--endorser', desk.certificate),
            *('--endorser', second, '--creator', 'Jo E.'),
        )
        assert [e.creator for e in desk.read().endorsers] == ['Jo E.', 'Al']

    def test_set_fields_of_an_image(self, desk):
        desk.new()
        identifier = desk.add()
        desk.well(
            *('set', desk.draft, '--image', identifier, '--title', 'T'),
            *('--hypervisor', 'kvm', '--ram-minimum', '512MiB'),
        )
        (image,) = desk.read().images
        assert (image.title, image.ram_minimum) == ('T', 2**29)

    def test_fields_of_the_other(self, desk):
        desk.new()
        err = desk.refused('set', desk.draft, '--os', 'x')
        assert 'give --image' in err
        err = desk.refused('set', desk.draft, '--image', 'x', '--vo', 'y')
        assert 'leave out --image' in err

    def test_diff(self, desk):
        desk.new()
        desk.sign()
        desk.well('diff', desk.draft, desk.message, '--exit-code')
        desk.add()
        ran = desk(
            'diff', desk.message, desk.draft, '--exit-code', '-f', 'json'
        )
        assert ran.status == 1
        assert [c['change'] for c in ran.json] == ['added']
        assert desk('diff', desk.message, desk.draft).status == 0

    @pytest.mark.parametrize('text', ['x', '0', '-1', 'inf', 'nan', '1e99'])
    def test_days(self, text):
        with pytest.raises(argparse.ArgumentTypeError):
            list_options.days(text)

    @pytest.mark.parametrize('text', ['x', '2XB', '-1', '1.5GiB', ''])
    def test_memory(self, text):
        with pytest.raises(argparse.ArgumentTypeError):
            list_options.memory(text)


class TestSign:
    def test_signed_and_the_draft_follows(self, desk):
        desk.new()
        desk.add()
        ran = desk.sign()
        assert ran.json['version'] == '1'
        assert ran.json['signed_by'] == 'CN=Jo,O=Grid,C=DE'
        assert 'give --trust-anchors' in ran.err
        assert desk.sign().json['version'] == '2'
        assert desk.read() == desk.signed()

    def test_as_subscribers_judge(self, desk):
        anchors = people.write_anchors(desk.folder / 'anchors')
        desk.new()
        ran = desk.sign('--trust-anchors', anchors)
        assert 'not checked' not in ran.err
        ran = desk.well(
            'verify', desk.message, '--trust-anchors', anchors, '-f', 'json'
        )
        assert ran.json['code'] == 'ok'

    def test_revoked_is_not_written(self, desk):
        anchors = people.write_anchors(
            desk.folder / 'anchors', people.holder()
        )
        desk.new()
        err = desk.refused(
            *('sign', desk.draft, '--output', desk.message),
            *(*desk.signer(), '--trust-anchors', anchors),
        )
        assert '(revoked)' in err
        assert not desk.message.exists()

    def test_where_to(self, desk):
        desk.new()
        assert '--output' in desk.refused('sign', desk.draft, *desk.signer())
        desk.message.write_bytes(b'something else')
        err = desk.refused(
            'sign', desk.draft, '--output', desk.message, *desk.signer()
        )
        assert 'move it away' in err

    def test_passphrase_is_asked_for_at_a_terminal(self, desk, monkeypatch):
        desk.new()
        people.write(desk.folder, people.holder(), 'hush')
        err = desk.refused(
            'sign', desk.draft, '--output', desk.message, *desk.signer()
        )
        assert '--passphrase-file' in err
        monkeypatch.setattr(endorsing.sys.stdin, 'isatty', lambda: True)
        monkeypatch.setattr(endorsing.getpass, 'getpass', lambda _: 'hush')
        desk.sign()

    def test_dialect(self, desk):
        desk.new('--dialect', 'appdb', '--vo', 'ops')
        desk.sign('--dialect', 'hepix')
        assert b'ad:vo' not in desk.message.read_bytes()
        assert desk.read().vo == 'ops'

    def test_second_endorser_joins(self, desk):
        second = desk.folder / 'second'
        second.mkdir()
        certificate, key = people.write(second, people.other())
        desk.new('--endorser', certificate)
        ran = desk.sign()
        assert ran.json['not_yet_signed_by'] == 'CN=Al,O=Grid,C=DE'
        signer = ('--certificate', certificate, '--key', key)
        err = desk.refused(
            'sign', desk.message, '--join', '--dialect', 'appdb', *signer
        )
        assert 'cannot be changed' in err
        ran = desk.well('sign', desk.message, '--join', *signer, '-f', 'json')
        assert ran.json['not_yet_signed_by'] == ''
        (desk.folder / 'draft.json').unlink()
        shown = desk.well('show', desk.message, '-f', 'json')
        assert shown.json == []


class TestRenew:
    def _renew(self, desk, *more):
        return desk.well(
            'renew', desk.message, *desk.signer(), '-f', 'json', *more
        )

    def test_young_list_is_left_alone(self, desk):
        desk.new()
        desk.sign()
        before = desk.message.read_bytes()
        ran = self._renew(desk, '--if-older-than', '1')
        assert ran.json['version'] == '1'
        assert desk.message.read_bytes() == before

    def test_old_list_is_signed_again(self, desk):
        desk.new()
        desk.add()
        desk.sign()
        ran = self._renew(desk, '--if-older-than', '0.0000001')
        assert ran.json['version'] == '2'
        ran = self._renew(desk, '--lifetime', '3')
        assert ran.json['version'] == '3'
        found = desk.signed()
        assert found.expires - found.created == datetime.timedelta(3)
        assert len(found.images) == 1

    def test_list_that_somebody_else_signed(self, desk):
        desk.new()
        desk.sign()
        former = desk.image(people.holder().pem, 'former.pem')
        # A new key of the same person.
        renewed = people.holder('C=DE/O=Grid/CN=Jo', 'ec jo again')
        people.write(desk.folder, renewed)
        err = desk.refused('renew', desk.message, *desk.signer())
        assert '--previous-certificate' in err
        self._renew(desk, '--previous-certificate', former)
        self._renew(desk)

    def test_changed_message_is_not_signed_again(self, desk):
        desk.new()
        desk.sign()
        desk.message.write_bytes(
            desk.message.read_bytes().replace(b'Workers', b'Trojans')
        )
        err = desk.refused('renew', desk.message, *desk.signer())
        assert 'another digest' in err

    def test_several_endorsers_are_not_overwritten(self, desk):
        second = desk.image(people.other().pem, 'second.pem')
        desk.new('--endorser', second)
        desk.sign()
        err = desk.refused('renew', desk.message, *desk.signer())
        assert 'all have to sign again' in err
        self._renew(desk, '--output', desk.folder / 'next.signed')


class TestPublish:
    def test_directory(self, desk):
        desk.new()
        path = desk.image()
        desk.add(path)
        desk.sign()
        publish = ('publish', desk.message, desk.web, '-f', 'json')
        ran = desk.well(*publish, '--dry-run', '--images', path)
        assert {p['outcome'] for p in ran.json} == {'would upload'}
        ran = desk.well(*publish, '--images', path)
        assert [p['outcome'] for p in ran.json] == ['uploaded', 'uploaded']
        assert (desk.web / 'disk.raw').read_bytes() == RAW

    def test_elsewhere_is_said(self, desk):
        desk.new()
        desk.add()
        desk.sign()
        ran = desk.well(
            *('publish', desk.message, desk.web, '--name', 'x'),
            *('--base-uri', 'https://other.example.org'),
        )
        assert 'lies elsewhere' in ran.err

    def test_secrets_come_from_files(self, desk):
        desk.new()
        desk.sign()
        secret = desk.image(b'two words', 'secret')
        publish = ('publish', desk.message, 'http://127.0.0.1:9/')
        err = desk.refused(*publish, '--token-file', secret)
        assert 'chmod' in err
        secret.chmod(0o600)
        err = desk.refused(*publish, '--token-file', secret)
        assert 'USER:SECRET' in err
        assert 'two words' not in err
        for content in (b'me:hush', b'hush'):
            secret.write_bytes(content)
            err = desk.refused(*(*publish, '--token-file', secret), status=1)
            assert 'hush' not in err


class TestCheck:
    def _check(self, desk, *more):
        url = desk.message.as_uri()
        anchors = desk.folder / 'anchors'
        if not anchors.exists():
            people.write_anchors(anchors)
        ran = desk(
            'check', url, '--trust-anchors', anchors, '-f', 'json', *more
        )
        return ran.status, {(f['check'], f['level']) for f in ran.json}

    def test_list_alone(self, desk):
        desk.new()
        desk.sign()
        status, found = self._check(desk, '--without-images')
        assert status == 0
        assert ('signature', 'ok') in found
        assert ('address', 'warning') in found

    def test_image_that_cannot_be_fetched(self, desk):
        desk.new()
        desk.add(None, '1', '--uri', 'http://127.0.0.1:9/x')
        desk.sign()
        status, found = self._check(desk)
        assert status == 1
        assert ('fetch', 'problem') in found

    def test_no_list(self, desk):
        assert self._check(desk) == (1, {('fetch', 'problem')})
        desk.message.write_bytes(b'{}')
        assert self._check(desk) == (1, {('not-signed', 'problem')})


class TestSite:
    """The site's own list: approved images of all endorsers, and local."""

    @pytest.fixture
    def site(self, tmp_path):
        folder = tmp_path / 'site'
        folder.mkdir()
        made = following.Site(folder)
        made.follow('all')
        made.follow('chosen', approval=subscription.Approval.LISTED)
        self.images = {
            name: endorser.make_image(
                name.encode(), title=name, format='qcow2', ram_minimum=2**30
            )
            for name in ('one', 'two', 'three')
        }
        made.publish('all', '1', self.images['one'])
        made.publish('chosen', '1', self.images['two'], self.images['three'])
        made.approve(self.images['two'], 'chosen')
        made.sync()
        yield made
        made.close()

    def _run(self, desk, site, *more):
        path = site.folder / 'hepix_vm.conf'
        commands.write_configuration(site, path)
        return commands.run(
            main.main,
            (
                *('--config-file', path, 'list', 'site', desk.draft),
                *('-f', 'json', *more),
            ),
            desk._capsys,
        )

    def _sign(self, desk, site, *more):
        ran = self._run(
            desk,
            site,
            *('--sign', '--output', desk.message, *desk.signer(), *more),
        )
        assert ran.status == 0, ran.err
        return desk.signed()

    def test_what_is_approved_today_and_what_is_local(self, desk, site):
        desk.new()
        local = desk.add()
        found = self._sign(desk, site)
        by_title = {image.title: image for image in found.images}
        assert set(by_title) == {'disk', 'one', 'two'}
        assert by_title['disk'].identifier == local
        one = by_title['one']
        expected = self.images['one']
        assert (one.identifier, one.sha512) == (
            expected.identifier,
            expected.sha512,
        )
        assert one.ram_minimum == 2**30
        assert one.extra == {
            'dc:source': f'urn:uuid:{following.identifier_of("all")}',
            'dc:creator': site.endorsers['all'].subject,
        }
        # The site's signature never outlives the endorsement.
        assert int(one.expires.timestamp()) == site.state('all').expires
        assert [image.title for image in desk.read().images] == ['disk']

    def test_what_is_no_longer_approved_leaves_the_list(self, desk, site):
        desk.new()
        self._sign(desk, site)
        site.publish('all', '2')
        site.sync(after=1)
        found = self._sign(desk, site)
        assert [i.title for i in found.images] == ['two']
        assert found.version == '2'

    def test_signed_again_when_it_says_something_else(self, desk, site):
        desk.new()
        first = self._sign(desk, site)
        assert self._sign(desk, site, '--if-older-than', '1') == first
        site.approve(self.images['three'], 'chosen')
        site.publish('chosen', '2', self.images['three'])
        site.sync(after=1)
        second = self._sign(desk, site, '--if-older-than', '1')
        assert {i.title for i in second.images} == {'one', 'three'}

    def test_shown_and_limited(self, desk, site):
        desk.new()
        ran = self._run(desk, site, '--subscription', 'chosen')
        assert [row['title'] for row in ran.json] == ['two']
        ran = self._run(desk, site, '--subscription', 'other')
        assert ran.status == 2
        assert 'all, chosen' in ran.err

    def test_needs(self, desk, site):
        desk.new()
        ran = self._run(desk, site, '--sign')
        assert (ran.status, 'needs --output' in ran.err) == (2, True)

    def test_local_image_with_the_identifier_of_an_endorsed_one(
        self, desk, site
    ):
        desk.new()
        desk.add(None, '1', '--identifier', self.images['one'].identifier)
        ran = self._run(desk, site)
        assert (ran.status, 'one of its own' in ran.err) == (2, True)

    def test_same_bytes_of_two_endorsers_stand_once(self, desk, site):
        same = endorser.make_image(b'one', title='same')
        site.approve(same, 'chosen')
        site.publish('chosen', '2', same)
        site.sync(after=1)
        desk.new()
        found = self._sign(desk, site)
        assert len(found.images) == 1


def test_json_of_a_draft_is_the_unsigned_list(desk):
    desk.new()
    assert list(json.loads(desk.draft.read_text())) == ['hv:imagelist']

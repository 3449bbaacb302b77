# SPDX-License-Identifier: Apache-2.0
"""New images first, the list last, and nothing that would go backwards."""

from __future__ import annotations

import dataclasses

import pytest

from hepix_vm.endorse import draft as drafts
from hepix_vm.endorse import publishing
from hepix_vm.endorse import sealing
from hepix_vm.endorse import targets
from hepix_vm.endorse.targets import directory
from hepix_vm.endorse.targets import interface
from hepix_vm import errors
from tests.unit.endorse import people
from tests.unit.endorse import test_draft

BASE = 'https://lists.example.org/'
LIST = 'worker.signed'


def image(data=b'one', name='one.raw', **more):
    return test_draft.image(data, uri=f'{BASE}{name}', **more)


def sealed(*images, previous=None, who=(), **more):
    return sealing.seal(
        people.draft(*who, images=images, **more),
        people.signatory(people.holder()),
        people.now(),
        previous,
    )


def files(tmp_path, *contents):
    folder = tmp_path / 'files'
    folder.mkdir(exist_ok=True)
    found = []
    for data in contents:
        path = folder / f'file-{data.decode()}'
        path.write_bytes(data)
        found.append(path)
    return found


@pytest.fixture
def web(tmp_path):
    folder = tmp_path / 'web'
    folder.mkdir()
    return directory.Directory(folder, BASE)


def plan(one, target, *paths, name=None):
    return publishing.plan(one.message, target, paths, people.now(), name)


def publish(one, target, *paths, name=None):
    done = publishing.publish(plan(one, target, *paths, name=name), target)
    return [p.outcome.value for p in done]


def refused(call, *arguments, **more):
    with pytest.raises(errors.Misconfigured) as caught:
        call(*arguments, **more)
    return str(caught.value)


def test_images_and_list_appear(tmp_path, web):
    one = sealed(
        image(), image(b'two', 'sub/two.raw', identifier=test_draft.TWO)
    )
    paths = files(tmp_path, b'one', b'two', b'three')
    assert publish(one, web, *paths) == ['uploaded'] * 3
    folder = tmp_path / 'web'
    assert (folder / LIST).read_bytes() == one.message
    assert (folder / 'one.raw').read_bytes() == b'one'
    assert (folder / 'sub/two.raw').read_bytes() == b'two'
    assert (folder / 'one.raw').stat().st_mode & 0o777 == 0o644
    assert len(list(folder.iterdir())) == 3


def test_what_is_there_is_not_sent_again(tmp_path, web):
    one = sealed(image())
    publish(one, web, *files(tmp_path, b'one'))
    assert publish(one, web) == ['present', 'present']
    newer = sealed(image(), previous=one.image_list)
    assert publish(newer, web) == ['present', 'uploaded']


def test_plan_touches_nothing(tmp_path, web):
    found = plan(sealed(image()), web, *files(tmp_path, b'one'))
    outcomes = [p.outcome.value for p in publishing.planned(found)]
    assert outcomes == ['would upload', 'would upload']
    assert not list((tmp_path / 'web').iterdir())
    one = sealed()
    publish(one, web)
    found = publishing.planned(plan(one, web))
    assert [p.outcome.value for p in found] == ['present']


def test_images_elsewhere_are_left_alone(web):
    one = sealed(test_draft.image(uri='https://other.example.org/x'))
    assert publish(one, web) == ['elsewhere', 'uploaded']


def test_missing_file_stops_everything_before_it_begins(tmp_path, web):
    one = sealed(image(), image(b'two', 'two.raw', identifier=test_draft.TWO))
    said = refused(publish, one, web, *files(tmp_path, b'one', b'owt'))
    assert 'two.raw' in said
    assert 'nothing was published' in said
    assert not list((tmp_path / 'web').iterdir())
    assert 'No such file' in refused(publish, one, web, tmp_path / 'absent')


def test_address_is_not_used_again_for_other_bytes(tmp_path, web):
    publish(sealed(image()), web, *files(tmp_path, b'one'))
    newer = sealed(image(b'newer', version='2.0'), version='2')
    said = refused(publish, newer, web, *files(tmp_path, b'newer'))
    assert 'another address' in said


class TestGoingBackwards:
    def test_older_list_does_not_replace_a_newer_one(self, web):
        old = sealed()
        publish(sealed(previous=old.image_list), web)
        assert 'does not go beyond 2' in refused(publish, old, web)

    def test_other_list_does_not_replace_ours(self, web):
        publish(sealed(), web)
        other = sealed(identifier=test_draft.TWO, version='2')
        assert 'for ever' in refused(publish, other, web)

    def test_something_else_is_not_replaced(self, tmp_path, web):
        (tmp_path / 'web' / LIST).write_bytes(b'<html>')
        assert 'something else' in refused(publish, sealed(), web)
        (tmp_path / 'web' / LIST).unlink()
        (tmp_path / 'web' / LIST).mkdir()
        assert 'expected a file' in refused(publish, sealed(), web)

    def test_further_signature_replaces_the_incomplete_message(self, web):
        who = (people.holder(), people.other())
        first = sealed(who=who)
        said = refused(publish, first, web)
        assert 'not yet signed by CN=Al' in said
        both = sealing.join(
            first.message, people.signatory(people.other()), people.now()
        )
        web.put_list(LIST, first.message, ())
        assert publish(both, web) == ['uploaded']


class TestNames:
    def test_given(self, tmp_path, web):
        publish(sealed(), web, name='other')
        assert (tmp_path / 'web' / 'other').exists()

    def test_of_a_list_that_says_it_lies_elsewhere(self, tmp_path, web):
        publish(sealed(uri='https://other.example.org/a/x.signed'), web)
        assert (tmp_path / 'web' / 'x.signed').exists()

    def test_none(self, web):
        one = sealed(uri='https://other.example.org/')
        assert '--name' in refused(publish, one, web)

    @pytest.mark.parametrize(
        'uri',
        [
            f'{BASE}../secret',
            f'{BASE}%2e%2e/secret',
            f'{BASE}a/..%2fsecret',
            f'{BASE}.hidden',
            f'{BASE}a//b',
            f'{BASE}',
            f'{BASE}a%0ab',
            f'{BASE}a%5cb',
            f'{BASE}a?b=c',
            'https://lists.example.org:444/a',
            'http://lists.example.org/a',
        ],
    )
    def test_addresses_that_lead_elsewhere(self, uri):
        assert interface.below(BASE, uri) is None

    def test_addresses_below(self):
        assert interface.below(BASE, f'{BASE}a%20b/c') == 'a b/c'
        assert interface.below(BASE, 'https://LISTS.example.org/a') == 'a'

    def test_base_is_the_folder_of_the_list(self):
        draft = people.draft(uri='https://a.example.org/b/c?d=e')
        assert publishing.base_of(draft) == 'https://a.example.org/b/'


@dataclasses.dataclass
class Memory:
    """A place that does what it is told, for failures on the way."""

    held: dict = dataclasses.field(default_factory=dict)
    steps: list = dataclasses.field(default_factory=list)
    forgets: str = ''

    def locate(self, uri):
        return interface.below(BASE, uri)

    def size(self, name):
        return len(self.held[name]) if name in self.held else None

    def read_list(self, name):
        return self.held.get(name)

    def put_image(self, name, upload):
        data = b''
        while block := upload.read(2):
            data += block
        self._put(name, data)

    def put_list(self, name, message, layers):
        self.steps.append([layer.name for layer in layers])
        self._put(name, message)

    def _put(self, name, data):
        self.steps.append(name)
        if name != self.forgets:
            self.held[name] = data


def test_list_comes_last_and_names_all_its_images(tmp_path):
    place = Memory({'one.raw': b'one'})
    one = sealed(image(), image(b'two', 'two.raw', identifier=test_draft.TWO))
    publish(one, place, *files(tmp_path, b'two'))
    assert place.steps == ['two.raw', ['one.raw', 'two.raw'], LIST]


@pytest.mark.parametrize('forgets', ['one.raw', LIST])
def test_place_that_loses_what_was_put_there(tmp_path, forgets):
    place = Memory(forgets=forgets)
    with pytest.raises(errors.TryAgain, match='publish again'):
        publish(sealed(image()), place, *files(tmp_path, b'one'))
    assert LIST not in place.held


@pytest.mark.parametrize('after', [b'One', b'on', b'onee'])
def test_file_that_changes_after_it_was_hashed_is_not_put(
    tmp_path, web, after
):
    (path,) = files(tmp_path, b'one')
    found = plan(sealed(image()), web, path)
    path.write_bytes(after)
    if after == b'onee':
        # The first bytes are the image: exactly those are sent.
        list(publishing.publish(found, web))
        assert (tmp_path / 'web/one.raw').read_bytes() == b'one'
        return
    said = refused(list, publishing.publish(found, web))
    assert 'changed while' in said
    assert not list((tmp_path / 'web').iterdir())


def test_file_that_goes_away_after_it_was_hashed(tmp_path, web):
    (path,) = files(tmp_path, b'one')
    found = plan(sealed(image()), web, path)
    path.unlink()
    said = refused(list, publishing.publish(found, web))
    assert 'No such file' in said


def test_upload_begins_again_after_a_redirect(tmp_path):
    (path,) = files(tmp_path, b'one')
    done = []
    with path.open('rb') as source:
        upload = targets.Upload(path, source, image(), done.append)
        assert (len(upload), upload.read(2), upload.tell()) == (3, b'on', 2)
        assert upload.seek(0) == 0
        assert upload.read() == b'one'
        assert upload.read(5) == b''
        with pytest.raises(OSError, match='beginning'):
            upload.seek(1)
    assert done == [2, 3, 3]


class TestDirectories:
    def test_root_has_to_be_there(self, tmp_path):
        away = directory.Directory(tmp_path / 'not mounted', BASE)
        assert 'mount it' in refused(publish, sealed(), away)

    def test_folder_that_is_a_file(self, tmp_path, web):
        (tmp_path / 'web' / 'sub').write_bytes(b'')
        one = sealed(image(name='sub/one.raw'))
        with pytest.raises(errors.LocalFault, match='sub'):
            publish(one, web, *files(tmp_path, b'one'))
        with pytest.raises(errors.LocalFault, match='sub'):
            web.put_list('sub/list', b'', ())

    def test_size_that_cannot_be_asked(self, web):
        with pytest.raises(errors.LocalFault, match='too long'):
            web.size('x' * 300)


class TestChoosing:
    @pytest.mark.parametrize(
        ('address', 'why'),
        [
            ('ftp://example.org/x', 'expected a directory'),
            ('https:///x', 'expected a directory'),
            ('https://example.org/x?y', 'expected a directory'),
            ('https://me:secret@example.org/x', 'no place in an address'),
            ('https://example.org:port/', 'port'),
            ('oci://example.org/repository', ':TAG'),
            ('s3://bucket/x', '--s3-endpoint'),
        ],
    )
    def test_refused(self, address, why):
        said = refused(targets.choose, address, BASE, targets.Access())
        assert why in said
        assert 'secret@' not in said

    @pytest.mark.parametrize(
        'address', ['http://a.example/', 'dav://a/', 'oci+http://a/b:c']
    )
    def test_secrets_do_not_travel_in_clear(self, address):
        access = targets.Access(token='hush')
        said = refused(targets.choose, address, BASE, access)
        assert 'use https' in said
        assert 'hush' not in said + repr(access)

    def test_own_machine_may_be_plain(self):
        access = targets.Access(user='me', password='hush')
        for host in ('localhost', '127.0.0.1:8080', '[::1]:80'):
            targets.choose(f'http://{host}/', BASE, access).close()

    def test_object_store_has_an_address(self):
        access = targets.Access(s3_endpoint='store.example.org')
        said = refused(targets.choose, 's3://bucket', BASE, access)
        assert 'http or https URL' in said

    def test_file_address(self, tmp_path):
        target = targets.choose(
            f'file://{tmp_path}', BASE.rstrip('/'), targets.Access()
        )
        assert publish(sealed(), target) == ['uploaded']

    @pytest.mark.parametrize(
        ('package', 'address', 'extra'),
        [
            ('minio', 's3://bucket', 's3'),
            ('oras', 'oci://127.0.0.1:9/repository:tag', 'oci'),
        ],
    )
    def test_package_that_is_not_there(
        self, monkeypatch, package, address, extra
    ):
        monkeypatch.setitem(__import__('sys').modules, package, None)
        access = targets.Access(s3_endpoint='http://127.0.0.1:9')
        said = refused(targets.choose, address, BASE, access)
        assert f'hepix_vm[{extra}]' in said


def test_version_is_raised_by_dating_not_by_publishing(web):
    first = sealed()
    publish(first, web)
    again = drafts.dated(first.image_list, first.image_list, people.now())
    assert again.version == '2'

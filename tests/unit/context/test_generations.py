# SPDX-License-Identifier: Apache-2.0
"""Publications: whole, in their order, also when a process is killed."""

import fcntl
import hashlib
import io
import json
import os
import random
import shutil
import tarfile

import pytest

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import directory
from hepix_vm.context import generations
from hepix_vm.context import site as site_
from hepix_vm.context import source as source_
from hepix_vm import errors
from tests.unit.context import sites

NOW = 1795352400


def _order(keep=10, expires=None, now=NOW):
    return generations.Order(now, expires, 'somebody', 'why', keep)


def _tar(top):
    members = archive.ordered(directory.members(top, 500, 1 << 20), str(top))
    return archive.pack(members, str(top))


@pytest.fixture
def top(tmp_path):
    return sites.make(tmp_path / 'context')


@pytest.fixture
def state(tmp_path):
    return tmp_path / 'lib' / 'state'


def test_what_is_published_is_current_and_read_back(top, state):
    made = generations.publish(state, _tar(top), _order(expires=NOW + 5))
    assert made == generations.Generation(
        serial=1,
        published_at=NOW,
        expires_at=NOW + 5,
        sha256=hashlib.sha256(_tar(top)).hexdigest(),
        origin=1,
        by='somebody',
        comment='why',
    )
    assert generations.current(state) == 1
    assert generations.describe(state, 1) == made
    site = generations.read(state, 1)
    plain = site_.read_directory(top)
    assert (site.serial, site.published_at, site.expires_at) == (
        1,
        NOW,
        NOW + 5,
    )
    assert sites.compose(site) == sites.compose(plain)
    assert site.sha256 == plain.sha256 == made.sha256


def test_others_may_read_it_and_nobody_else_may_write(top, state):
    generations.publish(state, _tar(top), _order())
    for path in state.rglob('*'):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o777
            assert mode == (0o755 if path.is_dir() else 0o644), path
    assert str((state / 'current').readlink()) == 'generations/1'


@pytest.mark.parametrize('umask', [0o027, 0o077])
def test_others_may_read_it_whatever_the_umask(top, state, umask):
    before = os.umask(umask)
    try:
        generations.publish(state, _tar(top), _order())
    finally:
        os.umask(before)
    for path in (state.parent, state, state / 'generations'):
        assert path.stat().st_mode & 0o777 == 0o755
    for path in (state / 'generations').rglob('*'):
        mode = path.stat().st_mode & 0o777
        assert mode == (0o755 if path.is_dir() else 0o644), path


def test_serials_go_up_and_never_back(top, state):
    for serial in (1, 2, 3):
        made = generations.publish(state, _tar(top), _order())
        assert made.serial == serial
    shutil.rmtree(state / 'generations/3')
    assert generations.publish(state, _tar(top), _order()).serial == 4
    (state / 'serial').unlink()
    assert generations.publish(state, _tar(top), _order()).serial == 5
    (state / 'serial').write_text('40\n')
    assert generations.publish(state, _tar(top), _order()).serial == 41


@pytest.mark.parametrize('text', ['', '-1', '1x', '9' * 30, '\u0661'])
def test_a_serial_that_nobody_wrote_stops_publishing(top, state, text):
    generations.publish(state, _tar(top), _order())
    (state / 'serial').write_text(text)
    with pytest.raises(errors.LocalFault, match='expected the newest serial'):
        generations.publish(state, _tar(top), _order())
    assert generations.current(state) == 1


def test_only_the_newest_are_kept(top, state):
    for _ in range(5):
        generations.publish(state, _tar(top), _order(keep=2))
    assert generations.serials(state) == (4, 5)
    assert generations.current(state) == 5
    assert sorted(path.name for path in (state / 'generations').iterdir()) == [
        '4',
        '5',
    ]


def test_going_back_is_a_new_serial_and_further_back_each_time(top, state):
    for serial in (1, 2, 3):
        sites.write(top, 'changed', f'{serial}\n')
        generations.publish(state, _tar(top), _order())
        assert generations.current(state) == serial
    back = []
    for _ in range(2):
        now = generations.describe(state, generations.current(state))
        before = generations.before(state, now)
        back.append(before)
        older = generations.describe(state, before)
        tar = generations.content(state, older)
        generations.publish(state, tar, _order(), older.origin)
    assert back == [2, 1]
    assert generations.current(state) == 5
    last = generations.describe(state, 5)
    assert last.origin == 1
    assert generations.before(state, last) is None


def test_going_back_goes_to_other_content(top, state):
    generations.publish(state, _tar(top), _order())
    sites.write(top, 'broken', '')
    for _ in range(2):
        made = generations.publish(state, _tar(top), _order())
    assert generations.before(state, made) == 1


def test_two_publish_one_after_the_other(top, state):
    generations.publish(state, _tar(top), _order())
    with (state / 'lock').open('r+') as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(errors.TryAgain, match='another process'):
            generations.publish(state, _tar(top), _order())
    assert generations.current(state) == 1
    assert generations.publish(state, _tar(top), _order()).serial == 2


STEPS = ('fsync', 'rename', 'replace', 'symlink', 'mkdir', 'chmod', 'rmdir')


def _killed_at(step, publish):
    """Whether a child ended by itself before its step of that number."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(really):
            def call(*arguments, **keywords):
                nonlocal count
                count += 1
                if count == step:
                    os._exit(9)
                return really(*arguments, **keywords)

            return call

        try:
            for name in STEPS:
                setattr(os, name, counted(getattr(os, name)))
            publish()
        except BaseException:  # noqa: BLE001 nothing of pytest in the child
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 0


def test_killed_between_any_two_steps_it_is_the_old_or_the_new(top, state):
    """Kill at each call to the file system that changes something."""
    tars = [_tar(top)]
    generations.publish(state, tars[0], _order(keep=2))
    sites.write(top, 'more', 'new\n')
    tars.append(_tar(top))
    step, newest, seen = 0, 1, set()
    over = False
    while not over:
        step += 1
        wanted = tars[step % 2]
        before = generations.read(state, generations.current(state))
        over = _killed_at(
            step,
            lambda wanted=wanted: generations.publish(
                state, wanted, _order(keep=2)
            ),
        )
        now = generations.read(state, generations.current(state))
        if now.serial == before.serial:
            assert now == before
            seen.add('old')
        else:
            assert now.serial > newest
            assert now.sha256 == hashlib.sha256(wanted).hexdigest()
            seen.add('new')
        # The next one goes on, above all that was ever given.
        given = generations.newest(state)
        newest = generations.publish(state, wanted, _order(keep=2)).serial
        assert newest == given + 1
        assert len(generations.serials(state)) <= 2
        assert not list(state.rglob('.unfinished*'))
        for serial in generations.serials(state):
            generations.read(state, serial)
    assert step > 10
    assert seen == {'old', 'new'}


def test_a_full_disk_leaves_what_was_current(top, state, monkeypatch):
    generations.publish(state, _tar(top), _order())

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(directory.os, 'fsync', full)
    with pytest.raises(errors.LocalFault, match='No space left'):
        generations.publish(state, _tar(top), _order())
    monkeypatch.undo()
    assert generations.read(state, generations.current(state)).serial == 1


def test_a_state_directory_that_cannot_be_is_one_sentence(top, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.LocalFault, match='state_directory must be'):
        generations.publish(tmp_path / 'file' / 'x', _tar(top), _order())
    with pytest.raises(errors.LocalFault, match='state_directory'):
        generations.serials(tmp_path / 'file')
    with pytest.raises(errors.LocalFault, match='state_directory'):
        generations.newest(tmp_path / 'file')
    with pytest.raises(archive.BundleRefused, match='must be readable'):
        generations.current(tmp_path / 'file')


def test_nothing_published_is_no_serial(tmp_path):
    assert generations.current(tmp_path) is None
    assert generations.serials(tmp_path) == ()
    assert generations.newest(tmp_path) == 0
    with pytest.raises(archive.BundleRefused, match='no publication 3'):
        generations.read(tmp_path, 3)


@pytest.mark.parametrize('target', ['/etc', 'generations/x', 'a/1', '1'])
def test_a_link_to_something_else_is_refused(top, state, target):
    generations.publish(state, _tar(top), _order())
    (state / 'current').unlink()
    (state / 'current').symlink_to(target)
    with pytest.raises(archive.BundleRefused, match='publish again'):
        generations.current(state)


def _spoil_about(state, **changes):
    path = state / 'generations/1/generation.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    'spoil',
    [
        lambda s: (s / 'generations/1/generation.json').write_text('{'),
        lambda s: (s / 'generations/1/generation.json').write_text('[]'),
        lambda s: (s / 'generations/1/generation.json').write_text(
            '[' * 50000
        ),
        lambda s: (s / 'generations/1/generation.json').write_bytes(b'\xff'),
        lambda s: _spoil_about(s, serial=2),
        lambda s: _spoil_about(s, serial=True),
        lambda s: _spoil_about(s, published_at='x'),
        lambda s: _spoil_about(s, expires_at=-1),
        lambda s: _spoil_about(s, expires_at=253402300800),
        lambda s: _spoil_about(s, comment='x' * 65536),
        lambda s: _spoil_about(s, sha256=None),
        lambda s: _spoil_about(s, more=1),
        lambda s: _spoil_about(s, sha256='0' * 64),
        lambda s: (s / 'generations/1/site.tar').write_bytes(b'x'),
    ],
)
def test_a_damaged_publication_is_refused(top, state, spoil):
    generations.publish(state, _tar(top), _order())
    spoil(state)
    with pytest.raises(archive.BundleRefused, match='damaged'):
        generations.read(state, 1)


def test_a_missing_part_and_one_too_large_are_refused(top, state):
    generations.publish(state, _tar(top), _order())
    path = state / 'generations/1/site.tar'
    path.write_bytes(bytes(9 << 20))
    with pytest.raises(archive.BundleRefused, match='at most 8388608'):
        generations.read(state, 1)
    path.unlink()
    with pytest.raises(archive.BundleRefused, match='No such file'):
        generations.read(state, 1)


def _foreign(**changes):
    """A tar like ours but for one member."""
    packed = io.BytesIO()
    with tarfile.open(
        fileobj=packed, mode='w', format=tarfile.USTAR_FORMAT
    ) as tar:
        for name in ('epilog.sh', 'prolog.sh', 'z'):
            header = tarfile.TarInfo(name)
            header.mtime = archive.MEMBER_TIME
            header.mode = 0o644 if name == 'z' else 0o755
            if name == 'z':
                for field, value in changes.items():
                    setattr(header, field, value)
            tar.addfile(header)
    return packed.getvalue()


def test_the_tar_that_the_refusals_start_from_is_good(state):
    generations.publish(state, _foreign(), _order())
    assert len(generations.read(state, 1).layers[0].files) == 3


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'name': '../z'}, 'refused'),
        ({'name': '/etc/z'}, 'refused'),
        ({'name': 'a/../z'}, 'refused'),
        ({'name': 'a//z'}, 'refused'),
        ({'name': './z'}, 'refused'),
        ({'name': 'prolog.sh'}, 'twice'),
        ({'name': 'a'}, 'damaged'),
        ({'name': 'absent/z'}, 'not in the archive'),
        ({'type': tarfile.SYMTYPE, 'linkname': '/etc'}, 'neither'),
        ({'type': tarfile.LNKTYPE, 'linkname': 'prolog.sh'}, 'neither'),
        ({'type': tarfile.FIFOTYPE}, 'neither'),
        ({'type': tarfile.CHRTYPE}, 'neither'),
        ({'mode': 0o4755}, 'damaged'),
        ({'mtime': 1}, 'damaged'),
        ({'uid': 1000}, 'damaged'),
        ({'uname': 'root'}, 'damaged'),
    ],
)
def test_a_tar_of_another_make_is_refused(state, changes, says):
    generations.publish(state, _foreign(**changes), _order())
    with pytest.raises(archive.BundleRefused, match=says):
        generations.read(state, 1)


def test_a_tar_with_too_many_members_is_refused(state):
    generations.publish(state, _foreign(), _order())
    with pytest.raises(archive.BundleRefused, match='at most 2 members'):
        generations.read(state, 1, bundle.Limits(members=2))


def test_damaged_archives_are_refused_never_crash(top):
    """Any single damaged byte of a tar is refused or read as it is."""
    tar = _tar(top)
    draw = random.Random(8)
    refused = 0
    for _ in range(300):
        spoilt = bytearray(tar)
        spoilt[draw.randrange(len(tar))] ^= 1 << draw.randrange(8)
        try:
            archive.ordered(archive.unpack(bytes(spoilt), 500, 'x'), 'x')
        except archive.BundleRefused:
            refused += 1
    assert 0 < refused < 300


def test_a_source_is_the_directory_or_what_is_current(top, state):
    plain = source_.Source(top, state, False)
    published = source_.Source(top, state, True)
    assert source_.read(plain).serial == 0
    with pytest.raises(archive.BundleRefused, match='nothing is published'):
        source_.read(published)
    before = source_.fingerprint(published)
    generations.publish(state, _tar(top), _order())
    assert source_.read(published).serial == 1
    first = source_.fingerprint(published)
    assert first != before
    generations.publish(state, _tar(top), _order())
    assert source_.fingerprint(published) != first
    assert source_.fingerprint(plain) == source_.fingerprint(plain)

# SPDX-License-Identifier: Apache-2.0
"""One copy of each content on disk: right, resumed, gone when it was used."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from pathlib import Path
import threading
import time
import types
from typing import Any

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm import errors
from hepix_vm.glance import place
from hepix_vm.glance import receiving
from hepix_vm.glance import room
from hepix_vm.glance import spool
from tests.unit.catalogue import image_servers
from tests.unit.catalogue import servers

BODY = bytes(range(256)) * 4096
SIZE = len(BODY)
HALF = SIZE // 2
SHA512 = hashlib.sha512(BODY).hexdigest()
#: Seconds; nothing here waits for it, it bounds a test that hangs.
LONG = 120


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as made:
        yield made


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, '_PAUSE', 0)


class Spool:
    """A spool, and one image on a server."""

    def __init__(self, folder: Path, server: servers.Server) -> None:
        self.folder = folder
        self.image = image_servers.Image(BODY)
        self.url = server.tell('/image', self.image)
        self.settings = fetch.FetchSettings(
            timeout=60, image_deadline=LONG, spool_directory=str(folder)
        )
        self.place = place.Place(folder, SHA512)
        self.told: list[int] = []

    def downloaded(
        self, **changes: Any
    ) -> contextlib.AbstractContextManager[Path]:
        """The image."""
        return spool.downloaded(
            self.url, SHA512, SIZE, self.settings, self.told.append, **changes
        )

    def names(self) -> list[str]:
        """What is there; ``*`` stands for the SHA-512."""
        if not self.folder.exists():
            return []
        return sorted(
            path.name.replace(SHA512, '*') for path in self.folder.iterdir()
        )

    def opened(self) -> list[str]:
        """What of it this process has open."""
        links = []
        for path in Path('/proc/self/fd').iterdir():
            # Threads of what ran before end and close theirs.
            with contextlib.suppress(FileNotFoundError):
                links.append(str(path.readlink()))
        return [one for one in links if one.startswith(str(self.folder))]

    def interrupted(self, at: int = HALF) -> None:
        """Have a part there."""
        self.image.cuts = [at] + [0] * 3
        with pytest.raises(errors.TryAgain), self.downloaded():
            pytest.fail('not all was there')
        self.image.cuts.clear()
        self.image.answers.clear()
        self.told.clear()

    def used(self, **changes: Any) -> None:
        """Use the image, which is right."""
        with self.downloaded(**changes) as path:
            assert path.read_bytes() == BODY


@pytest.fixture
def made(tmp_path: Path, server: servers.Server) -> Spool:
    return Spool(tmp_path / 'spool', server)


# Once, and gone


def test_file_has_the_name_of_its_content_and_is_ours_alone(made):
    with made.downloaded() as path:
        assert path == made.folder / SHA512
        assert path.read_bytes() == BODY
        assert path.stat().st_mode & 0o777 == 0o600
        assert made.folder.stat().st_mode & 0o777 == 0o700
        assert made.names() == ['*', '*.lock']
    assert made.names() == []
    assert made.told[0] == 0
    assert made.told[-1] == SIZE
    assert made.told == sorted(made.told)


def test_what_is_kept_is_not_downloaded_again(made):
    made.used(keep=True)
    assert made.names() == ['*']
    made.used()
    assert made.names() == []
    assert made.image.answers == [(200, SIZE)]


@pytest.mark.parametrize(
    ('raised', 'left'),
    [
        (errors.NotBelieved('refused'), []),
        (errors.LocalFault('full'), []),
        (OSError('not of the spool'), []),
        (errors.TryAgain('Glance is away'), ['*']),
        (KeyboardInterrupt(), ['*']),
    ],
    ids=['refused', 'fault', 'other', 'away', 'interrupted'],
)
@pytest.mark.parametrize('keep', [True, False])
def test_what_is_to_be_tried_again_stays(made, raised, left, keep):
    with (
        pytest.raises(type(raised)) as caught,
        made.downloaded(keep=keep),
    ):
        raise raised
    assert caught.value is raised
    assert made.names() == left


def test_whole_file_that_was_damaged_is_downloaded_again(made, caplog):
    made.used(keep=True)
    made.place.whole.write_bytes(BODY[:-1] + b'x')
    made.used()
    assert len(made.image.answers) == 2
    assert 'other bytes than it had' in caplog.text


def test_empty_image_needs_no_server(made, tmp_path):
    sha512 = hashlib.sha512(b'').hexdigest()
    with spool.downloaded(made.url, sha512, 0, made.settings) as path:
        assert path.read_bytes() == b''


# Going on


def test_download_that_is_cut_off_goes_on_at_once(made, caplog):
    made.image.cuts = [HALF, 1000, 1]
    made.used()
    assert [status for status, _ in made.image.answers] == [200] + [206] * 3
    assert sum(size for _, size in made.image.answers) == SIZE
    assert made.told == sorted(made.told)
    assert f'cut off at {HALF} of {SIZE} bytes' in caplog.text


def test_download_that_gets_no_further_waits_for_the_next_run(made):
    made.image.cuts = [HALF, 0, 0]
    with pytest.raises(errors.TryAgain), made.downloaded():
        pytest.fail('not all was there')
    assert made.image.answers == [(200, HALF), (206, 0)]
    assert made.names() == ['*.json', '*.part']


def test_download_that_is_cut_off_all_the_time_waits_for_the_next_run(made):
    made.image.cuts = [10] * 100
    with pytest.raises(errors.TryAgain), made.downloaded():
        pytest.fail('not all was there')
    assert len(made.image.answers) == receiving._ATTEMPTS


def test_next_run_goes_on_where_the_last_one_was_cut_off(made):
    made.interrupted()
    assert made.place.part.stat().st_size == HALF
    assert made.place.part.stat().st_mode & 0o777 == 0o600
    made.used()
    assert made.image.answers == [(206, SIZE - HALF)]
    assert made.told[0] == HALF
    assert made.names() == []


def test_busy_server_is_left_alone_and_what_is_here_stays(made, server):
    made.interrupted()
    server.tell('/image', servers.status(503, **{'Retry-After': '9'}))
    with pytest.raises(errors.AskedToWait), made.downloaded():
        pytest.fail('not all was there')
    assert made.names() == ['*.json', '*.part']


def test_end_of_time_is_not_gone_on_with(made, server, monkeypatch):
    monkeypatch.setattr(receiving, '_PAUSE', LONG)
    made.image.cuts = [HALF]
    with pytest.raises(errors.TryAgain), made.downloaded():
        pytest.fail('not all was there')
    assert len(made.image.answers) == 1


@pytest.mark.parametrize(
    'changes',
    [{'etag': None}, {'etag': 'W/"1"'}],
    ids=['no validators', 'weak'],
)
def test_part_whose_rest_cannot_be_asked_for_does_not_stay(made, changes):
    made.image.etag = changes['etag']
    made.image.cuts = [HALF]
    with pytest.raises(errors.TryAgain), made.downloaded():
        pytest.fail('not all was there')
    assert made.names() == []


def test_server_without_ranges_sends_it_all_again(made):
    made.interrupted()
    made.image.ranges = False
    made.used()
    assert made.image.answers == [(200, SIZE)]


def test_image_that_changed_under_the_download_begins_again(made):
    made.image.body = b'x' * SIZE
    made.interrupted()
    made.image.body, made.image.etag = BODY, '"2"'
    made.used()
    assert made.image.answers == [(200, SIZE)]


def test_versions_that_the_server_mixes_up_are_told_apart(made, caplog):
    made.image.body = b'x' * SIZE
    made.interrupted()
    made.image.body = BODY
    made.used()
    assert made.image.answers == [(206, SIZE - HALF), (200, SIZE)]
    assert 'it is downloaded again' in caplog.text


def test_part_that_was_damaged_on_disk_is_downloaded_again(made):
    made.interrupted()
    with made.place.part.open('r+b') as part:
        part.seek(HALF // 2)
        part.write(b'damage')
    made.used()
    assert made.image.answers == [(206, SIZE - HALF), (200, SIZE)]


def test_part_that_only_has_to_be_looked_at_needs_no_server(made):
    made.interrupted()
    made.place.part.write_bytes(BODY)
    made.used()
    assert made.image.answers == []


@pytest.mark.parametrize(
    'origin',
    [
        b'',
        b'{',
        b'[]',
        b'\xff',
        b'{"url": "", "etag": "1"}',
        json.dumps({'url': 'http://h/', 'etag': '"1"', 'last_modified': ''}),
    ],
    ids=['empty', 'cut', 'list', 'bytes', 'lacking', 'elsewhere'],
)
def test_part_of_which_nothing_is_known_begins_again(made, origin):
    made.interrupted()
    origin = origin if isinstance(origin, bytes) else origin.encode()
    made.place.origin.write_bytes(origin)
    made.used()
    assert made.image.answers == [(200, SIZE)]


@pytest.mark.parametrize('etag', [1, ['"1"'], None, ''])
def test_validators_that_are_none_are_not_sent(made, etag):
    made.interrupted()
    known = {'url': made.url, 'etag': etag, 'last_modified': None}
    made.place.origin.write_text(json.dumps(known))
    made.used()
    assert made.image.answers == [(200, SIZE)]


@pytest.mark.parametrize(
    'behaviour',
    [servers.status(404), servers.hung_up, servers.answer(b'an error page')],
    ids=['404', 'hung up', 'other size'],
)
def test_other_server_that_has_nothing_costs_no_part(made, server, behaviour):
    made.interrupted()
    other = server.tell('/other', behaviour)
    with (
        pytest.raises(errors.HepixError),
        spool.downloaded(other, SHA512, SIZE, made.settings),
    ):
        pytest.fail('it has nothing')
    made.used()
    assert made.image.answers == [(206, SIZE - HALF)]


def test_other_server_that_has_the_image_begins_again(made, server):
    made.interrupted()
    other = server.tell('/other', image_servers.Image(BODY))
    with spool.downloaded(other, SHA512, SIZE, made.settings) as path:
        assert path.read_bytes() == BODY
    assert made.names() == []


def test_server_that_has_nothing_leaves_nothing(made, server):
    server.tell('/image', servers.status(404))
    with pytest.raises(errors.TryAgain), made.downloaded():
        pytest.fail('it has nothing')
    assert made.names() == []


def test_part_that_is_too_long_begins_again(made):
    made.interrupted()
    made.place.part.write_bytes(BODY + b'x')
    made.used()
    assert made.image.answers == [(200, SIZE)]


def test_who_is_told_may_end_it_and_what_came_stays(made):
    def told(received: int) -> None:
        if received:
            raise errors.LeaseLost('another has taken over')

    with (
        pytest.raises(errors.LeaseLost),
        spool.downloaded(made.url, SHA512, SIZE, made.settings, told),
    ):
        pytest.fail('not all was there')
    assert made.names() == ['*.json', '*.part']
    made.used()


# Nothing wrong


@pytest.mark.parametrize(
    'body',
    [BODY[:-1], BODY + b'x', BODY[:-1] + b'x', b''],
    ids=['short', 'long', 'other', 'empty'],
)
@pytest.mark.parametrize('resumed', [True, False])
def test_nothing_wrong_stays(made, body, resumed):
    if resumed:
        made.interrupted()
    made.image.body = body
    with (
        pytest.raises(errors.NotBelieved, match='what was endorsed'),
        made.downloaded(keep=True),
    ):
        pytest.fail('it was not endorsed')
    assert made.names() == []


def test_body_without_a_length_that_is_short_is_wrong(made, server):
    server.tell('/image', servers.without_length(BODY[:-1]))
    with pytest.raises(errors.NotBelieved, match=f'{SIZE - 1} bytes'):
        made.used()
    assert made.names() == []


def test_source_that_sends_too_much_is_wrong(made, monkeypatch):
    pieces = (piece for piece in [BODY, b'x'])
    image = fetch.Image(0, fetch.Validators('"1"'), pieces)
    monkeypatch.setattr(fetch, 'image_from', lambda *arguments: image)
    with pytest.raises(errors.NotBelieved, match='found more'):
        made.used()
    assert made.names() == []


@pytest.mark.parametrize(
    'sha512',
    ['', '../../etc/passwd', SHA512.upper(), SHA512 + '\n', SHA512[1:], '/'],
    ids=['none', 'path', 'upper', 'line', 'short', 'root'],
)
def test_only_a_digest_becomes_a_name(made, sha512):
    with (
        pytest.raises(errors.NotBelieved, match='128 lower-case'),
        spool.downloaded(made.url, sha512, SIZE, made.settings),
    ):
        pytest.fail('that is no name')
    assert made.names() == []


@pytest.mark.parametrize('suffix', ['', '.part', '.lock'])
def test_links_are_not_followed(made, tmp_path, suffix):
    made.folder.mkdir(mode=0o700)
    target = tmp_path / 'target'
    target.write_bytes(b'precious')
    (made.folder / f'{SHA512}{suffix}').symlink_to(target)
    with pytest.raises(errors.LocalFault, match='symbolic links'):
        made.used()
    assert target.read_bytes() == b'precious'


def test_link_in_place_of_what_is_known_is_replaced(made, tmp_path):
    made.folder.mkdir(mode=0o700)
    target = tmp_path / 'target'
    target.write_bytes(b'precious')
    for name in (made.place.origin, made.place.new_origin):
        name.symlink_to(target)
    made.used()
    assert target.read_bytes() == b'precious'


def test_part_that_is_a_folder_is_told(made):
    made.place.part.mkdir(parents=True, mode=0o700)
    made.folder.chmod(0o700)
    with pytest.raises(errors.LocalFault, match='spool directory'):
        made.used()


def test_part_that_is_a_pipe_is_told(made):
    made.folder.mkdir(mode=0o700)
    os.mkfifo(made.place.part)
    with pytest.raises(errors.LocalFault, match='no file'):
        made.used()


@pytest.mark.parametrize('mode', [0o770, 0o702, 0o1777])
def test_folder_to_which_others_write_is_not_used(made, mode):
    made.folder.mkdir()
    made.folder.chmod(mode)
    with pytest.raises(errors.LocalFault, match='chmod 700'):
        made.used()


# Room


def test_image_that_does_not_fit_is_not_begun(made):
    with (
        pytest.raises(errors.LocalFault, match='expected room for') as caught,
        spool.downloaded(made.url, SHA512, 2**60, made.settings),
    ):
        pytest.fail('there is no room')
    assert str(2**60) in str(caught.value)
    assert 'spool_directory' in str(caught.value)
    assert made.image.answers == []
    assert made.names() == []


def test_what_is_here_needs_no_room(made, monkeypatch):
    made.interrupted()
    asked = []
    real = room.taken
    monkeypatch.setattr(
        room,
        'taken',
        lambda folder, need, *rest: (
            asked.append(need) or real(folder, need, *rest)
        ),
    )
    made.used()
    assert asked == [SIZE - HALF]


def test_unused_images_make_room_and_parts_stay(made, tmp_path):
    made.interrupted()
    with made.downloaded() as path:
        unused = made.folder / ('a' * 128)
        unused.write_bytes(b'unused')
        part = made.folder / ('b' * 128 + '.part')
        part.write_bytes(b'a part')
        with (
            pytest.raises(errors.LocalFault),
            room.taken(
                made.folder,
                2**60,
                time.monotonic(),
                lambda missing: spool._make_room(made.folder, missing),
            ),
        ):
            pytest.fail('there is no room')
        assert not unused.exists()
        assert part.exists()
        assert path.exists()


def test_no_more_is_removed_than_is_missing(made):
    made.folder.mkdir(mode=0o700)
    for age, name in enumerate('cab'):
        path = made.folder / (name * 128)
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    spool._make_room(made.folder, 101)
    assert [path.name[0] for path in made.folder.iterdir()] == ['c']


def test_download_waits_for_the_room_of_another(tmp_path):
    free = os.statvfs(tmp_path)
    most = free.f_bavail * free.f_frsize * 2 // 3
    order = []
    inside, waiting = threading.Event(), threading.Event()

    def first() -> None:
        with room.taken(tmp_path, most, time.monotonic() + LONG):
            inside.set()
            assert waiting.wait(LONG)
            order.append('first')

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(LONG)
    with room.taken(
        tmp_path,
        most,
        time.monotonic() + LONG,
        lambda missing: waiting.set(),
    ):
        order.append('second')
    thread.join()
    assert order == ['first', 'second']


def test_wait_for_room_ends(tmp_path):
    free = os.statvfs(tmp_path)
    most = free.f_bavail * free.f_frsize * 2 // 3
    with (
        room.taken(tmp_path, most, time.monotonic() + LONG),
        pytest.raises(errors.LocalFault, match='expected room'),
        room.taken(tmp_path, most, time.monotonic()),
    ):
        pytest.fail('there is no room')


def test_room_that_was_written_to_is_not_counted_twice(tmp_path):
    free = os.statvfs(tmp_path)
    most = free.f_bavail * free.f_frsize * 2 // 3
    with room.taken(tmp_path, most, time.monotonic() + LONG) as share:
        share.left(0)
        with room.taken(tmp_path, most, time.monotonic()):
            pass


# Several at once


def test_threads_that_want_the_same_download_it_once(made):
    together = threading.Barrier(4)
    failed = []

    def use() -> None:
        try:
            with made.downloaded() as path:
                assert path.read_bytes() == BODY
                # All of them have it at the same time.
                together.wait(LONG)
        except BaseException as exc:  # noqa: BLE001 - shown below
            failed.append(exc)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert made.image.answers == [(200, SIZE)]
    assert made.names() == []


def test_threads_that_want_others_do_not_wait(tmp_path, server):
    bodies = [bytes([number]) * SIZE for number in range(4)]
    settings = fetch.FetchSettings(
        timeout=60, image_deadline=LONG, spool_directory=str(tmp_path / 's')
    )
    together = threading.Barrier(len(bodies))
    failed = []

    def use(number: int) -> None:
        body = bodies[number]
        url = server.url(f'/{number}')
        try:
            with spool.downloaded(
                url, hashlib.sha512(body).hexdigest(), SIZE, settings
            ) as path:
                assert path.read_bytes() == body
                together.wait(LONG)
        except BaseException as exc:  # noqa: BLE001 - shown below
            failed.append(exc)

    threads = []
    for number, body in enumerate(bodies):
        server.tell(f'/{number}', image_servers.Image(body))
        threads.append(threading.Thread(target=use, args=[number]))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_file_stays_until_its_last_user_is_done(made):
    with made.downloaded() as path:
        with made.downloaded():
            pass
        assert path.read_bytes() == BODY
    assert made.names() == []


def test_wait_for_another_process_ends(made, monkeypatch):
    # All the time is over as soon as somebody was told of the wait.
    clock = types.SimpleNamespace(
        monotonic=lambda: time.monotonic() + LONG * len(made.told),
        sleep=time.sleep,
    )
    made.folder.mkdir(mode=0o700)
    with place.alone(made.place) as is_alone, monkeypatch.context() as patch:
        assert is_alone
        patch.setattr(spool, 'time', clock)
        with pytest.raises(errors.TryAgain, match='another process'):
            made.used()
    assert set(made.told) == {0}
    made.used()


def test_wait_for_others_that_look_ends(made):
    patient = made.settings
    made.settings = dataclasses.replace(patient, image_deadline=0.2)
    made.folder.mkdir(mode=0o700)
    looking = place.shared(made.place)
    assert looking is not None
    with pytest.raises(errors.TryAgain, match='another process'):
        made.used()
    looking.release()
    made.settings = patient
    made.used()


def test_file_system_without_locks_is_told(made, monkeypatch):
    def flock(descriptor: int, how: int) -> None:
        raise OSError(37, 'No locks available')

    monkeypatch.setattr(place.fcntl, 'flock', flock)
    with pytest.raises(errors.LocalFault, match='No locks available'):
        made.used()
    assert made.opened() == []


@pytest.mark.parametrize('another', [True, False])
def test_lock_that_its_last_holder_removed_is_none(made, monkeypatch, another):
    made.folder.mkdir(mode=0o700)
    real = os.open

    def opened(path: Path, *arguments: Any) -> int:
        descriptor = real(path, *arguments)
        Path(path).unlink()
        if another:
            os.close(real(path, os.O_WRONLY | os.O_CREAT))
        return descriptor

    monkeypatch.setattr(os, 'open', opened)
    assert place.shared(made.place) is None
    with place.alone(made.place) as is_alone:
        assert not is_alone


def test_who_comes_while_the_room_is_left_waits(made, monkeypatch):
    """A hold that is lost between two looks is taken again."""
    losing = [True, True]
    real = place.Lock.share

    def share(lock: place.Lock) -> bool:
        if lock.is_alone and losing.pop():
            return False
        return real(lock)

    monkeypatch.setattr(place.Lock, 'share', share)
    losing[:] = [False, True]
    made.used()
    assert made.names() == []
    assert made.image.answers == [(200, SIZE)]


# Leftovers


def days_ago(path: Path, days: float, now: float) -> None:
    os.utime(path, (now - days * 86400,) * 2)


def test_leftovers_go_after_some_days(made, caplog):
    now = time.time()
    made.interrupted()
    for path in made.folder.iterdir():
        days_ago(path, 6.9, now)
    spool.prune(made.settings, now)
    assert made.names() == ['*.json', '*.part']
    # Its last change counts, of whichever file.
    days_ago(made.place.origin, 8, now)
    spool.prune(made.settings, now)
    assert made.names() == ['*.json', '*.part']
    days_ago(made.place.part, 7.1, now)
    with caplog.at_level(logging.INFO):
        spool.prune(made.settings, now)
    assert made.names() == []
    assert 'is a leftover' in caplog.text


def test_what_is_used_is_no_leftover(made):
    now = time.time()
    with made.downloaded() as path:
        days_ago(path, 100, now)
        spool.prune(made.settings, now, wanted=())
        assert path.read_bytes() == BODY


def test_use_makes_a_kept_file_young_again(made):
    now = time.time()
    made.used(keep=True)
    days_ago(made.place.whole, 6, now)
    made.used(keep=True)
    spool.prune(made.settings, now + 86400)
    assert made.names() == ['*']


def test_what_nobody_wants_goes_at_once(made):
    made.used(keep=True)
    spool.prune(made.settings, time.time(), wanted=[SHA512])
    assert made.names() == ['*']
    spool.prune(made.settings, time.time(), wanted=[])
    assert made.names() == []


def test_files_that_are_not_ours_stay(made):
    made.folder.mkdir(mode=0o700)
    names = ['README', 'a' * 127, 'a' * 128 + '.qcow2', 'A' * 128]
    for name in names:
        (made.folder / name).touch()
        days_ago(made.folder / name, 100, time.time())
    spool.prune(made.settings, time.time(), wanted=())
    assert sorted(p.name for p in made.folder.iterdir()) == sorted(names)


def test_lock_of_a_process_that_was_killed_is_a_leftover(made):
    made.folder.mkdir(mode=0o700)
    made.place.locked.touch()
    spool.prune(made.settings, time.time())
    assert made.names() == []


def test_spool_that_is_not_there_has_no_leftovers(made):
    spool.prune(made.settings, time.time())
    assert not made.folder.exists()


def test_leftovers_that_cannot_be_looked_at_are_told(made):
    made.folder.write_text('a file')
    with pytest.raises(errors.LocalFault, match='spool directory'):
        spool.prune(made.settings, time.time())


def test_file_that_cannot_be_removed_does_not_undo_its_use(
    made, caplog, monkeypatch
):
    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, 'Operation not permitted')

    with made.downloaded():
        monkeypatch.setattr(Path, 'unlink', unlink)
    monkeypatch.undo()
    assert 'stays: Operation not permitted' in caplog.text
    assert made.names() == ['*', '*.lock']
    made.used()
    assert made.names() == []

# SPDX-License-Identifier: Apache-2.0
"""Images go on where they were cut off, and never with other bytes."""

from __future__ import annotations

from collections.abc import Iterator
import datetime
from email import utils
import gzip
from typing import Any

import pytest

from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import sources
from hepix_vm import errors
from tests.unit.catalogue import image_servers
from tests.unit.catalogue import servers

#: Nothing here waits for these; they bound a test that hangs.
PATIENT = fetch.FetchSettings(timeout=60, image_deadline=120)
BODY = bytes(range(256)) * 1000
SIZE = len(BODY)
HALF = SIZE // 2
ETAG = fetch.Validators('"1"')
DATE = fetch.Validators(None, image_servers.MODIFIED)
NOTHING = fetch.Held()


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as made:
        yield made


def received(
    url: str, held: fetch.Held = NOTHING, size: int = SIZE
) -> tuple[int, fetch.Validators, bytes]:
    """The whole answer."""
    image = fetch.image_from(url, PATIENT, size, held)
    return image.offset, image.validators, b''.join(image.pieces)


def headers(server: servers.Server) -> list[tuple[str | None, str | None]]:
    """Range and If-Range of each request."""
    return [
        (asked.get('Range'), asked.get('If-Range'))
        for _, asked in server.asked
    ]


# What can be asked for again


def test_image_comes_whole_with_what_asks_for_its_rest(server):
    image = image_servers.Image(BODY, modified=image_servers.MODIFIED)
    url = server.tell('/image', image)
    validators = fetch.Validators('"1"', image_servers.MODIFIED)
    assert received(url) == (0, validators, BODY)
    assert headers(server) == [(None, None)]
    assert server.asked[0][1]['Accept-Encoding'] == 'identity'


@pytest.mark.parametrize(
    'changes',
    [
        {'etag': 'W/"1"'},
        {'etag': '1'},
        {'etag': None},
        {'etag': '"' + 'x' * 300 + '"'},
        {'etag': None, 'modified': 'yesterday'},
    ],
    ids=['weak', 'unquoted', 'none', 'long', 'nodate'],
)
def test_weak_validators_are_not_kept(server, changes):
    image = image_servers.Image(BODY, **changes)
    url = server.tell('/image', image)
    assert received(url) == (0, fetch.Validators(), BODY)


def test_file_that_changed_just_now_has_no_strong_date(server):
    now = utils.format_datetime(datetime.datetime.now(datetime.UTC), True)
    image = image_servers.Image(BODY, etag=None, modified=now)
    assert received(server.tell('/image', image))[1] == fetch.Validators()


def test_server_that_says_it_has_no_ranges_is_not_asked_for_one(server):
    url = server.tell(
        '/image', servers.answer(BODY, ETag='"1"', Accept_Ranges='none')
    )
    assert received(url)[1] == fetch.Validators()


# Going on


@pytest.mark.parametrize(
    ('known', 'condition'),
    [
        (ETAG, '"1"'),
        (DATE, image_servers.MODIFIED),
        (fetch.Validators('"1"', image_servers.MODIFIED), '"1"'),
    ],
    ids=['etag', 'date', 'both'],
)
def test_rest_of_the_same_version_is_all_that_comes(server, known, condition):
    image = image_servers.Image(BODY, modified=image_servers.MODIFIED)
    url = server.tell('/image', image)
    got = received(url, fetch.Held(HALF, known))
    assert got == (HALF, known, BODY[HALF:])
    assert headers(server) == [(f'bytes={HALF}-{SIZE - 1}', condition)]
    assert image.answers == [(206, SIZE - HALF)]


def test_total_that_the_server_does_not_know_is_no_hindrance(server):
    unknown = {'Content-Range': f'bytes {HALF}-{SIZE - 1}/*'}
    url = server.tell('/image', image_servers.Image(BODY, changes=unknown))
    assert received(url, fetch.Held(HALF, ETAG))[0] == HALF


@pytest.mark.parametrize(
    'held',
    [
        fetch.Held(0, ETAG),
        fetch.Held(HALF, fetch.Validators()),
        fetch.Held(SIZE, ETAG),
    ],
    ids=['nothing here', 'no validators', 'all here'],
)
def test_range_is_asked_for_only_where_there_is_one(server, held):
    url = server.tell('/image', image_servers.Image(BODY))
    assert received(url, held)[2] == BODY
    assert headers(server) == [(None, None)]


def test_rest_that_is_cut_off_says_so(server):
    image = image_servers.Image(BODY, cuts=[10])
    url = server.tell('/image', image)
    with pytest.raises(errors.TryAgain, match='ended before all of the'):
        received(url, fetch.Held(HALF, ETAG))


# Never two versions in one


@pytest.mark.parametrize('ranges', [True, False], ids=['changed', 'none'])
def test_server_that_sends_all_of_it_begins_again(server, ranges):
    image = image_servers.Image(BODY, etag='"2"', ranges=ranges)
    url = server.tell('/image', image)
    got = received(url, fetch.Held(HALF, ETAG))
    assert got == (0, fetch.Validators('"2"'), BODY)
    assert image.answers == [(200, SIZE)]


@pytest.mark.parametrize(
    'said',
    [
        None,
        f'bytes 0-{SIZE - 1}/{SIZE}',
        f'bytes {HALF + 1}-{SIZE - 1}/{SIZE}',
        f'bytes {HALF}-{SIZE - 2}/{SIZE}',
        f'bytes {HALF}-{SIZE - 1}/{SIZE + 1}',
        f'bytes {HALF}-{SIZE - 1}',
        f'items {HALF}-{SIZE - 1}/{SIZE}',
        f'bytes -{HALF}-{SIZE - 1}/{SIZE}',
        'bytes ' + '9' * 5000 + '-1/1',
        'nonsense',
    ],
    ids=list('0123456789'),
)
def test_other_range_than_was_asked_for_is_not_used(server, said):
    image = image_servers.Image(BODY, changes={'Content-Range': said})
    url = server.tell('/image', image)
    assert received(url, fetch.Held(HALF, ETAG)) == (0, ETAG, BODY)
    assert [status for status, _ in image.answers] == [206, 200]
    assert headers(server)[1] == (None, None)


@pytest.mark.parametrize(
    ('known', 'changes'),
    [
        (ETAG, {'etag': '"2"'}),
        (DATE, {'etag': None, 'modified': 'Wed, 02 Jul 2025 10:00:00 GMT'}),
    ],
    ids=['etag', 'date'],
)
def test_rest_of_another_version_is_not_used(server, known, changes):
    image = image_servers.Image(BODY, conditions=False, **changes)
    url = server.tell('/image', image)
    offset, _, data = received(url, fetch.Held(HALF, known))
    assert (offset, data) == (0, BODY)
    assert [status for status, _ in image.answers] == [206, 200]


def test_range_that_cannot_be_satisfied_begins_again(server):
    image = image_servers.Image(BODY[:10], conditions=False)
    url = server.tell('/image', image)
    with pytest.raises(errors.NotBelieved, match=f'expected {SIZE} bytes'):
        received(url, fetch.Held(HALF, ETAG))
    assert image.answers[0][0] == 416


def test_image_of_another_size_is_refused_before_it_is_read(server):
    url = server.tell('/image', servers.declaring(10**12, b''))
    with pytest.raises(errors.NotBelieved, match='what was endorsed'):
        received(url)


def test_bytes_are_those_of_the_file_whatever_it_is_called(server):
    packed = gzip.compress(BODY)
    url = server.tell(
        '/image.gz', servers.answer(packed, Content_Encoding='gzip')
    )
    assert received(url, size=len(packed))[2] == packed
    pieces = fetch.image_pieces(url, PATIENT, len(packed))
    assert b''.join(pieces) == packed


@pytest.mark.parametrize('held', [NOTHING, fetch.Held(HALF, ETAG)])
def test_server_that_is_busy_says_when_to_come_back(server, held):
    url = server.tell('/image', servers.status(503, **{'Retry-After': '7'}))
    with pytest.raises(errors.AskedToWait, match='wait 7 s'):
        received(url, held)
    assert len(server.asked) == 1


def test_connection_ends_with_who_reads_it(server):
    url = server.tell('/image', servers.endless)
    image = fetch.image_from(url, PATIENT, 10**12, NOTHING)
    assert next(image.pieces)
    image.pieces.close()
    with pytest.raises(StopIteration):
        next(image.pieces)


# Registries


def blob(server: servers.Server, image: image_servers.Image) -> str:
    """The URL of an image in a registry."""
    path = f'vo/worker/blobs/{DIGEST}'
    host = server.tell(f'/v2/{path}', image).split('/')[2]
    return f'oci+http://{host}/vo/worker@{DIGEST}'


DIGEST = f'sha256:{"0" * 64}'


@pytest.mark.parametrize('etag', ['"1"', 'W/"1"', None])
def test_blob_is_named_by_its_digest_whatever_its_server_says(server, etag):
    image = image_servers.Image(BODY, etag=etag)
    url = blob(server, image)
    known = fetch.Validators(DIGEST)
    assert received(url) == (0, known, BODY)
    image.etag = '"2"'
    assert received(url, fetch.Held(HALF, known))[0] == HALF
    assert headers(server)[1] == (f'bytes={HALF}-{SIZE - 1}', None)


def test_part_of_another_blob_is_not_gone_on_with(server):
    url = blob(server, image_servers.Image(BODY))
    assert received(url, fetch.Held(HALF, ETAG))[0] == 0
    assert headers(server) == [(None, None)]


# Sources of other packages


class Plain:
    """A source that always begins at the beginning."""

    def fetch_list(self, url: str, settings: Any, known: Any) -> fetch.Fetched:
        """Nothing."""
        raise errors.TryAgain(url)

    def image_pieces(
        self, url: str, settings: Any, size: int
    ) -> Iterator[bytes]:
        """Two pieces."""
        yield BODY[:HALF]
        yield BODY[HALF:]


class Odd(Plain):
    """A source that answers with what it is told."""

    answer: tuple[Any, ...] = ()

    def image_from(
        self, url: str, settings: Any, size: int, held: fetch.Held
    ) -> Iterator[Any]:
        """As told."""
        yield from self.answer


def test_source_that_cannot_go_on_begins_again(monkeypatch):
    monkeypatch.setattr(sources, '_driver', lambda scheme: Plain())
    got = received('plain://h/image', fetch.Held(HALF, ETAG))
    assert got == (0, fetch.Validators(), BODY)


@pytest.mark.parametrize(
    'answer',
    [(), (b'bytes',), (fetch.Begun(HALF + 1), b'bytes')],
    ids=['nothing', 'no beginning', 'elsewhere'],
)
def test_source_that_goes_on_elsewhere_is_not_used(monkeypatch, answer):
    odd = Odd()
    odd.answer = answer
    monkeypatch.setattr(sources, '_driver', lambda scheme: odd)
    with pytest.raises(errors.TryAgain, match=f'go on at byte {HALF} or 0'):
        received('odd://h/image', fetch.Held(HALF, ETAG))


@pytest.mark.parametrize('url', ['ftp://h/image', 'http://', 'file:///x'])
def test_url_that_no_source_has_is_the_fault_of_the_image(url):
    with pytest.raises(errors.NotBelieved):
        received(url)

# SPDX-License-Identifier: Apache-2.0
"""Fetching from servers that are slow, broken or hostile."""

from __future__ import annotations

from collections.abc import Iterator
import datetime
import ipaddress
import socket
import ssl
import threading

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509.oid import NameOID
import pytest

from hepix_vm.catalogue import fetch
from hepix_vm import errors
from tests.unit.catalogue import servers

NOTHING = fetch.Validators()
#: Nothing here waits for these; they bound a test that hangs.
PATIENT = fetch.FetchSettings(
    timeout=60, list_deadline=120, image_deadline=120, max_list_size=1000
)
#: For servers that make us wait until the deadline.
HURRIED = fetch.FetchSettings(
    timeout=60, list_deadline=0.5, image_deadline=0.5, max_list_size=10**9
)


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as made:
        yield made


def content(url: str, settings: fetch.FetchSettings = PATIENT) -> bytes:
    got = fetch.fetch_list(url, settings, NOTHING)
    assert isinstance(got, fetch.Fetched)
    return got.content


def refusal(url: str, settings: fetch.FetchSettings = PATIENT) -> str:
    """Why the list cannot be had now; the URL is said."""
    with pytest.raises(errors.TryAgain) as caught:
        fetch.fetch_list(url, settings, NOTHING)
    assert url in str(caught.value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_list_is_fetched_with_what_tells_a_newer_one(server):
    url = server.tell(
        '/list', servers.answer(b'a list', ETag='"1"', Last_Modified='today')
    )
    assert fetch.fetch_list(url, PATIENT, NOTHING) == fetch.Fetched(
        b'a list', fetch.Validators('"1"', 'today')
    )


def test_server_that_has_nothing_new_sends_nothing(server):
    url = server.tell('/list', servers.revalidated(b'a list', '"1"', 'today'))
    first = fetch.fetch_list(url, PATIENT, NOTHING)
    assert isinstance(first, fetch.Fetched)
    second = fetch.fetch_list(url, PATIENT, first.validators)
    assert second == fetch.NotModified()


@pytest.mark.parametrize(
    ('known', 'asked'),
    [
        (fetch.Validators('"1"', None), ('"1"', None)),
        (fetch.Validators(None, 'today'), (None, 'today')),
    ],
)
def test_one_of_both_is_enough_to_tell_a_newer_list(server, known, asked):
    url = server.tell('/list', servers.status(304))
    assert fetch.fetch_list(url, PATIENT, known) == fetch.NotModified()
    ((_, headers),) = server.asked
    said = headers.get('If-None-Match'), headers.get('If-Modified-Since')
    assert said == asked


def test_not_modified_without_being_asked_is_refused(server):
    url = server.tell('/list', servers.status(304))
    assert 'expected status 200, found 304' in refusal(url)


@pytest.mark.parametrize('value', ['x' * 256, '\x80\x81'])
def test_validator_that_does_not_fit_is_not_kept(server, value):
    url = server.tell('/list', servers.answer(b'a list', ETag=value))
    assert fetch.fetch_list(url, PATIENT, NOTHING) == fetch.Fetched(
        b'a list', NOTHING
    )


@pytest.mark.parametrize('code', [404, 403, 410, 500, 503, 204, 206])
def test_other_status_than_200_is_refused(server, code):
    url = server.tell('/list', servers.status(code))
    assert f'expected status 200, found {code}' in refusal(url)


@pytest.mark.parametrize('code', [301, 302, 307, 308])
def test_redirect_is_not_followed(server, code):
    target = server.tell('/target', servers.answer(b'a list'))
    url = server.tell('/list', servers.status(code, Location=target))
    assert 'give the final address' in refusal(url)
    assert [path for path, _ in server.asked] == ['/list']


def test_largest_list_is_taken_and_one_more_byte_is_not(server):
    assert content(server.tell('/most', servers.answer(bytes(1000))))
    url = server.tell('/more', servers.answer(bytes(1001)))
    assert 'at most 1000 bytes, found more' in refusal(url)


def test_endless_body_ends_at_the_size_limit(server):
    url = server.tell('/list', servers.endless)
    assert 'at most 1000 bytes, found more' in refusal(url)


def test_compressed_bomb_ends_at_the_size_limit(server):
    url = server.tell('/list', servers.compressed_bomb(50_000_000))
    assert 'at most 1000 bytes, found more' in refusal(url)


def test_truncated_body_is_not_a_list(server):
    url = server.tell('/list', servers.declaring(900, b'half of it'))
    refusal(url)


def test_body_that_is_longer_than_declared_is_cut_at_its_length(server):
    url = server.tell('/list', servers.declaring(4, b'list and more'))
    assert content(url) == b'list'


def test_body_without_length_ends_with_the_connection(server):
    assert content(server.tell('/l', servers.without_length(b'l'))) == b'l'


@pytest.mark.parametrize(
    'behaviour',
    [
        servers.chunks_cut_off(b'half of it'),
        servers.nonsense,
        servers.hung_up,
        servers.answer(b'not gzip', Content_Encoding='gzip'),
    ],
    ids=['chunks', 'nonsense', 'hung-up', 'bad-gzip'],
)
def test_broken_answer_is_refused(server, behaviour):
    refusal(server.tell('/list', behaviour))


@pytest.mark.parametrize(
    'behaviour',
    [
        servers.hanging,
        servers.dripping_headers,
        servers.dripping_body,
        servers.dripping_body_without_length,
        servers.endless,
    ],
    ids=lambda behaviour: behaviour.__name__,
)
def test_server_that_never_ends_is_cut_off_at_the_deadline(server, behaviour):
    url = server.tell('/list', behaviour)
    assert 'not finished within 0.5 s' in refusal(url, HURRIED)


def test_silent_server_is_left_after_the_time_out(server):
    url = server.tell('/list', servers.hanging)
    settings = fetch.FetchSettings(timeout=0.3, list_deadline=120)
    assert 'timed out' in refusal(url, settings)


def test_server_that_never_takes_the_connection_is_left():
    with socket.socket() as full:
        full.bind(('127.0.0.1', 0))
        full.listen(0)
        url = f'http://127.0.0.1:{full.getsockname()[1]}/list'
        settings = fetch.FetchSettings(timeout=0.3, list_deadline=120)
        waiting = [
            socket.create_connection(full.getsockname()) for _ in range(1)
        ]
        refusal(url, settings)
        for one in waiting:
            one.close()


def test_nobody_listening_is_refused():
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        port = unused.getsockname()[1]
        refusal(f'http://127.0.0.1:{port}/list')


def test_fetching_leaves_no_watchdog_behind(server):
    url = server.tell('/list', servers.answer(b'a list'))
    before = set(threading.enumerate())
    for _ in range(5):
        content(url)
    watchdogs = [
        thread
        for thread in set(threading.enumerate()) - before
        if isinstance(thread, threading.Timer)
    ]
    for thread in watchdogs:
        thread.join(60)
    assert not any(thread.is_alive() for thread in watchdogs)


# TLS


@pytest.fixture(scope='module')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'loopback')])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address('127.0.0.1'))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp('tls') / 'server.pem'
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(path)


@pytest.fixture
def tls(server: servers.Server, certificate: str) -> servers.Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def over_tls(server: servers.Server, path: str) -> str:
    return server.url(path).replace('http:', 'https:')


def test_https_with_the_sites_own_ca(tls, certificate):
    tls.tell('/list', servers.answer(b'a list'))
    settings = fetch.FetchSettings(timeout=60, ca_file=certificate)
    assert content(over_tls(tls, '/list'), settings) == b'a list'


def test_https_server_of_an_unknown_ca_is_refused(tls):
    tls.tell('/list', servers.answer(b'a list'))
    assert 'certificate' in refusal(over_tls(tls, '/list'))


def test_missing_ca_file_is_named(tls):
    settings = fetch.FetchSettings(ca_file='/nonexistent/ca.pem')
    assert '/nonexistent/ca.pem' in refusal(over_tls(tls, '/list'), settings)


def test_slow_https_server_is_cut_off_at_the_deadline(tls, certificate):
    tls.tell('/list', servers.dripping_body)
    settings = fetch.FetchSettings(
        timeout=60, list_deadline=1.5, ca_file=certificate
    )
    url = over_tls(tls, '/list')
    assert 'not finished within 1.5 s' in refusal(url, settings)


def test_server_that_never_finishes_the_handshake_is_cut_off():
    with socket.create_server(('127.0.0.1', 0)) as silent:
        url = f'https://127.0.0.1:{silent.getsockname()[1]}/list'
        assert 'not finished within 0.5 s' in refusal(url, HURRIED)


# URLs and files


@pytest.mark.parametrize(
    'url',
    [
        '',
        'list',
        '/etc/passwd',
        'ftp://h/list',
        'http:///list',
        'http://[::1/list',
        'gopher://h/',
        'file://elsewhere/list',
    ],
)
def test_other_urls_are_a_mistake_of_the_configuration(url):
    with pytest.raises(errors.Misconfigured, match='URL'):
        fetch.fetch_list(url, PATIENT, NOTHING)


def test_list_in_a_file(tmp_path):
    path = tmp_path / 'a list'
    path.write_bytes(b'content')
    assert content(path.as_uri()) == b'content'


def test_missing_file_may_be_there_later(tmp_path):
    with pytest.raises(errors.TryAgain, match='No such file'):
        content((tmp_path / 'list').as_uri())


def test_large_file_is_refused(tmp_path):
    path = tmp_path / 'list'
    path.write_bytes(bytes(1001))
    with pytest.raises(errors.TryAgain, match='at most 1000 bytes'):
        content(path.as_uri())


# Images


def pieces(url: str, size: int, settings=PATIENT) -> bytes:
    return b''.join(fetch.image_pieces(url, settings, size))


def test_image_comes_in_pieces_and_is_not_compressed(server):
    data = bytes(range(256)) * 1000
    url = server.tell('/image', servers.answer(data))
    assert pieces(url, len(data)) == data
    assert server.asked[0][1]['Accept-Encoding'] == 'identity'


def test_image_that_is_larger_than_endorsed_ends(server):
    url = server.tell('/image', servers.endless)
    with pytest.raises(errors.TryAgain, match='at most 5 bytes, found more'):
        pieces(url, 5)


def test_truncated_image_is_refused(server):
    url = server.tell('/image', servers.declaring(10, b'half'))
    with pytest.raises(errors.TryAgain):
        pieces(url, 10)


def test_slow_image_server_is_cut_off_at_the_deadline(server):
    url = server.tell('/image', servers.dripping_body)
    with pytest.raises(errors.TryAgain, match=r'not finished within 0\.5 s'):
        pieces(url, 10**9, HURRIED)


def test_image_is_never_read_from_a_file(tmp_path):
    path = tmp_path / 'image'
    path.write_bytes(b'secret')
    with pytest.raises(errors.NotBelieved, match='http, https or oci'):
        pieces(path.as_uri(), 6)

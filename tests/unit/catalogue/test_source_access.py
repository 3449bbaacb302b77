# SPDX-License-Identifier: Apache-2.0
"""How servers are reached: secrets, proxies, redirects, rates, drivers."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
from importlib import metadata
from pathlib import Path
import ssl
from typing import Any

import pytest

from hepix_vm.catalogue import drivers
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue import sources
from hepix_vm.catalogue.sources import credentials
from hepix_vm.catalogue.sources import pace
from hepix_vm import errors
from tests import registries
from tests.unit.catalogue import servers

NOTHING = fetch.Validators()
PATIENT = fetch.FetchSettings(
    timeout=60, list_deadline=120, image_deadline=120, max_list_size=100_000
)


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.running() as running:
        yield running


@pytest.fixture
def key(tmp_path: Path) -> registries.Key:
    return registries.Key(tmp_path, 'loopback')


@contextlib.contextmanager
def over_tls(
    key: registries.Key, clients: bool = False
) -> Iterator[servers.Server]:
    """A server over TLS.

    :param clients: whether it wants their certificate
    """
    with servers.running() as made:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(key.both)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(key.pem)
        made.socket = context.wrap_socket(made.socket, server_side=True)
        yield made


def https(url: str) -> str:
    return url.replace('http:', 'https:')


def secret(folder: Path, text: str | bytes = 'me:my secret') -> str:
    path = folder / 'secret'
    path.touch(mode=0o600)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def reached(**access: Any) -> fetch.FetchSettings:
    return dataclasses.replace(PATIENT, access=fetch.Access(**access))


def listed(url: str, settings: fetch.FetchSettings) -> bytes:
    got = fetch.fetch_list(url, settings, NOTHING)
    assert isinstance(got, fetch.Fetched)
    return got.content


def image(url: str, settings: fetch.FetchSettings, size: int = 5) -> bytes:
    return b''.join(fetch.image_pieces(url, settings, size))


def shown(server: servers.Server) -> list[str | None]:
    return [headers.get('Authorization') for _, headers in server.asked]


# Whom secrets are shown to


@pytest.mark.parametrize(
    ('text', 'header'),
    [
        ('me:my secret', 'Basic bWU6bXkgc2VjcmV0'),
        ('robot$x:a:b\n', 'Basic cm9ib3QkeDphOmI='),
        ('a.b-c_d~e+f/g==\n', 'Bearer a.b-c_d~e+f/g=='),
    ],
)
def test_secret_is_shown_to_the_subscriptions_server(
    key, tmp_path, text, header
):
    with over_tls(key) as server:
        url = https(server.tell('/list', servers.answer(b'a list')))
        disk = https(server.tell('/disk', servers.answer(b'image')))
        settings = reached(
            url=url, ca_file=str(key.pem), token_file=secret(tmp_path, text)
        )
        assert listed(url, settings) == b'a list'
        assert image(disk, settings) == b'image'
        assert shown(server) == [header, header]


def test_secret_is_not_shown_to_the_server_of_an_image(key, tmp_path):
    with over_tls(key) as ours, over_tls(key) as theirs:
        disk = https(theirs.tell('/disk', servers.answer(b'image')))
        settings = reached(
            url=https(ours.url('/list')),
            ca_file=str(key.pem),
            token_file=secret(tmp_path),
        )
        assert image(disk, settings) == b'image'
        assert shown(theirs) == [None]


def test_secret_is_not_shown_behind_a_redirect(key, tmp_path):
    with over_tls(key) as ours, over_tls(key) as theirs:
        elsewhere = https(theirs.tell('/list', servers.answer(b'a list')))
        url = https(
            ours.tell('/list', servers.status(302, Location=elsewhere))
        )
        settings = reached(
            url=url,
            ca_file=str(key.pem),
            token_file=secret(tmp_path),
            redirects=1,
        )
        assert listed(url, settings) == b'a list'
        assert shown(ours) == ['Basic bWU6bXkgc2VjcmV0']
        assert shown(theirs) == [None]


def test_secret_is_shown_again_behind_a_redirect_to_the_same_server(
    key, tmp_path
):
    with over_tls(key) as ours:
        ours.tell('/list', servers.answer(b'a list'))
        url = https(ours.tell('/old', servers.status(301, Location='/list')))
        settings = reached(
            url=url,
            ca_file=str(key.pem),
            token_file=secret(tmp_path),
            redirects=1,
        )
        assert listed(url, settings) == b'a list'
        assert len(set(shown(ours))) == 1
        assert shown(ours)[0] is not None


def test_secret_is_never_sent_in_clear(server, tmp_path):
    url = server.tell('/list', servers.answer(b'a list'))
    with pytest.raises(errors.Misconfigured, match='is not https'):
        listed(url, reached(url=url, token_file=secret(tmp_path)))
    assert server.asked == []


def test_secret_of_a_subscription_without_a_url_is_shown_to_nobody(
    server, tmp_path
):
    url = server.tell('/list', servers.answer(b'a list'))
    assert listed(url, reached(token_file=secret(tmp_path))) == b'a list'
    assert shown(server) == [None]


def test_netrc_has_no_say(server, tmp_path, monkeypatch):
    netrc = tmp_path / 'netrc'
    netrc.write_text('default login somebody password word\n')
    monkeypatch.setenv('NETRC', str(netrc))
    url = server.tell('/list', servers.answer(b'a list'))
    assert listed(url, PATIENT) == b'a list'
    assert shown(server) == [None]


@pytest.mark.parametrize(
    'text',
    [
        '',
        '\n',
        'two words',
        'me:one\nmore',
        'me:\x00',
        b'me:\xff',
        'x' * 20_000,
        'tökén',
    ],
)
def test_file_that_holds_no_secret_is_a_mistake(tmp_path, text):
    settings = reached(
        url='https://127.0.0.1:9/list', token_file=secret(tmp_path, text)
    )
    with pytest.raises(errors.Misconfigured, match='option token_file'):
        listed('https://127.0.0.1:9/list', settings)


@pytest.mark.parametrize('mode', [0o604, 0o602, 0o666])
def test_secret_that_everybody_may_read_or_write_is_a_mistake(tmp_path, mode):
    name = secret(tmp_path)
    Path(name).chmod(mode)
    settings = reached(url='https://127.0.0.1:9/', token_file=name)
    with pytest.raises(errors.Misconfigured, match='chmod o-rwx'):
        listed('https://127.0.0.1:9/', settings)


def test_secret_that_is_not_there_is_a_mistake(tmp_path):
    settings = reached(
        url='https://127.0.0.1:9/', token_file=str(tmp_path / 'none')
    )
    with pytest.raises(errors.Misconfigured, match='No such file'):
        listed('https://127.0.0.1:9/', settings)


def test_secret_that_is_a_directory_is_a_mistake(tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir(mode=0o700)
    settings = reached(url='https://127.0.0.1:9/', token_file=str(folder))
    with pytest.raises(errors.Misconfigured, match='cannot be read'):
        listed('https://127.0.0.1:9/', settings)


def test_secrets_are_not_shown_in_logs():
    assert 'word' not in repr(credentials.Basic('me', 'word'))
    assert 'word' not in repr(credentials.Bearer('word'))


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        ('https://h/a', 'https://h:443/b', True),
        ('https://H/a', 'https://h/a', True),
        ('oci://h/a:b', 'https://h/v2/', True),
        ('oci+http://h/a:b', 'http://h:80/v2/', True),
        ('stratuslab+https://h/', 'https://h/', True),
        ('https://h/a', 'http://h/a', False),
        ('https://h/a', 'https://h:444/a', False),
        ('https://h/a', 'https://h.example/a', False),
    ],
)
def test_origin_is_transport_host_and_port(one, other, same):
    assert (credentials.origin(one) == credentials.origin(other)) is same


@pytest.mark.parametrize('url', ['', 'https://', 'https://[/', 'https://h:x/'])
def test_url_without_a_host_has_no_origin(url):
    with pytest.raises(errors.Misconfigured, match='with a host'):
        credentials.origin(url)


# Certificates


def test_certificate_is_shown_to_a_server_that_asks(key):
    with over_tls(key, clients=True) as server:
        url = https(server.tell('/list', servers.answer(b'a list')))
        settings = reached(
            url=url,
            ca_file=str(key.pem),
            client_certificate=str(key.both),
        )
        assert listed(url, settings) == b'a list'
        settings = reached(
            url=url,
            ca_file=str(key.pem),
            client_certificate=str(key.pem),
            client_key=str(key.both),
        )
        assert listed(url, settings) == b'a list'


def test_server_that_asks_for_a_certificate_in_vain_is_tried_again(key):
    with over_tls(key, clients=True) as server:
        url = https(server.tell('/list', servers.answer(b'a list')))
        with pytest.raises(errors.TryAgain):
            listed(url, reached(url=url, ca_file=str(key.pem)))


def test_certificate_is_not_for_other_servers(key):
    access = fetch.Access(
        url='https://ours.example/list', client_certificate=str(key.both)
    )
    theirs = 'https://theirs.example/disk'
    assert credentials.certificate(access, theirs) is None
    assert credentials.certificate(access, access.url) == (
        str(key.both),
        str(key.both),
    )


def test_certificate_that_is_not_there_is_a_mistake(key, tmp_path):
    settings = reached(
        url='https://127.0.0.1:9/',
        client_certificate=str(tmp_path / 'none'),
        client_key=str(key.both),
    )
    with pytest.raises(errors.Misconfigured, match='client_certificate'):
        listed('https://127.0.0.1:9/', settings)


def test_key_that_everybody_may_read_is_a_mistake(key):
    key.both.chmod(0o644)
    settings = reached(
        url='https://127.0.0.1:9/',
        client_certificate=str(key.pem),
        client_key=str(key.both),
    )
    with pytest.raises(errors.Misconfigured, match='option client_key'):
        listed('https://127.0.0.1:9/', settings)


def test_certificate_without_a_key_is_told(key):
    key.pem.chmod(0o600)
    settings = reached(
        url='https://127.0.0.1:9/', client_certificate=str(key.pem)
    )
    with pytest.raises(errors.TryAgain):
        listed('https://127.0.0.1:9/', settings)


def test_ca_of_the_subscription_goes_before_the_sites(key, tmp_path):
    with over_tls(key) as server:
        url = https(server.tell('/list', servers.answer(b'a list')))
        folder = tmp_path / 'other'
        folder.mkdir()
        other = registries.Key(folder, 'other')
        settings = dataclasses.replace(PATIENT, ca_file=str(other.pem))
        with pytest.raises(errors.TryAgain, match='certificate'):
            listed(url, settings)
        access = fetch.Access(ca_file=str(key.pem))
        settings = dataclasses.replace(settings, access=access)
        assert listed(url, settings) == b'a list'


# Redirects


def test_redirect_is_followed_so_many_times_and_no_more(server):
    server.tell('/3', servers.answer(b'a list'))
    server.tell('/2', servers.status(302, Location='/3'))
    url = server.tell('/1', servers.status(302, Location=server.url('/2')))
    assert listed(url, reached(redirects=2)) == b'a list'
    with pytest.raises(errors.TryAgain, match='more than 1 times'):
        listed(url, reached(redirects=1))


def test_redirect_loop_ends(server):
    url = server.tell('/list', servers.status(302, Location='/list'))
    with pytest.raises(errors.TryAgain, match='more than 5 times'):
        listed(url, reached(redirects=5))
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    'location',
    [
        'file:///etc/passwd',
        'ftp://h/',
        'https:///x',
        'http://u:p@h/',
    ],
)
def test_redirect_to_something_else_is_not_followed(server, location):
    url = server.tell('/list', servers.status(302, Location=location))
    with pytest.raises(errors.TryAgain, match='something else than http'):
        listed(url, reached(redirects=5))


def test_redirect_to_nonsense_is_not_followed(server):
    url = server.tell('/list', servers.status(302, Location='http://['))
    with pytest.raises(errors.TryAgain, match='Invalid IPv6'):
        listed(url, reached(redirects=5))


def test_user_in_a_url_is_a_mistake():
    with pytest.raises(errors.Misconfigured, match='token_file'):
        listed('https://me:word@127.0.0.1:9/list', PATIENT)


# Proxies and rates


def test_proxy_of_the_subscription_is_asked(server):
    # A proxy is asked for the whole URL.
    server.tell('http://lists.invalid/list', servers.answer(b'a list'))
    settings = reached(proxy=server.url(''))
    assert listed('http://lists.invalid/list', settings) == b'a list'


def test_proxy_of_the_subscription_goes_before_the_environments(
    server, monkeypatch
):
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:9')
    monkeypatch.setenv('no_proxy', '')
    server.tell('http://lists.invalid/list', servers.answer(b'a list'))
    settings = reached(proxy=server.url(''))
    assert listed('http://lists.invalid/list', settings) == b'a list'


def test_proxy_that_is_away_is_tried_again():
    settings = reached(proxy='http://127.0.0.1:9')
    with pytest.raises(errors.TryAgain, match='the proxy cannot be used'):
        listed('http://lists.invalid/list', settings)


def through(proxy: servers.Server, url: str, **access: Any) -> bytes:
    return listed(url, reached(url=url, proxy=proxy.url(''), **access))


def test_proxy_carries_tls_and_sees_no_secret(server, key, tmp_path):
    with over_tls(key) as ours:
        url = https(ours.tell('/list', servers.answer(b'a list')))
        token = secret(tmp_path)
        got = through(server, url, ca_file=str(key.pem), token_file=token)
        assert got == b'a list'
        assert shown(ours) == ['Basic bWU6bXkgc2VjcmV0']
        assert shown(server) == [None]
        assert [path for path, _ in server.asked] == [
            f'127.0.0.1:{ours.server_address[1]}'
        ]


def test_proxy_cannot_put_itself_in_the_servers_place(server, key, tmp_path):
    with over_tls(key) as ours:
        folder = tmp_path / 'other'
        folder.mkdir()
        other = registries.Key(folder, 'other')
        url = https(ours.tell('/list', servers.answer(b'a list')))
        with pytest.raises(errors.TryAgain, match='is not believed'):
            through(server, url, ca_file=str(other.pem))


def test_proxy_that_does_not_carry_is_told(server, key):
    server.tell('CONNECT', servers.status(403))
    with pytest.raises(errors.TryAgain, match='see option proxy'):
        through(server, 'https://lists.invalid/list', ca_file=str(key.pem))


def test_slow_server_behind_a_proxy_is_cut_off(server, key):
    with over_tls(key) as ours:
        url = https(ours.tell('/list', servers.dripping_body))
        settings = dataclasses.replace(
            reached(proxy=server.url(''), ca_file=str(key.pem)),
            list_deadline=1.5,
            max_list_size=10**9,
        )
        with pytest.raises(errors.TryAgain, match=r'within 1\.5 s'):
            listed(url, settings)


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def test_download_is_held_to_its_mean_rate():
    clock = Clock()
    rate = pace.Pace(1000, lambda: clock.now, clock.sleep)
    for _ in range(5):
        rate.received(rate.piece(65536))
    assert clock.now == 105


def test_download_that_is_slower_than_its_rate_does_not_wait():
    clock = Clock()
    rate = pace.Pace(1000, lambda: clock.now, clock.sleep)
    clock.now += 10
    rate.received(5000)
    assert clock.now == 110


def test_download_without_a_rate_does_not_wait():
    clock = Clock()
    rate = pace.Pace(0, lambda: clock.now, clock.sleep)
    rate.received(10**12)
    assert (clock.now, rate.piece(65536)) == (100, 65536)


def test_rate_of_the_subscription_is_the_downloads(server, monkeypatch):
    clock = Clock()
    made = pace.Pace
    monkeypatch.setattr(
        pace, 'Pace', lambda rate: made(rate, lambda: clock.now, clock.sleep)
    )
    data = bytes(50_000)
    url = server.tell('/disk', servers.answer(data))
    assert image(url, reached(rate_limit=10_000), len(data)) == data
    assert clock.now == 105


# Drivers


def test_every_source_of_ours_is_there():
    ours = {'file', 'http', 'https', 'oci', 'oci+http'}
    marketplaces = {'stratuslab+http', 'stratuslab+https'}
    assert ours | marketplaces <= set(drivers.names(sources.NAMESPACE))
    for scheme in ours | marketplaces:
        made = sources.source(f'{scheme}://h/x')
        assert callable(made.fetch_list)
        assert callable(made.image_pieces)
        resumes = scheme in {'http', 'https', 'oci', 'oci+http'}
        assert isinstance(made, sources.Resuming) is resumes


def test_url_without_a_source_names_those_that_there_are():
    with pytest.raises(errors.Misconfigured, match=r'file, http, https.*ftp'):
        sources.source('ftp://h/list')


class Elsewhere:
    """A source of another package."""

    def fetch_list(self, url: str, settings: Any, known: Any) -> fetch.Fetched:
        """Always the same."""
        return fetch.Fetched(url.encode(), known)


@pytest.fixture
def installed(monkeypatch) -> Any:
    """Have a package with such entry points installed."""

    def install(*entries: tuple[str, str]) -> None:
        group = 'hepix_vm.tests'
        points = [metadata.EntryPoint(n, v, group) for n, v in entries]
        monkeypatch.setattr(
            drivers.metadata, 'entry_points', lambda group: points
        )
        monkeypatch.setattr(
            drivers.driver.DriverManager,
            'list_entry_points',
            lambda self: points,
        )

    return install


def test_source_of_another_package_is_found_by_its_scheme(installed):
    installed(('elsewhere', f'{__name__}:Elsewhere'))
    found = drivers.load('hepix_vm.tests', 'elsewhere')()
    url = 'elsewhere:x'
    assert found.fetch_list(url, PATIENT, NOTHING).content == b'elsewhere:x'


def test_source_that_cannot_be_loaded_is_a_mistake(installed):
    installed(('broken', 'hepix_vm.no_such_module:Source'))
    with pytest.raises(errors.Misconfigured, match=r"'broken' cannot be load"):
        drivers.load('hepix_vm.tests', 'broken')


def test_two_packages_with_the_same_source_are_a_mistake(installed):
    place = f'{__name__}:Elsewhere'
    installed(('twice', place), ('twice', place))
    with pytest.raises(errors.Misconfigured, match='keep one'):
        drivers.load('hepix_vm.tests', 'twice')


@pytest.mark.parametrize(
    'url',
    [
        'ftp://h/disk',
        'no url',
        '',
        'http:///disk',
        'http://[',
        'oci://h/a:tag',
        'stratuslab+https://h/metadata',
    ],
)
def test_url_of_an_image_is_the_fault_of_its_list(url):
    with pytest.raises(errors.NotBelieved):
        image(url, PATIENT)

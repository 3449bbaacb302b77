# SPDX-License-Identifier: Apache-2.0
"""Fetches of one thread share connections, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import threading
import time
import types

import pytest

from hepix_vm.catalogue import cuttable
from hepix_vm.catalogue import fetch
from hepix_vm.catalogue.sources import lines
from hepix_vm.catalogue.sources import watching
from hepix_vm import errors
from tests.cloud import waits
from tests.unit.catalogue import servers

NOTHING = fetch.Validators()
PATIENT = fetch.FetchSettings(timeout=60)
HURRIED = fetch.FetchSettings(timeout=60, list_deadline=0.5)


class Server:
    """Keeps connections open, and tells them apart.

    :ivar ports: of the client, by path, in the order of the requests
    """

    def __init__(self, server: servers.Server) -> None:
        self.server = server
        self.ports: list[tuple[str, int]] = []
        self.headers: list[dict[str, str]] = []

    def tell(self, path: str, behaviour: servers.Behaviour) -> str:
        """Behave like that and keep the connection."""

        def behave(handler: servers.Handler) -> None:
            handler.close_connection = False
            self.ports.append((path, handler.client_address[1]))
            self.headers.append(dict(handler.headers))
            behaviour(handler)

        return self.server.tell(path, behave)

    @property
    def connections(self) -> int:
        """How many there were."""
        return len({port for _, port in self.ports})


@pytest.fixture
def server() -> Iterator[Server]:
    with servers.running() as made:
        yield Server(made)


@pytest.fixture
def kept() -> Iterator[None]:
    with fetch.connections_kept():
        yield


def got(url: str, settings: fetch.FetchSettings = PATIENT) -> bytes:
    found = fetch.fetch_list(url, settings, NOTHING)
    assert isinstance(found, fetch.Fetched)
    return found.content


def test_lists_of_one_server_come_over_one_connection(server, kept):
    one = server.tell('/one', servers.answer(b'one'))
    two = server.tell('/two', servers.answer(b'two'))
    assert [got(one), got(two), got(one)] == [b'one', b'two', b'one']
    assert len(server.ports) == 3
    assert server.connections == 1


def test_without_being_told_so_each_fetch_has_a_connection(server):
    url = server.tell('/one', servers.answer(b'one'))
    assert [got(url), got(url)] == [b'one', b'one']
    assert server.connections == 2


def test_connections_end_with_their_scope(server):
    url = server.tell('/one', servers.answer(b'one'))
    with fetch.connections_kept():
        got(url)
        (line,) = lines._threads.lines.values()
    assert line.adapter.opened == 0
    with fetch.connections_kept():
        got(url)
    assert server.connections == 2


def test_each_thread_has_its_own(server, kept):
    url = server.tell('/one', servers.answer(b'one'))
    got(url)
    thread = threading.Thread(target=got, args=[url])
    thread.start()
    thread.join()
    assert server.connections == 2


@pytest.mark.parametrize(
    'access',
    [
        {'ca_file': '/nowhere'},
        {'client_certificate': '/nowhere', 'client_key': '/nowhere'},
    ],
    ids=['ca', 'certificate'],
)
def test_subscription_that_asks_otherwise_has_its_own(server, kept, access):
    url = server.tell('/one', servers.answer(b'one'))
    got(url)
    other = fetch.FetchSettings(timeout=60, access=fetch.Access(**access))
    assert got(url, other) == b'one'
    assert server.connections == 2


def test_cookies_of_one_list_do_not_come_back_with_another(server, kept):
    one = server.tell('/one', servers.answer(b'one', Set_Cookie='who=me'))
    got(one)
    got(server.tell('/two', servers.answer(b'two')))
    assert server.connections == 1
    assert 'Cookie' not in server.headers[1]


def test_server_that_ends_a_kept_connection_is_asked_anew(server, kept):
    """It hangs up just as it is asked again: no failure of the list."""
    url = server.tell('/one', servers.answer(b'one'))
    got(url)
    hung_up: list[int] = []

    def once(handler: servers.Handler) -> None:
        if hung_up:
            servers.answer(b'again')(handler)
        else:
            hung_up.append(1)
            handler.close_connection = True

    server.tell('/one', once)
    assert got(url) == b'again'
    assert server.connections == 2
    # That needed two, so it is not kept.
    got(url)
    assert server.connections == 3


def test_server_that_hangs_up_twice_has_failed(server, kept):
    url = server.tell('/one', servers.answer(b'one'))
    got(url)

    def never(handler: servers.Handler) -> None:
        handler.close_connection = True

    server.tell('/one', never)
    with pytest.raises(errors.TryAgain, match='ended the connection'):
        got(url)
    assert len(server.ports) == 3


def test_kept_connection_is_cut_off_at_its_deadline(server, kept):
    url = server.tell('/one', servers.answer(b'one'))
    got(url)
    server.tell('/one', servers.hanging)
    with pytest.raises(errors.TryAgain, match=r'not finished within 0\.5 s'):
        got(url, HURRIED)
    assert lines._threads.lines == {}
    server.tell('/one', servers.answer(b'well'))
    assert got(url) == b'well'


def test_failure_ends_its_connection(server, kept):
    url = server.tell('/one', servers.status(503))
    for _ in range(2):
        with pytest.raises(errors.TryAgain, match='503'):
            got(url)
    assert server.connections == 2


def test_so_many_lines_are_kept_and_the_oldest_goes(kept, monkeypatch):
    monkeypatch.setattr(lines, 'MOST', 2)
    with contextlib.ExitStack() as stack:
        some = [Server(stack.enter_context(servers.running())) for _ in '123']
        urls = [s.tell('/one', servers.answer(b'one')) for s in some]
        for url in urls:
            got(url)
        assert len(lines._threads.lines) == 2
        for url in reversed(urls):
            got(url)
    assert [s.connections for s in some] == [2, 1, 1]


def test_variables_of_the_environment_count(server, monkeypatch):
    monkeypatch.setenv('http_proxy', server.server.url(''))
    monkeypatch.setenv('no_proxy', 'elsewhere.test')
    server.server.behaviours['http://lists.test/list'] = servers.answer(b'p')
    assert got('http://lists.test/list') == b'p'
    with pytest.raises(errors.TryAgain, match='elsewhere'):
        got('http://elsewhere.test/list')


@pytest.mark.parametrize('name', ['REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE'])
def test_cas_of_the_environment_count(monkeypatch, tmp_path, name):
    monkeypatch.delenv('REQUESTS_CA_BUNDLE', raising=False)
    monkeypatch.setenv(name, str(tmp_path / 'absent.pem'))
    with pytest.raises(errors.TryAgain, match=r'absent\.pem'):
        got('https://127.0.0.1:9/list')


# The watch


def test_many_are_watched_and_the_late_one_alone_is_cut():
    calm, late = cuttable.Adapter(), cuttable.Adapter()
    with (
        watching.cut_after(600, calm),
        watching.cut_after(0.1, late),
        watching.cut_after(601, calm),
    ):
        for _ in range(600):
            if late.is_cut:
                break
            threading.Event().wait(0.1)
        assert late.is_cut
    assert not calm.is_cut


def test_nothing_is_cut_after_its_end(monkeypatch):
    ahead = 0.0
    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + ahead)
    monkeypatch.setattr(watching, 'time', clock)
    ended, late = cuttable.Adapter(), cuttable.Adapter()
    with watching.cut_after(600, ended) as watched:
        watched.end()
        ahead = 601
        with watching.cut_after(0.1, late):
            # Who cuts this one has looked at the other, too.
            waits.until('the cut', lambda: late.is_cut, 60)
        assert not ended.is_cut


def test_child_process_has_a_watch_of_its_own():
    with watching.cut_after(600, cuttable.Adapter()):
        before = watching._running()
        watching._after_fork()
    assert watching._running() is not before

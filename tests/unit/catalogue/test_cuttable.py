# SPDX-License-Identifier: Apache-2.0
"""Connections end at their deadline behind a site's proxy, too."""

from __future__ import annotations

from collections.abc import Iterator
import threading

import pytest

from hepix_vm.catalogue import cuttable
from hepix_vm.catalogue import fetch
from hepix_vm import errors
from tests.unit.catalogue import servers

LIST = 'http://lists.test/list'
NOTHING = fetch.Validators()


@pytest.fixture
def proxy(monkeypatch) -> Iterator[servers.Server]:
    """A proxy: it is asked for whole URLs."""
    with servers.running() as made:
        monkeypatch.setenv('http_proxy', made.url(''))
        monkeypatch.setenv('HTTP_PROXY', made.url(''))
        monkeypatch.delenv('no_proxy', raising=False)
        monkeypatch.delenv('NO_PROXY', raising=False)
        yield made


def test_list_comes_through_a_proxy(proxy):
    proxy.behaviours[LIST] = servers.answer(b'a list')
    got = fetch.fetch_list(LIST, fetch.FetchSettings(timeout=60), NOTHING)
    assert isinstance(got, fetch.Fetched)
    assert got.content == b'a list'


@pytest.mark.parametrize(
    'behaviour',
    [servers.hanging, servers.dripping_headers, servers.dripping_body],
    ids=lambda behaviour: behaviour.__name__,
)
def test_slow_answer_through_a_proxy_is_cut_off(proxy, behaviour):
    proxy.behaviours[LIST] = behaviour
    settings = fetch.FetchSettings(timeout=60, list_deadline=0.5)
    with pytest.raises(errors.TryAgain, match=r'not finished within 0\.5 s'):
        fetch.fetch_list(LIST, settings, NOTHING)


class Connection:
    """A socket that says what was done with it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def dup(self) -> Connection:
        return self

    def shutdown(self, how: int) -> None:
        self.done.append('shutdown')

    def close(self) -> None:
        self.done.append('close')


def test_connection_that_comes_after_the_deadline_is_ended_at_once():
    adapter = cuttable.Adapter()
    early, late = Connection(), Connection()
    adapter._hold(early)  # type: ignore[arg-type]
    assert early.done == []
    thread = threading.Thread(target=adapter.cut)
    thread.start()
    thread.join()
    adapter._hold(late)  # type: ignore[arg-type]
    assert adapter.is_cut
    assert early.done == late.done == ['shutdown']
    adapter.forget()
    assert early.done == late.done == ['shutdown', 'close']

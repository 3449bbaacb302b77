# SPDX-License-Identifier: Apache-2.0
"""A Nova that keeps servers in memory, and a clock that waits for nobody."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
from pathlib import Path
from typing import Any

from hepix_vm import errors
from hepix_vm.nova import console
from hepix_vm.nova import quarantine

IMAGE = '0f0e0d0c-0000-4000-8000-000000000001'
NAME = 'hepix-vm-quarantine-0123'


def settings(**changes: Any) -> quarantine.Settings:
    """What waits 60 s for ACTIVE and 30 s for a line."""
    values: dict[str, Any] = {
        'flavor': 'tiny',
        'networks': (),
        'zone': None,
        'active_within': 60,
        'good_within': 30,
        'proof': console.Text('login:'),
    }
    return quarantine.Settings(**(values | changes))


class Time:
    """Seconds that pass only while somebody sleeps.

    :ivar at: what happens after so many seconds
    """

    def __init__(self) -> None:
        self.passed = 0.0
        self.at: dict[float, Callable[[], None]] = {}

    def clock(self) -> quarantine.Clock:
        return quarantine.Clock(lambda: self.passed, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.passed += seconds
        for moment in sorted(self.at):
            if moment <= self.passed:
                self.at.pop(moment)()


class Compute:
    """Behind our own interface.

    :ivar asked: what was asked, in order
    :ivar broken: by call, what it raises instead
    :ivar said: on the console of every server
    :ivar stuck: whether deletions come to no end
    """

    def __init__(self) -> None:
        self.servers: dict[str, tuple[str, quarantine.Server]] = {}
        self.asked: list[str] = []
        self.broken: dict[str, errors.HepixError] = {}
        self.made = 'ACTIVE'
        self.said = ''
        self.stuck = False
        self.known: dict[str, int] = {'fast': 7}
        self.refused: frozenset[str] = frozenset()
        self.cached: list[tuple[int, tuple[str, ...]]] = []

    def _ask(self, call: str) -> None:
        self.asked.append(call)
        if call in self.broken:
            raise self.broken[call]

    def put(self, name: str, image_id: str, status: str = 'ACTIVE') -> str:
        """Somebody makes a server; returns its id."""
        server_id = f'server-{len(self.servers)}'
        self.servers[server_id] = (
            name,
            quarantine.Server(server_id, status, image_id),
        )
        return server_id

    def change(self, server_id: str, **changes: Any) -> None:
        """A server becomes another."""
        name, server = self.servers[server_id]
        self.servers[server_id] = (
            name,
            dataclasses.replace(server, **changes),
        )

    def create(
        self, name: str, image_id: str, settings: quarantine.Settings
    ) -> str:
        self._ask('create')
        return self.put(name, image_id, self.made)

    def server(self, server_id: str) -> quarantine.Server | None:
        self._ask('server')
        found = self.servers.get(server_id)
        return None if found is None else found[1]

    def named(self, name: str) -> tuple[quarantine.Server, ...]:
        self._ask('named')
        return tuple(s for n, s in self.servers.values() if n == name)

    def console(self, server_id: str) -> str:
        self._ask('console')
        return self.said

    def delete(self, server_id: str) -> None:
        self._ask('delete')
        if not self.stuck:
            self.servers.pop(server_id, None)

    def aggregates(self) -> Mapping[str, int]:
        self._ask('aggregates')
        return self.known

    def cache_images(self, aggregate: int, image_ids: Iterable[str]) -> None:
        self._ask('cache_images')
        ids = tuple(image_ids)
        if self.refused & set(ids):
            raise errors.TryAgain('Nova: one of these cannot be found')
        self.cached.append((aggregate, ids))


def script(folder: Path, text: str) -> Path:
    """A program of the site."""
    path = folder / 'script'
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path

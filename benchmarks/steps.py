# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.steps NAME ...``: one thing, in a fresh process."""

from __future__ import annotations

from collections.abc import Callable
import sys
import time

import sqlalchemy as sa

from benchmarks import filled
from benchmarks import processes
from hepix_vm.catalogue import database
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import schema
from hepix_vm.cli import configured
from hepix_vm import conf as configuration
from hepix_vm.operations import catalogue


def _sync(path: str, outcome: str) -> None:
    """What ``hepix-vm sync`` does; every list has to end like that."""
    site = configured.site(configuration.load([path]))
    synced = catalogue.synchronise(site, int(time.time()))
    ends = {report.outcome.value for report in synced.reports}
    if not synced.reports or ends != {outcome}:
        raise RuntimeError(f'{ends}, {synced.reports[:1]}')


def _read(connection: str) -> None:
    """Have a whole catalogue in memory, as Nova has."""
    catalogue_ = reader.Reader(
        reader.ReaderSettings(connection, store_timeout=120)
    )
    decision = catalogue_.decide_bytes(filled.sha512(0), filled.SIZE, None)
    catalogue_.close()
    if not decision.approved:
        raise RuntimeError(decision.sentence)


def _watch(connection: str) -> None:
    """Wait for decisions, with the settings that a site has."""
    watched = reader.Reader(reader.ReaderSettings(connection))
    _until(
        lambda sha512: watched.decide_bytes(sha512, filled.SIZE, None).approved
    )
    watched.close()


def _poll(connection: str) -> None:
    """Wait for rows."""
    store = database.Database(connection)
    table = schema.endorsement
    query = sa.select(table.c.id).where(
        table.c.sha512 == sa.bindparam('sha512'),
        table.c.approved == sa.true(),
    )

    def seen(sha512: str) -> bool:
        with store.reading() as reading:
            found = reading.execute(query, {'sha512': sha512}).first()
        return found is not None

    _until(seen)
    store.close()


def _until(seen: Callable[[str], bool]) -> None:
    """For each line, a SHA-512, the time at which it is seen."""
    for line in sys.stdin:
        while not seen(line.strip()):
            time.sleep(0.01)
        print(time.monotonic(), flush=True)


_MEASURED: dict[str, Callable[..., None]] = {'sync': _sync, 'read': _read}
_WATCHING: dict[str, Callable[[str], None]] = {'watch': _watch, 'poll': _poll}


def _main(name: str, *arguments: str) -> None:
    if name in _WATCHING:
        _WATCHING[name](*arguments)
    else:
        print(processes.measured(lambda: _MEASURED[name](*arguments)))


if __name__ == '__main__':
    _main(*sys.argv[1:])

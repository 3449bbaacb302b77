# SPDX-License-Identifier: Apache-2.0
"""What a catalogue costs at the size of a federation, and at a tenth of it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import datetime
import itertools
import json
import pathlib
import tempfile
import time

import sqlalchemy as sa

from benchmarks import filled
from benchmarks import lists
from benchmarks import measuring
from benchmarks import pki
from benchmarks import processes
from benchmarks import rows
from hepix_vm.catalogue import database
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import schema
from hepix_vm.cli import configured
from hepix_vm import conf as configuration
from hepix_vm.operations import catalogue
from hepix_vm.operations import site as site_

_TENTH = ', a tenth'
_MICROSECONDS, _MILLISECONDS = 1e6, 1e3
#: Images of each of many lists.
_IMAGES = 3
_PARALLEL = 4
_STEPS = 'benchmarks.steps'


class Place:
    """Where one benchmark works: a folder, an endorser, a configuration.

    :ivar version: of the newest list
    """

    def __init__(self, folder: pathlib.Path, endorser: pki.Endorser) -> None:
        self.folder = folder
        self.endorser = endorser
        self.now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self.lists = folder / 'lists'
        self.lists.mkdir(parents=True)
        self.connection = f'sqlite:///{folder / "catalogue.sqlite"}'
        self.path = folder / 'hepix_vm.conf'
        self.version = 1

    def serve(self, images: int, number: int = 0) -> pathlib.Path:
        """Put a list where it is fetched."""
        path = self.lists / str(number)
        path.write_bytes(
            lists.signed(self.endorser, self.now, images, number, self.version)
        )
        return path

    def renew(self, images: int) -> None:
        """Put a newer list there, with one other image."""
        self.version += 1
        self.serve(images)

    def subscribe(self, urls: list[str], *further: str) -> None:
        """Follow the lists at these addresses.

        :param further: groups of the configuration
        """
        groups = [
            f'[catalogue]\nconnection = {self.connection}',
            f'[fetch]\nparallel = {_PARALLEL}',
            *further,
            *(self._group(number, url) for number, url in enumerate(urls)),
        ]
        self.path.write_text('\n'.join(groups))

    def create(self) -> None:
        """An empty catalogue."""
        with contextlib.closing(database.Database(self.connection)) as store:
            migrations.upgrade(store)

    def _group(self, number: int, url: str) -> str:
        return group(
            f'list-{number}',
            url,
            lists.identifier(number),
            self.endorser,
        )


def group(name: str, url: str, identifier: str, endorser: pki.Endorser) -> str:
    """A subscription as its operator writes it."""
    return (
        f'[subscription:{name}]\n'
        f'url = {url}\n'
        f'list_identifier = {identifier}\n'
        f'endorser_subject = {endorser.subject}\n'
        f'endorser_issuer = {endorser.issuer}\n'
        f'trust_anchors = {endorser.folder}\n'
        'approval = all\n'
    )


def measure(
    subscriptions: int = 10_000,
    images: int = 100_000,
    listed: int = 10_000,
    anchors: int = pki.ANCHORS,
    rounds: int = 5,
    sizes: Sequence[tuple[int, str]] = ((10, _TENTH), (1, '')),
) -> Iterator[rows.Row]:
    """All rows of the group, each at full size and at a tenth.

    :param subscriptions: that nothing changes of
    :param images: of the catalogue that decisions are made with
    :param listed: images of the long list
    :param anchors: authorities of the trust anchor directory
    :param rounds: of slow measurements
    :param sizes: by what to divide, and how to name the row
    """
    with tempfile.TemporaryDirectory(prefix='hepix-vm-bench-') as name:
        folder = pathlib.Path(name)
        directory = folder / 'anchors'
        directory.mkdir()
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        endorser = pki.make(directory, now, anchors)
        places = (
            Place(folder / f'place-{number}', endorser)
            for number in itertools.count()
        )
        for size, suffix in sizes:
            yield from _unchanged(next(places), subscriptions // size, suffix)
        for size, suffix in sizes:
            yield from _decided(next(places), images // size, rounds, suffix)
        for size, suffix in sizes:
            yield from _accepted(next(places), listed // size, rounds, suffix)
        for size, suffix in sizes:
            yield _visible(next(places), images // size, rounds, suffix)


def _unchanged(place: Place, count: int, suffix: str) -> Iterator[rows.Row]:
    """Many subscriptions: all are new, then nothing changed."""
    for number in range(count):
        place.serve(_IMAGES, number)
    place.create()
    with processes.serving('benchmarks.lists_server', place.lists) as base:
        place.subscribe([f'{base}/{number}' for number in range(count)])
        new = processes.run(_STEPS, 'sync', place.path, 'accepted')
        again = processes.run(_STEPS, 'sync', place.path, 'unchanged')
        peer = processes.run('benchmarks.asking', base, count, _PARALLEL)
    for what, cost in (('', new.seconds), (', processor', new.processor)):
        yield rows.Row(
            f'sync 10 000 subscriptions, all new{what}{suffix}',
            cost,
            's',
            'none',
        )
    name = 'sync 10 000 subscriptions, unchanged'
    label = f'as many requests (a process, {_PARALLEL} threads)'
    for what, unit, cost, beside in (
        ('', 's', again.seconds, peer.seconds),
        (', processor', 's', again.processor, peer.processor),
        (', memory', 'MB', again.memory, peer.memory),
    ):
        yield rows.Row(f'{name}{what}{suffix}', cost, unit, label, beside)


def _decided(
    place: Place, images: int, rounds: int, suffix: str
) -> Iterator[rows.Row]:
    """Decisions of one process, and how it sees a change."""
    filled.fill(place.connection, images)
    memory = processes.run(_STEPS, 'read', place.connection).memory
    yield rows.Row(
        f'read a catalogue of 100 000 images, memory{suffix}',
        memory,
        'MB',
        'none',
    )
    # Nothing but the change below has it look again.
    watched = reader.Reader(
        reader.ReaderSettings(
            place.connection,
            reader_max_age=3600,
            refresh_interval=3600,
            store_timeout=60,
            negative_ttl=0,
        )
    )
    with (
        contextlib.closing(watched),
        contextlib.closing(database.Database(place.connection)) as store,
    ):
        yield _decide(watched, store, images, rounds, suffix)
        yield from _refresh(watched, store, images, rounds, suffix)


def _query(store: database.Database) -> Callable[[str], None]:
    """Looks for bytes in the database itself."""
    table = schema.endorsement
    query = sa.select(table).where(table.c.sha512 == sa.bindparam('sha512'))

    def ask(sha512: str) -> None:
        with store.reading() as connection:
            if connection.execute(query, {'sha512': sha512}).first() is None:
                raise RuntimeError('the row is not there')

    return ask


def _decide(
    watched: reader.Reader,
    store: database.Database,
    images: int,
    rounds: int,
    suffix: str,
) -> rows.Row:
    known = [
        filled.sha512(number) for number in range(0, images, images // 97 or 1)
    ]
    asked = itertools.cycle(known)
    ask = _query(store)

    def decide() -> None:
        decision = watched.decide_bytes(
            next(asked), filled.SIZE, filled.PROJECT
        )
        if not decision.approved:
            raise RuntimeError(decision.sentence)

    times, peer = measuring.in_turn(
        decide, lambda: ask(next(asked)), rounds, calls=100
    )
    return rows.Row(
        f'decide on bytes among 100 000 images{suffix}',
        times.median * _MICROSECONDS,
        'us',
        'one query of SQL',
        peer.median * _MICROSECONDS,
    )


def _refresh(
    watched: reader.Reader,
    store: database.Database,
    images: int,
    rounds: int,
    suffix: str,
) -> Iterator[rows.Row]:
    """A decision on an image that was added a moment ago.

    What is in memory refuses it, so that the store is asked and all of what
    changed is brought in; then it is approved.
    """
    ask = _query(store)
    times, peer = measuring.Times([], []), measuring.Times([], [])
    for number in range(images, images + 6 * rounds):
        sha512 = filled.sha512(number)

        def decide(sha512: str = sha512) -> None:
            decision = watched.decide_bytes(sha512, filled.SIZE, None)
            if not decision.approved:
                raise RuntimeError(decision.sentence)

        def work(
            transaction: database.Transaction, number: int = number
        ) -> None:
            row = filled.endorsement(number, transaction.revision)
            transaction.execute(schema.endorsement.insert().values(row))

        store.transact(work)
        times.add(decide)
        peer.add(lambda sha512=sha512: ask(sha512))  # type: ignore[misc]
    for what, cost, beside in (
        ('', times.median, peer.median),
        (', processor', times.processor_median, peer.processor_median),
    ):
        yield rows.Row(
            f'see a change among 100 000 images{what}{suffix}',
            cost * _MILLISECONDS,
            'ms',
            'one query of SQL',
            beside * _MILLISECONDS,
        )


def _accepted(
    place: Place, images: int, rounds: int, suffix: str
) -> Iterator[rows.Row]:
    """A long list: all of it is new, then one of its images changes."""
    path = place.serve(images)
    place.create()
    place.subscribe([path.as_uri()])
    new = processes.run(_STEPS, 'sync', place.path, 'accepted')
    for what, cost in (('', new.seconds), (', processor', new.processor)):
        yield rows.Row(
            f'accept a list of 10 000 images, all new{what}{suffix}',
            cost,
            's',
            'none',
        )
    out = place.folder / 'payload.json'
    verify = measuring.program(
        *('openssl', 'cms', '-verify', '-in', str(path)),
        *('-CApath', str(place.endorser.folder), '-crl_check_all'),
        *('-purpose', 'any', '-out', str(out)),
    )
    taken, peer = [], measuring.Times([], [])
    for _ in range(rounds):
        place.renew(images)
        taken.append(processes.run(_STEPS, 'sync', place.path, 'accepted'))
        if verify is not None:

            def beside() -> None:
                verify()
                json.loads(out.read_bytes())

            peer.add(beside)
    name = 'accept a list of 10 000 images, one changed'
    label = 'openssl cms -verify, then json.loads'
    label = label if peer.seconds else f'{label}: not installed'
    times = measuring.Times(
        [t.seconds for t in taken], [t.processor for t in taken]
    )
    yield rows.Row(
        f'{name}{suffix}',
        times.median,
        's',
        label,
        peer.median if peer.seconds else None,
    )
    yield rows.Row(
        f'{name}, processor{suffix}',
        times.processor_median,
        's',
        label,
        peer.processor_median if peer.seconds else None,
    )
    yield rows.Row(
        f'{name}, memory{suffix}',
        max(t.memory for t in taken),
        'MB',
        'none',
    )


def _visible(place: Place, images: int, rounds: int, suffix: str) -> rows.Row:
    """From the beginning of a sync to an approval in another process.

    The longest of all rounds: operators are promised a time.
    """
    filled.fill(place.connection, images)
    path = place.serve(_IMAGES)
    known = group(
        filled.SUBSCRIPTION,
        path.as_uri(),
        filled.identifier(images),
        place.endorser,
    )
    place.subscribe([path.as_uri()], known)
    site = configured.site(configuration.load([str(place.path)]))
    longest = {}
    for how in ('watch', 'poll'):
        with contextlib.closing(
            processes.Watching(how, place.connection)
        ) as watching:
            watching.ask(filled.sha512(0))
            watching.seen()
            longest[how] = max(
                _appears(place, site, watching) for _ in range(rounds)
            )
    site.catalogue.close()
    return rows.Row(
        f'list accepted to decision in another process{suffix}',
        longest['watch'],
        's',
        'a query of SQL every 10 ms',
        longest['poll'],
    )


def _appears(
    place: Place, site: site_.Site, watching: processes.Watching
) -> float:
    """Seconds until a newly listed image is seen."""
    place.renew(_IMAGES)
    watching.ask(lists.sha512(_IMAGES - 1, place.version))
    begin = time.monotonic()
    synced = catalogue.synchronise(
        site, int(time.time()), frozenset({'list-0'})
    )
    if not synced.reports[0].added:
        raise RuntimeError(synced.reports[0].detail)
    return watching.seen() - begin

# SPDX-License-Identifier: Apache-2.0
"""Which servers fetched the site's context, and what they run of it."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import enum

from hepix_vm.catalogue import context_fetches
from hepix_vm.context import archive
from hepix_vm.context import generations
from hepix_vm.context import source as source_
from hepix_vm import errors
from hepix_vm.nova import servers as servers_
from hepix_vm.operations import site as site_


class State(enum.StrEnum):
    """How a server stands, the worst first."""

    NEVER = 'never'
    FAILED = 'failed'
    EXPIRED = 'expired'
    SUPERSEDED = 'superseded'
    UNPUBLISHED = 'unpublished'
    CURRENT = 'current'


#: Those that need a look.
PROBLEMS = (State.NEVER, State.FAILED, State.EXPIRED, State.SUPERSEDED)

#: Seconds that building a server takes at most: a config drive is written
#: some time before Nova says that the server is launched.
_BUILDING = 900

_ORDER = {state: place for place, state in enumerate(State)}


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """What is published now, and what of earlier is still known.

    :ivar current: None: nothing is, or the directory itself is served
    :ivar kept: by serial
    """

    current: generations.Generation | None = None
    kept: Mapping[int, generations.Generation] = dataclasses.field(
        default_factory=dict
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """A server and its context.

    :ivar server: as Nova knows it; None: Nova could not be asked
    :ivar fetched: the bundle that it fetched last; None: it never did
    :ivar told: what it said last of running that one; None: nothing
    :ivar detail: why it stands so
    """

    instance: str
    server: servers_.Server | None
    state: State
    detail: str
    fetched: context_fetches.Note | None = None
    told: context_fetches.Note | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """All servers.

    :ivar standings: the worst first
    :ivar lost: sentences on notes that never got into the catalogue
    :ivar problems: what could not be found out, and why
    """

    standings: tuple[Standing, ...]
    lost: tuple[str, ...]
    problems: tuple[str, ...]


def look(
    site: site_.Site, source: source_.Source, now: int, older: int
) -> Status:
    """Look at all servers of all clouds.

    :param source: where the context is read from
    :param now: UNIX seconds
    :param older: seconds; a server younger than that may yet fetch
    :raises errors.HepixError: when the catalogue cannot be read
    """
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        noted = context_fetches.by_instance(context_fetches.notes(connection))
        processes = context_fetches.processes(connection)
    problems: list[str] = []
    known = Published()
    try:
        known = published(source, _serials(noted))
    except errors.HepixError as exc:
        problems.append(str(exc))
    servers: dict[str, servers_.Server] | None = None
    try:
        servers = {one.server_id: one for one in _servers(site)}
    except errors.HepixError as exc:
        problems.append(f'servers that never fetched are not known: {exc}')
    found = [
        _standing(notes, bundles, (servers or {}).get(instance), known, now)
        for instance, all_notes in noted.items()
        if (
            bundles := _bundles(
                notes := _of_this_build(
                    all_notes, (servers or {}).get(instance)
                )
            )
        )
        # Others have been deleted meanwhile.
        and (servers is None or instance in servers)
    ]
    fetched = {one.instance for one in found}
    found += [
        Standing(
            one.server_id,
            one,
            State.NEVER,
            f'created {one.created}, and no bundle was fetched'
            + (
                f' since its rebuild {one.launched}'
                if _bundles(noted.get(one.server_id, ()))
                else ''
            ),
        )
        for one in (servers or {}).values()
        if one.server_id not in fetched and _should_have(one, now, older)
    ]
    found.sort(key=lambda one: (_ORDER[one.state], one.instance))
    return Status(tuple(found), tuple(lost(processes, now)), tuple(problems))


def _bundles(
    notes: tuple[context_fetches.Note, ...],
) -> tuple[context_fetches.Note, ...]:
    return tuple(n for n in notes if n.what in context_fetches.BUNDLES)


def _of_this_build(
    notes: tuple[context_fetches.Note, ...], server: servers_.Server | None
) -> tuple[context_fetches.Note, ...]:
    """Without those of the same server before it was rebuilt."""
    launched = None if server is None else server.launched_at
    if launched is None:
        return notes
    return tuple(n for n in notes if n.last_at >= launched - _BUILDING)


def _should_have(server: servers_.Server, now: int, older: int) -> bool:
    """Whether a server has had the time to fetch."""
    age = server.age(now)
    if server.launched_at is not None and age is not None:
        age = min(age, now - server.launched_at)
    return server.status == 'ACTIVE' and age is not None and age >= older


def _servers(site: site_.Site) -> Iterator[servers_.Server]:
    for cloud in site.clouds.values():
        nova = servers_.Nova(cloud.logged_in(), cloud.region, cloud.interface)
        yield from nova.servers()


def _serials(
    noted: Mapping[str, tuple[context_fetches.Note, ...]],
) -> frozenset[int]:
    return frozenset(note.serial for notes in noted.values() for note in notes)


def published(
    source: source_.Source, serials: frozenset[int] = frozenset()
) -> Published:
    """What is published.

    :param serials: those that are of interest, as far as they are kept
    :raises errors.HepixError: when what is current cannot be read
    """
    if not source.published:
        return Published()
    state = source.state_directory
    serial = generations.current(state)
    if serial is None:
        return Published()
    wanted = serials.intersection(generations.serials(state)) | {serial}
    kept = {serial: generations.describe(state, serial)}
    for one in sorted(wanted - kept.keys()):
        # Damaged, or removed since: what it was is not known.
        with contextlib.suppress(archive.BundleRefused):
            kept[one] = generations.describe(state, one)
    return Published(kept[serial], kept)


def _standing(
    notes: tuple[context_fetches.Note, ...],
    bundles: tuple[context_fetches.Note, ...],
    server: servers_.Server | None,
    known: Published,
    now: int,
) -> Standing:
    """How a server stands that fetched bundles; notes in their order."""
    last = bundles[-1]
    words = [
        note
        for note in notes
        if note.what in (context_fetches.RAN, context_fetches.FAILED)
        and note.sha256 == last.sha256
    ]
    told = words[-1] if words else None
    if told is not None and told.what == context_fetches.FAILED:
        state, detail = State.FAILED, 'it says that the bundle did not run'
    else:
        state, detail = _of_generation(last.serial, known, now)
    return Standing(last.instance, server, state, detail, last, told)


def _of_generation(
    serial: int, known: Published, now: int
) -> tuple[State, str]:
    """How a bundle of a generation stands today."""
    mine, current = known.kept.get(serial), known.current
    ends = None if mine is None else mine.expires_at
    if ends is not None and ends <= now:
        return State.EXPIRED, f'generation {serial} has expired'
    if current is None:
        return State.UNPUBLISHED, 'nothing is published to compare it with'
    if serial == current.serial:
        return State.CURRENT, ''
    if mine is not None and mine.sha256 == current.sha256:
        return State.CURRENT, f'generation {current.serial} has the same files'
    return State.SUPERSEDED, f'generation {current.serial} is published'


def lost(
    processes: tuple[context_fetches.Process, ...], now: int
) -> Iterator[str]:
    """Sentences on notes that never got into the catalogue."""
    for one in processes:
        if one.lost:
            yield (
                f'process {one.name} dropped {one.lost} notes: the catalogue '
                'did not take them in time, so some servers may have fetched '
                'more than is shown'
            )
        if one.crashed(now):
            yield (
                f'process {one.name} did not end in good order, and was last '
                f'seen {now - one.seen_at} s ago: what it had not written is '
                'lost, so some servers may have fetched more than is shown'
            )


def history(
    site: site_.Site, instance: str
) -> tuple[context_fetches.Note, ...]:
    """All that is noted of one server, the oldest first.

    :raises errors.HepixError: when the catalogue cannot be read
    """
    with site_.usable(site) as catalogue, catalogue.reading() as connection:
        return tuple(context_fetches.notes(connection, instance))

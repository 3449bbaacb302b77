# SPDX-License-Identifier: Apache-2.0
"""A server boots from a new image, before users may do so.

1. Nova is asked for a server under a name that the catalogue knows already
   (``catalogue.quarantine``), with the image's id in its metadata.
2. It becomes ACTIVE within its time.
3. It says the expected line on its console within its time, or the site's own
   program, given the server's addresses, ends with exit status 0.
4. The server is deleted, however this ended.

What speaks against the image is told apart from what speaks against the
cloud at this moment: only the former is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from pathlib import Path
import time
from typing import Any
from typing import Protocol

from hepix_vm import errors
from hepix_vm.nova import console
from hepix_vm import programs

_SCRIPT = '[quarantine] script'

#: Metadata of a server: the image that it tries out.
KEY = 'hepix_vm_quarantine'

#: sysexits.h EX_TEMPFAIL: a script could not find out.
TRY_AGAIN = 75

#: Seconds that Nova may take to delete a server.
REMOVAL = 300

_DELETED = 'somebody deleted the server before it was judged'

# Seconds between two looks.
_PAUSE = 1.0

# Seconds within which Nova says why there is no server: its scheduler's word
# comes a moment after the status.
_FAULT = 10.0

# What Nova's faults say of an image that no host can use (nova/exception.py:
# ImageUnacceptable, InvalidDiskFormat). All else may be the cloud's doing.
_AGAINST_IMAGE = ('is unacceptable', 'is not acceptable')

# Characters of Nova's sentence that are shown.
_LONGEST_FAULT = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Passed:
    """The image did what the site expects.

    :ivar detail: a sentence
    """

    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """It did not, and will not.

    :ivar detail: a sentence, with what the guest said last where it spoke
    """

    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Undecided:
    """It could not be tried out, which is not its own fault.

    :ivar detail: a sentence
    """

    detail: str


Result = Passed | Failed | Undecided


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How an image is tried out.

    :ivar flavor: name or id
    :ivar networks: ids; empty: the server has no network
    :ivar zone: availability zone; None: Nova's choice
    :ivar active_within: seconds until it is ACTIVE
    :ivar good_within: seconds from there until it is seen to be good
    :ivar proof: the line, or the program that judges
    """

    flavor: str
    networks: tuple[str, ...]
    zone: str | None
    active_within: float
    good_within: float
    proof: console.Expected | Path


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where images of a cloud are tried out, and how.

    :ivar session: of its own account; None where it is the publishing one
    :ivar settings: or what is wrong with them
    :ivar group: of options that this comes from
    """

    session: Callable[[], Any | None]
    settings: Settings | errors.Misconfigured
    group: str = 'quarantine'


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server as its owner sees it.

    :ivar fault: Nova's sentence, or ''
    :ivar addresses: by name of the network
    """

    server_id: str
    status: str
    image_id: str
    fault: str = ''
    addresses: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )


class Compute(Protocol):
    """The calls that are made of Nova, as the account of the quarantine.

    Each raises :exc:`errors.TryAgain` or :exc:`errors.Misconfigured`.
    """

    def create(self, name: str, image_id: str, settings: Settings) -> str:
        """Ask for a server; returns its id."""

    def server(self, server_id: str) -> Server | None:
        """One server; None when there is none."""

    def named(self, name: str) -> tuple[Server, ...]:
        """The servers of exactly that name in the account's project.

        :ivar image_id: of each: what its metadata says
        """

    def console(self, server_id: str) -> str:
        """What the server has said on its console."""

    def delete(self, server_id: str) -> None:
        """Ask for its end; one that is gone already is fine."""


@dataclasses.dataclass(frozen=True, slots=True)
class Clock:
    """Seconds, and how to let some pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def boot(
    compute: Compute,
    image_id: str,
    name: str,
    settings: Settings,
    told: Callable[[str], None] = lambda message: None,
    clock: Clock = Clock(),
) -> Result:
    """Try an image out; see the module. Does not raise errors of ours.

    The server is left where it is: the caller removes it, by its name, in any
    case (see :func:`remove`).

    :param name: of the server
    :param told: called with what is waited for
    """
    try:
        if isinstance(settings.proof, Path):
            programs.check(_SCRIPT, settings.proof)
        told('booting it in quarantine')
        server_id = compute.create(name, image_id, settings)
        active = _active(compute, server_id, settings, clock)
        if not isinstance(active, Server):
            return active
        told('waiting for what it says')
        if isinstance(settings.proof, Path):
            return _by_script(active, image_id, name, settings, settings.proof)
        return _by_console(compute, server_id, settings, settings.proof, clock)
    except errors.HepixError as exc:
        return Undecided(str(exc))


def remove(
    compute: Compute,
    image_id: str,
    name: str,
    clock: Clock = Clock(),
) -> bool:
    """Delete the servers of a boot and wait until they are gone.

    A server is a boot's when it has its name, which nobody can guess, is in
    the quarantine's project, and names the image in its metadata.

    :returns: whether there was one; else an answer that got lost may still
        bring one
    :raises errors.TryAgain: when that cannot be done, or takes too long
    """
    end = clock.now() + REMOVAL
    asked: set[str] = set()
    while True:
        found = [s for s in compute.named(name) if s.image_id == image_id]
        if not found:
            return bool(asked)
        for server in found:
            if server.server_id not in asked:
                compute.delete(server.server_id)
                asked.add(server.server_id)
        if clock.now() > end:
            raise errors.TryAgain(
                f'Nova: server {", ".join(sorted(asked))} of the quarantine '
                f'is still there {REMOVAL} s after its deletion; the next '
                'run looks again'
            )
        clock.sleep(_PAUSE)


def _active(
    compute: Compute, server_id: str, settings: Settings, clock: Clock
) -> Server | Result:
    failed: float | None = None

    def look(late: bool) -> Server | Result | None:
        nonlocal failed
        server = compute.server(server_id)
        if server is None:
            return Undecided(_DELETED)
        if server.status == 'ACTIVE':
            return server
        if server.status == 'ERROR':
            now = clock.now()
            failed = now if failed is None else failed
            if not (server.fault or late) and now - failed < _FAULT:
                return None
            fault = console.tail(server.fault[:_LONGEST_FAULT])
            if any(words in fault for words in _AGAINST_IMAGE):
                return Failed(f'Nova cannot use it: {fault}')
            return Undecided(f'Nova made no server of it: {fault}')
        if late:
            return Undecided(
                f'the server is {console.tail(server.status)} after '
                f'{settings.active_within:g} s, not ACTIVE; see option '
                '[quarantine] active_timeout'
            )
        return None

    found: Server | Result = _until(look, settings.active_within, clock)
    return found


def _by_console(
    compute: Compute,
    server_id: str,
    settings: Settings,
    expected: console.Expected,
    clock: Clock,
) -> Result:
    began = clock.now()

    def look(late: bool) -> Result | None:
        server = compute.server(server_id)
        if server is None:
            return Undecided(_DELETED)
        said = compute.console(server_id)
        if console.has(said, expected):
            took = clock.now() - began
            return Passed(f'it said {expected} after {took:.0f} s')
        if server.status in ('SHUTOFF', 'ERROR'):
            why = f'the server is {server.status}, and did not say {expected}'
        elif late:
            why = f'it did not say {expected} in {settings.good_within:g} s'
        else:
            return None
        words = console.tail(said)
        return Failed(
            f'{why}; its console ends with: {words}'
            if words
            else f'{why}; its console is empty'
        )

    result: Result = _until(look, settings.good_within, clock)
    return result


def _until(
    look: Callable[[bool], Any | None], seconds: float, clock: Clock
) -> Any:
    """What is found within some time; Nova may be away in between.

    :param look: told whether it is the last look
    :raises errors.TryAgain: when Nova is away at the end
    """
    end = clock.now() + seconds
    while True:
        # Before the look: what is there at the end counts.
        late = clock.now() > end
        try:
            found = look(late)
        except errors.TryAgain:
            if late:
                raise
            found = None
        if found is not None:
            return found
        clock.sleep(_PAUSE)


def _by_script(
    server: Server,
    image_id: str,
    name: str,
    settings: Settings,
    script: Path,
) -> Result:
    given: dict[str, Any] = {
        'image_id': image_id,
        'server_id': server.server_id,
        'server_name': name,
        'addresses': {
            network: list(found) for network, found in server.addresses.items()
        },
        'seconds': settings.good_within,
    }
    ended = programs.run(_SCRIPT, script, given, settings.good_within)
    words = console.tail(ended.output.decode('utf-8', 'replace'))
    detail = f'the script {ended.how}' + (f'; it said: {words}' * bool(words))
    if ended.status == 0:
        return Passed(detail)
    if ended.status == TRY_AGAIN:
        return Undecided(detail)
    return Failed(detail)

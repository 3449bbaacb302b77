# SPDX-License-Identifier: Apache-2.0
"""Released images are fetched by compute hosts before somebody boots them.

Nova is asked, by host aggregate, to put images into the cache of each host.
Asking again is how an image stays there: a host removes what no server uses
once it has not been asked for long enough. There is no request to remove an
image; one that is no longer asked for goes by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
from typing import Protocol

from hepix_vm import errors

#: Images that one request names at most.
MANY = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What is fetched beforehand, and where.

    :ivar aggregates: names of host aggregates; empty: nothing
    :ivar subscriptions: whose images; None: all
    :ivar again_after: seconds until hosts are asked again
    """

    aggregates: tuple[str, ...] = ()
    subscriptions: frozenset[str] | None = None
    again_after: int = 43200


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One image, asked of one aggregate.

    :ivar problem: '' when Nova took the request; what becomes of it at the
        hosts is in their logs
    """

    aggregate: str
    image_id: str
    problem: str = ''


class Compute(Protocol):
    """The calls that are made of Nova.

    Each raises :exc:`errors.TryAgain` or :exc:`errors.Misconfigured`.
    """

    def aggregates(self) -> Mapping[str, int]:
        """Ids of the host aggregates by their names."""

    def cache_images(self, aggregate: int, image_ids: Iterable[str]) -> None:
        """Ask the hosts of an aggregate to fetch images."""


def due(
    aggregate: str,
    images: Collection[str],
    asked: Mapping[tuple[str, str], int],
    settings: Settings,
    now: int,
) -> tuple[str, ...]:
    """The images that an aggregate has to be asked for.

    :param images: ids of all that belong there
    :param asked: UNIX seconds by aggregate and image id
    """
    oldest = now - settings.again_after
    return tuple(
        image_id
        for image_id in sorted(images)
        # A clock that was ahead must not keep it from being asked for.
        if not oldest < asked.get((aggregate, image_id), oldest) <= now
    )


def ask(
    compute: Compute,
    images: Collection[str],
    asked: Mapping[tuple[str, str], int],
    settings: Settings,
    now: int,
    remember: Callable[[str, tuple[str, ...]], None],
) -> Iterator[Asked]:
    """Ask for what is due; nothing due costs no request.

    :param remember: called with aggregate and images after Nova took them
    """
    wanted = {
        name: found
        for name in settings.aggregates
        if (found := due(name, images, asked, settings, now))
    }
    if not wanted:
        return
    try:
        known = compute.aggregates()
    except errors.HepixError as exc:
        for name, found in wanted.items():
            yield from (Asked(name, one, str(exc)) for one in found)
        return
    for name, found in wanted.items():
        if name not in known:
            problem = (
                f'group [precache] option aggregates: Nova has no aggregate '
                f'of the name {name!r}; make it, or edit the option'
            )
            yield from (Asked(name, one, problem) for one in found)
            continue
        for start in range(0, len(found), MANY):
            part = found[start : start + MANY]
            yield from _ask(compute, name, known[name], part, remember)


def _ask(
    compute: Compute,
    name: str,
    aggregate: int,
    images: tuple[str, ...],
    remember: Callable[[str, tuple[str, ...]], None],
) -> Iterator[Asked]:
    try:
        compute.cache_images(aggregate, images)
    except errors.HepixError as exc:
        if len(images) == 1 or isinstance(exc, errors.Misconfigured):
            yield from (Asked(name, one, str(exc)) for one in images)
            return
        # Nova refuses all of them for the sake of one.
        half = len(images) // 2
        for part in (images[:half], images[half:]):
            yield from _ask(compute, name, aggregate, part, remember)
        return
    remember(name, images)
    yield from (Asked(name, one) for one in images)

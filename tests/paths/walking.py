# SPDX-License-Identifier: Apache-2.0
"""Goes paths on a cloud: everything is made, then turned, then tried."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import functools
from typing import Any

from tests.cloud import errors
from tests.paths import asking
from tests.paths import at_nova
from tests.paths import at_volumes
from tests.paths import descended
from tests.paths import into_glance
from tests.paths import servers
from tests.paths import states
from tests.paths import table
from tests.paths.ways import Way
from tests.paths import world as worlds

WAYS: Mapping[str, Way] = {
    **into_glance.WAYS,
    **at_nova.WAYS,
    **descended.WAYS,
    **at_volumes.WAYS,
}
AT_ONCE = 8
_EXPECTED = (asking.Refused, errors.CloudError)


@dataclasses.dataclass(frozen=True, slots=True)
class Gone:
    """A row and what came of it.

    :ivar seen: None when the path could not be gone at all
    """

    row: table.Row
    seen: asking.Seen | None
    message: str

    @property
    def well(self) -> bool:
        """Whether it is what the table says."""
        seen = self.seen
        return seen is not None and seen.verdict.like(self.row.verdict)

    @property
    def verdict(self) -> str:
        """What came of it, in words."""
        return 'not gone' if self.seen is None else str(self.seen.verdict)


Tell = Callable[[Gone], None]


def prepare(
    world: worlds.World, rows: Sequence[table.Row]
) -> Mapping[str, Any]:
    """Make all that rows need, and have each image get into its state.

    :returns: by the keys of the rows
    """
    states.subscribe(world)
    image = functools.partial(states.image, world)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(image, table.State))
        made = pool.map(functools.partial(_before, world), rows)
        ready = {row.key: one for row, one in zip(rows, made, strict=True)}
    states.turn(world)
    servers.in_force(world)
    return ready


def go(
    world: worlds.World,
    rows: Sequence[table.Row],
    ready: Mapping[str, Any],
    tell: Tell,
) -> tuple[Gone, ...]:
    """Go paths; the rows in their order.

    :param ready: from :func:`prepare`
    :param tell: hears of each row as soon as it has been gone
    """
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return tuple(
            pool.map(
                lambda row: _go(world, tell, row, ready[row.key]),
                rows,
            )
        )


def _before(world: worlds.World, row: table.Row) -> Any:
    try:
        return WAYS[row.path.name].before(world, row)
    except _EXPECTED as exc:
        return exc


def _go(world: worlds.World, tell: Tell, row: table.Row, ready: Any) -> Gone:
    gone = _gone(world, row, ready)
    tell(gone)
    return gone


def _gone(world: worlds.World, row: table.Row, ready: Any) -> Gone:
    if isinstance(ready, Exception):
        return Gone(row, None, f'what it needs was not made: {ready}')
    try:
        seen = WAYS[row.path.name].go(world, row, ready)
    except asking.Refused as exc:
        seen = exc.seen
    except _EXPECTED as exc:
        return Gone(row, None, str(exc))
    return Gone(row, seen, seen.message)

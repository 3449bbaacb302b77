# SPDX-License-Identifier: Apache-2.0
"""How a path is gone: in two halves, of which the first is optional."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Any

from tests.paths import asking
from tests.paths import table
from tests.paths import world as worlds


def nothing(_world: worlds.World, _row: table.Row) -> None:
    """Nothing has to be made before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """What is done for a row.

    :ivar go: goes it; gets what ``before`` returned
    :ivar before: makes what the path needs, while images of all states but
        "never seen" and "another project's" are still approved
    """

    go: Callable[[worlds.World, table.Row, Any], asking.Seen]
    before: Callable[[worlds.World, table.Row], Any] = nothing

# SPDX-License-Identifier: Apache-2.0
"""The two clouds on which paths are gone."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import pathlib

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import options as opts
from tests.paths import cached
from tests.paths import rows
from tests.paths import table
from tests.paths import unguarded
from tests.paths import walking
from tests.paths import world as worlds


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A kind of cloud, and what is tried on it."""

    name: str
    rows: tuple[table.Row, ...]
    options: Callable[[pathlib.Path], opts.CloudOptions]
    real: bool


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind('plain', rows.PLAIN, hepix.hepix_cloud_options, real=False),
        Kind('real', rows.REAL, hepix.guests_cloud_options, real=True),
    )
}


def _silent(_gone: walking.Gone) -> None:
    """Nobody listens."""


@contextlib.contextmanager
def world(running: clouds.Cloud, kind: Kind) -> Iterator[worlds.World]:
    """Have a world on a cloud for a while; its servers are deleted."""
    with (
        contextlib.closing(
            catalogue_rows.Rows(running.site.database(hepix.DATABASE))
        ) as catalogue,
        unguarded.api(running) as url,
        cached.volume_type(running)
        if kind.real
        else contextlib.nullcontext('') as volume_type,
    ):
        one = worlds.World(
            running,
            catalogue,
            real=kind.real,
            unguarded=url,
            cached=volume_type,
        )
        yield one
        one.clean()


def go(
    running: clouds.Cloud, kind: Kind, tell: walking.Tell = _silent
) -> tuple[walking.Gone, ...]:
    """Go every path of a kind of cloud."""
    with world(running, kind) as one:
        ready = walking.prepare(one, kind.rows)
        return walking.go(one, kind.rows, ready, tell)

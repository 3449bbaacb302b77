# SPDX-License-Identifier: Apache-2.0
"""Takes one part of ours out of a running cloud, and goes its rows.

With the part gone at least one of them has to end otherwise, or the table
does not prove that the part does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses

from hepix_vm.glance import paths
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import options as opts
from tests.paths import table
from tests.paths.table import Part
from tests.paths import trial
from tests.paths import walking

Change = Callable[[opts.CloudOptions], opts.CloudOptions]

#: Rules of Glance's policy that ask whether an image is approved.
_DOWNLOADS = ('download_image', 'download_from_store', 'fetch_image_location')
#: Parts that act when the things are made that paths need.
_MAKING = frozenset({Part.GLANCE_GUARD})


@dataclasses.dataclass(frozen=True, slots=True)
class Removal:
    """How a part is taken out.

    :ivar services: that have to start again
    """

    change: Change
    services: tuple[str, ...]


def _no_plugins(options: opts.CloudOptions) -> opts.CloudOptions:
    # With its guard Glance would not start without them.
    return dataclasses.replace(options, import_plugins=(), glance_guard=None)


def _without(*names: str) -> Change:
    """Without rules of Glance's policy."""

    def change(options: opts.CloudOptions) -> opts.CloudOptions:
        rules = {
            name: rule
            for name, rule in options.glance_policy.items()
            if name not in names
        }
        return dataclasses.replace(options, glance_policy=rules)

    return change


def _no_policies(options: opts.CloudOptions) -> opts.CloudOptions:
    """With none of the rules but those for downloads."""
    rules = {
        name: rule
        for name, rule in options.glance_policy.items()
        if name in _DOWNLOADS or name.startswith('hepix_')
    }
    return dataclasses.replace(options, glance_policy=rules)


def _no_protections(options: opts.CloudOptions) -> opts.CloudOptions:
    glance = options.extra['glance-api']
    default = {
        name: value
        for name, value in glance['DEFAULT'].items()
        if name != 'property_protection_file'
    }
    extra = {**options.extra, 'glance-api': {**glance, 'DEFAULT': default}}
    return dataclasses.replace(options, extra=extra)


def _set(**values: object) -> Change:
    def change(options: opts.CloudOptions) -> opts.CloudOptions:
        return dataclasses.replace(options, **values)  # type: ignore[arg-type]

    return change


REMOVALS: Mapping[Part, Removal] = {
    Part.IMPORT: Removal(_no_plugins, ('glance',)),
    Part.DOWNLOAD: Removal(_without(*_DOWNLOADS), ('glance',)),
    Part.GLANCE_GUARD: Removal(_set(glance_guard=None), ('glance',)),
    Part.FILTER: Removal(_set(scheduler_filters=()), ('nova-scheduler',)),
    Part.API_GUARD: Removal(_set(nova_guard=None), ('nova-api',)),
    Part.POLICIES: Removal(_no_policies, ('glance',)),
    Part.PROTECTIONS: Removal(_no_protections, ('glance',)),
    Part.CINDER: Removal(_set(cinder_policy={}), ('cinder-api',)),
}


def kind_of(part: Part) -> trial.Kind:
    """The kind of cloud on which the rows of a part are, the first."""
    for kind in trial.KINDS.values():
        if rows_of(part, kind):
            return kind
    raise ValueError(f'no row needs {part}')


def rows_of(part: Part, kind: trial.Kind) -> tuple[table.Row, ...]:
    """The rows that have to end otherwise without a part."""
    return tuple(row for row in kind.rows if row.part is part)


def go_without(
    running: clouds.Cloud,
    kind: trial.Kind,
    parts: Sequence[Part],
    tell: walking.Tell,
) -> Iterator[tuple[Part, tuple[walking.Gone, ...]]]:
    """Go the rows of parts, each time without the part."""
    later = [part for part in parts if part not in _MAKING]
    rows = [row for part in later for row in rows_of(part, kind)]
    if rows:
        with trial.world(running, kind) as world:
            ready = walking.prepare(world, rows)
            for part in later:
                with without(running, part):
                    of = rows_of(part, kind)
                    yield part, walking.go(world, of, ready, tell)
    for part in parts:
        if part in _MAKING:
            of_part = dataclasses.replace(kind, rows=rows_of(part, kind))
            with without(running, part):
                yield part, trial.go(running, of_part, tell)


@contextlib.contextmanager
def without(running: clouds.Cloud, part: Part) -> Iterator[None]:
    """Have a cloud without a part for a while."""
    removal = REMOVALS[part]
    before = running.site
    ours = hepix.config_file(running.layout.work)
    text = ours.read_text()
    # Else its guard would not let Glance start.
    accepted = ','.join(paths.NAMES)
    ours.write_text(f'{text}\n[glance_guard]\naccept_open = {accepted}\n')
    try:
        running.site = dataclasses.replace(
            before, options=removal.change(before.options)
        )
        running.write_configuration()
        running.restart(*removal.services)
        yield
    finally:
        ours.write_text(text)
        running.site = before
        running.write_configuration()
        running.restart(*removal.services)

# SPDX-License-Identifier: Apache-2.0
"""One line of the results, and the table of targets."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from typing import Literal

from benchmarks import measuring


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach.

    :param most: upper bound, in the row's unit or as a ratio
    :param of: ``figure``, or ``ratio`` to the peer in the same run
    """

    most: float
    of: Literal['figure', 'ratio'] = 'figure'


#: The one place where targets stand, by the name of the row.
TARGETS: dict[str, Target] = {
    'verify a list of 35 kB': Target(8),
    'verify a list of 35 kB, processor': Target(1, 'ratio'),
    'verify a list of 35 kB, beside pyHanko': Target(1, 'ratio'),
    'verify a list of 10 000 images': Target(1500),
    'load 88 anchors and their CRLs': Target(400),
    'hash 1 GiB (SHA-512)': Target(1.1, 'ratio'),
    'hash 1 GiB (SHA-512), processor': Target(1.1, 'ratio'),
    'bring 1 GiB to disk, verified': Target(1.1, 'ratio'),
    'bring 1 GiB to disk, verified, processor': Target(1.1, 'ratio'),
    'publish 100 small images': Target(0.5, 'ratio'),
    'publish with nothing to do, 10 000 images': Target(20),
    'publish with nothing to do, 10 000 images, listings': Target(1),
    'sync 10 000 subscriptions, unchanged': Target(60),
    'sync 10 000 subscriptions, unchanged, memory': Target(300),
    'decide on bytes among 100 000 images': Target(20),
    'see a change among 100 000 images': Target(50),
    'accept a list of 10 000 images, one changed': Target(3),
    'list accepted to decision in another process': Target(3),
    'decide on an image among 100 000': Target(20),
    'decide on an image among 100 000, p99': Target(200),
    'filter a request, 100 000 images': Target(20),
    'filter a request, 100 000 images, p99': Target(200),
    'schedule over 1 000 hosts': Target(1.02, 'ratio'),
    'schedule over 1 000 hosts, processor': Target(1.02, 'ratio'),
    'guard a request to boot': Target(200),
    'check the policy of a download': Target(20),
    'import 1 GiB through Glance, added': Target(1, 'ratio'),
    'memory added with 100 000 images, scheduler': Target(60),
    'memory added with 100 000 images, API': Target(60),
    'memory added with 100 000 images, Glance': Target(60),
    'withdrawal in the catalogue to refusal, scheduler': Target(3),
    'withdrawal in the catalogue to refusal, API': Target(3),
    'withdrawal in the catalogue to refusal, Glance': Target(3),
    'build a bundle of 500 files': Target(1000),
    # Three times as many requests a second as nova-metadata itself.
    'boot 1 000 instances, context inside nova-metadata, a request': Target(
        1 / 3, 'ratio'
    ),
    'boot 1 000 instances, context inside nova-metadata, p99': Target(250),
    'boot 1 000 instances, context inside nova-metadata, failures': Target(0),
    'boot 1 000 instances, context inside nova-metadata, memory': Target(
        1.1, 'ratio'
    ),
    'boot 1 000 instances, context in a process of its own, a request': (
        Target(1 / 3, 'ratio')
    ),
    'boot 1 000 instances, context in a process of its own, p99': Target(250),
    'boot 1 000 instances, context in a process of its own, failures': (
        Target(0)
    ),
    'boot 1 000 instances, context in a process of its own, memory': (
        Target(1.1, 'ratio')
    ),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One measured figure.

    :param name: what was measured; the key of its target
    :param figure: cost in ``unit``
    :param peer: what stands beside it, or why nothing does
    :param peer_figure: its cost in the same unit; None without a peer
    """

    name: str
    figure: float
    unit: str
    peer: str
    peer_figure: float | None = None

    @property
    def ratio(self) -> float | None:
        """Figure divided by the peer's; below 1 is better than the peer."""
        if not self.peer_figure:
            return None
        return self.figure / self.peer_figure

    @property
    def target(self) -> str | None:
        """The target in words; None where none is set."""
        target = TARGETS.get(self.name)
        if target is None:
            return None
        if target.of == 'ratio':
            return f'ratio <= {target.most:g}'
        return f'<= {target.most:g} {self.unit}'

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if it cannot be told."""
        target = TARGETS.get(self.name)
        reached = self.figure
        if target is not None and target.of == 'ratio':
            if self.ratio is None:
                return None
            reached = self.ratio
        return None if target is None else reached <= target.most

    def as_json(self) -> dict[str, object]:
        """The row as the JSON file holds it."""
        return {
            'name': self.name,
            'figure': self.figure,
            'unit': self.unit,
            'peer': self.peer,
            'peer_figure': self.peer_figure,
            'ratio': self.ratio,
            'target': self.target,
            'met': self.met,
        }


def median_and_p99(
    name: str, times: measuring.Times, peer: measuring.Times, label: str
) -> Iterator[Row]:
    """Rows in microseconds of a quick call and of its peer."""
    for suffix, cost, beside in (
        ('', times.median, peer.median),
        (', p99', times.p99, peer.p99),
    ):
        yield Row(name + suffix, cost * 1e6, 'us', label, beside * 1e6)

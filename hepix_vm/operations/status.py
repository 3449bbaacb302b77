# SPDX-License-Identifier: Apache-2.0
"""Whether the site itself is in order: checks, one by one."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path


from hepix_vm.catalogue import demands
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm.operations import site as site_
from hepix_vm import trust


class Grade(enum.IntEnum):
    """How a check ended; numbers as oslo.upgradecheck has them."""

    WELL = 0
    WARNING = 1
    FAILURE = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    grade: Grade
    detail: str


def catalogue(site: site_.Site) -> Finding:
    """The database answers and has the tables of this version."""
    try:
        migrations.check(site.catalogue)
    except errors.HepixError as exc:
        return Finding(Grade.FAILURE, str(exc))
    return Finding(Grade.WELL, f'schema {migrations.head()}')


def subscriptions(site: site_.Site) -> Finding:
    """Each group can be used, and its trust anchors can be read."""
    if not site.subscriptions:
        return Finding(
            Grade.WARNING,
            'no group [subscription:NAME]: nothing can be approved',
        )
    problems = []
    for item in site.subscriptions.values():
        try:
            _usable(item)
        except errors.HepixError as exc:
            problems.append(str(exc))
    if problems:
        return Finding(Grade.FAILURE, '; '.join(problems))
    return Finding(Grade.WELL, f'{len(site.subscriptions)} can be used')


def _usable(
    item: subscription_.Subscription | errors.Misconfigured,
) -> None:
    if isinstance(item, errors.Misconfigured):
        raise item
    demands.policy(item)
    trust.load(Path(item.trust_anchors))

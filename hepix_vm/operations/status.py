# SPDX-License-Identifier: Apache-2.0
"""Whether a deployment enforces what it should: checks, one by one."""

from __future__ import annotations

import dataclasses
import enum
from importlib import metadata
from pathlib import Path

from oslo_config import cfg
from oslo_log import log

from hepix_vm.catalogue import demands
from hepix_vm.catalogue import migrations
from hepix_vm.catalogue import subscription as subscription_
from hepix_vm import errors
from hepix_vm.glance import listing
from hepix_vm.operations import site as site_
from hepix_vm import trust

LOG = log.getLogger(__name__)

_PLUGINS = 'glance.image_import.plugins'
FILTER = 'hepix_vm.nova.filter.HepixApprovedImageFilter'


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


def glance_plugins(directory: Path) -> Finding:
    """Glance runs our import plugins, in their places.

    :param directory: with glance-api.conf and glance-image-import.conf
    """
    conf = cfg.ConfigOpts()
    conf.register_opts(
        [cfg.ListOpt('image_import_plugins', bounds=True, default=[])],
        group='image_import_opts',
    )
    found = _parsed(
        conf,
        [
            directory / 'glance-api.conf',
            directory / 'glance-image-import.conf',
        ],
    )
    if found is not None:
        return found
    try:
        between = listing.converting(
            conf.image_import_opts.image_import_plugins
        )
        listing.require_loaded(_loadable())
    except (cfg.Error, errors.Misconfigured) as exc:
        return Finding(
            Grade.FAILURE,
            f'images enter Glance unchecked: {exc}; set '
            'image_import_plugins = [hepix_verify,hepix_record]',
        )
    if between:
        return Finding(
            Grade.WARNING,
            f'{", ".join(between)} may change images between the two checks; '
            'imports fail unless [glance_import] allow_conversion is set',
        )
    return Finding(Grade.WELL, 'hepix_verify and hepix_record are listed')


def _loadable() -> set[str]:
    """Import plugins that this environment can load."""
    found = set()
    for point in metadata.entry_points(group=_PLUGINS):
        try:
            point.load()
        except Exception as exc:  # noqa: BLE001 - whatever it raises
            LOG.warning('import plugin %s: %s', point.name, exc)
            continue
        found.add(point.name)
    return found


def nova_filter(file: Path) -> Finding:
    """Nova's scheduler runs our filter."""
    conf = cfg.ConfigOpts()
    conf.register_opts(
        [
            cfg.MultiStrOpt('available_filters', default=[]),
            cfg.ListOpt('enabled_filters', default=[]),
        ],
        group='filter_scheduler',
    )
    found = _parsed(conf, [file])
    if found is not None:
        return found
    group = conf.filter_scheduler
    missing = []
    if FILTER not in group.available_filters:
        missing.append(f'available_filters = {FILTER}')
    if FILTER.rpartition('.')[2] not in group.enabled_filters:
        missing.append(f'enabled_filters = ...,{FILTER.rpartition(".")[2]}')
    if missing:
        return Finding(
            Grade.FAILURE,
            f'Nova places any image: {file} [filter_scheduler] lacks '
            f'{" and ".join(missing)}',
        )
    return Finding(Grade.WELL, 'HepixApprovedImageFilter is enabled')


def _parsed(conf: cfg.ConfigOpts, files: list[Path]) -> Finding | None:
    """Read the files that are there; a finding when that cannot be."""
    present = []
    for file in files:
        try:
            file.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            return Finding(
                Grade.FAILURE,
                f'{file}: {exc.strerror}; run this as an account that may '
                'read it',
            )
        present.append(str(file))
    if not present:
        return Finding(
            Grade.WARNING,
            f'{", ".join(map(str, files))}: not on this machine, so nothing '
            'was checked; run this where the service runs',
        )
    try:
        conf(args=[], default_config_files=present, default_config_dirs=[])
    except (cfg.Error, ValueError) as exc:
        return Finding(Grade.FAILURE, ' '.join(str(exc).split()))
    return None

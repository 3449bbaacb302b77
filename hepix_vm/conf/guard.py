# SPDX-License-Identifier: Apache-2.0
"""Options of the guard that keeps an open Glance from starting."""

from __future__ import annotations

from oslo_config import cfg
from oslo_config import types

from hepix_vm.glance import paths
from hepix_vm.nova import paths as nova_paths
from hepix_vm.nova import volume_paths

#: All ways that a site can leave open.
NAMES = (*paths.NAMES, *nova_paths.NAMES, *volume_paths.NAMES)

GROUP = cfg.OptGroup(
    'glance_guard',
    title='The guard in Glance',
    help="""
With hepix_guard in its pipeline Glance does not start while its
configuration leaves a way open by which an image gets data that nobody
checked.
""",
)

OPTS = [
    cfg.ListOpt(
        'accept_open',
        default=[],
        item_type=types.String(choices=list(NAMES)),
        help="""
Ways that this site leaves open on purpose: the guard lets Glance start all
the same and logs a warning for each that is Glance's, and "hepix-vm-status
upgrade check" warns in place of failing. It prints the names.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def accepted(conf: cfg.ConfigOpts) -> frozenset[str]:
    """Names of the ways that may be open."""
    return frozenset(conf[GROUP.name].accept_open)

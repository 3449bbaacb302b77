# SPDX-License-Identifier: Apache-2.0
"""Options of images that compute hosts fetch beforehand."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.nova import precache

GROUP = cfg.OptGroup(
    'precache',
    title='Images are brought to compute hosts beforehand',
    help="""
So that the first boot of a new version need not wait for the download. Nova
lets administrators alone ask for that, so the account in [openstack] has to be
one. A host removes a cached image that no server uses after
[image_cache] remove_unused_original_minimum_age_seconds (a day) of nova.conf,
unless it has been asked for again.
""",
)

OPTS = [
    cfg.ListOpt(
        'aggregates',
        default=[],
        help="""
Names of the host aggregates whose hosts fetch released images. Empty: none do.
An aggregate that a cloud does not have is reported.
""",
    ),
    cfg.ListOpt(
        'subscriptions',
        default=['*'],
        help='Names of the subscriptions whose images; "*" means all.',
    ),
    cfg.IntOpt(
        'refresh',
        default=43200,
        min=60,
        help="""
Seconds after which hosts are asked again for what they should have, so that it
stays there and hosts that are new get it. Has to be less than the age at which
Nova removes images.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def settings(conf: cfg.ConfigOpts) -> precache.Settings:
    """What is fetched beforehand."""
    group = conf.precache
    return precache.Settings(
        aggregates=tuple(dict.fromkeys(group.aggregates)),
        subscriptions=(
            None
            if '*' in group.subscriptions
            else frozenset(group.subscriptions)
        ),
        again_after=group.refresh,
    )

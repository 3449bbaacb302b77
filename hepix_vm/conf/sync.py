# SPDX-License-Identifier: Apache-2.0
"""Options of syncing: how often lists are fetched."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.catalogue import timing
from hepix_vm import errors

GROUP = cfg.OptGroup(
    'sync',
    title='How often lists are fetched',
    help="""
When hepix-vm-sync (and "hepix-vm sync --due") fetches each list. A list that
was fetched and verified counts for [catalogue] list_max_age, so a server that
is away for hours stops nothing.
""",
)

OPTS = [
    cfg.IntOpt(
        'interval',
        default=3600,
        min=60,
        help="""
Seconds from a good attempt of a subscription to its next one; a subscription
may say otherwise (sync_interval).
""",
    ),
    cfg.IntOpt(
        'retry_first',
        default=60,
        min=1,
        help="""
Seconds until a subscription is tried again after an attempt that failed. The
time doubles with each further failure. A server that asks to wait longer
(Retry-After) is heard, as far as retry_longest or interval go.
""",
    ),
    cfg.IntOpt(
        'retry_longest',
        default=3600,
        min=1,
        help='Seconds that such a wait grows to at most.',
    ),
    cfg.IntOpt(
        'jitter',
        default=10,
        min=0,
        max=50,
        help="""
Percent by which each wait varies, so that subscriptions do not all ask at the
same moment.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def settings(conf: cfg.ConfigOpts) -> timing.Timing:
    """The options as the value that syncing takes.

    :raises errors.Misconfigured: for waits that contradict each other
    """
    group = conf.sync
    if group.retry_longest < group.retry_first:
        raise errors.Misconfigured(
            'group [sync]: expected retry_longest of at least retry_first '
            f'({group.retry_first}), found {group.retry_longest}'
        )
    return timing.Timing(
        interval=group.interval,
        retry_first=group.retry_first,
        retry_longest=group.retry_longest,
        jitter=group.jitter,
    )

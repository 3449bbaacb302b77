# SPDX-License-Identifier: Apache-2.0
"""Options of what becomes of withdrawn images."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.catalogue import withdrawal

GROUP = cfg.OptGroup(
    'withdraw',
    title='What becomes of withdrawn images',
    help="""
When an endorsement ends, the next sync deactivates the image in Glance,
whatever is said here: nothing new boots from it. Images that others imported
are only deactivated; this group is about images that "hepix-vm publish" made
or "hepix-vm adopt" took over.
""",
)

OPTS = [
    cfg.StrOpt(
        'action',
        default=withdrawal.Action.DEACTIVATE.value,
        choices=[
            (
                'deactivate',
                'users go on seeing the image, with the status "deactivated"',
            ),
            (
                'hide',
                'it is also made private and hidden: only the project that '
                'owns it still sees it',
            ),
            (
                'delete',
                'it is hidden at once, and deleted when the retention is over '
                'and no server, volume, snapshot or image made of it is left',
            ),
        ],
        help='What follows the deactivation of a withdrawn image of ours.',
    ),
    cfg.IntOpt(
        'retention',
        default=30 * 86400,
        min=0,
        help="""
Seconds from the withdrawal to the deletion, with "action = delete". Until then
an image that is endorsed again, or that may run anyway, returns by itself.
""",
    ),
    cfg.IntOpt(
        'drain_grace',
        min=0,
        help="""
Have a sync order that servers which run from a withdrawn image end so many
seconds later: they read it as shutdowntime_job among their job features, and
nobody stops them. Never sooner than [context] grace_secs. The order is taken
back when the image is good again; to let a server run longer, give it an order
of its own with "hepix-vm drain". Unset: servers are told nothing.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def settings(conf: cfg.ConfigOpts) -> withdrawal.Settings:
    """The options as the value that syncing takes."""
    group = conf.withdraw
    return withdrawal.Settings(
        action=withdrawal.Action(group.action),
        retention=group.retention,
        drain_grace=group.drain_grace,
    )

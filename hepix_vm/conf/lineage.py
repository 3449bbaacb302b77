# SPDX-License-Identifier: Apache-2.0
"""Options of what is made of approved images."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.catalogue import believed
from hepix_vm.glance import service

GROUP = cfg.OptGroup(
    'lineage',
    title='Snapshots of approved servers',
    help="""
A snapshot, back-up or shelved image of a server is no image that anybody
endorsed. It can inherit what is known of the image that the server was booted
from. Needs the guard in glance's and in nova's pipelines, and Nova's service
token.
""",
)

OPTS = [
    cfg.StrOpt(
        'children',
        default=believed.Children.FOLLOW.value,
        choices=[
            (
                believed.Children.FOLLOW.value,
                'they may be used as long as their parent may',
            ),
            (
                believed.Children.KEEP.value,
                'they may be used on when the endorsement of their parent '
                'ends; not when the site blocks it, nor when its endorser is '
                'revoked',
            ),
            (
                believed.Children.REFUSE.value,
                'they are not recorded and may not be used',
            ),
        ],
        help="""
What becomes of snapshots, back-ups and shelved images of servers whose image
is approved. The next sync brings a change of it to Glance and Nova.
""",
    ),
    cfg.ListOpt(
        'nova_users',
        default=['nova'],
        help="""
Names of the accounts that Nova's service tokens are of: option username in
group [service_user] of nova.conf. No other service may be among them: Cinder,
for one, lets users choose the properties of the images that it makes.
""",
    ),
    cfg.StrOpt(
        'service_role',
        default='service',
        help="""
Role that these tokens have to have: one of service_token_roles in group
[keystone_authtoken] of Glance.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def children(conf: cfg.ConfigOpts) -> believed.Children:
    """The value of the option."""
    return believed.Children(conf[GROUP.name].children)


def nova(conf: cfg.ConfigOpts) -> service.Nova:
    """Whose word on snapshots is believed."""
    group = conf[GROUP.name]
    return service.Nova(frozenset(group.nova_users), group.service_role)

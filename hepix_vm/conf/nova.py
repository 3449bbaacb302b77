# SPDX-License-Identifier: Apache-2.0
"""Options of the scheduler filter and the API guard."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.nova import placing

GROUP = cfg.OptGroup(
    'nova',
    title='Decisions inside Nova',
    help="""
How the scheduler filter and the API guard act on what the catalogue says. Both
read this file when they start; restart nova-scheduler and nova-api after a
change.
""",
)

OPTS = [
    cfg.BoolOpt(
        'dry_run',
        default=False,
        help="""
Refuse nothing, and log what would be refused (verdict=would-refuse). For the
first weeks of a site: nobody is disturbed, and the log says what would be.
""",
    ),
    cfg.StrOpt(
        'enforce',
        default=placing.Where.EVERYWHERE.value,
        choices=[
            (
                placing.Where.EVERYWHERE.value,
                'approved images only, on every host',
            ),
            (
                placing.Where.AGGREGATES.value,
                'on hosts of aggregates with metadata hepix_enforce=true '
                'only; servers that would be refused go to other hosts',
            ),
        ],
        help="""
Where decisions bind. With "aggregates" do not restrict Glance's downloads
(policy download_image), or nothing else boots on the other hosts either.
""",
    ),
    cfg.BoolOpt(
        'enforce_on_moves',
        default=False,
        help="""
Whether a server whose image is no longer approved may be moved: resized,
migrated, evacuated. By default it may, so that a withdrawn image does not keep
a server on a failing host.
""",
    ),
    cfg.ListOpt(
        'exempt_projects',
        default=[],
        help="""
Ids of projects whose servers may boot anything, such as that of the operators.
What they would be refused is logged.
""",
    ),
    cfg.ListOpt(
        'enforced_projects',
        default=[],
        help="""
Ids of the only projects that decisions bind; all projects when the list is
empty. A project in exempt_projects as well is exempt.
""",
    ),
    cfg.StrOpt(
        'volume_boot',
        default=placing.VolumeBoot.REFUSE.value,
        choices=[
            (
                placing.VolumeBoot.REFUSE.value,
                'new servers do not boot from volumes',
            ),
            (
                placing.VolumeBoot.ENDORSED.value,
                'they do when every image that the volumes were made from is '
                'approved',
            ),
        ],
        help="""
What becomes of new servers that boot from a volume.

Which image an existing volume was made from is known from Cinder alone, and
the API guard asks it: "endorsed" needs the guard in nova's api-paste.ini, and
the policy of etc/hepix_vm/cinder-policy.yaml, without which a member can
rewrite what a volume says of its image.
""",
    ),
    cfg.FloatOpt(
        'lookup_timeout',
        default=10.0,
        min=0.1,
        max=300,
        help="""
Seconds that the API guard waits for an answer of Glance or Cinder. It asks
them about rescue, rebuild, unshelving, named hosts and volumes only. What gets
no answer in time is refused.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def placing_of(conf: cfg.ConfigOpts) -> placing.Placing:
    """The values of the group."""
    group = conf[GROUP.name]
    return placing.Placing(
        where=placing.Where(group.enforce),
        dry_run=group.dry_run,
        on_moves=group.enforce_on_moves,
        exempt_projects=frozenset(group.exempt_projects),
        enforced_projects=frozenset(group.enforced_projects),
        volume_boot=placing.VolumeBoot(group.volume_boot),
        lookup_timeout=group.lookup_timeout,
    )

# SPDX-License-Identifier: Apache-2.0
"""Options of verifying lists that hold for all subscriptions."""

from __future__ import annotations

import datetime

from oslo_config import cfg

GROUP = cfg.OptGroup(
    'trust',
    title='Verifying signed lists',
    help="""
What holds for all subscriptions. Whom a list is believed by stands in its own
group.
""",
)

OPTS = [
    cfg.FloatOpt(
        'crl_warning_hours',
        default=48,
        min=0,
        help="""
A revocation list that runs out within this many hours is warned about by
"hepix-vm sync" and "hepix-vm trust show". When it has run out, lists that
depend on it are not believed until a fresh one is there.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def crl_warning(conf: cfg.ConfigOpts) -> datetime.timedelta:
    """How long before its end a CRL is warned about."""
    return datetime.timedelta(hours=conf.trust.crl_warning_hours)

# SPDX-License-Identifier: Apache-2.0
"""Options of ``hepix-vm-sync``."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.conf import catalogue
from hepix_vm.daemon import settings as settings_

Settings = settings_.Settings

GROUP = cfg.OptGroup(
    'daemon',
    title='The daemon that syncs',
    help="""
hepix-vm-sync does what "hepix-vm sync" does, whenever something is due. Start
one on each controller: one leads, the others stand by and take over. These
options are to be the same for all of them. It also reads the options of
oslo.log in [DEFAULT] of this file, such as debug and log_file.
""",
)

OPTS = [
    cfg.FloatOpt(
        'check_interval',
        default=60,
        min=1,
        help="""
Seconds between two looks at most, even if no list is due: revocation lists
change as well, and endorsements expire.
""",
    ),
    cfg.FloatOpt(
        'lease_time',
        default=30,
        min=1,
        help="""
Seconds without a sign of life after which another daemon takes over from the
one that leads. The one that leads writes such a sign into the catalogue's
database six times in that time, and stops syncing when it could not for as
long. Clocks need not agree. A daemon that is stopped in good order is
followed at once.
""",
    ),
    cfg.StrOpt(
        'coordination_url',
        secret=True,
        help="""
A coordination service that decides which daemon leads, as tooz takes it:
etcd3+http://HOST:2379?timeout=10, or file:///DIRECTORY for daemons on one
machine. Needs the extra "tooz". Unset, the catalogue's database decides, and
that serves every site, one with Galera too.

The database guards every write in both cases. Do not use the drivers mysql
and postgresql of tooz: with Galera they make two leaders.
""",
    ),
    cfg.FloatOpt(
        'stall_time',
        default=1800,
        min=10,
        help="""
Seconds that a sync may go without finishing a single list. After that
systemd's watchdog is no longer told that all is well, and starts the daemon
again. To be longer than [fetch] list_deadline.
""",
    ),
    cfg.FloatOpt(
        'stop_timeout',
        default=10,
        min=1,
        help="""
Seconds that a sync may go on after the daemon was told to stop. What it has
not stored by then the next one does again.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def settings(conf: cfg.ConfigOpts) -> Settings:
    """The options as the value that the daemon takes."""
    group = conf.daemon
    return Settings(
        connection=catalogue.reader_settings(conf).connection,
        check_interval=group.check_interval,
        lease_time=group.lease_time,
        stall_time=group.stall_time,
        stop_time=group.stop_timeout,
        coordination_url=group.coordination_url or None,
    )

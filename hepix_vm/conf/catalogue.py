# SPDX-License-Identifier: Apache-2.0
"""Options of the catalogue: where it is and how long its word holds."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.catalogue import reader

GROUP = cfg.OptGroup(
    'catalogue',
    title='The catalogue of lists, approvals and records',
    help="""
The one store that every part of hepix_vm shares. The sync writes it; the code
inside Glance and Nova reads it and keeps it in memory.
""",
)

OPTS = [
    cfg.StrOpt(
        'connection',
        default='sqlite:////var/lib/hepix_vm/catalogue.sqlite',
        secret=True,
        help="""
SQLAlchemy URL of the catalogue's database.

SQLite serves a single controller; use MariaDB/MySQL
(mysql+pymysql://USER:PASSWORD@HOST/hepix_vm) or PostgreSQL for several. Give
Nova's copy of this file an account that may only read: Nova never writes.
Run "hepix-vm db sync" once before the first use and after each upgrade.
""",
    ),
    cfg.IntOpt(
        'reader_max_age',
        default=300,
        min=5,
        help="""
Seconds for which Glance and Nova go on with what they know while the
catalogue's database does not answer. After that they refuse every image until
it answers again. A larger value survives longer outages of the database; a
withdrawal that happens meanwhile takes that much longer to act.
""",
    ),
    cfg.IntOpt(
        'list_max_age',
        default=604800,
        min=300,
        help="""
Seconds that an image list may go without having been fetched and verified
again. Its images are not placed after that (state "stale") until its server
answers; nothing is deleted. The default is 7 days. A subscription may set its
own value.
""",
    ),
    cfg.FloatOpt(
        'refresh_interval',
        default=1.0,
        min=0.1,
        help="""
Seconds between two looks of Glance and Nova at the catalogue's revision
number. One small query each; a withdrawal acts after this time at the latest.
""",
    ),
    cfg.FloatOpt(
        'store_timeout',
        default=2.0,
        min=0.1,
        max=60,
        help="""
Seconds that a decision inside Glance or Nova waits for the catalogue's
database at most, when the image is not known or would be refused.
""",
    ),
    cfg.FloatOpt(
        'negative_ttl',
        default=1.0,
        min=0,
        help="""
Seconds for which a refusal stands without asking the catalogue's database
again for the same image and project. Protects the database from a user who
retries in a loop.
""",
    ),
    cfg.IntOpt(
        'refused_kept_days',
        default=90,
        min=1,
        help="""
Days for which the signed messages of refused lists are kept as evidence.
After that the sync lets go of their bytes; their SHA-256, the verdict and the
reason stay for ever. Messages of accepted lists are never removed.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def reader_settings(conf: cfg.ConfigOpts) -> reader.ReaderSettings:
    """The options as the value that a reader takes."""
    group = conf.catalogue
    return reader.ReaderSettings(
        connection=group.connection,
        reader_max_age=group.reader_max_age,
        refresh_interval=group.refresh_interval,
        store_timeout=group.store_timeout,
        negative_ttl=group.negative_ttl,
    )

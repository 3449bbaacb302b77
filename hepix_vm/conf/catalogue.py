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
Who fetched context is written by [context] audit_connection.
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
    cfg.IntOpt(
        'brake_images',
        default=20,
        min=0,
        help="""
Images that a newer list may lack at once, compared with the list before it. If
more are gone, or more than brake_percent, the list counts but their withdrawal
waits for "hepix-vm subscription confirm": a broken or stolen endorser's tool
must not empty a site. An image whose newer version is listed is not gone. A
revoked endorser's images are withdrawn at once in any case. 0 makes every
withdrawal wait; a very large number together with brake_percent = 100 makes
none wait. A subscription may set its own values.
""",
    ),
    cfg.IntOpt(
        'brake_percent',
        default=50,
        min=0,
        max=100,
        help="""
Percent of a subscription's images that a newer list may lack at once; see
brake_images. Images that already wait for a confirmation count too.
""",
    ),
    cfg.StrOpt(
        'brake_action',
        default='suspend',
        choices=[
            ('suspend', 'they are not placed while they wait'),
            ('keep', 'they are placed as before while they wait'),
        ],
        help="""
What becomes of images whose withdrawal waits. With "keep" an endorser who
retires many images at once has them running until somebody confirms it.
""",
    ),
    cfg.IntOpt(
        'run_anyway_longest',
        default=2592000,
        min=60,
        help="""
Seconds for which "hepix-vm image run-anyway" may let an image run whose
endorsement has ended. The default is 30 days.
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
        'first_load_timeout',
        default=60.0,
        min=1,
        max=600,
        help="""
Seconds that a decision inside Glance or Nova waits at most while the service
reads the catalogue for the first time and the database does answer. Services
begin to read when they start; 100 000 images take a few seconds. Not longer
than those who ask Glance and Nova wait themselves.
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
        first_load_timeout=group.first_load_timeout,
        negative_ttl=group.negative_ttl,
    )

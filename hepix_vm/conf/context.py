# SPDX-License-Identifier: Apache-2.0
"""Options of the site's context for virtual machines."""

from __future__ import annotations

import os
import pathlib
import stat

from oslo_config import cfg

from hepix_vm.conf import catalogue
from hepix_vm.context import audit
from hepix_vm.context import bundle
from hepix_vm.context import features
from hepix_vm.context import served
from hepix_vm.context import site_state
from hepix_vm.context import source
from hepix_vm import errors

ContextSettings = served.ContextSettings

#: Bytes of a private key; one on P-256 has some hundreds.
_KEY_LIMIT = 64 * 1024

GROUP = cfg.OptGroup(
    'context',
    title='The site context that virtual machines fetch',
    help="""
The site's own start-up scripts, served to every virtual machine as
http://169.254.169.254/context/default.tgz by nova's metadata service. The
account of that service must be able to read what is named here.
""",
)

OPTS = [
    cfg.StrOpt(
        'directory',
        default='/etc/hepix_vm/context',
        help="""
The site directory: prolog.sh and epilog.sh, which virtual machines run early
and late in their start-up, and whatever these two need, in one directory or
in layers that layers.yaml names.

Only regular files and directories with plain names are accepted; symbolic
links, devices and hidden files are refused. The directory itself may be a
symbolic link: switching it to another directory publishes a change of several
files at one moment. Every virtual machine of every project can read what
stands here: no passwords, no keys.
""",
    ),
    cfg.StrOpt(
        'serve',
        default='directory',
        choices=[
            ('directory', 'the site directory as it stands at the moment'),
            ('published', 'what "hepix-vm context publish" published last'),
        ],
        help="""
What virtual machines get.

With "published" nothing in the site directory counts before it is published:
then it is checked, gets a serial that never goes back, and can be taken back
with "hepix-vm context rollback". With "directory" every change counts at
once, under the serial 0. Guests with the agent of hepix_vm refuse that after
they have seen a publication.
""",
    ),
    cfg.StrOpt(
        'state_directory',
        default='/var/lib/hepix_vm/context',
        help="""
Where "hepix-vm context publish" keeps what it published. Who publishes must
be able to write it, the account that serves must be able to read it. Keep it:
the newest serial stands there, and guests may refuse a lower one.
""",
    ),
    cfg.IntOpt(
        'keep_generations',
        default=10,
        min=2,
        help="""
How many published generations are kept to look at and to go back to; older
ones are removed by the next publication. Each takes the room of the site
directory.
""",
    ),
    cfg.IntOpt(
        'expire_days',
        default=0,
        min=0,
        max=36500,
        help="""
For how many days a publication holds. The manifest says so to guests, and
"hepix-vm context status" tells which virtual machines run one that has
expired; it is served on until the next publication. 0: it does not expire.
""",
    ),
    cfg.StrOpt(
        'signing_key',
        help="""
File with the private key (PEM, ECDSA on the curve P-256, no passphrase) that
signs manifests, so that guests which hold its public key can be sure whose
scripts they run. Everybody else must not be able to read it. Without it
nothing is signed and guests find no manifest.sig.

Make one with "openssl ecparam -name prime256v1 -genkey -noout", its public
key with "openssl ec -pubout".
""",
    ),
    cfg.IntOpt(
        'max_files',
        default=bundle.DEFAULT_LIMITS.members,
        min=2,
        max=10000,
        help="""
How many files and directories the site directory may hold, all layers
together. A larger one is refused and the one before is served on. Guests with
the agent of hepix_vm refuse a bundle of more than 4096, unless most_files in
their hepix-context.conf says otherwise.
""",
    ),
    cfg.IntOpt(
        'max_unpacked_size',
        default=bundle.DEFAULT_LIMITS.unpacked,
        min=10240,
        max=256 * 1024 * 1024,
        help="""
How many bytes the site directory, and each bundle made of it, may have before
compression, 512 for the header of each file included. It is held in memory by
each process that serves it, and a bundle takes this room in each guest. Those
with the agent of hepix_vm refuse more than 64 MiB, unless most_unpacked in
their hepix-context.conf says otherwise.
""",
    ),
    cfg.IntOpt(
        'max_answer_size',
        default=bundle.COMPRESSED_LIMIT,
        min=1024,
        max=bundle.COMPRESSED_LIMIT,
        help="""
How many bytes a compressed bundle may have. The proxies between a guest and
the metadata service answer from memory and one after the other, and in base64
it grows by a third, so it cannot be raised above the default; large files
belong on a server or in CernVM-FS.
""",
    ),
    cfg.FloatOpt(
        'refresh_interval',
        default=5.0,
        min=0.1,
        help="""
Seconds between two looks of the metadata service for a changed site directory
or a new publication. Only names and times are looked at; files are read again
when something changed.
""",
    ),
]

#: Of machine and job features, and of orders to end.
FEATURES = [
    cfg.StrOpt(
        'ratings_file',
        help="""
A YAML file that says how fast hosts are (HS06, HEPScore23), by their names,
aggregates or processors, and how long servers of projects may run; see the
sample ratings.yaml. It is read again when it changes; one that is wrong is
logged, and the one before stays. Unset: these features are not served.
""",
    ),
    cfg.StrOpt(
        'wall_limit_spec',
        default=features.Settings().wall_limit_spec,
        help="""
Name of the extra spec of flavors that says for how many seconds a server may
run. It goes before what the ratings file says of the project.
""",
    ),
    cfg.IntOpt(
        'grace_secs',
        default=features.Settings().grace_secs,
        min=0,
        help="""
Seconds that lie at least between an order to end ("hepix-vm drain") and its
time; virtual machines are promised them, as grace_secs. 0 promises nothing;
orders have to be forced then.
""",
    ),
    cfg.BoolOpt(
        'names_2012',
        default=features.Settings().names_2012,
        help="""
Serve the job features jobstart, mem_limit (MB), run_limit and cpu_limit
(minutes) as well, for programs older than the specification of 2016.
""",
    ),
    cfg.IntOpt(
        'hosts_interval',
        default=3600,
        min=0,
        help="""
Seconds after which a sync asks Nova and Placement again what compute hosts
have, for total_cpu and for ratings by aggregate or processor. That needs an
administrator's account in [openstack] and takes one request a host; a sync
spends twenty seconds on it at most and goes on in the next one. 0: only
"hepix-vm context hosts --refresh" asks.
""",
    ),
    cfg.IntOpt(
        'hosts_max_age',
        default=features.Settings().hosts_max_age,
        min=60,
        help="""
Seconds for which what a host said is served, when it cannot be asked again.
Afterwards its total_cpu, and what is computed from it, is left out. To be
longer than hosts_interval.
""",
    ),
]
OPTS += FEATURES

#: Of who fetched what.
AUDIT = [
    cfg.StrOpt(
        'audit_connection',
        secret=True,
        help="""
SQLAlchemy URL under which the services that serve context write down who
fetched it, for "hepix-vm context status". Unset: [catalogue] connection. Its
account must be able to read, insert, update and delete in the tables
context_fetches and context_lost and needs nothing else, so that
[catalogue] connection of these services may stay one that only reads.
""",
    ),
    cfg.IntOpt(
        'audit_kept',
        default=audit.DEFAULT.kept,
        min=100,
        max=1_000_000,
        help="""
How many instances and forms each serving process keeps in its memory, about
500 bytes each, while the database does not take them. Further ones are not
noted; how many is in the log and in "hepix-vm context status".
""",
    ),
    cfg.FloatOpt(
        'audit_interval',
        default=audit.DEFAULT.interval,
        min=0.1,
        max=60,
        help="""
Seconds between two writes of what was fetched meanwhile. A process that is
killed takes with it what it has not written yet; "hepix-vm context status"
says that one did.
""",
    ),
    cfg.IntOpt(
        'audit_kept_days',
        default=30,
        min=1,
        help="""
Days for which is kept what servers fetched that Nova has no longer, and what
was lost. Of servers that exist, it is kept as long as they do. The sync
removes the rest; without an account in [openstack], by its age alone.
""",
    ),
]
OPTS += AUDIT


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def context_settings(conf: cfg.ConfigOpts) -> ContextSettings:
    """The options as the value that the context code takes."""
    return ContextSettings(
        source=context_source(conf),
        refresh_interval=conf.context.refresh_interval,
    )


def context_source(conf: cfg.ConfigOpts) -> source.Source:
    """Where the context is read from."""
    group = conf.context
    return source.Source(
        directory=pathlib.Path(group.directory),
        state_directory=pathlib.Path(group.state_directory),
        published=group.serve == 'published',
        limits=bundle.Limits(
            members=group.max_files,
            unpacked=group.max_unpacked_size,
            answer=group.max_answer_size,
        ),
    )


def signing_key(conf: cfg.ConfigOpts) -> bytes | None:
    """The private key that signs manifests, PEM; None: none is configured.

    :raises errors.Misconfigured: it cannot be read, or by everybody
    """
    if not conf.context.signing_key:
        return None
    path = pathlib.Path(conf.context.signing_key)
    try:
        with path.open('rb') as stream:
            mode = os.fstat(stream.fileno()).st_mode
            key = stream.read(_KEY_LIMIT)
    except OSError as error:
        raise errors.Misconfigured(
            f'[context] signing_key {path}: {error.strerror or error}; it'
            ' must be readable for the account that signs'
        ) from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise errors.Misconfigured(
            f'[context] signing_key {path}: everybody may read or write it'
            f' (mode {stat.S_IMODE(mode):o}); run "chmod o-rw" on it'
        )
    return key


def audit_settings(conf: cfg.ConfigOpts) -> audit.Settings:
    """How it is noted who fetched what.

    :param conf: with the group of the catalogue, too
    """
    group, store = conf.context, catalogue.reader_settings(conf)
    return audit.Settings(
        connection=group.audit_connection or store.connection,
        kept=group.audit_kept,
        interval=group.audit_interval,
        store_timeout=store.store_timeout,
    )


def nova_shared_secret(nova: cfg.ConfigOpts) -> bytes:
    """The secret that neutron's metadata agent signs with.

    :param nova: the options of the nova service that we run in
    :raises errors.Misconfigured: not set, or not a nova service
    """
    try:
        secret = nova.neutron.metadata_proxy_shared_secret
    except cfg.NoSuchOptError as error:
        raise errors.Misconfigured(
            'the application for /context runs inside nova-metadata only:'
            f' {error}'
        ) from error
    if not secret:
        raise errors.Misconfigured(
            'nova.conf: [neutron] metadata_proxy_shared_secret is empty, so'
            ' that anybody could sign; set it here and in the metadata agent'
        )
    return str(secret).encode()


def features_settings(conf: cfg.ConfigOpts) -> features.Settings:
    """What the site says of machine and job features."""
    group = conf.context
    return features.Settings(
        grace_secs=group.grace_secs,
        wall_limit_spec=group.wall_limit_spec,
        hosts_max_age=group.hosts_max_age,
        names_2012=group.names_2012,
    )


def ratings_file(conf: cfg.ConfigOpts) -> pathlib.Path | None:
    """Where the site's table is; None: it has none."""
    found = conf.context.ratings_file
    return pathlib.Path(found) if found else None


def site_state_settings(conf: cfg.ConfigOpts) -> site_state.Settings:
    """How the state of the site is kept in memory.

    :param conf: with the group of the catalogue, too
    """
    store = catalogue.reader_settings(conf)
    return site_state.Settings(
        connection=store.connection,
        ratings_file=ratings_file(conf),
        refresh_interval=conf.context.refresh_interval,
        store_timeout=store.store_timeout,
    )

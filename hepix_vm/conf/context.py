# SPDX-License-Identifier: Apache-2.0
"""Options of the site's context for virtual machines."""

from __future__ import annotations

import pathlib

from oslo_config import cfg

from hepix_vm.conf import catalogue
from hepix_vm.context import bundle
from hepix_vm.context import features
from hepix_vm.context import served
from hepix_vm.context import site_state
from hepix_vm import errors

ContextSettings = served.ContextSettings

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
and late in their start-up, and whatever these two need.

Only regular files and directories with plain names are accepted; symbolic
links, devices and hidden files are refused. The directory itself may be a
symbolic link: switching it to another directory publishes a change of several
files at one moment. Every virtual machine of every project can read what
stands here: no passwords, no keys.
""",
    ),
    cfg.StrOpt(
        'bundle_file',
        help="""
A file made by "hepix-vm context build" that is served instead of what stands
in the site directory at the moment.

Set it to try changes in the directory without publishing them: guests get the
new bundle when you build it, whole. Leave it unset to serve the directory
itself.
""",
    ),
    cfg.IntOpt(
        'max_files',
        default=bundle.DEFAULT_LIMITS.members,
        min=2,
        max=10000,
        help="""
How many files and directories the site directory may hold. A larger bundle is
refused and the one before is served on.
""",
    ),
    cfg.IntOpt(
        'max_unpacked_size',
        default=bundle.DEFAULT_LIMITS.unpacked,
        min=10240,
        max=256 * 1024 * 1024,
        help="""
How many bytes the bundle may have before compression, 512 for the header of
each file included. It is held in memory by each process of the metadata
service, and it takes this room in each guest.
""",
    ),
    cfg.IntOpt(
        'max_answer_size',
        default=bundle.COMPRESSED_LIMIT,
        min=1024,
        max=bundle.COMPRESSED_LIMIT,
        help="""
How many bytes the compressed bundle may have. The proxies between a guest and
the metadata service answer from memory and one after the other, so it cannot
be raised above the default; large files belong on a server or in CernVM-FS.
""",
    ),
    cfg.FloatOpt(
        'refresh_interval',
        default=5.0,
        min=0.1,
        help="""
Seconds between two looks of the metadata service for a changed site directory
or bundle file. Only names and times are looked at; files are read again when
something changed.
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
Afterwards its total_cpu, and what is computed from it, is left out.
""",
    ),
]
OPTS += FEATURES


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def context_settings(conf: cfg.ConfigOpts) -> ContextSettings:
    """The options as the value that the context code takes."""
    group = conf.context
    return ContextSettings(
        directory=pathlib.Path(group.directory),
        bundle_file=(
            pathlib.Path(group.bundle_file) if group.bundle_file else None
        ),
        limits=bundle.Limits(
            members=group.max_files,
            unpacked=group.max_unpacked_size,
            answer=group.max_answer_size,
        ),
        refresh_interval=group.refresh_interval,
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

# SPDX-License-Identifier: Apache-2.0
"""Options of fetching lists and images."""

from __future__ import annotations

from oslo_config import cfg

from hepix_vm.catalogue import fetch

GROUP = cfg.OptGroup(
    'fetch',
    title='How lists and images are fetched',
    help="""
Limits towards servers of endorsers. A failed fetch never withdraws anything.
""",
)

OPTS = [
    cfg.FloatOpt(
        'timeout',
        default=30,
        min=1,
        help="""
Seconds to wait for a connection, and then for each piece of an answer.
""",
    ),
    cfg.FloatOpt(
        'list_deadline',
        default=300,
        min=1,
        help='Seconds that one list may take altogether.',
    ),
    cfg.IntOpt(
        'max_list_size',
        default=16 * 1024 * 1024,
        min=1024,
        help='Bytes of a signed list at most; a larger one is not read.',
    ),
    cfg.IntOpt(
        'parallel',
        default=8,
        min=1,
        max=64,
        help='Lists that are fetched at the same time.',
    ),
    cfg.StrOpt(
        'ca_file',
        help="""
PEM file of the CAs for https servers; unset: those of python's requests. It
does not decide whom the site believes, the list's signature does.
""",
    ),
    cfg.StrOpt(
        'spool_directory',
        default='/var/lib/hepix_vm/spool',
        help="""
Where images lie between download and Glance; needs room for the largest image.
Created when absent, readable by the publishing account only; nobody else may
write to it.
""",
    ),
    cfg.FloatOpt(
        'leftovers_days',
        default=7,
        min=0,
        help="""
Days for which the spool directory keeps the part of an image that nobody went
on downloading, and a whole image that nobody used. Whole ones are removed
earlier where another image needs their room.
""",
    ),
    cfg.FloatOpt(
        'image_deadline',
        default=14400,
        min=1,
        help="""
Seconds that one image may take to download, in one run. The next run goes on
where this one was cut off, if the server can do that.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def settings(conf: cfg.ConfigOpts) -> fetch.FetchSettings:
    """The options as the value that fetching takes."""
    group = conf.fetch
    return fetch.FetchSettings(
        timeout=group.timeout,
        list_deadline=group.list_deadline,
        max_list_size=group.max_list_size,
        parallel=group.parallel,
        ca_file=group.ca_file,
        spool_directory=group.spool_directory,
        image_deadline=group.image_deadline,
        leftovers_days=group.leftovers_days,
    )

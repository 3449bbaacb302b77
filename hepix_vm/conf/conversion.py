# SPDX-License-Identifier: Apache-2.0
"""Options of bringing endorsed images into a form that Nova boots."""

from __future__ import annotations

from oslo_config import cfg
from oslo_config import types

from hepix_vm.glance import conversion
from hepix_vm.glance import formats

GROUP = cfg.OptGroup(
    'conversion',
    title='Images that Nova does not boot as they are endorsed',
    help="""
Images in other formats than raw, qcow2, vmdk, vhdx and iso are reported and
not published, unless the site allows steps that leave the disk in them as it
is. What comes out is the site's own word: no endorser has signed those bytes.
The catalogue keeps the hashes of both and the step, and whatever ends the
endorsement of the original ends the image. Needs qemu-img on the machine that
publishes, and room for both files in [fetch] spool_directory.
""",
)

_GIB = 2**30
_MIB = 2**20

OPTS = [
    cfg.ListOpt(
        'steps',
        item_type=types.String(choices=list(formats.STEPS)),
        default=[],
        help="""
Steps that are allowed, from:
"gunzip" decompresses raw.gz, qcow2.gz and so on;
"ova" takes the disk out of an OVA that has exactly one;
"vdi" and "vhd" convert disks of these formats.
vdi.gz needs "gunzip" and "vdi". The disk in an OVA is converted if it is a
vmdk; one of another format needs the step of that format too.
""",
    ),
    cfg.StrOpt(
        'target',
        default='qcow2',
        choices=[
            ('qcow2', 'small where much of the disk is empty'),
            ('raw', 'for stores such as Ceph that clone raw images'),
        ],
        help="""
Format that disks are converted into which Nova does not boot. A disk that it
does boot is taken out of its archive and left as it is.
""",
    ),
    cfg.FloatOpt(
        'deadline',
        default=7200,
        min=1,
        help='Seconds that the conversion of one image may take altogether.',
    ),
    cfg.IntOpt(
        'max_memory',
        default=2048,
        min=1024,
        help="""
MiB of address space that qemu-img may have; it is ended when it needs more.
""",
    ),
    cfg.IntOpt(
        'max_size',
        default=100,
        min=1,
        help="""
GiB that a disk may have, and a file that is written. A few kilobytes of a
compressed image can become as large as they like.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def settings(conf: cfg.ConfigOpts) -> conversion.Settings:
    """The options as the value that conversion takes."""
    group = conf.conversion
    return conversion.Settings(
        steps=frozenset(group.steps),
        target=group.target,
        deadline=group.deadline,
        memory=group.max_memory * _MIB,
        max_size=group.max_size * _GIB,
    )

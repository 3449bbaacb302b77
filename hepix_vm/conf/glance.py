# SPDX-License-Identifier: Apache-2.0
"""Options of the checks that run inside Glance's image import."""

from __future__ import annotations

from oslo_config import cfg

GROUP = cfg.OptGroup(
    'glance_import',
    title='Checks at image import',
    help="""
How the import plugins hepix_verify and hepix_record treat other import plugins
that Glance runs between them.
""",
)

OPTS = [
    cfg.BoolOpt(
        'allow_conversion',
        default=False,
        help="""
Whether Glance may convert or decompress an image after it was checked.

With "false" an import is refused when a plugin that can change the bytes
(image_conversion, image_decompression, or one that is not known) is listed
between hepix_verify and hepix_record. With "true" the bytes are checked as
their endorser made them, and what the other plugins made of them is what
Glance stores: hepix_record reads the image a second time and records that
hash. The site vouches for the conversion then.
""",
    ),
    cfg.ListOpt(
        'unchanging_plugins',
        default=[],
        help="""
Names of further import plugins that leave the bytes of an image alone and may
stand between hepix_verify and hepix_record, for instance a site's own plugin
that adds properties. Glance's no_op and inject_image_metadata need not be
listed. Should one of them change the bytes after all, Glance refuses to store
the image.
""",
    ),
    cfg.ListOpt(
        'publishing_projects',
        default=[],
        help="""
Ids of projects that import images on behalf of others, such as the project of
the account in group [openstack]. What they import needs an endorsement that is
approved for some project, not for their own; who may boot it is decided at
each boot, by the project of the server. Needed where a subscription is
approved for some projects only.
""",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)

# SPDX-License-Identifier: Apache-2.0
"""Options of the cloud that images are published into."""

from __future__ import annotations

from typing import Any

from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading
from oslo_config import cfg

from hepix_vm import errors

GROUP = cfg.OptGroup(
    'openstack',
    title='The cloud that approved images are published into',
    help="""
An account that may create images (and deactivate them, list all servers): the
usual keystoneauth options, auth_type first. Without auth_type nothing is
published or deactivated; Glance and Nova enforce all the same.
""",
)

OPTS = [
    cfg.StrOpt('region_name', help='Region whose Glance and Nova are used.'),
    cfg.StrOpt(
        'interface',
        default='internal',
        choices=['public', 'internal', 'admin'],
        help='Which endpoints of the catalogue are used.',
    ),
    cfg.StrOpt(
        'visibility',
        default='public',
        choices=['public', 'private', 'shared', 'community'],
        help="""
Visibility of published images. With anything but "public" the images belong to
the project of the account.
""",
    ),
    cfg.FloatOpt(
        'import_deadline',
        default=7200,
        min=10,
        help="""
Seconds that Glance may take to import one image before publishing reports it
as failed; the import itself goes on.
""",
    ),
]

# Seconds; keystoneauth would wait for a silent service for ever.
_TIMEOUT = 600


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides, and the options of an account's
    # auth_type, for every later configuration.
    conf.register_opts(OPTS, group=GROUP.name)
    loading.register_session_conf_options(conf, GROUP.name)
    conf.set_default('timeout', _TIMEOUT, GROUP.name)
    loading.register_auth_conf_options(conf, GROUP.name)


def sample_opts() -> list[cfg.Opt]:
    """All options of the group, those of keystoneauth included."""
    session_opts = loading.get_session_conf_options()
    cfg.set_defaults(session_opts, timeout=_TIMEOUT)
    return [
        *OPTS,
        *session_opts,
        *loading.get_auth_common_conf_options(),
        *loading.get_auth_plugin_conf_options('password'),
    ]


def session(conf: cfg.ConfigOpts) -> Any | None:
    """A keystoneauth session; None when no account is configured.

    :raises errors.Misconfigured: for options that keystoneauth refuses
    """
    try:
        auth = loading.load_auth_from_conf_options(conf, GROUP.name)
        if auth is None:
            return None
        return loading.load_session_from_conf_options(
            conf, GROUP.name, auth=auth
        )
    except (ks_exc.ClientException, cfg.Error) as exc:
        raise errors.Misconfigured(f'group [openstack]: {exc}') from exc

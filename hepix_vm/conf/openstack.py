# SPDX-License-Identifier: Apache-2.0
"""Options of the clouds that images are published into."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import re
import threading
from typing import Any

from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading
from oslo_config import cfg

from hepix_vm.catalogue import schema
from hepix_vm import errors

GROUP = cfg.OptGroup(
    'openstack',
    title='The clouds that approved images are published into',
    help="""
An account that may create images (and deactivate them, list all servers): the
usual keystoneauth options, auth_type first. Without auth_type nothing is
published or deactivated; Glance and Nova enforce all the same.

This is the cloud "default". A group [openstack:NAME] is a further one, or
another region of the same: it takes every option of this group, and what it
does not set is as it is here. One that sets auth_url, auth_type or
auth_section has an account of its own and takes nothing of this one. Images
go into all clouds, each downloaded once; what differs there is said in
[publish:NAME].
""",
)

#: How groups of further clouds begin.
PREFIX = f'{GROUP.name}:'

OPTS = [
    cfg.StrOpt('region_name', help='Region whose Glance and Nova are used.'),
    cfg.StrOpt(
        'interface',
        default='internal',
        choices=['public', 'internal', 'admin'],
        help='Which endpoints of the catalogue are used.',
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

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.-]{0,63}', re.ASCII)

# As every account that has one calls it.
_AUTH_URL = [
    opt
    for opt in loading.get_auth_plugin_conf_options('password')
    if opt.dest == 'auth_url'
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


def clouds(conf: cfg.ConfigOpts) -> tuple[str, ...]:
    """Names of the further clouds, sorted.

    :raises errors.Misconfigured: for a name that cannot be used
    """
    found = sorted(
        section.removeprefix(PREFIX)
        for section in conf.list_all_sections()
        if section.startswith(PREFIX)
    )
    for name in found:
        if name == schema.DEFAULT_CLOUD or not _NAME.fullmatch(name):
            raise errors.Misconfigured(
                f'group [{PREFIX}{name}]: expected a name of up to 64 '
                'letters, digits, "_", "." and "-" that is not '
                f'"{schema.DEFAULT_CLOUD}", which is the group [openstack] '
                'itself; rename the group'
            )
    return tuple(found)


def group(cloud: str) -> str:
    """The group of a cloud's options."""
    if cloud == schema.DEFAULT_CLOUD:
        return str(GROUP.name)
    return f'{PREFIX}{cloud}'


def options(
    conf: cfg.ConfigOpts, cloud: str = schema.DEFAULT_CLOUD
) -> Mapping[str, Any]:
    """Our own options of a cloud.

    :raises errors.Misconfigured: for a value that an option does not take
    """
    section = group(cloud)
    _inherit(conf, section)
    try:
        return {opt.dest: conf[section][opt.dest] for opt in OPTS}
    except (cfg.Error, ValueError) as exc:
        raise errors.Misconfigured(f'group [{section}]: {exc}') from exc


def session(
    conf: cfg.ConfigOpts, cloud: str = schema.DEFAULT_CLOUD
) -> Any | None:
    """A keystoneauth session; None when no account is configured.

    :raises errors.Misconfigured: for options that keystoneauth refuses
    """
    section = group(cloud)
    _inherit(conf, section)
    try:
        auth = loading.load_auth_from_conf_options(conf, section)
        if auth is None:
            return None
        return loading.load_session_from_conf_options(
            conf, section, auth=patient(auth)
        )
    except (ks_exc.ClientException, cfg.Error, ValueError) as exc:
        raise errors.Misconfigured(f'group [{section}]: {exc}') from exc


def patient(auth: Any) -> Any:
    """An account that does not wait for itself.

    Where Keystone answers 401 when it is asked which versions it has,
    keystoneauth (5.18) asks again with a token, for which it waits until the
    login is over that it is in the middle of: for ever. Here that is a
    failure of the discovery, after which it goes by the URL.
    """
    state = threading.local()
    get_auth_ref, get_token = auth.get_auth_ref, auth.get_token

    def logging_in(session: Any, **more: Any) -> Any:
        state.busy = True
        try:
            return get_auth_ref(session, **more)
        finally:
            state.busy = False

    def token(session: Any) -> Any:
        if getattr(state, 'busy', False):
            raise ks_exc.DiscoveryFailure(
                'Keystone wants a login before it tells its versions'
            )
        return get_token(session)

    auth.get_auth_ref, auth.get_token = logging_in, token
    return auth


def _inherit(conf: cfg.ConfigOpts, section: str) -> None:
    """Register all options of a further cloud, with ours as defaults."""
    if section == GROUP.name:
        return
    try:
        _defaults(conf, section, [*OPTS, *loading.get_session_conf_options()])
        common = loading.get_auth_common_conf_options()
        conf.register_opts(common, group=section)
        conf.register_opts(_AUTH_URL, group=section)
        if any(
            _is_set(conf, name, section)
            for name in ('auth_url', 'auth_type', 'auth_section')
        ):
            # Nobody's password is told to another Keystone.
            return
        _defaults(conf, section, common)
        kind = conf[section].auth_type
        if kind:
            own = loading.get_auth_plugin_conf_options(kind)
            # What the default cloud does not set has no value there.
            conf.register_opts(own, group=GROUP.name)
            _defaults(conf, section, own)
    except ks_exc.NoMatchingPlugin:
        # Loading the account says what is wrong.
        return
    except (cfg.Error, ValueError) as exc:
        raise errors.Misconfigured(f'group [{section}]: {exc}') from exc


def _is_set(conf: cfg.ConfigOpts, name: str, section: str) -> bool:
    """Whether a file says it, rather than this module."""
    found = conf.get_location(name, section)
    return found is not None and found.location.is_user_controlled


def _defaults(
    conf: cfg.ConfigOpts, section: str, opts: Iterable[cfg.Opt]
) -> None:
    """Register options whose defaults are the default cloud's values."""
    for opt in opts:
        conf.register_opt(opt, group=section)
        value = conf[GROUP.name][opt.dest]
        if value is not None:
            conf.set_default(opt.dest, value, group=section)

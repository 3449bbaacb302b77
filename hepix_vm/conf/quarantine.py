# SPDX-License-Identifier: Apache-2.0
"""Options of the site's own boot of new images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keystoneauth1 import exceptions as ks_exc
from keystoneauth1 import loading
from oslo_config import cfg

from hepix_vm.conf import openstack
from hepix_vm import errors
from hepix_vm.nova import console
from hepix_vm.nova import quarantine

GROUP = cfg.OptGroup(
    'quarantine',
    title='New images are booted by the site first',
    help="""
For subscriptions with "quarantine = true": a new version is booted in a
project of the site's own, and released to users only when that went well.
Needs flavor and one of console_line, console_expression and script.

The account (the usual keystoneauth options, auth_type first) decides the
project; without auth_type it is the one that publishes. For a further cloud
[openstack:NAME] a group [quarantine:NAME] takes the place of this one; without
it these options hold, with the account that publishes there.
""",
)

OPTS = [
    cfg.StrOpt(
        'flavor',
        help="""
Name or id of the flavor. It has to be large enough for every image.
""",
    ),
    cfg.ListOpt(
        'networks',
        default=[],
        help="""
Ids of the networks that the server is put into. Empty: it gets none, which is
enough for a line on the console. Nothing of the site should be reached from
them: what boots is new.
""",
    ),
    cfg.StrOpt(
        'availability_zone',
        help='Where the server is placed. Unset: where Nova likes.',
    ),
    cfg.FloatOpt(
        'active_timeout',
        default=900,
        min=1,
        help="""
Seconds until the server has to be ACTIVE, the download to its host included.
After that nothing is decided, and the next run tries again.
""",
    ),
    cfg.FloatOpt(
        'boot_timeout',
        default=600,
        min=1,
        help="""
Seconds from ACTIVE until the line has to be on the console, or the script has
to be done. After that the image has failed.
""",
    ),
    cfg.StrOpt(
        'console_line',
        help="""
Text that a line of the console has to contain, such as "login:".
""",
    ),
    cfg.StrOpt(
        'console_expression',
        help="""
Expression in the syntax of RE2 that has to be found in a line of the console.
Needs the Python package google-re2, whose time grows with the line alone.
""",
    ),
    cfg.StrOpt(
        'script',
        help="""
Absolute path of a program that judges the server instead. It gets JSON on
standard input (image_id, server_id, server_name, addresses by network, seconds
that it has), no arguments and no environment but PATH and LANG. Exit status 0:
the image is good; 75: it could not be found out, try again; all else, and
taking longer than boot_timeout: it has failed.
""",
    ),
]

_PROOFS = ('console_line', 'console_expression', 'script')
_DEFAULT = 'default'

# Seconds; keystoneauth would wait for a silent service for ever.
_TIMEOUT = 120


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    _register(conf, GROUP.name)


def _register(conf: cfg.ConfigOpts, group: str) -> None:
    # By name: a group object keeps overrides, and the options of an account's
    # auth_type, for every later configuration.
    conf.register_opts(OPTS, group=group)
    loading.register_session_conf_options(conf, group)
    conf.set_default('timeout', _TIMEOUT, group)
    loading.register_auth_conf_options(conf, group)


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


def place(conf: cfg.ConfigOpts, cloud: str) -> quarantine.Place:
    """Where and how images of a cloud are tried out.

    What is wrong with the options is kept for those who need them.

    :param cloud: its name; ``default`` is that of ``[openstack]``
    """
    group = GROUP.name
    own = cloud == _DEFAULT
    named = f'{GROUP.name}:{cloud}'
    if not own and named in conf.list_all_sections():
        group, own = named, True
        _register(conf, group)

    def session() -> Any | None:
        return _session(conf, group) if own else None

    try:
        return quarantine.Place(session, _settings(conf, group), group)
    except errors.Misconfigured as exc:
        return quarantine.Place(session, exc, group)


def _settings(conf: cfg.ConfigOpts, group: str) -> quarantine.Settings:
    try:
        values = {opt.dest: getattr(conf[group], opt.dest) for opt in OPTS}
    except (cfg.Error, ValueError) as exc:
        raise errors.Misconfigured(f'group [{group}]: {exc}') from exc
    if not values['flavor']:
        raise errors.Misconfigured(
            f'group [{group}] option flavor is missing: a subscription says '
            '"quarantine = true", which needs one'
        )
    return quarantine.Settings(
        flavor=values['flavor'],
        networks=tuple(values['networks']),
        zone=values['availability_zone'],
        active_within=values['active_timeout'],
        good_within=values['boot_timeout'],
        proof=_proof(group, values),
    )


def _proof(group: str, values: dict[str, Any]) -> console.Expected | Path:
    given = [name for name in _PROOFS if values[name]]
    if len(given) != 1:
        raise errors.Misconfigured(
            f'group [{group}]: expected one of {", ".join(_PROOFS)}, found '
            f'{" and ".join(given) or "none"}'
        )
    value = str(values[given[0]])
    if given == ['console_line']:
        return console.Text(value)
    if given == ['console_expression']:
        return console.checked(value)
    if not Path(value).is_absolute():
        raise errors.Misconfigured(
            f'group [{group}] option script: expected an absolute path, '
            f'found {value!r}'
        )
    return Path(value)


def _session(conf: cfg.ConfigOpts, group: str) -> Any | None:
    """A session of its own account; None when it has none.

    :raises errors.Misconfigured: for options that keystoneauth refuses
    """
    try:
        auth = loading.load_auth_from_conf_options(conf, group)
        if auth is None:
            return None
        return loading.load_session_from_conf_options(
            conf, group, auth=openstack.patient(auth)
        )
    except (ks_exc.ClientException, cfg.Error) as exc:
        raise errors.Misconfigured(f'group [{group}]: {exc}') from exc

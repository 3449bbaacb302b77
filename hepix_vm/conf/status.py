# SPDX-License-Identifier: Apache-2.0
"""Options of ``hepix-vm status``: how far each measure may go."""

from __future__ import annotations

from collections.abc import Mapping

from oslo_config import cfg

from hepix_vm.catalogue import measures
from hepix_vm import errors

GROUP = cfg.OptGroup(
    'status',
    title='When "hepix-vm status" warns',
    help="""
Limits of what it measures, as NAME:NUMBER[,NAME:NUMBER...]; "off" stands for
none. Measures that are not named keep their defaults. A value above its limit
is a problem; where the name ends in "_hours" and time is running out, and of
"subscriptions", it is one below the limit.
""",
)


def _help(what: str, defaults: Mapping[str, float | None]) -> str:
    lines = [
        f'{measure.name} '
        f'({"below" if measure.less_is_worse else "above"} '
        f'{_shown(defaults[measure.name])}): {measure.meaning}'
        for measure in measures.MEASURES
    ]
    return f'Limits from which on the state is {what}. ' + '; '.join(lines)


def _shown(limit: float | None) -> str:
    return 'off' if limit is None else f'{limit:g}'


OPTS = [
    cfg.DictOpt(
        'warning',
        default={},
        help=_help('WARNING', measures.DEFAULTS.warning)
        + '. The default of crl_hours is [trust] crl_warning_hours.',
    ),
    cfg.DictOpt(
        'critical',
        default={},
        help=_help('CRITICAL', measures.DEFAULTS.critical) + '.',
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known to ``conf``."""
    # By name: a group object keeps overrides for every configuration.
    conf.register_opts(OPTS, group=GROUP.name)


def limits(
    conf: cfg.ConfigOpts,
    warning: Mapping[str, str] | None = None,
    critical: Mapping[str, str] | None = None,
) -> measures.Limits:
    """The limits of a site.

    :param warning: those that go before the configuration's, as written
    :param critical: likewise
    :raises errors.Misconfigured: for a measure or limit that is none
    """
    group = conf.status
    crl = {'crl_hours': conf.trust.crl_warning_hours}
    return measures.Limits(
        {
            **measures.DEFAULTS.warning,
            **crl,
            **_read('group [status] option warning', group.warning),
            **_read('--warning', warning or {}),
        },
        {
            **measures.DEFAULTS.critical,
            **_read('group [status] option critical', group.critical),
            **_read('--critical', critical or {}),
        },
    )


def _read(place: str, given: Mapping[str, str]) -> dict[str, float | None]:
    found = {}
    for name, text in given.items():
        if name not in measures.BY_NAME:
            raise errors.Misconfigured(
                f'{place}: expected one of {", ".join(measures.BY_NAME)}, '
                f'found {name!r}'
            )
        try:
            found[name] = measures.limit(text)
        except ValueError as exc:
            raise errors.Misconfigured(
                f'{place}: expected a number or "off" for {name}, found '
                f'{text!r}'
            ) from exc
    return found

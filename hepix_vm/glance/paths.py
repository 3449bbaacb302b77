# SPDX-License-Identifier: Apache-2.0
"""Ways to an image with data that never run Glance's import plugins.

Read in the configuration of Glance itself, by the guard when Glance starts
and by ``hepix-vm-status upgrade check``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as File

from oslo_config import cfg

from hepix_vm import errors
from hepix_vm.glance import protections
from hepix_vm import paths
from hepix_vm.paths import paste
from hepix_vm.paths import policies
from hepix_vm.paths import service

GUARD = 'hepix_vm.glance.guard:filter_factory'

#: Names of the ways, in the order in which they are shown.
NAMES = (
    'upload',
    'add-location',
    'set-location',
    'tasks',
    'reactivate',
    'properties',
    'download',
    'locations',
)

#: Rules that close them, as in ``etc/hepix_vm/glance-policy.yaml``.
POLICY = {
    'upload_image': (
        'rule:context_is_admin or (role:member and '
        'project_id:%(project_id)s and service_roles:service)'
    ),
    'add_image_location': 'rule:service_api',
    'set_image_location': '!',
    'tasks_api_access': '!',
    'reactivate': 'rule:context_is_admin',
    'download_image': 'rule:hepix_exempt or rule:hepix_download',
    'download_from_store': 'rule:hepix_exempt or rule:hepix_download',
    'fetch_image_location': (
        'rule:service_api and (rule:hepix_exempt or hepix_approved:any)'
    ),
}

#: Stores whose images Nova and Cinder, or anybody, can read without Glance.
_READABLE = frozenset({'rbd', 'cinder', 'http'})

_OPTIONS = {
    'DEFAULT': (
        cfg.BoolOpt('show_multiple_locations', default=False),
        cfg.BoolOpt('show_image_direct_url', default=False),
        cfg.DictOpt('enabled_backends'),
        cfg.StrOpt('property_protection_file'),
        cfg.StrOpt('property_protection_rule_format', default='roles'),
    ),
    'glance_store': (cfg.ListOpt('stores', default=['file', 'http']),),
    'image_import_opts': (
        cfg.ListOpt('image_import_plugins', bounds=True, default=['no_op']),
    ),
    'paste_deploy': (
        cfg.StrOpt('flavor'),
        cfg.StrOpt('config_file'),
    ),
}


def configuration(
    files: Sequence[File], folders: Sequence[File] | None = None
) -> cfg.ConfigOpts:
    """Glance's configuration, as far as it matters here.

    :param files: in the order in which Glance reads them
    :param folders: of configuration; None: those that Glance looks for
    :raises errors.Misconfigured: when they cannot be read
    """
    return service.read('glance', _OPTIONS, files, folders)


def plugins(conf: cfg.ConfigOpts) -> tuple[str, ...]:
    """Glance's list of import plugins."""
    return tuple(conf['image_import_opts'].image_import_plugins)


def paste_file(conf: cfg.ConfigOpts) -> File:
    """The paste file that Glance reads.

    :raises errors.Misconfigured: when there is none
    """
    named = conf['paste_deploy'].config_file
    if named:
        return File(named)
    last = File(conf.config_file[-1]).name
    found = conf.find_file(last.replace('.conf', '-paste.ini'))
    if not found:
        raise errors.Misconfigured('glance-api-paste.ini cannot be found')
    return File(found)


def require_guarded(conf: cfg.ConfigOpts, file: File) -> None:
    """The guard stands in the pipeline, behind the check of tokens.

    :raises errors.Misconfigured: when it does not
    """
    flavor = conf['paste_deploy'].flavor or 'default'
    found = paste.pipelines(file, 'glance.api:pipeline_factory', flavor)
    if not found:
        raise errors.Misconfigured(
            f'{file}: expected a pipeline "{flavor}" of '
            'glance.api:pipeline_factory, found none'
        )
    for one in found:
        token = one.place('keystonemiddleware.auth_token:filter_factory')
        if token < 0:
            raise errors.Misconfigured(
                f'{file}: pipeline "{flavor}" asks nobody for a token, so '
                'that everybody is an administrator; set [paste_deploy] '
                'flavor = keystone'
            )
        if one.place(GUARD) < token:
            raise errors.Misconfigured(
                f'{file}: pipeline "{flavor}" needs hepix_guard '
                f'({GUARD}) behind authtoken and context'
            )


def looked(
    conf: cfg.ConfigOpts, judge: policies.Judge
) -> tuple[paths.Path, ...]:
    """What is closed and what is not, by :data:`NAMES`.

    :raises errors.Misconfigured: when a file of Glance cannot be read
    """
    located = 'name where the data of an image is'
    return (
        _ruled(judge, 'upload', 'upload_image', 'store data directly'),
        _ruled(judge, 'add-location', 'add_image_location', located),
        _ruled(judge, 'set-location', 'set_image_location', located)
        if conf['DEFAULT'].show_multiple_locations
        else _closed('set-location', 'show_multiple_locations is off'),
        _ruled(judge, 'tasks', 'tasks_api_access', 'import by a task'),
        _ruled(judge, 'reactivate', 'reactivate', 'undo a withdrawal'),
        protections.looked(conf, judge),
        _download(judge),
        _locations(conf, judge),
    )


def _closed(name: str, why: str) -> paths.Path:
    return paths.Path(name, paths.State.CLOSED, why)


def _unknown(name: str, lines: Sequence[str]) -> paths.Path:
    return paths.Path(
        name,
        paths.State.UNKNOWN,
        'a policy is left to the defaults of Glance, which is not installed '
        'here',
        tuple(lines),
    )


def _line(rule: str) -> str:
    return f'"{rule}": "{POLICY[rule]}" in policy.yaml of Glance'


def _ruled(
    judge: policies.Judge, name: str, rule: str, what: str
) -> paths.Path:
    """A way that is closed when a rule refuses users."""
    if not judge.there(rule):
        return _closed(name, 'this release of Glance does not have it')
    if not judge.known(rule):
        return _unknown(name, [_line(rule)])
    passed = judge.passed(rule, policies.USERS)
    if passed:
        who = ', '.join(one.name for one in passed)
        return paths.Path(
            name,
            paths.State.OPEN,
            f'policy {rule} lets {who} {what}',
            (_line(rule),),
        )
    return _closed(name, f'policy {rule} refuses users')


def _download(judge: policies.Judge) -> paths.Path:
    """Whether data that nobody approved is handed out."""
    rules = [
        rule
        for rule in ('download_image', 'download_from_store')
        if judge.there(rule)
    ]
    lines = (
        *(_line(rule) for rule in rules),
        'what these refer to, from etc/hepix_vm/glance-policy.yaml',
    )
    for rule in rules:
        passed = judge.passed(rule, policies.ALL_BUT_ADMIN)
        if passed:
            who = ', '.join(one.name for one in passed)
            return paths.Path(
                'download',
                paths.State.OPEN,
                f'policy {rule} gives {who} images that nobody approved',
                lines,
            )
    if not all(judge.known(rule) for rule in rules):
        return _unknown('download', lines)
    return _closed('download', 'the policy refuses what is not approved')


def _stores(conf: cfg.ConfigOpts) -> frozenset[str]:
    """Kinds of the stores that Glance has."""
    named = conf['DEFAULT'].enabled_backends
    if named:
        return frozenset(named.values())
    return frozenset(conf['glance_store'].stores)


def _locations(conf: cfg.ConfigOpts, judge: policies.Judge) -> paths.Path:
    """Whether others can read data in its store, past the policy."""
    name = 'locations'
    readable = sorted(_stores(conf) & _READABLE)
    if not readable:
        return _closed(name, 'nobody but Glance reads its stores')
    shown = [
        option
        for option in ('show_image_direct_url', 'show_multiple_locations')
        if conf['DEFAULT'][option]
    ]
    what = (
        f'where in a store of kind {readable[0]} the data of an image is, '
        'and it is read there without asking Glance'
    )
    if shown:
        # Policy get_image_location is not asked for that.
        return paths.Path(
            name,
            paths.State.OPEN,
            f'{" and ".join(shown)} tell {what}',
            tuple(f'{one} = False in glance-api.conf' for one in shown),
        )
    rule = 'fetch_image_location'
    if not judge.there(rule):
        return _closed(name, 'this release of Glance tells nobody')
    passed = judge.passed(rule, policies.ALL_BUT_ADMIN)
    if passed:
        return paths.Path(
            name,
            paths.State.OPEN,
            f'policy {rule} tells {passed[0].name} {what}',
            (_line(rule),),
        )
    if not judge.known(rule):
        return _unknown(name, [_line(rule)])
    return _closed(name, 'the place of what nobody approved is not told')

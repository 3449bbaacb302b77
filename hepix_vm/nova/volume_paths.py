# SPDX-License-Identifier: Apache-2.0
"""Ways by which a volume holds another image than it says.

Read in the configuration of Cinder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as File

from oslo_config import cfg

from hepix_vm import paths
from hepix_vm.paths import policies
from hepix_vm.paths import service

#: Names of the ways, in the order in which they are shown.
NAMES = ('volume-metadata', 'volume-copies')

#: Rules that close the first, as in ``etc/hepix_vm/cinder-policy.yaml``.
POLICY = {
    'volume_extension:volume_image_metadata:set': 'rule:admin_api',
    'volume_extension:volume_image_metadata:remove': 'rule:admin_api',
}

_BACKEND = (cfg.BoolOpt('image_volume_cache_enabled', default=False),)
_OPTIONS = {
    'DEFAULT': (
        *_BACKEND,
        cfg.ListOpt('enabled_backends', default=[]),
        cfg.ListOpt('allowed_direct_url_schemes', default=[]),
    ),
    'backend_defaults': _BACKEND,
}


def configuration(
    files: Sequence[File], folders: Sequence[File] | None = None
) -> cfg.ConfigOpts:
    """Cinder's configuration, as far as it matters here.

    :param files: in the order in which Cinder reads them
    :param folders: of configuration; None: those that Cinder looks for
    :raises errors.Misconfigured: when they cannot be read
    """
    return service.read('cinder', _OPTIONS, files, folders)


def looked(
    conf: cfg.ConfigOpts, judge: policies.Judge
) -> tuple[paths.Path, ...]:
    """What is closed and what is not, by :data:`NAMES`."""
    return (_metadata(judge), _copies(conf))


def _metadata(judge: policies.Judge) -> paths.Path:
    name = 'volume-metadata'
    lines = tuple(
        f'"{rule}": "{text}" in policy.yaml of Cinder'
        for rule, text in POLICY.items()
    )
    people = (*policies.USERS, policies.FOR_MEMBER)
    for rule in POLICY:
        passed = judge.passed(rule, people)
        if passed:
            return paths.Path(
                name,
                paths.State.OPEN,
                f'policy {rule} lets {passed[0].name} change of which image '
                'a volume says that it was made',
                lines,
            )
    if not all(judge.known(rule) for rule in POLICY):
        return paths.Path(
            name,
            paths.State.UNKNOWN,
            'the policy is left to the defaults of Cinder, which is not '
            'installed here',
            lines,
        )
    return paths.Path(
        name,
        paths.State.CLOSED,
        'users cannot change of which image a volume says that it was made',
    )


def _copies(conf: cfg.ConfigOpts) -> paths.Path:
    """Whether volumes are made of an image without asking Glance for it."""
    named = conf['DEFAULT'].enabled_backends
    for backend in named:
        conf.register_opts(_BACKEND, group=backend)
    opened = []
    lines = []
    for group in ('DEFAULT', 'backend_defaults', *named):
        if conf[group].image_volume_cache_enabled:
            opened.append('the image-volume cache')
            lines.append(
                f'image_volume_cache_enabled = false in [{group}] of '
                'cinder.conf'
            )
    if conf['DEFAULT'].allowed_direct_url_schemes:
        opened.append('allowed_direct_url_schemes')
        lines.append('no allowed_direct_url_schemes in cinder.conf')
    if opened:
        return paths.Path(
            'volume-copies',
            paths.State.OPEN,
            f'by {" and ".join(dict.fromkeys(opened))} a withdrawn image '
            'still becomes volumes, because Glance is not asked',
            tuple(lines),
        )
    return paths.Path(
        'volume-copies', paths.State.CLOSED, 'each volume asks Glance'
    )

# SPDX-License-Identifier: Apache-2.0
"""What atrope keeps: its configuration, and no state of lists.

Facts of its releases: ``atrope.conf`` (oslo.config) names the file of
sources in ``[sources] hepix_sources`` and the CAs in ``ca_path``. That file
is a mapping of names to ``url``, ``enabled`` (default true), ``endorser``
(``dn``, ``ca``), ``token``, ``images`` (empty: all), ``prefix`` and
``project``; builds for Harbor add ``type``, ``file_path`` and settings of a
registry. The token is sent as a user whose password is ``x-oauth-basic``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import re
from typing import Any

from oslo_config import cfg

from hepix_vm import errors
from hepix_vm.operations.predecessors import documents
from hepix_vm.operations.predecessors import values

NAME = 'atrope'

_INSECURE = (
    'atrope looks at no CRL: it takes lists of revoked endorsers. Here a CA '
    'without a current CRL is not believed (option crl); run fetch-crl.',
    'atrope compares no versions, so a server can show it an old list.',
    "atrope reads a failed fetch as an empty list and deletes the list's "
    'images. Here a failed fetch withdraws nothing.',
    'tokens and passwords stand in its file of sources in clear; that file '
    'is often readable by more accounts than it should be.',
)
_NO_EQUIVALENT = (
    'prefix: images get the title that their endorser gave them.',
    'type harbor: atrope believes whatever the registry holds. Here a list '
    'in a registry has to be signed (url = oci://HOST/PROJECT/NAME:TAG).',
)
_SECTION = re.compile(r'\s*\[[A-Za-z_]+\]\s*')


def read(path: Path) -> values.Predecessor:
    """Read ``atrope.conf``, or the file of sources that it names.

    :raises errors.Misconfigured: either cannot be read or is something else
    """
    sources, anchors = path, None
    if _is_ini(documents.text(path)):
        sources, anchors = _settings(path)
    followed = []
    left_out = []
    for name, entry in documents.mapping(sources).items():
        label = values.shown(str(name))
        if not isinstance(entry, Mapping):
            raise errors.Misconfigured(
                f'{sources}, {label[:64]!r}: expected a mapping with url and '
                f'endorser, found {documents.kind(entry)}; give atrope.conf '
                'or the file that its option hepix_sources names'
            )
        try:
            followed.append(_followed(sources, label, entry, anchors))
        except values.Unusable as exc:
            left_out.append(values.LeftOut(label, str(exc)))
    return values.Predecessor(
        NAME, tuple(followed), tuple(left_out), _INSECURE, _NO_EQUIVALENT
    )


def _is_ini(text: str) -> bool:
    """Whether the first line that says something opens a section."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith(('#', ';')):
            return _SECTION.fullmatch(line) is not None
    return False


def _settings(path: Path) -> tuple[Path, str]:
    """File of sources and directory of CAs.

    :raises errors.Misconfigured: oslo.config cannot read the file
    """
    conf = cfg.ConfigOpts()
    conf.register_opts(
        [
            cfg.StrOpt('basedir', default='.'),
            cfg.StrOpt('state_path', default='$basedir'),
            cfg.StrOpt('ca_path', default=values.ANCHORS),
        ]
    )
    conf.register_opts(
        [cfg.StrOpt('hepix_sources', default='/etc/atrope/hepix.yaml')],
        group='sources',
    )
    try:
        conf(args=[], default_config_files=[str(path)], default_config_dirs=[])
        return Path(conf.sources.hepix_sources), str(conf.ca_path)
    except (cfg.Error, ValueError) as exc:
        raise errors.Misconfigured(
            f'{path}: oslo.config cannot read it ({type(exc).__name__}); give '
            'the file that its option hepix_sources names'
        ) from exc


def _followed(
    path: Path, label: str, entry: Mapping[str, Any], anchors: str | None
) -> values.Followed:
    def string(key: str) -> str:
        return documents.string(path, f'{label[:64]!r} {key}', entry.get(key))

    enabled = entry.get('enabled', True)
    if not enabled:
        raise values.Unusable('atrope has it switched off (enabled: false)')
    if string('type').lower() not in ('', 'hepix'):
        raise values.Unusable(
            f'it is of type {string("type")[:32]!r}: not a signed image list '
            'but a registry that atrope believes as it is'
        )
    found = values.location(string('url') or _file_url(string('file_path')))
    notes = list(values.emptied_note(found))
    endorsers, problems = _endorsers(path, label, entry.get('endorser'))
    notes += problems
    projects: tuple[str, ...] = ()
    project = string('project')
    if re.fullmatch('[A-Za-z0-9_-]+', project):
        projects = (project,)
    elif project:
        notes.append('its project is no project id: see option projects')
    secret = None
    if string('token'):
        secret = values.Secret(f'token of {label!r}', 'TOKEN:x-oauth-basic')
    elif found.had_user:
        secret = values.Secret(f'the url of {label!r}')
    images = documents.strings(
        path, f'{label[:64]!r} images', entry.get('images')
    )
    return values.Followed(
        label=label,
        url=found.url,
        endorsers=endorsers,
        trust_anchors=anchors,
        images=images,
        takes_all=not images,
        projects=projects,
        secret=secret,
        notes=tuple(notes),
        name=label,
    )


def _file_url(name: str) -> str:
    """URL of a local list; '' for none."""
    if not name:
        return ''
    if not Path(name).is_absolute():
        raise values.Unusable('its file_path is no absolute path')
    return Path(name).as_uri()


def _endorsers(
    path: Path, label: str, entry: Any
) -> tuple[tuple[values.Endorser, ...], tuple[str, ...]]:
    if entry is None:
        return (), ()
    if not isinstance(entry, Mapping):
        raise errors.Misconfigured(
            f'{path}, {label[:64]!r} endorser: expected a mapping with dn '
            f'and ca, found {documents.kind(entry)}'
        )
    subject = documents.string(path, f'{label[:64]!r} dn', entry.get('dn'))
    issuer = documents.string(path, f'{label[:64]!r} ca', entry.get('ca'))
    if not subject and not issuer:
        return (), ()
    problems = values.readable(subject, issuer)
    return () if problems else (values.Endorser(subject, issuer),), problems

# SPDX-License-Identifier: Apache-2.0
"""Whether users may write the properties that decide what boots.

Glance asks its property protections for each of them: the first section whose
name, a regular expression, is found in the property's, and nobody when there
is none. Read as ``glance.common.property_utils`` does.
"""

from __future__ import annotations

import configparser
import dataclasses
from pathlib import Path as File
import re

from oslo_config import cfg

from hepix_vm.catalogue import boot
from hepix_vm import errors
from hepix_vm import paths
from hepix_vm.paths import policies

#: Of the properties that say of which image a snapshot is.
LINEAGE = ('base_image_ref',)

#: All that are to be protected; ``min_disk`` is no property.
GUARDED = (
    *(name for name in boot.NAMES if name != 'min_disk'),
    *(f'img_{name}' for name in sorted(boot.TWICE)),
    *LINEAGE,
)

_WRITES = ('create', 'update', 'delete')
_LINES = (
    'property_protection_file = '
    '/etc/hepix_vm/glance-property-protections.conf in glance-api.conf',
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Section:
    pattern: re.Pattern[str]
    permitted: dict[str, frozenset[str]]


def looked(conf: cfg.ConfigOpts, judge: policies.Judge) -> paths.Path:
    """Whether a user may write one of :data:`GUARDED`.

    :raises errors.Misconfigured: when the file cannot be read
    """
    name = 'properties'
    named = conf['DEFAULT'].property_protection_file
    if not named:
        return paths.Path(
            name,
            paths.State.OPEN,
            'users may write every property of their images, also those that '
            'decide what boots',
            _LINES,
        )
    file = File(conf.find_file(named) or named)
    sections = _read(file)
    by_policy = conf['DEFAULT'].property_protection_rule_format != 'roles'
    for written in GUARDED:
        for action in _WRITES:
            allowed = _permitted(sections, written, action)
            if by_policy and not all(
                one in '@!' or judge.known(one) for one in allowed
            ):
                return paths.Path(
                    name,
                    paths.State.UNKNOWN,
                    f'{file} names policies that are not to be read here',
                )
            for who in policies.USERS:
                if _may(who, allowed, judge if by_policy else None):
                    return paths.Path(
                        name,
                        paths.State.OPEN,
                        f'{file} lets {who.name} {action} the property '
                        f'{written}, which decides what boots',
                        _LINES,
                    )
    return paths.Path(
        name, paths.State.CLOSED, 'users cannot write what decides what boots'
    )


def _may(
    who: policies.Who,
    allowed: frozenset[str],
    judge: policies.Judge | None,
) -> bool:
    if '!' in allowed:
        return False
    if '@' in allowed:
        return True
    if judge is not None:
        return any(judge.passed(one, (who,)) for one in allowed)
    return bool({one.lower() for one in allowed} & set(who.roles))


def _permitted(
    sections: list[_Section], written: str, action: str
) -> frozenset[str]:
    for section in sections:
        if section.pattern.search(written):
            return section.permitted[action]
    return frozenset()


def _read(file: File) -> list[_Section]:
    parser = configparser.ConfigParser()
    try:
        parser.read_string(file.read_text('utf-8'))
        return [
            _Section(
                re.compile(name),
                {
                    action: frozenset(
                        one.strip()
                        for one in parser.get(name, action).split(',')
                        if one.strip()
                    )
                    for action in _WRITES
                },
            )
            for name in parser.sections()
            # Glance puts a section of its own in the place of these.
            if not name.startswith('os_glance')
        ]
    except (OSError, configparser.Error, re.error, UnicodeDecodeError) as exc:
        raise errors.Misconfigured(
            f'{file}: expected a readable file of property protections, '
            f'found: {" ".join(str(exc).split())}'
        ) from exc

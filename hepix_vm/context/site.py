# SPDX-License-Identifier: Apache-2.0
"""A site directory as one value: its layers, ready to be put together.

Everything that can be wrong with any variant is refused here, once, for the
whole directory: a layer that nobody named, a file where another layer has a
directory, a template with an unknown variable.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import hashlib
import pathlib

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import directory
from hepix_vm.context import layers
from hepix_vm.context import templates

#: Serial of what is served from a directory, unpublished.
UNPUBLISHED = 0


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A member of a layer.

    :param member: its path is that in the bundle, its content that of the
        directory
    :param template: how the content is made; None: it is as it is
    """

    member: archive.Member
    template: templates.Template | None = None

    def filled(self, values: Mapping[str, str]) -> archive.Member:
        """The member of a bundle."""
        if self.template is None:
            return self.member
        return dataclasses.replace(
            self.member, content=self.template.filled(values)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A layer and what is in it.

    :param variables: that its templates insert, sorted
    """

    rule: layers.Rule
    files: tuple[File, ...] = dataclasses.field(repr=False)
    variables: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """A site directory.

    :param layers: in their order; the later replaces file by file
    :param variables: of the site, for templates, sorted pairs
    :param serial: of the generation; :data:`UNPUBLISHED` for a directory
    :param published_at: UNIX seconds; None for a directory
    :param expires_at: UNIX seconds; None: never
    :param sha256: of the whole site directory as a tar, see :func:`packed`
    :param source: where it comes from, for a person
    """

    layers: tuple[Layer, ...]
    variables: tuple[tuple[str, str], ...]
    serial: int
    published_at: int | None
    expires_at: int | None
    sha256: str
    source: str


def read_directory(
    path: pathlib.Path, limits: bundle.Limits = bundle.DEFAULT_LIMITS
) -> Site:
    """Read a site directory.

    :raises archive.BundleRefused: it cannot be read or holds what cannot be
        served
    """
    source = str(path)
    members = archive.ordered(
        directory.members(path, limits.members, limits.unpacked), source
    )
    return of_members(members, packed(members, limits, source), source)


def packed(
    members: tuple[archive.Member, ...], limits: bundle.Limits, source: str
) -> bytes:
    """A whole site directory as a reproducible tar.

    :param members: in order
    :raises archive.BundleRefused: larger than ``limits``, or with a name
        that does not fit
    """
    tar = archive.pack(members, source)
    bundle.within(len(tar), limits.unpacked, 'max_unpacked_size', source)
    return tar


def of_members(
    members: tuple[archive.Member, ...],
    tar: bytes,
    source: str,
    *,
    serial: int = UNPUBLISHED,
    published_at: int | None = None,
    expires_at: int | None = None,
) -> Site:
    """Make a site of what its directory holds.

    :param members: in order
    :param tar: the same, packed
    :raises archive.BundleRefused: see :func:`read_directory`
    """
    plan = _plan(members, source)
    variables = dict(plan.variables)
    made = tuple(
        _layer(rule, members, variables, source) for rule in plan.rules
    )
    _check_pairs(made, source)
    _check_roots(made, source)
    return Site(
        made,
        plan.variables,
        serial,
        published_at,
        expires_at,
        hashlib.sha256(tar).hexdigest(),
        source,
    )


def _plan(members: tuple[archive.Member, ...], source: str) -> layers.Plan:
    """What ``layers.yaml`` says, or what holds without one."""
    top = {m.path: m for m in members if '/' not in m.path}
    file = top.pop(layers.FILE, None)
    if file is not None:
        plan = layers.plan(file.content or b'', f'{source}/{layers.FILE}')
    elif layers.COMMON in top:
        plan = layers.Plan((layers.Rule(layers.COMMON),))
    else:
        return layers.Plan((layers.Rule(''),))
    named = {rule.directory for rule in plan.rules}
    for name, member in top.items():
        if name not in named:
            raise archive.BundleRefused(
                f'site context {source}/{name}: it is in no layer; name it'
                f' in {layers.FILE}, move it into a layer or away'
            )
        if member.content is not None:
            raise archive.BundleRefused(
                f'site context {source}/{name}: expected the directory of a'
                ' layer, found a file'
            )
    for name in sorted(named - set(top)):
        raise archive.BundleRefused(
            f'site context {source}/{layers.FILE}: layer {name}: there is no'
            ' such directory beside this file'
        )
    return plan


def _layer(
    rule: layers.Rule,
    members: tuple[archive.Member, ...],
    variables: Mapping[str, str],
    source: str,
) -> Layer:
    prefix = f'{rule.directory}/' if rule.directory else ''
    files: dict[str, File] = {}
    for member in members:
        if not member.path.startswith(prefix):
            continue
        file = _file(member, len(prefix), variables, source)
        path = file.member.path
        if path in files:
            raise archive.BundleRefused(
                f'site context {source}/{prefix}{path}: it is there itself'
                f' and as a template {path}{templates.SUFFIX}; remove one'
            )
        files[path] = file
    used = {
        name
        for file in files.values()
        if file.template is not None
        for name in file.template.variables
    }
    return Layer(rule, tuple(files.values()), tuple(sorted(used)))


def _file(
    member: archive.Member,
    cut: int,
    variables: Mapping[str, str],
    source: str,
) -> File:
    path = member.path[cut:]
    if member.content is None or not path.endswith(templates.SUFFIX):
        return File(dataclasses.replace(member, path=path))
    template = templates.parse(
        member.content, variables, f'{source}/{member.path}'
    )
    name = path.removesuffix(templates.SUFFIX)
    return File(dataclasses.replace(member, path=name), template)


def _check_pairs(made: tuple[Layer, ...], source: str) -> None:
    """A path is a file in all layers or a directory in all layers."""
    seen: dict[str, tuple[bool, str]] = {}
    for layer in made:
        for file in layer.files:
            path, is_file = file.member.path, file.member.content is not None
            was_file, where = seen.setdefault(
                path, (is_file, layer.rule.directory)
            )
            if was_file != is_file:
                raise archive.BundleRefused(
                    f'site context {source}: {path} is a file in layer'
                    f' {where if was_file else layer.rule.directory} and a'
                    ' directory in layer'
                    f' {layer.rule.directory if was_file else where};'
                    ' rename one'
                )


def _check_roots(made: tuple[Layer, ...], source: str) -> None:
    """Every instance gets the scripts, where guests look for them."""
    always = {
        file.member.path
        for layer in made
        if not layer.rule.when
        for file in layer.files
        if file.member.content is not None
    }
    for script in archive.SCRIPTS:
        if script not in always:
            where = (
                'its root'
                if made[0].rule.directory == ''
                else 'the root of a layer without conditions'
            )
            raise archive.BundleRefused(
                f'site context {source}: expected a file {script} at {where},'
                ' found none; an empty script (#!/bin/sh) will do'
            )
    for layer in made:
        if any(file.member.path == 'context' for file in layer.files):
            raise archive.BundleRefused(
                f'site context {source}/{layer.rule.directory}: "context" at'
                ' its root; guests look for the scripts at the root itself,'
                ' so move up what is inside'
            )

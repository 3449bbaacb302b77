# SPDX-License-Identifier: Apache-2.0
"""The bundle of one instance, made of a site's layers; no I/O.

The same matching layers and the same values in their templates give the
same bytes: a service makes each variant once, under its :func:`variant_key`.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import facts as facts_
from hepix_vm.context import layers
from hepix_vm.context import manifest
from hepix_vm.context import site as site_
from hepix_vm.context import templates

#: Digest, serial and times of the site, matching layers, values that their
#: templates insert.
Key = tuple[
    str,
    tuple[int, int | None, int | None],
    tuple[str, ...],
    tuple[tuple[str, str], ...],
]


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """What one or more instances get.

    :param manifest: text, see :mod:`hepix_vm.context.manifest`
    :param layers: directories of the layers in it, in their order
    """

    bundle: bundle.Bundle
    manifest: bytes = dataclasses.field(repr=False)
    layers: tuple[str, ...]


def variant_key(site: site_.Site, facts: facts_.Facts) -> Key:
    """What tells one variant from another; cheap, and good for caches."""
    known = facts_.known(facts)
    chosen = _chosen(site, known)
    used = {name for layer in chosen for name in layer.variables}
    return (
        site.sha256,
        (site.serial, site.published_at, site.expires_at),
        tuple(layer.rule.directory for layer in chosen),
        tuple(
            (name, known[name])
            for name in facts_.NAMES
            if name in used and name in known
        ),
    )


def compose(
    site: site_.Site,
    facts: facts_.Facts,
    limits: bundle.Limits = bundle.DEFAULT_LIMITS,
) -> Variant:
    """Put together what an instance gets.

    :raises archive.BundleRefused: the bundle or its manifest would be
        larger than ``limits``
    """
    known = facts_.known(facts)
    return merged(site, _chosen(site, known), known, limits)


def merged(
    site: site_.Site,
    chosen: tuple[site_.Layer, ...],
    known: Mapping[str, str],
    limits: bundle.Limits,
) -> Variant:
    """Put together these layers of a site.

    :param known: see :func:`facts.known`
    :raises archive.BundleRefused: see :func:`compose`
    """
    values = templates.values(known, site.serial, dict(site.variables))
    members: dict[str, archive.Member] = {}
    for layer in chosen:
        for file in layer.files:
            members[file.member.path] = file.filled(values)
    made = bundle.assemble(list(members.values()), site.source, limits)
    text = manifest.render(
        manifest.Manifest(
            serial=site.serial,
            created=site.published_at,
            expires=site.expires_at,
            sha256_tar=made.sha256_tar,
            size_tar=len(made.tar),
            files=made.files,
            directories=made.directories,
        )
    )
    bundle.within(len(text), bundle.ANSWER_LIMIT, 'max_files', site.source)
    return Variant(made, text, tuple(layer.rule.directory for layer in chosen))


def explain(
    site: site_.Site, facts: facts_.Facts
) -> tuple[layers.Matched, ...]:
    """Every layer and why it counts or not, in their order."""
    known = facts_.known(facts)
    return tuple(layers.match(layer.rule, known) for layer in site.layers)


def _chosen(
    site: site_.Site, known: dict[str, str]
) -> tuple[site_.Layer, ...]:
    return tuple(
        layer for layer in site.layers if layers.counts(layer.rule, known)
    )

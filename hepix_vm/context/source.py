# SPDX-License-Identifier: Apache-2.0
"""Where a site's context is read from, and whether it has changed."""

from __future__ import annotations

import dataclasses
import pathlib

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import directory
from hepix_vm.context import generations
from hepix_vm.context import site as site_


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What the site says about the place of its context.

    :param directory: the site directory
    :param state_directory: of :mod:`hepix_vm.context.generations`
    :param published: whether the current generation is read; otherwise the
        site directory as it stands
    :param limits: how much it may hold
    """

    directory: pathlib.Path
    state_directory: pathlib.Path
    published: bool
    limits: bundle.Limits = bundle.DEFAULT_LIMITS


def read(source: Source) -> site_.Site:
    """Read what is to be served.

    :raises archive.BundleRefused: nothing is published, or what is there
        cannot be served
    """
    if not source.published:
        return site_.read_directory(source.directory, source.limits)
    serial = generations.current(source.state_directory)
    if serial is None:
        raise archive.BundleRefused(
            f'site context {source.state_directory}: nothing is published;'
            ' run "hepix-vm context publish" or set [context] serve ='
            ' directory'
        )
    return generations.read(source.state_directory, serial, source.limits)


def fingerprint(source: Source) -> tuple[object, ...]:
    """Give a value that changes when :func:`read` may give another site.

    Never raises and reads no content.
    """
    if source.published:
        return directory.fingerprint(source.state_directory / 'current', 4)
    return directory.fingerprint(source.directory, source.limits.members)

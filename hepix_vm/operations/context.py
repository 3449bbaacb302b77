# SPDX-License-Identifier: Apache-2.0
"""The site's context bundle."""

from __future__ import annotations

from pathlib import Path

from hepix_vm.context import bundle
from hepix_vm.context import directory as directory_
from hepix_vm.context import facts as facts_
from hepix_vm.context import site as site_
from hepix_vm.context import variants


def build(
    directory: Path, limits: bundle.Limits, output: Path | None
) -> bundle.Bundle:
    """Build the bundle of a site directory, and write it if asked to.

    :raises errors.Misconfigured: for a directory that cannot be served
    :raises errors.LocalFault: when the file cannot be written
    """
    site = site_.read_directory(directory, limits)
    built = variants.compose(site, facts_.Facts('', ''), limits).bundle
    if output is not None:
        directory_.write_atomically(output, built.tgz)
    return built

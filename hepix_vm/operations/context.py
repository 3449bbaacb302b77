# SPDX-License-Identifier: Apache-2.0
"""The site's context bundle."""

from __future__ import annotations

from pathlib import Path

from hepix_vm.context import bundle


def build(
    directory: Path, limits: bundle.Limits, output: Path | None
) -> bundle.Bundle:
    """Build the bundle of a site directory, and write it if asked to.

    :raises errors.Misconfigured: for a directory that cannot be served
    :raises errors.LocalFault: when the file cannot be written
    """
    built = bundle.build(directory, limits)
    if output is not None:
        bundle.write_atomically(built, output)
    return built

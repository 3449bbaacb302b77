# SPDX-License-Identifier: Apache-2.0
"""Site directories for tests."""

import pathlib

from hepix_vm.context import bundle
from hepix_vm.context import facts
from hepix_vm.context import site as site_
from hepix_vm.context import variants

PROLOG = '#!/bin/sh\necho prolog "$1"\n'
EPILOG = '#!/bin/sh\necho epilog "$1"\n'


def make(top: pathlib.Path) -> pathlib.Path:
    """Write a site directory with two scripts and a subdirectory."""
    top.mkdir(parents=True)
    write(top, 'prolog.sh', PROLOG, 0o755)
    write(top, 'epilog.sh', EPILOG, 0o644)
    write(top, 'site/squid.conf', 'cache.example.org:3128\n', 0o600)
    write(top, 'site/bin/report', '#!/bin/sh\n', 0o700)
    (top / 'empty').mkdir()
    return top


def write(
    top: pathlib.Path, name: str, content: str, mode: int = 0o644
) -> None:
    """Write one file and the directories that it needs."""
    target = top / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    target.chmod(mode)


def build(
    top: pathlib.Path, limits: bundle.Limits = bundle.DEFAULT_LIMITS
) -> bundle.Bundle:
    """The bundle of an instance of which nothing is known."""
    return compose(site_.read_directory(top, limits), limits)


def compose(
    site: site_.Site, limits: bundle.Limits = bundle.DEFAULT_LIMITS
) -> bundle.Bundle:
    """The bundle of an instance of which nothing is known."""
    return variants.compose(site, facts.Facts('', ''), limits).bundle

# SPDX-License-Identifier: Apache-2.0
"""``context build``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hepix_vm.cli import base
from hepix_vm.conf import context as conf_context
from hepix_vm.operations import context


class ContextBuild(base.ShowOne):
    """Build the bundle that virtual machines fetch as default.tgz.

    It is written where --output says; without that it is only checked and
    described.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            '--directory',
            metavar='DIR',
            type=Path,
            help='site directory; default: [context] directory',
        )
        parser.add_argument('--output', metavar='FILE', type=Path)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Build it."""
        settings = conf_context.context_source(self.app.configuration())
        output = parsed_args.output
        built = context.build(
            parsed_args.directory or settings.directory,
            settings.limits,
            output,
        )
        return (
            ('files', 'tar_bytes', 'tgz_bytes', 'sha256_tar', 'written'),
            (
                [file.path for file in built.files],
                len(built.tar),
                len(built.tgz),
                built.sha256_tar,
                str(output or ''),
            ),
        )

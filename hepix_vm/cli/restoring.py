# SPDX-License-Identifier: Apache-2.0
"""``db restored``."""

from __future__ import annotations

import argparse

from hepix_vm.cli import base
from hepix_vm.operations import restoring


class DbRestored(base.Command):
    """Say that the catalogue was put back from a back-up.

    To be run once, after the restore and before any daemon is started. The
    next sync fetches every list; blocks, approvals and other decisions that
    were made by hand since the back-up have to be made again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            '--reason',
            required=True,
            help='kept in the history; say which back-up it was',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Note it."""
        identity = restoring.restored(
            self.site(), base.now(), base.who(), parsed_args.reason
        )
        self.app.stdout.write(
            f'the catalogue is store {identity} now; run "hepix-vm sync"\n'
        )

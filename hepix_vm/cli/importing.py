# SPDX-License-Identifier: Apache-2.0
"""``import-from``: moving in from vmcatcher, atrope or cloudkeeper."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hepix_vm.catalogue import fetch
from hepix_vm.cli import base
from hepix_vm import conf as conf_
from hepix_vm.operations import importing

if TYPE_CHECKING:
    from hepix_vm.operations.predecessors import values
    from hepix_vm.operations import site as site_


class ImportFrom(base.Command):
    """Propose a configuration from what another tool keeps.

    Prints groups [subscription:NAME] with what an operator has to decide;
    nothing is changed. With --apply-state nothing is proposed: the versions
    that the tool had seen become known to the catalogue, for the
    subscriptions that are in the configuration by then, so that older lists
    are refused. Nothing is verified or approved by either.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('tool', choices=importing.TOOLS)
        parser.add_argument(
            'path',
            metavar='PATH',
            type=Path,
            help=(
                "vmcatcher's SQLite database, atrope.conf or the file of "
                'sources that it names, or cloudkeeper.yml'
            ),
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            '--apply-state',
            action='store_true',
            help='write the versions that were seen into the catalogue',
        )
        what.add_argument(
            '--fetch',
            action='store_true',
            help=(
                'fetch the lists whose identifier or endorser is not known, '
                'and show what they claim; none of it is verified'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Propose, or apply."""
        predecessor = importing.read(parsed_args.tool, parsed_args.path)
        if parsed_args.apply_state:
            self._apply(predecessor)
            return
        site = self._site_if_any()
        claims = {}
        if parsed_args.fetch:
            claims = importing.claimed(
                predecessor,
                site.fetch if site is not None else fetch.FetchSettings(),
            )
        self.app.stdout.write(
            importing.proposed(
                predecessor,
                site.subscriptions if site is not None else {},
                claims,
            )
        )
        for left_out in predecessor.left_out:
            self.app.LOG.warning(
                'left out: %s: %s', left_out.label, left_out.reason
            )

    def _site_if_any(self) -> site_.Site | None:
        """The site; None where it has no configuration yet."""
        named = self.app.options.config_file
        if not named and not Path(conf_.DEFAULT_FILE).exists():
            return None
        return self.site()

    def _apply(self, predecessor: values.Predecessor) -> None:
        applied = importing.apply_state(
            self.site(), predecessor, base.now(), base.who()
        )
        for item in applied:
            self.app.stdout.write(
                f'{item.subscription or "-"}: list {item.list} version '
                f'{item.version}: {item.outcome}\n'
            )
            if item.warning:
                self.app.LOG.warning(
                    '%s: %s', item.subscription or item.list, item.warning
                )
                self.exit_status = base.FAILED

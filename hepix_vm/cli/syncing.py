# SPDX-License-Identifier: Apache-2.0
"""``sync``: fetch and judge the lists now."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.operations import catalogue

_COLUMNS = (
    'subscription',
    'outcome',
    'code',
    'standing',
    'version',
    'added',
    'withdrawn',
    'detail',
)


class Sync(base.Lister):
    """Fetch and judge the lists; withdraw what is no longer endorsed.

    Exit status 0: all is well, 1: something needs a look.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'names',
            metavar='NAME',
            nargs='*',
            help='subscriptions to sync; default: all',
        )
        parser.add_argument(
            '--due',
            action='store_true',
            help='fetch only those whose time has come, as the daemon does',
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help=(
                'fetch and judge, print what would change in the catalogue '
                'as a diff, and change nothing'
            ),
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Sync, and say what happened."""
        only = frozenset(parsed_args.names) or None
        if parsed_args.dry_run:
            rehearsed = catalogue.rehearse(
                self.site(), base.now(), only, parsed_args.due
            )
            self.app.stdout.write(rehearsed.diff)
            reports = [r for r in rehearsed.reports if not r.well]
            for report in reports:
                self.app.LOG.warning(
                    'subscription %s: %s (%s) %s',
                    report.subscription,
                    report.outcome,
                    report.code,
                    report.detail,
                )
            self.exit_status = base.FAILED if reports else base.WELL
            return _COLUMNS, []
        synced = catalogue.synchronise(
            self.site(), base.now(), only, due=parsed_args.due
        )
        self._tell(synced)
        self.exit_status = base.WELL if synced.well else base.FAILED
        return _COLUMNS, [
            (
                report.subscription,
                report.outcome.value,
                report.code,
                report.standing.value,
                report.list_version or '',
                report.added,
                report.withdrawn,
                '; '.join(filter(None, (report.detail, *report.problems))),
            )
            for report in synced.reports
        ]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Any, data: Any
    ) -> Any:
        """Print the table; of a dry run, the diff is all there is."""
        if parsed_args.dry_run:
            return 0
        return super().produce_output(parsed_args, column_names, data)

    def _tell(self, synced: catalogue.Synced) -> None:
        for warning in synced.warnings:
            self.app.LOG.warning('%s', warning)
        for judged in synced.running:
            server = judged.server
            self.app.LOG.warning(
                'server %s (%s) of project %s on host %s still runs '
                'withdrawn image %s (%s)',
                server.server_id,
                server.name,
                server.project,
                server.host,
                server.image_id,
                judged.decision.code,
            )
        if synced.cloud_problem:
            self.app.LOG.error('%s', synced.cloud_problem)

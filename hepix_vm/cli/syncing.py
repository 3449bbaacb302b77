# SPDX-License-Identifier: Apache-2.0
"""``sync``: fetch and judge the lists now."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.operations import catalogue


class Sync(base.Lister):
    """Fetch and judge the lists; withdraw what is no longer endorsed.

    Exit status 0: all is well, 1: something needs a look.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument('names', metavar='NAME', nargs='*')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Sync, and say what happened."""
        synced = catalogue.synchronise(
            self.site(),
            base.now(),
            frozenset(parsed_args.names) or None,
        )
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
        self.exit_status = base.WELL if synced.well else base.FAILED
        return (
            (
                'subscription',
                'outcome',
                'code',
                'standing',
                'version',
                'added',
                'withdrawn',
                'detail',
            ),
            [
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
            ],
        )

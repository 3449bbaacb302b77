# SPDX-License-Identifier: Apache-2.0
"""``sync``: fetch and judge the lists now."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import dependents
from hepix_vm.cli import noticing
from hepix_vm.operations import catalogue
from hepix_vm.operations import running
from hepix_vm.operations import withdrawing

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
        site, now = self.site(), base.now()
        synced = running.synchronised(
            site,
            now,
            lambda: catalogue.synchronise(
                site, now, only, due=parsed_args.due
            ),
            base.now,
            named=only is not None,
        )
        noticing.afterwards(site, self.app.LOG)
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
        for cloud in synced.clouds.values():
            self._tell_use(cloud.looked)
        if synced.cloud_problem:
            self.app.LOG.error('%s', synced.cloud_problem)

    def _tell_use(self, looked: withdrawing.Looked) -> None:
        now = base.now()
        for one in looked.affected.servers:
            if one.server.runs:
                age = dependents.age(one.server.age(now))
                self.app.LOG.warning(
                    '%s%s',
                    withdrawing.sentence(one, looked.names),
                    f', created {age} ago' if age else '',
                )
        found = looked.affected
        if found.volumes or found.snapshots or found.copies:
            self.app.LOG.warning(
                '%d volumes, %d snapshots and %d images were made of '
                'withdrawn images; see "hepix-vm server list --withdrawn"',
                len(found.volumes),
                len(found.snapshots),
                len(found.copies),
            )

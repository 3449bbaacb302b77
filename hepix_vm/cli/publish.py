# SPDX-License-Identifier: Apache-2.0
"""``publish``: approved images enter the clouds."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm.cli import noticing
from hepix_vm.cli import progress
from hepix_vm.glance import outcomes
from hepix_vm.operations import publishing

_COLUMNS = (
    'cloud',
    'identifier',
    'version',
    'title',
    'outcome',
    'image_id',
    'detail',
)


class Publish(base.Lister):
    """Bring approved images into Glance through its import.

    Older versions leave when the newest one is there. Exit status 0: all are
    there, 1: at least one failed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'images',
            metavar='IDENTIFIER',
            nargs='*',
            help='only these; default: every approved image',
        )
        parser.add_argument(
            '--cloud',
            metavar='NAME',
            action='append',
            help=(
                'only this one of the clouds, "default" or one of '
                '[openstack:NAME]; may be repeated'
            ),
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            '--dry-run',
            action='store_true',
            help=(
                'print what would change in Glance as a diff, and change '
                'nothing'
            ),
        )
        how.add_argument(
            '--now',
            action='store_true',
            help=(
                'sync the lists of these images first, whether or not they '
                'are due'
            ),
        )
        parser.add_argument(
            '--retry',
            action='store_true',
            help='try images again that have failed in quarantine',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Publish, showing progress; or say what would be done."""
        only = frozenset(name.lower() for name in parsed_args.images) or None
        wish = publishing.Wish(
            only,
            frozenset(parsed_args.cloud) if parsed_args.cloud else None,
            parsed_args.retry,
        )
        if parsed_args.dry_run:
            rehearsed = publishing.rehearse(self.site(), base.now(), wish)
            self.app.stdout.write(rehearsed.diff)
            for problem in rehearsed.problems:
                self.app.LOG.error('%s', problem)
                self.exit_status = base.FAILED
            return _COLUMNS, []
        if parsed_args.now:
            self._synchronise(only)
        results = self._publish(wish)
        noticing.afterwards(self.site(), self.app.LOG)
        if any(r.outcome is outcomes.Outcome.FAILED for r in results):
            self.exit_status = base.FAILED
        return _COLUMNS, [
            (
                r.cloud,
                r.identifier,
                r.version,
                base.shown(r.title),
                r.outcome.value,
                r.image_id or '',
                base.shown(r.detail),
            )
            for r in results
        ]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Any, data: Any
    ) -> Any:
        """Print the table; of a dry run, the diff is all there is."""
        if parsed_args.dry_run:
            return 0
        return super().produce_output(parsed_args, column_names, data)

    def _synchronise(self, only: frozenset[str] | None) -> None:
        synced = publishing.synchronise_first(self.site(), base.now(), only)
        for report in synced.reports:
            if not report.well:
                self.app.LOG.warning(
                    'subscription %s: %s (%s) %s',
                    report.subscription,
                    report.outcome,
                    report.code,
                    report.detail,
                )
                self.exit_status = base.FAILED

    def _publish(self, wish: publishing.Wish) -> list[outcomes.Published]:
        shown = progress.Progress(self.app.stderr)
        try:
            return list(
                publishing.publish(self.site(), base.now(), wish, shown)
            )
        finally:
            shown.close()

# SPDX-License-Identifier: Apache-2.0
"""``adopt``: images of older tools become ours."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.catalogue import schema
from hepix_vm.cli import base
from hepix_vm.cli import progress
from hepix_vm.glance import adopt
from hepix_vm.operations import adopting

_COLUMNS = (
    'image_id',
    'name',
    'outcome',
    'subscription',
    'identifier',
    'version',
    'detail',
)


class Adopt(base.Lister):
    """Take over Glance images whose bytes match an approved endorsement.

    For images that vmcatcher, glancepush, cloudkeeper or atrope left. Their
    data is read from Glance and compared; nothing that is said of them counts.
    Exit status 0: all were judged, 1: one could not be, or one that was named
    does not match.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'images',
            metavar='IMAGE',
            nargs='*',
            help=(
                'ids of Glance images, whosever they are; default: all that '
                'are public, and all in the project that publishes'
            ),
        )
        parser.add_argument(
            '--cloud',
            metavar='NAME',
            default=schema.DEFAULT_CLOUD,
            help='"default", or one of [openstack:NAME]',
        )
        parser.add_argument(
            '--project',
            metavar='ID',
            action='append',
            default=[],
            help=(
                'look at the images of this project, too, where an older tool '
                'had its account; may be repeated'
            ),
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='compare, but write nothing',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Adopt, showing progress."""
        named = frozenset(name.lower() for name in parsed_args.images)
        wish = adopting.Wish(
            parsed_args.cloud,
            frozenset(parsed_args.project),
            named or None,
            parsed_args.dry_run,
        )
        shown = progress.Progress(self.app.stderr)
        try:
            results = list(
                adopting.adopt(
                    self.site(), base.now(), wish, base.who(), shown
                )
            )
        finally:
            shown.close()
        bad = {adopt.Outcome.FAILED} | (
            {adopt.Outcome.LEFT} if named else set()
        )
        if any(result.outcome in bad for result in results):
            self.exit_status = base.FAILED
        return _COLUMNS, [
            (
                result.image_id,
                base.shown(result.name),
                result.outcome.value,
                result.subscription,
                result.identifier,
                result.version,
                base.shown(result.detail),
            )
            for result in results
        ]

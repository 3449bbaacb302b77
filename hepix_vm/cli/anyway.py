# SPDX-License-Identifier: Apache-2.0
"""``image run-anyway``: for a time, although the endorsement has ended."""

from __future__ import annotations

import argparse
from typing import Any

from hepix_vm.cli import base
from hepix_vm import errors
from hepix_vm.operations import anyway


class ImageRunAnyway(base.ShowOne):
    """Let an image run for a time although its endorsement has ended.

    It covers an image that has expired, is stale, waits for a confirmation or
    is no longer listed. It never covers a revoked endorser, a block or a list
    that is not believed, now or later. When the time is over the image is
    refused again at once. "hepix-vm sync" reactivates in Glance what it had
    deactivated itself.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Arguments of the command."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'image',
            metavar='ID',
            help='image identifier, SHA-512 or Glance image id',
        )
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            '--until',
            metavar='TIME',
            type=base.moment,
            help='RFC 3339 or UNIX seconds',
        )
        which.add_argument(
            '--end', action='store_true', help='from now on it does not'
        )
        parser.add_argument(
            '--reason', help='why, for the history; needed with --until'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Allow it, or end that."""
        site, now, who = self.site(), base.now(), base.who()
        named, reason = parsed_args.image, parsed_args.reason or ''
        if parsed_args.end:
            ended = anyway.end(site, now, named, who, reason)
            return (
                ('ended', 'withdrawn'),
                (ended.sha512, [w.image_id for w in ended.withdrawals]),
            )
        if not reason.strip():
            raise errors.Misconfigured(
                'option --reason: expected why the image runs anyway, found '
                'nothing'
            )
        until = int(parsed_args.until.timestamp())
        allowed = anyway.allow(site, now, named, until, who, reason)
        return (
            ('run_anyway', 'until', 'code', 'state', 'restored'),
            (
                allowed.sha512,
                base.shown_time(allowed.until),
                allowed.decision.code.value,
                allowed.decision.state.value,
                list(allowed.restored),
            ),
        )
